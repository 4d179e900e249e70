/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.h - a second stream of a device, for what ranks send each other while the
 * first one computes; for the executor and overlap.c.
 *
 * What a lane (comm/lane.h) is to processors: jobs go one behind the other, in the
 * order in which they were posted, and all ranks post the same.  But here a job only
 * enqueues, no thread is needed, and who waits is the device: the host posts and goes
 * on.  Events of both streams say what it took.
 */
#ifndef GRAPH_TRACK_H
#define GRAPH_TRACK_H

#include <nnd/plugin.h>

#include "base/arena.h"
#include "comm/lane.h"

struct track;

/* Beside `stream`, which outlives it, as dev does; lives in arena a. */
int track_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                 struct arena *a, struct track **out, struct err *e);
void track_destroy(struct track *t);

/* Where jobs enqueue. */
const struct nnd_stream *track_stream(const struct track *t);

/* Events for so many posts and waits, at least those of a step; once, before the first
 * of them. */
int track_room(struct track *t, int posts, int waits, struct err *e);

/* Have run(arg, e) enqueue a job, which begins when the first stream has done all that
 * it was given so far. */
int track_post(struct track *t, int (*run)(void *arg, struct err *e), void *arg,
               struct err *e);

/* What the first stream is given from now on begins when all jobs are done. */
int track_wait(struct track *t, struct err *e);

/* Has something been posted that nothing waits for?  Other ranks may never do their
 * part of it. */
bool track_pending(const struct track *t);

/* Of jobs before the last wait that has ended: what they took, with the time in which
 * they waited for other ranks, and how much of that the first stream stood still. */
struct lane_time track_timed(struct track *t);

#endif
