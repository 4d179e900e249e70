/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hygiene.h - what a plugin may not do to the process it is a guest in: seen by
 * comparing the process before and after.
 */
#ifndef KERNEL_HYGIENE_H
#define KERNEL_HYGIENE_H

#include <limits.h>
#include <signal.h>
#include <stdbool.h>

#include "base/buf.h"

enum { HYGIENE_SIGNALS = 65 };

struct hygiene {
    bool floats_sane; /* hygiene_floats */
    struct sigaction handler[HYGIENE_SIGNALS];
    int threads, files; /* how many; -1: not known */
    char locale[256], cwd[PATH_MAX];
};

/* Look at this process. */
void hygiene_take(struct hygiene *h);

/* What a plugin changed.  `forbidden`: "changed the floating-point environment
 * (built with -ffast-math?); installed a handler for SIGSEGV; started 1 thread".
 * `odd`: files left open, another locale or folder.  Both are appended to. */
void hygiene_compare(const struct hygiene *before, const struct hygiene *after,
                     struct buf *forbidden, struct buf *odd);

/* Put signal handlers back as they were. */
void hygiene_restore(const struct hygiene *before);

/* Subnormal numbers are kept, rounding is to nearest and nothing traps, in this
 * thread. */
bool hygiene_floats(void);

/* How many threads this process has; -1 when that cannot be known. */
int hygiene_threads(void);

#endif
