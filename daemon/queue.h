/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - which job is started next: first come, first served, by slots.
 *
 * A slot is a processor.  A job needs ranks x threads of them from its start to
 * its end.  The first that does not fit makes those behind it wait, so that a
 * big job is not starved by small ones.
 */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

#include "daemon/hub.h"

/* Processors this process may use, by hwloc. */
int queue_slots(uint32_t *out, struct err *e);

/* Ranks and threads per rank of a job on this machine: `threads` 0 shares the
 * slots among the ranks.  ERR_SPEC when it can never fit. */
int queue_fit(const struct hub *h, uint32_t ranks, uint32_t threads, struct job *j,
              struct err *e);

/* Queue again whose back-off is over, start whom the free slots are enough for
 * (posts events; processes follow after the commit). */
void queue_act(struct hub *h);

#endif
