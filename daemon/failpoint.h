/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failpoint.h - for tests of recovery: a process dies by SIGKILL at a point that has a
 * name, the Nth time it comes by.  For nnd and nnd-shepherd; needs libc alone.
 */
#ifndef DAEMON_FAILPOINT_H
#define DAEMON_FAILPOINT_H

#include <stdbool.h>

/* "NAME:N", which lives on; NULL for none.  False when there is no such point. */
bool failpoint_set(const char *text);

/* The text, or NULL, if its point is one of nnd-shepherd's. */
const char *failpoint_of_shepherd(void);

/* Here is the point of this name.  Async-signal-safe. */
void failpoint(const char *name);

/* All names, one a line, on stdout. */
void failpoint_list(void);

#endif
