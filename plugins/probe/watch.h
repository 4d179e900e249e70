/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what a launch() does besides its work: memory that it takes, threads that
 * it starts.
 *
 * The C library's functions for these are this program's own, which count.
 */
#ifndef PROBE_WATCH_H
#define PROBE_WATCH_H

#include "base/err.h"

/* What was seen between watch_begin and watch_end, in all threads. */
struct watch {
    int allocations, threads;
};

void watch_begin(void);
void watch_end(struct watch *out);

/* Does what was seen break the contract? */
int watch_judge(const struct watch *w, struct err *e);

#endif
