/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_events.c - the journal: what happened to jobs.
 */
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/term.h"
#include "client/wire_json.h"

enum { POLL_MS = 1000 };

struct options {
    bool follow;
    uint64_t since;
};

static const struct opt table[] = {
    {OPT_FLAG, 'f', "follow", NULL, offsetof(struct options, follow),
     "wait for more; with ID, until the job ends"},
    {OPT_COUNT, 0, "since", "SEQ", offsetof(struct options, since),
     "only events after number SEQ"},
    {0},
};

/* A line has the same columns whether it is the first or comes much later. */
static void print_event(const Wire__Event *v)
{
    char time[40];

    clock_iso((int64_t)v->time_us, time, sizeof time);
    printf("%6llu  %s  job %llu  %-9s %-10s", (unsigned long long)v->seq, time,
           (unsigned long long)v->job, v->name ? v->name : "?",
           wire_state_name(v->state));
    if (v->attempt)
        printf("  attempt %u", v->attempt);
    if (v->step)
        printf("  step %llu", (unsigned long long)v->step);
    if (v->failure != WIRE__FAILURE__NO_FAILURE)
        printf("  %s", wire_failure_name(v->failure));
    if (v->text && *v->text)
        printf("  %s", v->text);
    putchar('\n');
}

static void print_events(struct client *c, const Wire__EventsReply *r)
{
    for (size_t i = 0; i < r->n_events; i++) {
        if (c->opt.json)
            client_print_json(wire_json(r->events[i]));
        else
            print_event(r->events[i]);
    }
    fflush(stdout);
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    Wire__Events q = WIRE__EVENTS__INIT;
    bool more = true;
    int rc = argc ? client_id(argv[0], &q.id, e) : 0;

    q.has_id = argc > 0;
    q.has_since = true;
    q.since = o->since;
    if (o->follow)
        term_catch_signals();
    while (rc == 0 && more && !term_signal()) {
        Wire__EventsReply *reply;

        rc = client_call(c, WIRE__TYPE__EVENTS, &q, q.has_wait_ms ? POLL_MS : 0, &reply,
                         e);
        if (rc < 0)
            return term_has_signal() ? 0 : rc;
        print_events(c, reply);
        q.since = reply->next;
        more = reply->more || (o->follow && !reply->final);
        q.has_wait_ms = o->follow;
        q.wait_ms = POLL_MS;
        chan_free(&reply->base);
    }
    return rc;
}

const struct verb verb_events = {
    .name = "events",
    .args = "[ID]",
    .max_args = 1,
    .brief = "print what happened to a job, or to all",
    .text = "The journal of nnd, oldest first. With --json, an object per line.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
