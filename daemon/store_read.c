/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_read.c - reading the store: rows become jobs and events again, and a
 * replay of the journal is compared with what the rows say.
 */
#include "daemon/store_impl.h"

#include <string.h>

#include "base/oom.h"
#include "proto/chan.h"

/* Columns are taken from left to right. */
struct row {
    sqlite3_stmt *st;
    int column;
};

static int64_t take_int(struct row *r)
{
    return sqlite3_column_int64(r->st, r->column++);
}

static const char *take_text(struct row *r)
{
    return (const char *)sqlite3_column_text(r->st, r->column++);
}

static char *take_copy(struct row *r)
{
    const char *text = take_text(r);
    size_t size = text ? strlen(text) + 1 : 0;

    return text ? memcpy(oom_realloc(NULL, size), text, size) : NULL;
}

/* Figures, or NULL; freed by chan_free. */
static ProtobufCMessage *take_metric(struct row *r)
{
    const void *bytes = sqlite3_column_blob(r->st, r->column);
    int size = sqlite3_column_bytes(r->st, r->column++);
    ProtobufCMessage *m;

    if (!bytes ||
        chan_unpack(&wire__rank_metric__descriptor, bytes, (size_t)size, &m, NULL) < 0)
        return NULL;
    return m;
}

static void take_sum(struct row *r, struct job *j)
{
    ProtobufCMessage *m;

    j->state = (Wire__State)take_int(r);
    j->reason = take_copy(r);
    j->attempt = (uint32_t)take_int(r);
    j->epoch = (uint64_t)take_int(r);
    j->retries = (uint32_t)take_int(r);
    j->cancel_asked = take_int(r) != 0;
    j->failure = (Wire__Failure)take_int(r);
    j->exit_code = (int)take_int(r);
    j->signal = (int)take_int(r);
    j->failed_step = (uint64_t)take_int(r);
    j->checkpoint = take_copy(r);
    j->checkpoint_step = (uint64_t)take_int(r);
    j->first_step = (uint64_t)take_int(r);
    j->started_us = take_int(r);
    j->attempt_started_us = take_int(r);
    j->ended_us = take_int(r);
    j->due_us = take_int(r);
    m = take_metric(r);
    if (m)
        job_measure(&j->metric, (const Wire__RankMetric *)m);
    chan_free(m);
    j->seq = (uint64_t)take_int(r);
}

static struct job *take_job(sqlite3_stmt *st)
{
    struct row r = {st, 0};
    struct job *j = job_create((uint64_t)take_int(&r));

    j->uid = (uint32_t)take_int(&r);
    j->name = take_copy(&r);
    j->cwd = take_copy(&r);
    j->ranks = (uint32_t)take_int(&r);
    j->threads = (uint32_t)take_int(&r);
    j->steps = (uint64_t)take_int(&r);
    j->retry_max = (uint32_t)take_int(&r);
    j->retry_delay = sqlite3_column_double(st, r.column++);
    j->submitted_us = take_int(&r);
    take_sum(&r, j);
    if (state_is_final(j->state))
        j->version = j->seq; /* nothing will change any more */
    return j;
}

int store_job(struct store *s, uint64_t id, struct job **out, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_JOB];
    int rc;

    sqlite3_bind_int64(st, 1, (int64_t)id);
    rc = store_step(s, st, e);
    if (rc == 1)
        *out = take_job(st);
    else if (rc == 0)
        err_set(e, ERR_NOTFOUND, "job %llu: no such job", (unsigned long long)id);
    sqlite3_reset(st);
    return rc == 1 ? 0 : rc == 0 ? ERR_NOTFOUND : rc;
}

int store_each(struct store *s, unsigned states, uint64_t before, int64_t since_us,
               store_job_f *fn, void *arg, struct err *e)
{
    bool active = states < 1u << WIRE__STATE__COMPLETED; /* few rows, by the index */
    sqlite3_stmt *st = s->st[active ? STORE_ACTIVE : STORE_EACH];
    bool more = true;
    int rc = 0;

    sqlite3_bind_int64(st, 1,
                       before && before < INT64_MAX ? (int64_t)before : INT64_MAX);
    sqlite3_bind_int64(st, 2, states);
    sqlite3_bind_int64(st, 3, since_us);
    while (more && (rc = store_step(s, st, e)) == 1) {
        struct job *j = take_job(st);

        more = fn(arg, j);
        job_destroy(j);
    }
    sqlite3_reset(st);
    return rc < 0 ? rc : 0;
}

int store_spec(struct store *s, uint64_t id, struct buf *out, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_SPEC];
    int rc;

    sqlite3_bind_int64(st, 1, (int64_t)id);
    rc = store_step(s, st, e);
    if (rc == 1)
        buf_add(out, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
    else if (rc == 0)
        err_set(e, ERR_NOTFOUND, "job %llu: no such job", (unsigned long long)id);
    sqlite3_reset(st);
    return rc == 1 ? 0 : rc == 0 ? ERR_NOTFOUND : rc;
}

/* The event of a row; *metric must be freed after use. */
static void take_event(sqlite3_stmt *st, struct event *ev, ProtobufCMessage **metric)
{
    struct row r = {st, 0};

    ev->seq = (uint64_t)take_int(&r);
    ev->time_us = take_int(&r);
    ev->job = (uint64_t)take_int(&r);
    ev->kind = (enum event_kind)take_int(&r);
    ev->state = (Wire__State)take_int(&r);
    ev->attempt = (uint32_t)take_int(&r);
    ev->failure = (Wire__Failure)take_int(&r);
    ev->exit_code = (int)take_int(&r);
    ev->signal = (int)take_int(&r);
    ev->bad_rank = (int)take_int(&r);
    ev->step = (uint64_t)take_int(&r);
    ev->first_step = (uint64_t)take_int(&r);
    ev->due_us = take_int(&r);
    ev->pid = (uint32_t)take_int(&r);
    ev->text = take_text(&r);
    ev->cause = take_text(&r);
    *metric = take_metric(&r);
    ev->metric = (const Wire__RankMetric *)*metric;
}

int store_events(struct store *s, uint64_t job, uint64_t since, store_event_f *fn,
                 void *arg, struct err *e)
{
    sqlite3_stmt *st = s->st[job ? STORE_JOB_EVENTS : STORE_EVENTS];
    bool more = true;
    int rc = 0;

    sqlite3_bind_int64(st, 1, (int64_t)job);
    sqlite3_bind_int64(st, 2, since < INT64_MAX ? (int64_t)since : INT64_MAX);
    while (more && (rc = store_step(s, st, e)) == 1) {
        struct event ev;
        ProtobufCMessage *metric;

        take_event(st, &ev, &metric);
        more = fn(arg, &ev);
        chan_free(metric);
    }
    sqlite3_reset(st);
    return rc < 0 ? rc : 0;
}

/* --- replay --------------------------------------------------------------- */

struct replay {
    struct job *job;
    uint64_t refused; /* seq of the first event that could not happen, or 0 */
};

static bool replay_one(void *arg, const struct event *ev)
{
    struct replay *r = arg;

    if (!job_apply(r->job, ev) || r->job->state != ev->state)
        r->refused = ev->seq;
    return r->refused == 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_metric(const Wire__RankMetric *a, const Wire__RankMetric *b)
{
    uint8_t x[512], y[512];
    size_t n = wire__rank_metric__get_packed_size(a);

    if (n != wire__rank_metric__get_packed_size(b) || n > sizeof x)
        return false;
    wire__rank_metric__pack(a, x);
    wire__rank_metric__pack(b, y);
    return memcmp(x, y, n) == 0;
}

/* The first durable field that differs, or NULL. */
static const char *difference(const struct job *a, const struct job *b)
{
    const struct {
        const char *name;
        bool same;
    } fields[] = {
        {"state", a->state == b->state},
        {"reason", same_text(a->reason, b->reason)},
        {"attempt", a->attempt == b->attempt},
        {"epoch", a->epoch == b->epoch},
        {"retries", a->retries == b->retries},
        {"cancel_asked", a->cancel_asked == b->cancel_asked},
        {"failure", a->failure == b->failure},
        {"exit_code", a->exit_code == b->exit_code},
        {"signal", a->signal == b->signal},
        {"failed_step", a->failed_step == b->failed_step},
        {"checkpoint", same_text(a->checkpoint, b->checkpoint)},
        {"checkpoint_step", a->checkpoint_step == b->checkpoint_step},
        {"first_step", a->first_step == b->first_step},
        {"started_us", a->started_us == b->started_us},
        {"attempt_started_us", a->attempt_started_us == b->attempt_started_us},
        {"ended_us", a->ended_us == b->ended_us},
        {"due_us", a->due_us == b->due_us},
        {"seq", a->seq == b->seq},
        /* between ends the row may hold newer figures than the journal */
        {"metric", !state_is_final(b->state) || same_metric(&a->metric, &b->metric)},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!fields[i].same)
            return fields[i].name;
    return NULL;
}

int store_check(struct store *s, uint64_t id, struct err *e)
{
    struct replay r = {job_create(id), 0};
    struct job *row = NULL;
    const char *field = NULL;
    int rc = store_job(s, id, &row, e);

    if (rc == 0)
        rc = store_events(s, id, 0, replay_one, &r, e);
    if (rc == 0 && r.refused)
        rc =
            err_set(e, ERR_FAILED, "job %llu: event %llu cannot follow those before it",
                    (unsigned long long)id, (unsigned long long)r.refused);
    if (rc == 0)
        field = difference(r.job, row);
    if (field)
        rc = err_set(e, ERR_FAILED, "job %llu: replaying its events gives another %s",
                     (unsigned long long)id, field);
    job_destroy(row);
    job_destroy(r.job);
    return rc;
}
