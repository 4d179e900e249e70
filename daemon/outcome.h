/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcome.h - what the end of an attempt means: why it ended, and whether
 * another one follows.
 */
#ifndef DAEMON_OUTCOME_H
#define DAEMON_OUTCOME_H

#include "daemon/attempt.h"

/* Exit code by which a job asks to be queued again (EX_TEMPFAIL). */
enum { OUTCOME_REQUEUE_ME = 75 };

/* Post the event that ends the attempt (stage OVER).  When the disk refuses, the
 * job stays as it is and the next call tries again. */
void outcome_post(struct hub *h, struct attempt *a);

/* Seconds before try number n + 1, n >= 1 failures: delay * 2^(n-1), at most 300,
 * varied by up to a fifth by `random`, so that jobs which failed together do not
 * come back together. */
double outcome_backoff(double delay, uint32_t n, uint32_t random);

/* True when a failure of this class is worth another attempt. */
bool outcome_is_retried(Wire__Failure f);

#endif
