/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oom.c - the one place in the libraries that prints and ends the program.
 */
#include "base/oom.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

_Noreturn void oom_abort(const char *what, size_t size)
{
    fprintf(stderr, "out of memory: %s of %zu bytes\n", what, size);
    _exit(-ERR_NOMEM);
}

void *oom_realloc(void *p, size_t size)
{
    void *q = realloc(p, size);

    if (!q)
        oom_abort("an allocation", size);
    return q;
}

void *oom_calloc(size_t n, size_t size)
{
    void *p = calloc(n, size);

    if (!p)
        oom_abort("an array", n > (size_t)-1 / size ? (size_t)-1 : n * size);
    return p;
}
