/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shortage.h - whether the kernel ended a process for want of memory a moment ago, as
 * far as this machine's count of such ends tells: it says nothing of whose they were,
 * so that only what falls together with an end is taken for its cause.  libc only:
 * nnd-shepherd uses it.
 */
#ifndef DAEMON_SHORTAGE_H
#define DAEMON_SHORTAGE_H

#include <stdbool.h>
#include <stdint.h>

struct shortage {
    unsigned long count; /* at the last look                                  */
    int64_t grew_at;     /* ms, when a look found that it had grown; 0: never */
};

/* Between two looks, and between the end of a rank and that of its launcher. */
enum { SHORTAGE_LOOK_MS = 1000, SHORTAGE_LATELY_MS = 5000 };

/* The machine's count now: "oom_kill" of /proc/vmstat. */
unsigned long shortage_count(void);

/* A look at the count, at now_ms of a clock of one's own; the first begins. */
void shortage_begin(struct shortage *s, unsigned long count);
void shortage_look(struct shortage *s, unsigned long count, int64_t now_ms);

/* Did it grow lately? */
bool shortage_is_near(const struct shortage *s, int64_t now_ms);

#endif
