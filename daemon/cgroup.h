/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a control group per attempt, where this process may make one: whoever
 * is born in it stays in it, whatever else he changes about himself, and one write
 * ends them all.  cgroup v2 alone (cgroups(7)); where there is none, or no right to
 * it, marks and sessions have to do (proc.h).  libc only: nnd-shepherd uses it too.
 */
#ifndef DAEMON_CGROUP_H
#define DAEMON_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* Make the group `name` below this process's own; its folder goes to out.  False,
 * and out is "", where that cannot be done. */
bool cgroup_make(const char *name, char *out, size_t size);

/* Move the calling process there.  Safe between fork and exec. */
bool cgroup_enter(const char *dir);

/* Send KILL to all processes in it, remove it once there is none.  True when it is
 * gone (or never was). */
bool cgroup_end(const char *dir);

/* Processes in it that the kernel ended for want of memory; -1 where it is not told. */
long cgroup_oom(const char *dir);

#endif
