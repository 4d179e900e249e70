/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.h - forgetting: jobs that have ended, by request, by age and by number, and
 * the folders of attempts that nobody will look at again.
 *
 * A job's rows go in one commit; after it the folder is moved to DIR/jobs/trash, which
 * a thread empties, so that a folder of gigabytes holds nobody up.
 */
#ifndef DAEMON_PURGE_H
#define DAEMON_PURGE_H

#include "daemon/hub.h"

/* True when the job may be forgotten: it has ended, and nobody waits for it. */
bool purge_allowed(struct hub *h, const struct job *j);

/* How many have ended beyond `keep`, those not counted that this round forgets. */
int purge_excess(struct hub *h, uint64_t keep, uint64_t *out, struct err *e);

/* Forget the job; its folder goes after the commit. */
int purge_job(struct hub *h, uint64_t id, struct err *e);

/* What is over an age or a number, now and then; and keys too old to matter. */
void purge_act(struct hub *h);

/* After a commit: move the folders of what was forgotten; when it failed, leave them.
 */
void purge_committed(struct hub *h, bool done);

/* Move all but the newest folders of a job's attempts. */
void purge_attempts(struct hub *h, const struct job *j);

/* At the start: what a crash left in the trash, and folders of jobs that were
 * forgotten just before it. */
int purge_open(struct hub *h, struct err *e);

#endif
