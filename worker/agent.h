/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - a rank's line to nnd: a thread that says every half second where the
 * rank is, passes on what it measured, and hears when to stop.
 *
 * Nothing here waits for nnd but agent_end, and that for two seconds at most: while
 * nnd is away the thread keeps trying, and says nothing about it.  Every call
 * takes NULL for a rank without nnd.  Calls come from any thread.
 */
#ifndef WORKER_AGENT_H
#define WORKER_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "graph/exec.h"
#include "proto/wire.pb-c.h"
#include "worker/metrics.h"

struct agent;

struct agent_config {
    const char *uri; /* of nnd                                          */
    const char *dir; /* the attempt's folder, copied; see proto/line.h  */
    uint64_t job, epoch;
    uint32_t attempt, rank, ranks;
};

/* Say hello and go on from there. */
int agent_start(const struct agent_config *c, struct agent **out, struct err *e);

/* Send why this rank leaves, in one line, and what is left, and end the thread.  What
 * is said afterwards is lost. */
void agent_end(struct agent *a, Wire__Failure why, const char *text);
void agent_destroy(struct agent *a);

/* Where the rank is. */
void agent_phase(struct agent *a, Wire__Phase phase);
void agent_step(struct agent *a, int64_t done);
void agent_first(struct agent *a, int64_t step); /* the first step of this attempt */

/* The rank enters a collective that is no part of a program, called `what` (a
 * constant), and leaves it: for others it may have to wait. */
void agent_meet(struct agent *a, const char *what);
void agent_met(struct agent *a);

/* Whose progress to tell; NULL before that is destroyed. */
void agent_watch(struct agent *a, struct exec_progress *p);

/* For rank 0. */
void agent_metrics(struct agent *a, const struct metrics *m);
void agent_saved(struct agent *a, int64_t step, const char *path);
void agent_note(struct agent *a, int64_t step, const char *text); /* one line */
void agent_kernels(struct agent *a, Wire__Kernel **kernels, size_t n);

/* Did nnd ask to save and leave?  (When it says that the attempt is over, the
 * thread ends the process at once.) */
bool agent_stop_asked(const struct agent *a);

#endif
