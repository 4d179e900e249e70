/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.h - what /proc knows about processes: identity that outlives a pid, and
 * finding all that belongs to an attempt.  libc only: nnd-shepherd uses it too.
 */
#ifndef DAEMON_PROC_H
#define DAEMON_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Every process of an attempt carries NND_ATTEMPT=MARKER in its environment. */
#define PROC_MARKER "NND_ATTEMPT"

/* A process for good: pids come again, this triple does not. */
struct proc_id {
    char boot[40]; /* /proc/sys/kernel/random/boot_id */
    pid_t pid;
    uint64_t start; /* clock ticks since boot */
};

/* This machine's boot id; false when /proc cannot be read. */
bool proc_boot(char out[40]);

/* When pid was started, in clock ticks since boot; false when there is none. */
bool proc_start(pid_t pid, uint64_t *ticks);

/* Nanoseconds since that, whatever happened to the wall clock. */
int64_t proc_age_ns(uint64_t ticks);

/* True while the very process lives; a zombie does not, nor does one that was killed
 * and still has its descriptors open. */
bool proc_alive(const struct proc_id *id);

/* True while pid stands still by a signal or in a debugger. */
bool proc_stopped(pid_t pid);

/* A pidfd of that very process, or -1 when it is gone. */
int proc_open(const struct proc_id *id);

/* True when the environment pid was started with holds NND_ATTEMPT=marker. */
bool proc_has_marker(pid_t pid, const char *marker);

/* What makes a process part of an attempt; any one suffices. */
struct proc_match {
    const char *marker;  /* value of NND_ATTEMPT, or NULL */
    pid_t session;       /* its session, or 0              */
    pid_t parent;        /* its parent, or 0               */
    const pid_t *except; /* whom parent does not count for */
    size_t nexcept;
};

/* Send `sig` (0: only count) to every matching process other than the caller and
 * return how many there were.  Zombies do not count.  1 where /proc cannot be read. */
int proc_signal_all(const struct proc_match *m, int sig);

#endif
