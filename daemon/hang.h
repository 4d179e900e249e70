/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hang.h - attempts that live and do not get on: judged by progress, never by how
 * long something takes, and named: which rank does not arrive, where, and where the
 * others wait for it.
 */
#ifndef DAEMON_HANG_H
#define DAEMON_HANG_H

#include "daemon/attempt.h"

/* A beat of a rank: anything in it that differs from the one before is progress.
 * True when it was. */
bool hang_beat(struct hub *h, struct attempt *a, struct rank *r,
               const Wire__RankBeat *m);

/* A step took so long. */
void hang_step(struct attempt *a, double seconds);

/* What is known of a rank when nobody moves. */
struct hang_view {
    uint32_t rank;
    double silent_s; /* since its last beat                    */
    bool stopped;    /* its process stands still by a signal   */
    bool waits;      /* for others, in `op`                    */
    uint64_t step, meetings;
    const char *op, *host;
};

/* Whom the others wait for: index into v, n > 0. */
size_t hang_culprit(const struct hang_view *v, size_t n);

/* One line about it. */
void hang_describe(const struct hang_view *v, size_t n, double still_s, char *out,
                   size_t size);

/* How long nothing may move, by what the rank in question is doing; nnd(8) says how
 * long, under FAILURES. */
int64_t hang_patience_ns(const struct hub *h, const struct attempt *a,
                         const struct hang_view *v);

/* Post that it hangs, when it does; else come back when it might. */
void hang_act(struct hub *h, struct attempt *a);

#endif
