/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_events.c - the journal: what happened to jobs.
 *
 * Followed, it is what there is, a mark, and what comes: each event once and in its
 * order, also when nnd was away in between, for it is asked from the last one on.  What
 * cannot be given any more is said, never passed over.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/term.h"
#include "client/wire_json.h"

enum {
    POLL_MS = 1000,
    AWAY_S = 300, /* how long nnd may be away */
};

struct options {
    bool follow;
    uint64_t since;
};

static const struct opt table[] = {
    {OPT_FLAG, 'f', "follow", NULL, offsetof(struct options, follow),
     "go on with what happens from now on; with ID, until the job ends"},
    {OPT_COUNT, 0, "since", "SEQ", offsetof(struct options, since),
     "only events after number SEQ"},
    {0},
};

/* --- printing ------------------------------------------------------------- */

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
    if (v->has_priority)
        printf("  priority %u", v->priority);
    if (v->failure != WIRE__FAILURE__NO_FAILURE)
        printf("  %s", wire_failure_name(v->failure));
    if (v->text && *v->text)
        printf("  %s", v->text);
    putchar('\n');
}

/* What was is over, from here on it is what happens. */
static void print_mark(const struct client *c, uint64_t seq)
{
    if (c->opt.json)
        client_print_json(json_pack("{ss,sI}", "mark", "live", "seq", (json_int_t)seq));
    else
        printf("------  live from here on, after event %llu\n",
               (unsigned long long)seq);
    fflush(stdout);
}

static void print_missing(const struct client *c, const Wire__EventsReply *r)
{
    if (!r->has_missing || !r->missing)
        return;
    if (c->opt.json)
        client_print_json(json_pack("{ss,sI,sI}", "mark", "missing", "events",
                                    (json_int_t)r->missing, "seq",
                                    (json_int_t)r->next));
    else
        client_say(c, "%llu events up to number %llu are of jobs that were forgotten",
                   (unsigned long long)r->missing, (unsigned long long)r->next);
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

/* --- reading -------------------------------------------------------------- */

/* Where a reader stands. */
struct reader {
    struct client *c;
    const struct options *o;
    Wire__Events q;
    char journal[64];   /* its name; "" before the first answer      */
    uint64_t given;     /* the last event that was printed, or 0     */
    bool live;          /* the mark was printed                      */
    int64_t away_since; /* nnd was last heard then; 0: it answers    */
};

/* Another journal, or one that has lost its end, does not go on where this one was. */
static int check_journal(struct reader *r, const Wire__EventsReply *reply,
                         struct err *e)
{
    const char *name = reply->journal ? reply->journal : "";

    if (*r->journal && strcmp(r->journal, name) != 0)
        return err_set(e, ERR_FAILED,
                       "nnd at %s has another journal now; it begins anew with --since "
                       "0",
                       r->c->uri);
    if (reply->has_newest && reply->newest < r->given)
        return err_set(
            e, ERR_FAILED,
            "the journal of nnd at %s ends with event %llu now, and %llu was "
            "given already: events were lost",
            r->c->uri, (unsigned long long)reply->newest, (unsigned long long)r->given);
    snprintf(r->journal, sizeof r->journal, "%.63s", name);
    return 0;
}

/* 1: nnd is away, and that can be waited for. */
static int wait_for_nnd(struct reader *r, int rc, struct err *e)
{
    int64_t now = clock_mono_ns();

    if (rc != ERR_UNREACHABLE || !r->o->follow || !*r->journal)
        return rc;
    if (!r->away_since) {
        client_say(r->c, "nnd does not answer; waiting for it to come back");
        r->away_since = now;
    }
    if (now - r->away_since > AWAY_S * INT64_C(1000000000))
        return e->code;
    term_sleep_ms(POLL_MS);
    return 1;
}

/* One question and its answer: 1 there may be more, 0 that was all. */
static int read_on(struct reader *r, struct err *e)
{
    Wire__EventsReply *reply;
    bool more;
    int rc = client_call(r->c, WIRE__TYPE__EVENTS, &r->q,
                         r->q.has_wait_ms ? POLL_MS : 0, &reply, e);

    if (rc < 0 && term_has_signal())
        return 0;
    if (rc < 0)
        return wait_for_nnd(r, rc, e);
    r->away_since = 0;
    rc = check_journal(r, reply, e);
    if (rc == 0) {
        print_missing(r->c, reply);
        print_events(r->c, reply);
        r->q.since = reply->next;
        if (reply->n_events)
            r->given = reply->events[reply->n_events - 1]->seq;
        if (r->o->follow && !reply->more && !reply->final && !r->live) {
            print_mark(r->c, reply->next);
            r->live = true;
        }
    }
    more = reply->more || (r->o->follow && !reply->final);
    r->q.has_wait_ms = r->o->follow && r->live;
    r->q.wait_ms = POLL_MS;
    chan_free(&reply->base);
    return rc < 0 ? rc : more;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    struct reader r = {.c = c, .o = values, .q = WIRE__EVENTS__INIT};
    int rc = argc ? client_id(argv[0], &r.q.id, e) : 0;

    r.q.has_id = argc > 0;
    r.q.has_since = true;
    r.q.since = r.o->since;
    if (r.o->follow)
        term_catch_signals();
    if (rc < 0)
        return rc;
    do
        rc = read_on(&r, e);
    while (rc > 0 && !term_signal());
    return rc < 0 ? rc : 0;
}

const struct verb verb_events = {
    .name = "events",
    .args = "[ID]",
    .max_args = 1,
    .brief = "print what happened to a job, or to all",
    .text =
        "The journal of nnd, oldest first. With -f, what there is, a mark, and what "
        "comes: each event once, also when nnd was started again meanwhile. What is "
        "missing, of jobs that were forgotten, is said. With --json, an object per "
        "line; marks have a key \"mark\" instead of \"name\".",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
