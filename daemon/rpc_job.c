/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_job.c - what clients ask about the daemon and its jobs, and do to them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
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
    KEY_MIN = 16,
    KEY_MAX = 64,
    NAME_MAX_BYTES = 128,
    REPLY_BYTES = 768 << 10, /* lists stop here, below the size of a message */
};

/* Free bytes below which no job is accepted: those that run need to end well. */
static const uint64_t disk_reserve = 16 << 20;

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

/* --- submit --------------------------------------------------------------- */

static int check_room(const struct hub *h, struct err *e)
{
    struct statvfs fs;

    if (statvfs(h->opt.dir, &fs) < 0 ||
        (uint64_t)fs.f_bavail * fs.f_frsize >= disk_reserve)
        return 0;
    return err_set(e, ERR_RETRY,
                   "%s: the disk is full: %llu MiB are kept for jobs that "
                   "run already",
                   h->opt.dir, (unsigned long long)(disk_reserve >> 20));
}

static int check_submit(const Wire__Submit *m, struct err *e)
{
    size_t n = m->key ? strlen(m->key) : 0;

    if (n < KEY_MIN || n > KEY_MAX)
        return err_set(e, ERR_PROTOCOL, "submit.key: must be %d to %d bytes, got %zu",
                       KEY_MIN, KEY_MAX, n);
    if (!m->has_job || m->job.len == 0)
        return err_set(e, ERR_PROTOCOL, "submit.job: is missing");
    if (m->cwd && *m->cwd != '/')
        return err_set(e, ERR_PROTOCOL, "submit.cwd: must be absolute, got \"%s\"",
                       m->cwd);
    if (m->name && (!*m->name || strlen(m->name) > NAME_MAX_BYTES))
        return err_set(e, ERR_SPEC, "name: must be 1 to %d bytes, got %zu",
                       NAME_MAX_BYTES, strlen(m->name));
    return 0;
}

static char *copy(const char *text)
{
    struct buf b = {0};

    buf_puts(&b, text);
    return b.data;
}

/* A job from its specification, or ERR_SPEC. */
static int make_job(const struct rpc_call *call, const Wire__Submit *m,
                    const Nnd__Job *spec, struct job **out, struct err *e)
{
    struct job *j = job_create(0);
    int rc = queue_fit(call->hub, spec->parallel->dp, spec->train->threads, j, e);

    if (rc < 0) {
        job_destroy(j);
        return rc;
    }
    j->uid = call->uid;
    j->name = copy(m->name ? m->name : spec->name);
    j->cwd = copy(m->cwd ? m->cwd : "/");
    j->steps = spec->train->steps;
    j->retry_max = spec->retry->max;
    j->retry_delay = spec->retry->delay;
    *out = j;
    return 0;
}

/* Write the job and its first two events; *known when the key was seen before. */
static int store_new(struct hub *h, struct job *j, const Wire__Submit *m, bool *known,
                     struct err *e)
{
    struct event submit = {.kind = EVENT_SUBMIT, .bad_rank = -1};
    struct event next = {.kind = m->has_hold && m->hold ? EVENT_HOLD : EVENT_QUEUE,
                         .bad_rank = -1};
    char hash[SHA256_HEX];
    struct submission sub = {m->key, hash, m->job.data, m->job.len};
    int rc;

    sha256_bytes(m->job.data, m->job.len, hash);
    rc = store_add(h->store, j, &sub, known, e);
    if (rc < 0 || *known)
        return rc;
    hub_add(h, j);
    rc = hub_post(h, j, &submit, e);
    return rc == 0 ? hub_post(h, j, &next, e) : rc;
}

static int accept_job(struct rpc_call *call, const Wire__Submit *m,
                      const Nnd__Job *spec, struct err *e)
{
    Wire__SubmitReply *reply = RPC_REPLY(call, Wire__SubmitReply, submit_reply);
    struct job *j;
    bool known = false;
    int rc = make_job(call, m, spec, &j, e);

    if (rc < 0)
        return rc;
    rc = store_new(call->hub, j, m, &known, e);
    reply->has_id = reply->has_known = 1;
    reply->id = j->id;
    reply->known = known;
    if (hub_find(call->hub, j->id) != j)
        job_destroy(j);
    return rc;
}

static int on_submit(struct rpc_call *call, struct err *e)
{
    const Wire__Submit *m = (const Wire__Submit *)call->request;
    struct spec *spec;
    int rc = check_submit(m, e);

    if (rc == 0 && call->hub->leaving)
        rc = err_set(e, ERR_RETRY, "nnd is shutting down");
    if (rc == 0)
        rc = check_room(call->hub, e);
    if (rc == 0)
        rc = spec_unpack(m->job.data, m->job.len, &spec, e);
    if (rc < 0)
        return rc;
    rc = accept_job(call, m, spec_job(spec), e);
    spec_destroy(spec);
    return rc;
}

/* --- list and show -------------------------------------------------------- */

static char *keep(struct arena *a, char *text)
{
    return arena_strdup(a, text);
}

/* The job as it is now: memory knows more than the store while it has not ended. */
static Wire__JobInfo *info(struct rpc_call *call, const struct job *stored)
{
    const struct job *live = hub_find(call->hub, stored->id);
    Wire__JobInfo *m = arena_alloc(call->arena, sizeof *m);

    job_info(live ? live : stored, m);
    m->name = keep(call->arena, m->name);
    m->reason = keep(call->arena, m->reason);
    m->checkpoint = keep(call->arena, m->checkpoint);
    return m;
}

struct listing {
    struct rpc_call *call;
    Wire__ListReply *reply;
    size_t limit, bytes;
};

static bool list_one(void *arg, const struct job *j)
{
    struct listing *l = arg;
    Wire__JobInfo *m;

    if (l->reply->n_jobs == l->limit || l->bytes > REPLY_BYTES) {
        l->reply->more = 1;
        return false;
    }
    m = info(l->call, j);
    l->bytes += wire__job_info__get_packed_size(m) + 8;
    l->reply->jobs[l->reply->n_jobs++] = m;
    return true;
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

static int on_list(struct rpc_call *call, struct err *e)
{
    const Wire__List *m = (const Wire__List *)call->request;
    Wire__ListReply *reply = RPC_REPLY(call, Wire__ListReply, list_reply);
    struct listing l = {call, reply, LIST_MAX, 0};

    if (m->has_limit && m->limit > 0 && m->limit < LIST_MAX)
        l.limit = m->limit;
    reply->jobs = arena_calloc(call->arena, l.limit, sizeof *reply->jobs);
    reply->has_more = 1;
    return store_each(call->hub->store, state_set(m), m->has_before ? m->before : 0,
                      m->has_since_us ? (int64_t)m->since_us : 0, list_one, &l, e);
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
    else if (ev->kind >= EVENT_COMPLETE && t->n > 0)
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

/* --- change --------------------------------------------------------------- */

static const struct {
    Wire__Action action;
    enum event_kind kind;
    unsigned done; /* states in which it has happened already */
} actions[] = {
    {WIRE__ACTION__CANCEL, EVENT_CANCEL, 1u << WIRE__STATE__CANCELED},
    {WIRE__ACTION__HOLD, EVENT_HOLD, 1u << WIRE__STATE__HELD},
    {WIRE__ACTION__RELEASE, EVENT_RELEASE,
     1u << WIRE__STATE__QUEUED | 1u << WIRE__STATE__STARTING |
         1u << WIRE__STATE__RUNNING},
    {WIRE__ACTION__SUSPEND, EVENT_SUSPEND, 1u << WIRE__STATE__SUSPENDED},
    {WIRE__ACTION__RESUME, EVENT_RESUME, 1u << WIRE__STATE__RUNNING},
};

static int change(struct rpc_call *call, struct job *j, Wire__Action action,
                  struct err *e)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        struct event ev = {.kind = actions[i].kind, .bad_rank = -1};

        if (actions[i].action != action)
            continue;
        if (actions[i].done & 1u << j->state ||
            (action == WIRE__ACTION__CANCEL && j->cancel_asked))
            return 0;
        if (action == WIRE__ACTION__CANCEL)
            ev.text = "canceled";
        return hub_post(call->hub, j, &ev, e);
    }
    return err_set(e, ERR_PROTOCOL, "change.action: %d is not known to this nnd",
                   action);
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

    if (j) {
        rc = change(call, j, m->action, e);
        reply->state = j->state;
    } else {
        rc = change_ended(call, m, &reply->state, e);
    }
    reply->has_state = 1;
    return rc;
}

/* --- events --------------------------------------------------------------- */

struct journal {
    struct rpc_call *call;
    Wire__EventsReply *reply;
    size_t limit, bytes;
    bool final; /* the last event given is the end of its job */
};

static bool event_take(void *arg, const struct event *ev)
{
    struct journal *g = arg;
    struct arena *a = g->call->arena;
    Wire__Event *m;

    if (g->reply->n_events == g->limit || g->bytes > REPLY_BYTES) {
        g->reply->more = 1;
        return false;
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
    m->has_failure = m->has_exit_code = ev->kind >= EVENT_COMPLETE;
    m->failure = ev->failure;
    m->exit_code = ev->exit_code;
    m->has_signal = ev->signal != 0;
    m->signal = (uint32_t)ev->signal;
    m->has_step = ev->step != 0;
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
    struct journal g = {call, reply, EVENTS_MAX, 0, false};
    uint64_t since = m->has_since ? m->since : 0, id = m->has_id ? m->id : 0;
    int rc;

    if (m->has_limit && m->limit > 0 && m->limit < EVENTS_MAX)
        g.limit = m->limit;
    reply->events = arena_calloc(call->arena, g.limit, sizeof *reply->events);
    reply->has_next = reply->has_more = reply->has_final = 1;
    reply->next = since;
    rc = store_events(call->hub->store, id, since, event_take, &g, e);
    if (rc == 0 && reply->n_events == 0 && id)
        rc = job_is_over(call, id, &g.final, e);
    if (rc < 0)
        return rc;
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
    for (size_t i = 0; i < h->njobs; i++)
        reply->running += h->jobs[i]->live != NULL;
    return 0;
}

const struct rpc_row rpc_job_rows[] = {
    {WIRE__TYPE__HELLO, on_hello},       {WIRE__TYPE__SUBMIT, on_submit},
    {WIRE__TYPE__LIST, on_list},         {WIRE__TYPE__SHOW, on_show},
    {WIRE__TYPE__CHANGE, on_change},     {WIRE__TYPE__EVENTS, on_events},
    {WIRE__TYPE__SHUTDOWN, on_shutdown},
};
const size_t rpc_job_nrows = sizeof rpc_job_rows / sizeof *rpc_job_rows;
