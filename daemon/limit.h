/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.h - queue.time: how long an attempt may take.
 */
#ifndef DAEMON_LIMIT_H
#define DAEMON_LIMIT_H

#include "daemon/attempt.h"

/* When the attempt's time is over (monotonic ns), INT64_MAX without a limit.  Time in
 * which it was suspended does not count. */
int64_t limit_end(const struct hub *h, const struct attempt *a);

/* Ask it to save and leave queue.warn seconds before that; posts the event. */
void limit_act(struct hub *h, struct attempt *a);

#endif
