/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_change.c - what clients do to jobs, and whether the store is well.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "daemon/purge.h"
#include "daemon/queue.h"
#include "daemon/rpc.h"

enum { PRIORITY_MAX = 100, DOCTOR_JOBS = 500, PURGE_JOBS = 1000 };

/* --- change --------------------------------------------------------------- */

static const struct {
    Wire__Action action;
    enum event_kind kind;
    unsigned done; /* states in which it has happened already */
    Wire__Failure failure;
    const char *text;
} actions[] = {
    {WIRE__ACTION__CANCEL, EVENT_CANCEL, 1u << WIRE__STATE__CANCELED, 0, "canceled"},
    {WIRE__ACTION__HOLD, EVENT_HOLD, 1u << WIRE__STATE__HELD, 0, NULL},
    {WIRE__ACTION__RELEASE, EVENT_RELEASE,
     1u << WIRE__STATE__QUEUED | 1u << WIRE__STATE__STARTING |
         1u << WIRE__STATE__RUNNING,
     0, NULL},
    {WIRE__ACTION__SUSPEND, EVENT_SUSPEND, 1u << WIRE__STATE__SUSPENDED, 0, NULL},
    {WIRE__ACTION__RESUME, EVENT_RESUME, 1u << WIRE__STATE__RUNNING, 0, NULL},
    {WIRE__ACTION__REQUEUE, EVENT_STOP, 1u << WIRE__STATE__QUEUED,
     WIRE__FAILURE__PREEMPT, "asked to be queued again"},
    {WIRE__ACTION__PRIORITIZE, EVENT_PRIORITY, 0, 0, NULL},
};

/* What was asked for is so already. */
static bool is_done(const struct job *j, const Wire__Change *m, unsigned done)
{
    return done & 1u << j->state ||
           (m->action == WIRE__ACTION__CANCEL && j->cancel_asked) ||
           (m->action == WIRE__ACTION__REQUEUE && j->state == WIRE__STATE__STOPPING &&
            j->failure == WIRE__FAILURE__PREEMPT) ||
           (m->action == WIRE__ACTION__PRIORITIZE && j->priority == m->priority);
}

static int change(struct rpc_call *call, struct job *j, const Wire__Change *m,
                  struct err *e)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        struct event ev = {.kind = actions[i].kind,
                           .failure = actions[i].failure,
                           .text = actions[i].text,
                           .step = m->priority,
                           .bad_rank = -1};

        if (actions[i].action != m->action)
            continue;
        if (is_done(j, m, actions[i].done))
            return 0;
        return hub_post(call->hub, j, &ev, e);
    }
    return err_set(e, ERR_PROTOCOL, "change.action: %d is not known to this nnd",
                   m->action);
}

/* A job that has ended: asking for what it is already is no error. */
static int change_ended(struct rpc_call *call, const Wire__Change *m,
                        Wire__State *state, struct err *e)
{
    struct job *j;
    int rc = store_job(call->hub->store, m->id, &j, e);

    if (rc < 0)
        return rc;
    *state = j->state;
    if (m->action != WIRE__ACTION__CANCEL || j->state != WIRE__STATE__CANCELED)
        rc = err_set(e, ERR_FAILED, "job %llu: is %s already",
                     (unsigned long long)j->id, state_name(j->state));
    job_destroy(j);
    return rc;
}

static int on_change(struct rpc_call *call, struct err *e)
{
    const Wire__Change *m = (const Wire__Change *)call->request;
    Wire__ChangeReply *reply = RPC_REPLY(call, Wire__ChangeReply, change_reply);
    struct job *j = hub_find(call->hub, m->id);
    int rc;

    if (m->action == WIRE__ACTION__PRIORITIZE &&
        (!m->has_priority || m->priority > PRIORITY_MAX))
        return err_set(e, ERR_SPEC, "priority: must be 0 to %d, got %u", PRIORITY_MAX,
                       m->priority);
    if (j) {
        rc = change(call, j, m, e);
        reply->state = j->state;
    } else {
        rc = change_ended(call, m, &reply->state, e);
    }
    reply->has_state = 1;
    return rc;
}

/* --- purge ---------------------------------------------------------------- */

struct purge {
    struct rpc_call *call;
    const Wire__Purge *asked;
    Wire__PurgeReply *reply;
    uint64_t excess; /* how many of the oldest are more than asked to be kept */
};

/* By age and number, when no number of a job was given; the oldest come first. */
static bool purge_one(void *arg, const struct job *j)
{
    struct purge *p = arg;
    Wire__PurgeReply *r = p->reply;

    if (p->asked->has_keep && p->excess == 0)
        return false;
    if (r->n_ids == PURGE_JOBS) {
        r->more = 1;
        return false;
    }
    p->excess -= p->excess > 0;
    if (purge_allowed(p->call->hub, j))
        r->ids[r->n_ids++] = j->id;
    return true;
}

static int purge_named(struct purge *p, struct err *e)
{
    struct hub *h = p->call->hub;

    if (p->asked->n_ids > PURGE_JOBS)
        return err_set(e, ERR_PROTOCOL, "purge: at most %d jobs at once, got %zu",
                       PURGE_JOBS, p->asked->n_ids);
    for (size_t i = 0; i < p->asked->n_ids; i++) {
        struct job *j;
        int rc = store_job(h->store, p->asked->ids[i], &j, e);
        bool allowed;

        if (rc < 0)
            return rc;
        allowed = purge_allowed(h, j);
        if (!allowed)
            rc = err_set(e, ERR_FAILED, "job %llu: %s", (unsigned long long)j->id,
                         hub_find(h, j->id) ? "has not ended"
                                            : "other jobs still wait for it");
        job_destroy(j);
        if (rc < 0)
            return rc;
        p->reply->ids[p->reply->n_ids++] = p->asked->ids[i];
    }
    return 0;
}

static int on_purge(struct rpc_call *call, struct err *e)
{
    const Wire__Purge *m = (const Wire__Purge *)call->request;
    Wire__PurgeReply *reply = RPC_REPLY(call, Wire__PurgeReply, purge_reply);
    struct purge p = {call, m, reply, 0};
    int rc = 0;

    if (m->n_ids == 0 && !m->has_before_us && !m->has_keep)
        return err_set(e, ERR_PROTOCOL, "purge: says neither which nor how old");
    reply->ids = arena_calloc(call->arena, PURGE_JOBS, sizeof *reply->ids);
    reply->has_more = 1;
    if (m->has_keep)
        rc = purge_excess(call->hub, m->keep, &p.excess, e);
    if (rc == 0 && m->n_ids)
        rc = purge_named(&p, e);
    else if (rc == 0)
        rc = store_ended(call->hub->store, m->has_before_us ? (int64_t)m->before_us : 0,
                         purge_one, &p, e);
    for (size_t i = 0; i < reply->n_ids && rc == 0 && !(m->has_dry_run && m->dry_run);
         i++)
        rc = purge_job(call->hub, reply->ids[i], e);
    return rc;
}

/* --- doctor --------------------------------------------------------------- */

struct visit {
    struct rpc_call *call;
    Wire__DoctorReply *reply;
};

static void find(struct visit *v, bool bad, uint64_t job, const char *text)
{
    Wire__Finding *f = rpc_message(v->call->arena, &wire__finding__descriptor);

    f->has_bad = 1;
    f->bad = bad;
    f->has_job = job != 0;
    f->job = job;
    f->text = arena_strdup(v->call->arena, text);
    v->reply->findings[v->reply->n_findings++] = f;
}

/* What is found wrong while nnd runs is mended at once, if the job has ended; what
 * nnd knows of others is right, whatever the disk says. */
static void complain(void *arg, uint64_t id, const char *text)
{
    struct visit *v = arg;
    struct hub *h = v->call->hub;
    bool lost = false;
    struct err e;

    find(v, true, id, text);
    if (hub_find(h, id) || store_mend(h->store, id, text, &lost, &e) < 0)
        return;
    find(v, false, id, lost ? "was set aside" : "was made anew from its events");
    h->nended -= lost && h->nended > 0;
}

static void look_at_nnd(struct visit *v)
{
    struct hub *h = v->call->hub;
    struct statvfs fs;
    char text[400];
    struct err e;

    if (store_check_file(h->store, &e) < 0)
        find(v, true, 0, e.text);
    if (store_was_salvaged(h->store))
        find(v, true, 0,
             "the store was damaged when nnd started; the old file is beside it");
    if (statvfs(h->opt.dir, &fs) == 0) {
        uint64_t free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;

        snprintf(text, sizeof text, "%.200s: %llu MiB are free", h->opt.dir,
                 (unsigned long long)free_mib);
        find(v, free_mib < 64, 0, text);
    }
    snprintf(text, sizeof text, "%zu jobs have not ended, %llu have; %u of %u slots",
             h->njobs, (unsigned long long)h->nended, h->slots_used, h->slots);
    find(v, false, 0, text);
}

static int on_doctor(struct rpc_call *call, struct err *e)
{
    const Wire__Doctor *m = (const Wire__Doctor *)call->request;
    Wire__DoctorReply *reply = RPC_REPLY(call, Wire__DoctorReply, doctor_reply);
    struct visit v = {call, reply};
    uint64_t after = m->has_after ? m->after : 0, next = 0;
    unsigned seen = 0;

    reply->findings =
        arena_calloc(call->arena, 2 * DOCTOR_JOBS + 8, sizeof *reply->findings);
    if (after == 0)
        look_at_nnd(&v);
    if (store_check_all(call->hub->store, after, DOCTOR_JOBS, complain, &v, &next,
                        &seen, e) < 0)
        find(&v, true, 0, e->text);
    reply->has_next = reply->has_more = reply->has_looked_at = 1;
    reply->next = next;
    reply->more = next != 0;
    reply->looked_at = seen;
    return 0;
}

const struct rpc_row rpc_change_rows[] = {
    {WIRE__TYPE__CHANGE, on_change},
    {WIRE__TYPE__PURGE, on_purge},
    {WIRE__TYPE__DOCTOR, on_doctor},
};
const size_t rpc_change_nrows = sizeof rpc_change_rows / sizeof *rpc_change_rows;
