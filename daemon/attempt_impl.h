/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt_impl.h - what the files of an attempt share among each other.
 */
#ifndef DAEMON_ATTEMPT_IMPL_H
#define DAEMON_ATTEMPT_IMPL_H

#include "base/arena.h"
#include "daemon/attempt.h"
#include "daemon/proc.h"

/* The newest attempt of j as nnd's memory of it; it becomes j->live. */
struct attempt *attempt_create(struct hub *h, struct job *j);

/* Enter a stage; the next round acts on it. */
void attempt_stage(struct hub *h, struct attempt *a, enum attempt_stage stage);

/* Its shepherd is that process. */
void attempt_watch(struct hub *h, struct attempt *a, const struct proc_id *id);

/* Open DIR/lock; 1 when a shepherd holds it, 0 with *fd when it is ours now. */
int attempt_lock(const struct attempt *a, int *fd, struct err *e);

/* A way to nnd for ranks that may be on other machines; nothing to do for others, or
 * where nnd listens for this machine alone.  line.h says what is in its folder. */
int attempt_give_way(const struct hub *h, struct attempt *a, struct err *e);

/* What its launcher is told; strings are the hub's, the attempt's or the arena's. */
struct launch attempt_launch(const struct hub *h, const struct attempt *a,
                             struct arena *arena);

#endif
