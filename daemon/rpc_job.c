/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_job.c - what clients ask about the daemon and its jobs.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#include "base/log.h"
#include "base/str.h"
#include "daemon/attempt.h"
#include "daemon/queue.h"
#include "daemon/rpc.h"
#include "proto/chan.h"
#include "proto/spec.h"

enum {
    LIST_MAX = 1000,
    EVENTS_MAX = 1000,
    ATTEMPTS_MAX = 100,
    REPLY_BYTES = 768 << 10, /* lists stop here, below the size of a message */
};

/* --- hello ---------------------------------------------------------------- */

static int on_hello(struct rpc_call *call, struct err *e)
{
    struct hub *h = call->hub;
    Wire__HelloReply *m = RPC_REPLY(call, Wire__HelloReply, hello_reply);

    (void)e;
    m->version = (char *)PACKAGE_VERSION;
    m->dir = (char *)h->opt.dir;
    m->host = h->host;
    m->has_protocol = m->has_pid = m->has_uid = m->has_slots = m->has_slots_used = 1;
    m->has_started_us = m->has_exit_when_idle = m->has_jobs_active = m->has_event_seq =
        1;
    m->protocol = CHAN_VERSION;
    m->pid = (uint32_t)getpid();
    m->uid = h->uid;
    m->slots = h->slots;
    m->slots_used = h->slots_used;
    m->started_us = (uint64_t)h->started_us;
    m->exit_when_idle = h->opt.conf->exit_when_idle;
    m->jobs_active = (uint32_t)h->njobs;
    m->event_seq = store_seq(h->store);
    return 0;
}

/* --- list and show -------------------------------------------------------- */

static char *keep(struct arena *a, char *text)
{
    return arena_strdup(a, text);
}

/* The job as it is now: memory knows more than the store while it has not ended. */
static Wire__JobInfo *info(struct rpc_call *call, const struct job *j)
{
    Wire__JobInfo *m = arena_alloc(call->arena, sizeof *m);
    char reason[160];

    job_info(j, m);
    queue_reason(call->hub, j, reason, sizeof reason);
    m->name = keep(call->arena, m->name);
    m->reason = keep(call->arena, *reason ? reason : m->reason);
    m->checkpoint = keep(call->arena, m->checkpoint);
    m->label = keep(call->arena, m->label);
    m->after = keep(call->arena, m->after);
    m->nodes = keep(call->arena, m->nodes);
    if (rpc_user(call, j->uid))
        m->user = arena_strdup(call->arena, rpc_user(call, j->uid));
    return m;
}

struct listing {
    struct rpc_call *call;
    const Wire__List *asked;
    Wire__ListReply *reply;
    unsigned states;
    size_t limit, bytes;
    bool has_uid;
    uint32_t uid; /* only this user's */
};

static bool is_asked_for(const struct listing *l, const struct job *j)
{
    const Wire__List *m = l->asked;

    return (l->states & 1u << j->state) && (!m->has_array || j->array == m->array) &&
           (!l->has_uid || j->uid == l->uid) &&
           (!m->name || strcmp(j->name, m->name) == 0) &&
           (!m->has_since_us || j->submitted_us >= (int64_t)m->since_us ||
            j->ended_us >= (int64_t)m->since_us);
}

static bool list_one(void *arg, const struct job *stored)
{
    struct listing *l = arg;
    const struct job *live = hub_find(l->call->hub, stored->id);
    Wire__JobInfo *m;

    if (!is_asked_for(l, live ? live : stored) || !rpc_sees(l->call, stored->uid))
        return true;
    if (l->reply->n_jobs == l->limit || l->bytes > REPLY_BYTES) {
        l->reply->more = 1;
        return false;
    }
    m = info(l->call, live ? live : stored);
    l->bytes += wire__job_info__get_packed_size(m) + 8;
    l->reply->jobs[l->reply->n_jobs++] = m;
    return true;
}

/* Those that have not ended are all in memory, sorted. */
static void list_active(struct listing *l, uint64_t before)
{
    struct hub *h = l->call->hub;
    size_t i = h->njobs;

    while (i > 0 && before && h->jobs[i - 1]->id >= before)
        i--;
    while (i > 0 && list_one(l, h->jobs[i - 1]))
        i--;
}

static unsigned state_set(const Wire__List *m)
{
    unsigned set = 0;

    for (size_t i = 0; i < m->n_states; i++)
        if ((unsigned)m->states[i] < STATE_COUNT)
            set |= 1u << m->states[i];
    if (m->n_states == 0)
        set = (1u << STATE_COUNT) - 1;
    if (m->has_active && m->active)
        set &= (1u << WIRE__STATE__COMPLETED) - 1;
    return set;
}

/* Whose jobs are asked for. */
static int find_user(struct listing *l, struct err *e)
{
    const Wire__List *m = l->asked;

    l->has_uid = m->has_uid || m->user;
    l->uid = m->uid;
    if (m->user && !rpc_uid(l->call, m->user, &l->uid))
        return err_set(e, ERR_NOTFOUND,
                       "user: nobody here has a key as %.40s; wanted "
                       "such a name, or a number",
                       m->user);
    return 0;
}

static int on_list(struct rpc_call *call, struct err *e)
{
    const Wire__List *m = (const Wire__List *)call->request;
    Wire__ListReply *reply = RPC_REPLY(call, Wire__ListReply, list_reply);
    struct listing l = {call, m, reply, state_set(m), LIST_MAX, 0, false, 0};
    struct store_filter f = {.states = l.states};
    int rc = find_user(&l, e);

    if (rc < 0)
        return rc;

    if (m->has_limit && m->limit > 0 && m->limit < LIST_MAX)
        l.limit = m->limit;
    reply->jobs = arena_calloc(call->arena, l.limit, sizeof *reply->jobs);
    reply->has_more = 1;
    f.before = m->has_before ? m->before : 0;
    f.since_us = m->has_since_us ? (int64_t)m->since_us : 0;
    if (m->has_array) { /* its jobs have numbers that follow each other */
        f.first = m->array;
        if (!f.before || f.before > m->array + ARRAY_MAX)
            f.before = m->array + ARRAY_MAX;
    }
    if (l.states < 1u << WIRE__STATE__COMPLETED) {
        list_active(&l, f.before);
        return 0;
    }
    return store_each(call->hub->store, &f, list_one, &l, e);
}

struct attempts {
    struct arena *arena;
    Wire__AttemptInfo *v[ATTEMPTS_MAX]; /* a ring: the newest */
    size_t n;
};

static void split_lines(struct arena *a, const char *text, Wire__AttemptInfo *m)
{
    char *lines = arena_strdup(a, text), *save = NULL;
    size_t n = 1;

    for (const char *p = text; *p; p++)
        n += *p == '\n';
    m->cause = arena_calloc(a, n, sizeof *m->cause);
    for (char *l = strtok_r(lines, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
        m->cause[m->n_cause++] = l;
}

static void attempt_began(struct attempts *t, const struct event *ev)
{
    Wire__AttemptInfo *m = rpc_message(t->arena, &wire__attempt_info__descriptor);

    m->has_number = m->has_epoch = m->has_started_us = 1;
    m->number = ev->attempt;
    m->epoch = ev->seq;
    m->started_us = (uint64_t)ev->time_us;
    t->v[t->n++ % ATTEMPTS_MAX] = m;
}

static void attempt_over(struct attempts *t, const struct event *ev)
{
    Wire__AttemptInfo *m = t->v[(t->n - 1) % ATTEMPTS_MAX];

    m->has_ended_us = m->has_failure = m->has_last_step = m->has_pid = 1;
    m->ended_us = (uint64_t)ev->time_us;
    m->failure = ev->failure;
    m->last_step = ev->step;
    m->pid = ev->pid;
    m->has_exit_code = ev->signal == 0;
    m->exit_code = ev->exit_code;
    m->has_signal = ev->signal != 0;
    m->signal = (uint32_t)ev->signal;
    m->has_bad_rank = ev->bad_rank >= 0;
    m->bad_rank = ev->bad_rank;
    m->has_first_step = ev->first_step != 0;
    m->first_step = ev->first_step;
    m->reason = arena_strdup(t->arena, ev->text);
    if (ev->cause)
        split_lines(t->arena, ev->cause, m);
}

static bool attempt_one(void *arg, const struct event *ev)
{
    struct attempts *t = arg;

    if (ev->kind == EVENT_START)
        attempt_began(t, ev);
    else if (event_is_end(ev->kind) && t->n > 0)
        attempt_over(t, ev);
    return true;
}

static int show_attempts(struct rpc_call *call, const struct job *j,
                         Wire__ShowReply *reply, struct err *e)
{
    struct attempts t = {.arena = call->arena};
    int rc = store_events(call->hub->store, j->id, 0, attempt_one, &t, e);
    size_t first = t.n > ATTEMPTS_MAX ? t.n - ATTEMPTS_MAX : 0;

    if (rc < 0)
        return rc;
    reply->attempts =
        arena_calloc(call->arena, t.n - first + 1, sizeof *reply->attempts);
    for (size_t i = first; i < t.n; i++) {
        Wire__AttemptInfo *m = t.v[i % ATTEMPTS_MAX];

        m->has_ranks = 1;
        m->ranks = j->ranks;
        reply->attempts[reply->n_attempts++] = m;
    }
    return 0;
}

static void show_ranks(struct rpc_call *call, const struct attempt *a,
                       Wire__ShowReply *reply)
{
    reply->ranks = arena_calloc(call->arena, a->job->ranks, sizeof *reply->ranks);
    for (uint32_t i = 0; i < a->job->ranks; i++) {
        const struct rank *r = &a->ranks[i];
        Wire__RankInfo *m = rpc_message(call->arena, &wire__rank_info__descriptor);

        if (!r->up)
            continue;
        m->has_rank = m->has_pid = m->has_phase = m->has_step = m->has_age_ms = 1;
        m->rank = i;
        m->pid = r->pid;
        m->host = (char *)r->host;
        m->phase = r->phase;
        m->step = r->step;
        m->op = *r->op ? (char *)r->op : NULL;
        m->has_meetings = m->has_waits = 1;
        m->meetings = r->meetings;
        m->waits = r->waits;
        m->age_ms = (uint32_t)((call->hub->now - r->beat_at) / 1000000);
        reply->ranks[reply->n_ranks++] = m;
    }
}

static int show(struct rpc_call *call, const struct job *j, struct err *e)
{
    Wire__ShowReply *reply = RPC_REPLY(call, Wire__ShowReply, show_reply);
    struct buf spec = {0};
    char dir[PATH_MAX];
    int rc = store_spec(call->hub->store, j->id, &spec, e);

    reply->job = info(call, j);
    reply->has_spec = 1;
    reply->spec.len = spec.len;
    reply->spec.data = arena_memdup(call->arena, spec.data, spec.len);
    buf_free(&spec);
    reply->cwd = keep(call->arena, j->cwd);
    attempt_job_dir(call->hub, j->id, dir);
    reply->dir = keep(call->arena, dir);
    if (rc == 0)
        rc = show_attempts(call, j, reply, e);
    if (rc == 0 && j->live)
        show_ranks(call, j->live, reply);
    return rc;
}

static int on_show(struct rpc_call *call, struct err *e)
{
    const Wire__Show *m = (const Wire__Show *)call->request;
    struct job *live = hub_find(call->hub, m->id), *stored = NULL;
    int rc;

    if (live && m->has_version && m->version == live->version && !call->late)
        return RPC_WAIT;
    if (live)
        return show(call, live, e);
    rc = store_job(call->hub->store, m->id, &stored, e);
    if (rc == 0)
        rc = show(call, stored, e);
    job_destroy(stored);
    return rc;
}

/* --- events --------------------------------------------------------------- */

struct journal {
    struct rpc_call *call;
    Wire__EventsReply *reply;
    size_t limit, bytes;
    uint64_t last; /* that was looked at                         */
    bool final;    /* the last event given is the end of its job */
};

/* Sequence numbers have no holes but those of jobs that are forgotten. */
static void count_missing(struct journal *g, uint64_t seq)
{
    g->reply->missing += seq - g->last - 1;
    g->last = seq;
}

static bool event_take(void *arg, const struct event *ev)
{
    struct journal *g = arg;
    struct arena *a = g->call->arena;
    Wire__Event *m;
    uint32_t uid;
    struct err e;

    if (g->reply->n_events == g->limit || g->bytes > REPLY_BYTES) {
        g->reply->more = 1;
        return false;
    }
    count_missing(g, ev->seq);
    if (g->call->who->role < ROLE_OPERATOR &&
        (hub_owner(g->call->hub, ev->job, &uid, &e) < 0 || !rpc_sees(g->call, uid))) {
        g->reply->next = ev->seq;
        return true;
    }
    m = rpc_message(a, &wire__event__descriptor);
    m->has_seq = m->has_time_us = m->has_job = m->has_state = m->has_attempt = 1;
    m->seq = ev->seq;
    m->time_us = (uint64_t)ev->time_us;
    m->job = ev->job;
    m->name = (char *)event_name(ev->kind);
    m->state = ev->state;
    m->attempt = ev->attempt;
    m->text = arena_strdup(a, ev->text);
    m->has_failure = m->has_exit_code = event_is_end(ev->kind);
    m->failure = ev->failure;
    m->exit_code = ev->exit_code;
    m->has_signal = ev->signal != 0;
    m->signal = (uint32_t)ev->signal;
    m->has_priority = ev->kind == EVENT_SUBMIT || ev->kind == EVENT_PRIORITY;
    if (m->has_priority)
        m->priority = (uint32_t)ev->step;
    m->has_step = ev->step != 0 && !m->has_priority;
    if (m->has_step)
        m->step = ev->step;
    m->has_epoch = ev->kind == EVENT_START;
    m->epoch = ev->seq;
    g->bytes += wire__event__get_packed_size(m) + 8;
    g->reply->events[g->reply->n_events++] = m;
    g->reply->next = ev->seq;
    g->final = state_is_final(ev->state);
    return true;
}

/* With nothing new about a job: has it ended, and does it exist at all? */
static int job_is_over(struct rpc_call *call, uint64_t id, bool *over, struct err *e)
{
    struct job *j;
    int rc;

    *over = false;
    if (hub_find(call->hub, id))
        return 0;
    rc = store_job(call->hub->store, id, &j, e);
    if (rc < 0)
        return rc;
    *over = true;
    job_destroy(j);
    return 0;
}

static int on_events(struct rpc_call *call, struct err *e)
{
    const Wire__Events *m = (const Wire__Events *)call->request;
    Wire__EventsReply *reply = RPC_REPLY(call, Wire__EventsReply, events_reply);
    uint64_t since = m->has_since ? m->since : 0, id = m->has_id ? m->id : 0;
    struct journal g = {call, reply, EVENTS_MAX, 0, since, false};
    int rc;

    if (m->has_limit && m->limit > 0 && m->limit < EVENTS_MAX)
        g.limit = m->limit;
    reply->events = arena_calloc(call->arena, g.limit, sizeof *reply->events);
    reply->has_next = reply->has_more = reply->has_final = reply->has_newest = 1;
    reply->next = since;
    reply->journal = (char *)store_uuid(call->hub->store);
    reply->newest = store_seq(call->hub->store);
    rc = store_events(call->hub->store, id, since, event_take, &g, e);
    if (rc == 0 && reply->n_events == 0 && id)
        rc = job_is_over(call, id, &g.final, e);
    if (rc < 0)
        return rc;
    reply->has_missing = id == 0;
    reply->final = id && g.final && !reply->more;
    if (reply->n_events == 0 && !reply->final && !call->late)
        return RPC_WAIT;
    return 0;
}

/* --- shutdown ------------------------------------------------------------- */

static int on_shutdown(struct rpc_call *call, struct err *e)
{
    const Wire__Shutdown *m = (const Wire__Shutdown *)call->request;
    Wire__ShutdownReply *reply = RPC_REPLY(call, Wire__ShutdownReply, shutdown_reply);
    struct hub *h = call->hub;

    (void)e;
    log_info("shutdown: asked-by=%d stop-jobs=%d", (int)call->pid,
             m->has_stop_jobs && m->stop_jobs);
    h->leaving = true;
    h->stop_jobs |= m->has_stop_jobs && m->stop_jobs;
    hub_wake(h, h->now);
    reply->has_running = 1;
    reply->running = (uint32_t)h->nlive;
    return 0;
}

/* --- reload --------------------------------------------------------------- */

static int on_reload(struct rpc_call *call, struct err *e)
{
    rpc_reply(call, &wire__reload_reply__descriptor);
    return hub_reload(call->hub, e);
}

const struct rpc_row rpc_job_rows[] = {
    {WIRE__TYPE__HELLO, on_hello},       {WIRE__TYPE__LIST, on_list},
    {WIRE__TYPE__SHOW, on_show},         {WIRE__TYPE__EVENTS, on_events},
    {WIRE__TYPE__SHUTDOWN, on_shutdown}, {WIRE__TYPE__RELOAD, on_reload},
};
const size_t rpc_job_nrows = sizeof rpc_job_rows / sizeof *rpc_job_rows;
