/* SPDX-License-Identifier: Apache-2.0 */
/*
 * follow.c - staying with a job until it ends.
 */
#include "client/follow.h"

#include "base/clock.h"
#include "client/term.h"
#include "client/wire_json.h"

enum {
    POLL_MS = 1000, /* of one long poll: how late a signal can be noticed */
    PAUSE_MS = 100, /* between two looks: nobody reads faster             */
    AWAY_S = 300,   /* how long nnd may be away                           */
};

int follow_status(const Wire__JobInfo *j)
{
    switch (j->state) {
    case WIRE__STATE__COMPLETED:
        return 0;
    case WIRE__STATE__CANCELED:
        return EXIT_CANCELED;
    case WIRE__STATE__TIMEOUT:
        return EXIT_TIMEOUT;
    default:
        break;
    }
    if (j->has_signal && j->signal)
        return 128 + (int)j->signal;
    return j->has_exit_code && j->exit_code > 0 && j->exit_code < 256 ? j->exit_code
                                                                      : 1;
}

/* One look: the answer, 1 when there was none this time, or an error. */
struct look {
    struct client *c;
    uint64_t id, version;
    int64_t away_since; /* nnd was last heard then; 0: it answers */
    bool known;         /* version holds something                */
};

static int look(struct look *l, Wire__ShowReply **reply, struct err *e)
{
    Wire__Show q = WIRE__SHOW__INIT;
    int rc;

    q.has_id = true;
    q.id = l->id;
    q.has_wait_ms = q.has_version = l->known;
    q.wait_ms = POLL_MS;
    q.version = l->version;
    rc = client_call(l->c, WIRE__TYPE__SHOW, &q, l->known ? POLL_MS : 0, reply, e);
    if (rc < 0 && term_has_signal())
        return 1;
    if (rc == ERR_UNREACHABLE && l->known) {
        int64_t now = clock_mono_ns();

        if (!l->away_since) {
            client_say(l->c, "nnd does not answer; waiting for it to come back");
            l->away_since = now;
        }
        return now - l->away_since > AWAY_S * INT64_C(1000000000) ? rc : 1;
    }
    if (rc < 0)
        return rc;
    if (!(*reply)->job)
        return err_set(e, ERR_PROTOCOL, "show: the answer lacks the job");
    l->away_since = 0;
    l->known = true;
    l->version = (*reply)->job->version;
    return 0;
}

static int lost(struct client *c, struct progress *p, int *status, const struct err *e)
{
    if (p)
        progress_break(p);
    client_report(c, e);
    *status = EXIT_SELF;
    return FOLLOW_LOST;
}

static void say_end(struct progress *p, const Wire__ShowReply *r)
{
    progress_end(p, r->job);
    if (r->job->state == WIRE__STATE__FAILED)
        progress_cause(r, p->out);
}

int follow_job(struct client *c, uint64_t id, struct progress *p, double timeout_s,
               int *status, struct err *e)
{
    int64_t start = clock_mono_ns();
    struct look l = {.c = c, .id = id};

    for (;;) {
        Wire__ShowReply *reply;
        int rc, sig = term_signal();
        bool final = false;

        if (sig) {
            *status = sig;
            return FOLLOW_SIGNAL;
        }
        rc = look(&l, &reply, e);
        if (rc < 0)
            return l.known ? lost(c, p, status, e) : rc;
        if (rc == 0) {
            if (p)
                progress_show(p, reply->job, clock_mono_ns());
            final = wire_state_is_final(reply->job->state);
            *status = follow_status(reply->job);
            if (final && p && !p->json)
                say_end(p, reply);
            chan_free(&reply->base);
        }
        if (final)
            return FOLLOW_ENDED;
        if (timeout_s >= 0 && (double)(clock_mono_ns() - start) * 1e-9 >= timeout_s)
            return FOLLOW_TIMEOUT;
        term_sleep_ms(PAUSE_MS);
    }
}

int follow_or_leave(struct client *c, uint64_t id, struct progress *p, int left,
                    struct err *e)
{
    int status, rc;

    term_catch_signals();
    rc = follow_job(c, id, p, FOLLOW_FOREVER, &status, e);
    if (rc < 0)
        return rc;
    if (rc != FOLLOW_SIGNAL)
        return status;
    if (p)
        progress_break(p);
    client_leave(c, "watch", id);
    return left;
}
