/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.h - libraries that are opened when they are first wanted, so that the
 * plugin loads without them.  tests/cuda/library.h stands for them on the host.
 */
#ifndef CUDA_LIBRARY_H
#define CUDA_LIBRARY_H

#include <dlfcn.h>
#include <stddef.h>

/* The first of the names, which end with NULL, that is there; or NULL. */
static inline void *library_open(const char *const *names)
{
    void *at = NULL;
    for (; *names && !at; names++)
        at = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    return at;
}

/* Why the last one was not opened. */
static inline const char *library_why(void)
{
    const char *why = dlerror();
    return why ? why : "no reason given";
}

static inline void *library_symbol(void *library, const char *name)
{
    return dlsym(library, name);
}

#endif
