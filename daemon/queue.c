/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - first come, first served.
 */
#include "daemon/queue.h"

#include <stdio.h>

#include <hwloc.h>

#include "base/clock.h"

enum { MAX_RANKS = 4096 };

int queue_slots(uint32_t *out, struct err *e)
{
    hwloc_topology_t topology;
    int n = 0;

    if (hwloc_topology_init(&topology) < 0)
        return err_set(e, ERR_FAILED, "counting processors: hwloc does not start");
    if (hwloc_topology_load(topology) == 0)
        n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    hwloc_topology_destroy(topology);
    if (n <= 0)
        return err_set(e, ERR_FAILED,
                       "counting processors: hwloc finds none; say how "
                       "many with --slots");
    *out = (uint32_t)n;
    return 0;
}

int queue_fit(const struct hub *h, uint32_t ranks, uint32_t threads, struct job *j,
              struct err *e)
{
    uint32_t share = ranks && h->slots > ranks ? h->slots / ranks : 1;

    if (ranks > MAX_RANKS)
        return err_set(e, ERR_SPEC, "parallel: nnd starts at most %d ranks, got %u",
                       MAX_RANKS, ranks);
    j->ranks = ranks ? ranks : 1;
    j->threads = threads ? threads : share;
    if ((uint64_t)j->ranks * j->threads > h->slots && !h->opt.conf->oversubscribe)
        return err_set(e, ERR_SPEC,
                       "parallel: %u ranks x %u threads need %llu slots, nnd has %u; "
                       "make the job smaller or start nnd with --oversubscribe",
                       j->ranks, j->threads, (unsigned long long)j->ranks * j->threads,
                       h->slots);
    return 0;
}

static void count_used(struct hub *h)
{
    h->slots_used = 0;
    for (size_t i = 0; i < h->njobs; i++)
        if (state_is_live(h->jobs[i]->state))
            h->slots_used += job_slots(h->jobs[i]);
}

static void queue_again(struct hub *h, struct job *j)
{
    struct event ev = {.kind = EVENT_QUEUE, .bad_rank = -1};
    int64_t left_us = j->due_us - clock_wall_us();
    int64_t most_us = (int64_t)(1.2e6 * 300);
    struct err e;

    if (left_us > most_us) /* the clock was set back */
        left_us = most_us;
    if (left_us > 0)
        hub_wake(h, h->now + left_us * 1000);
    else
        hub_post(h, j, &ev, &e);
}

static void say_pending(struct hub *h, struct job *j, bool first)
{
    char text[sizeof j->pending];
    uint32_t used = h->slots_used, free_slots = h->slots > used ? h->slots - used : 0;

    if (first)
        snprintf(text, sizeof text, "waits for %u slots, %u of %u are free",
                 job_slots(j), free_slots, h->slots);
    else
        snprintf(text, sizeof text, "waits for jobs before it");
    if (strcmp(text, j->pending) != 0) {
        snprintf(j->pending, sizeof j->pending, "%s", text);
        job_touch(j);
    }
}

/* A job that is bigger than the machine runs when it has it to itself. */
static bool fits(const struct hub *h, const struct job *j)
{
    return h->slots_used == 0 || h->slots_used + job_slots(j) <= h->slots;
}

void queue_act(struct hub *h)
{
    bool blocked = h->leaving;

    count_used(h);
    for (size_t i = 0; i < h->njobs; i++) {
        struct job *j = h->jobs[i];
        struct event ev = {
            .kind = EVENT_START, .attempt = j->attempt + 1, .bad_rank = -1};
        struct err e;

        if (j->state == WIRE__STATE__RETRY_WAIT && !h->leaving)
            queue_again(h, j);
        if (j->state != WIRE__STATE__QUEUED || j->live)
            continue;
        if (blocked || !fits(h, j)) {
            say_pending(h, j, !blocked);
            blocked = true;
        } else if (hub_post(h, j, &ev, &e) == 0) {
            h->slots_used += job_slots(j);
        }
    }
}
