/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - whether what a job's rules for kernels name, and the device that it wants,
 * are there, and can do what it wants where that is required (OP=NAME without "?"),
 * asked before it is accepted.
 *
 * nnd loads no plugin: nnd-worker is started for it, as a child that says "met" or
 * "unmet".  What it said counts for some seconds, for all jobs of the same model and
 * rules.  Only where ranks run on this machine: of others nothing is known here.
 */
#ifndef DAEMON_RULES_H
#define DAEMON_RULES_H

#include "base/err.h"
#include "daemon/hub.h"
#include "proto/job.pb-c.h"

struct rules;

struct rules *rules_create(void);
void rules_destroy(struct rules *r); /* NULL is legal */

/* 0: they can be met, or there are none, or nobody could tell (which is logged);
 * 1: not known yet, ask again in a moment; ERR_SPEC says what cannot be met; ERR_RETRY
 * when too many are asked for at once.  The job is as submitted, packed in `data`. */
int rules_check(struct hub *h, const Nnd__Job *job, const void *data, size_t size,
                struct err *e);

/* The children that are asked now, for who ends all others; returns how many. */
enum { RULES_CHILDREN = 4 };
size_t rules_children(const struct rules *r, pid_t out[RULES_CHILDREN]);

#endif
