/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oom.h - the end of the road for small allocations.
 *
 * For the containers of lib/base, whose callers could do nothing better than
 * stop.  Memory whose size a user chooses is allocated by its owner and
 * refused with an error; it never comes here.
 */
#ifndef BASE_OOM_H
#define BASE_OOM_H

#include <stddef.h>

/* realloc and calloc that return memory or end the program with one line. */
void *oom_realloc(void *p, size_t size);
void *oom_calloc(size_t n, size_t size);

/* Say that `size` bytes of what were not to be had, and end with status 9, that of
 * ERR_NOMEM: whoever watches the program knows by it what was lacking. */
_Noreturn void oom_abort(const char *what, size_t size);

#endif
