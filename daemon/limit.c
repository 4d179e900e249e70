/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limit.c - looks at the time that an attempt has taken.  Killing is attempt.c's.
 */
#include "daemon/limit.h"

#include <stdio.h>

#include "base/clock.h"

#define US 1000LL /* nanoseconds */

int64_t limit_end(const struct hub *h, const struct attempt *a)
{
    const struct job *j = a->job;
    int64_t paused = j->paused_us, since;

    if (j->time_limit <= 0)
        return INT64_MAX;
    if (j->paused_at_us) {
        since = clock_wall_us() - j->paused_at_us;
        paused += since > 0 ? since : 0;
    }
    /* the wall clock may have been put forward while it was suspended: a pause is no
     * longer than the attempt */
    if (paused > (h->now - a->began) / US)
        paused = (h->now - a->began) / US;
    return a->began + (int64_t)(j->time_limit * 1e9) + paused * US;
}

void limit_act(struct hub *h, struct attempt *a)
{
    struct event ev = {
        .kind = EVENT_STOP, .failure = WIRE__FAILURE__TIME_LIMIT, .bad_rank = -1};
    const struct job *j = a->job;
    int64_t end = limit_end(h, a), ask;
    double warn = j->warn < j->time_limit / 2 ? j->warn : j->time_limit / 2;
    char text[80], human[16];
    struct err e;

    if (end == INT64_MAX || j->state == WIRE__STATE__STOPPING ||
        j->state == WIRE__STATE__SUSPENDED)
        return;
    ask = end - (int64_t)(warn * 1e9);
    if (h->now < ask) {
        hub_wake(h, ask);
        return;
    }
    clock_human(j->time_limit, human, sizeof human);
    snprintf(text, sizeof text, "its time is up: queue.time is %s", human);
    ev.text = text;
    hub_post(h, a->job, &ev, &e);
}
