/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - which job is started next.
 *
 * Of all that may start, the one with the largest priority, and of those the oldest.
 * It needs ranks x threads slots from its start to its end.  When it does not fit,
 * those behind it wait too, so that a big job is not starved by small ones.  A user
 * who is at a limit is passed over.
 *
 * What does not change costs nothing: a round looks at the heads of the lines, not
 * at who stands in them.
 */
#ifndef DAEMON_QUEUE_H
#define DAEMON_QUEUE_H

#include "daemon/hub.h"

struct queue;

struct queue *queue_create(void);
void queue_destroy(struct queue *q);

/* Ranks and threads per rank of a job: `threads` 0 shares the slots of the largest
 * node among the ranks.  ERR_SPEC when it can never fit, nor ever be allowed. */
int queue_fit(const struct hub *h, uint32_t ranks, uint32_t threads, struct job *j,
              struct err *e);

/* ERR_RETRY when the user has as many jobs as he may. */
int queue_admit(const struct hub *h, uint32_t uid, size_t more, struct err *e);

/* The job's state or priority is not what it was, or (gone) it is to be forgotten:
 * put it into the line where it belongs. */
void queue_note(struct hub *h, struct job *j);
void queue_gone(struct hub *h, struct job *j);

/* Slots may have become free, or limits others. */
void queue_look(struct hub *h);

/* Queue again whose back-off is over, start whom the free slots are enough for
 * (posts events; processes follow after the commit). */
void queue_act(struct hub *h);

/* Why it does not run, in one line; "" when there is nothing to say. */
void queue_reason(struct hub *h, const struct job *j, char *out, size_t size);

#endif
