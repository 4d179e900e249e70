/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - run a part of the program in a process that may die.
 *
 * A plugin's code is only ever run in a child: with limits, in a session of its
 * own, watched by the clock.  Its standard output goes nowhere; what it says on
 * standard error is quoted when it dies.
 */
#ifndef PROBE_CHILD_H
#define PROBE_CHILD_H

#include "base/buf.h"
#include "base/err.h"

/* Write the result to out; nonzero is a failure with its text in e. */
typedef int child_f(void *arg, struct buf *out, struct err *e);

/* How it went wrong. */
enum { CHILD_SAID = -1, CHILD_DIED = -2, CHILD_LATE = -3, CHILD_UNABLE = -4 };

/* Run fn in a child for at most `seconds` and append its result to out.  CHILD_SAID:
 * code and text of the error are fn's own.  CHILD_DIED, CHILD_LATE: it says how the
 * child ended, by what signal or by the clock, and at which stage.  CHILD_UNABLE: it
 * could not be started, or our own code in it had no memory, which no fn can help. */
int child_run(child_f *fn, void *arg, double seconds, struct buf *out, struct err *e);

/* In the child: a device is to be used, whose driver maps what memory it likes. */
void child_device(void);

/* In the child: what is done next, for the parent to quote. */
void child_stage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
