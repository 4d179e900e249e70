/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lane.h - a thread that communicates while others compute.
 *
 * Jobs are done one by one, in the order in which they were posted.  A job talks
 * over communicators that nobody else uses meanwhile; all ranks post the jobs of a
 * communicator in the same order.  One thread posts and waits.
 *
 * The thread measures itself: what a job took once everybody was there, and how much
 * of that passed while the poster stood in lane_wait.  The rest was hidden behind
 * what the poster did.
 */
#ifndef COMM_LANE_H
#define COMM_LANE_H

#include "comm/comm.h"

struct lane;

/* `jobs`: so many are waiting at most.  The thread is placed like its maker. */
int lane_create(int jobs, struct lane **out, struct err *e);

/* Ends the thread when the posted jobs are done.  Who gives up with jobs posted
 * cannot wait for the other ranks and ends the process instead. */
void lane_destroy(struct lane *l);

/* Has all ranks of c meet, then run(arg, e) within the thread; not the last of the
 * jobs where one before it failed. */
void lane_post(struct lane *l, struct comm *c, int (*run)(void *arg, struct err *e),
               void *arg);

/* Until all that was posted is done; the first error, which stays. */
int lane_wait(struct lane *l, struct err *e);

/* Nanoseconds since the thread began; changes between lane_post and lane_wait. */
struct lane_time {
    int64_t busy;    /* moving and adding bytes, not waiting for other ranks */
    int64_t exposed; /* of that, while the poster waited                     */
};
struct lane_time lane_timed(const struct lane *l);

#endif
