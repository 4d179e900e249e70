/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - what nnd is set up with, and the programs that it starts are not.
 */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

/* For nnd alone: a closed pipe or a full file is an error, not an end, and there are as
 * many descriptors as the system allows, for a rank takes two. */
void child_differ(void);

/* Undo that, and let all signals in.  Between fork and exec: async-signal-safe. */
void child_reset(void);

#endif
