/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lazy.h - the functions of a library that is opened when one is first wanted: all of
 * them, or a line that says why not.  What opens it is library.h's.
 */
#ifndef CUDA_LAZY_H
#define CUDA_LAZY_H

#include <stdio.h>

#include "library.h"

/*
 * Open the first of names that is there and find each of functions in it; both lists
 * end with NULL.  to gets them in their order.  why is "" then; else it says in one
 * line what is missing, and nothing in to may be called.
 */
static inline void lazy_open(const char *const *names, const char *const *functions,
                             void **to, char *why, size_t len)
{
    void *library = library_open(names);
    why[0] = '\0';
    if (!library)
        snprintf(why, len, "%s", library_why());
    for (; library && !why[0] && *functions; functions++, to++) {
        *to = library_symbol(library, *functions);
        if (!*to)
            snprintf(why, len, "%s has no %s", names[0], *functions);
    }
    for (; *why; why++) /* a path says what it likes; this goes into JSON as well */
        if ((unsigned char)*why < ' ' || *why == '"' || *why == '\\')
            *why = '?';
}

#endif
