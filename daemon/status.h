/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the file by which a shepherd tells how its attempt goes.
 *
 * Written by nnd-shepherd, read by nnd, possibly by one that was started later.
 * Lines of "key value"; replaced whole, so a reader sees the old or the new.
 * libc only.
 */
#ifndef DAEMON_STATUS_H
#define DAEMON_STATUS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct status {
    char boot[40];      /* boot id of the machine                              */
    pid_t pid;          /* the shepherd                                        */
    uint64_t start;     /* when it was started, clock ticks since boot         */
    int64_t started_us; /* wall clock                                          */
    int64_t ended_us;
    int ended;      /* 1: all processes are gone; what follows holds       */
    int wait;       /* raw wait status of the launcher                     */
    int exec_errno; /* why the launcher could not be started, or 0         */
    int asked;      /* 1: TERM was received                                */
    int left;       /* processes that could not be killed                  */
    int oom;        /* 1: the kernel killed for want of memory meanwhile   */
};

/* Replace DIR/status, durably.  0, or -1 with errno. */
int status_write(const char *dir, const struct status *s);

/* What such a file says, whoever wrote it: -1 when a line is missing or cut, or a
 * number is none that could stand there (a pid of 0 or less, a start in another
 * century). */
int status_parse(const char *text, size_t len, struct status *out);

/* Read DIR/status.  0, or -1 when there is none or it is not understood. */
int status_read(const char *dir, struct status *out);

#endif
