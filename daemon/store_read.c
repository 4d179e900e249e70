/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_read.c - reading the store: rows become jobs and events again.
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
    j->priority = (uint32_t)take_int(r);
    j->nodes = take_copy(r);
    j->paused_at_us = take_int(r);
    j->paused_us = take_int(r);
    m = take_metric(r);
    if (m)
        job_measure(&j->metric, (const Wire__RankMetric *)m);
    chan_free(m);
    j->seq = (uint64_t)take_int(r);
}

struct job *store_take_job(sqlite3_stmt *st)
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
    j->time_limit = sqlite3_column_double(st, r.column++);
    j->warn = sqlite3_column_double(st, r.column++);
    j->array = (uint64_t)take_int(&r);
    j->label = take_copy(&r);
    j->needs = take_copy(&r);
    take_sum(&r, j);
    if (state_is_final(j->state))
        j->version = j->seq; /* nothing will change any more */
    return j;
}

/* The one number that a statement gives, 0 when it gives none. */
static int one_number(struct store *s, enum store_statement which, uint64_t *out,
                      struct err *e)
{
    int rc = store_step(s, s->st[which], e);

    if (rc >= 0)
        *out = rc ? (uint64_t)sqlite3_column_int64(s->st[which], 0) : 0;
    sqlite3_reset(s->st[which]);
    return rc < 0 ? rc : 0;
}

int store_next_id(struct store *s, uint64_t *out, struct err *e)
{
    uint64_t last;
    int rc = one_number(s, STORE_LAST_ID, &last, e);

    if (rc == 0)
        *out = last + 1;
    return rc;
}

static int not_there(struct store *s, uint64_t id, struct err *e)
{
    uint64_t last = 0, damaged = 0;
    int rc = one_number(s, STORE_LAST_ID, &last, e);

    sqlite3_bind_int64(s->st[STORE_DAMAGED], 1, (int64_t)id);
    if (rc == 0)
        rc = one_number(s, STORE_DAMAGED, &damaged, e);
    if (rc < 0)
        return rc;
    return err_set(e, ERR_NOTFOUND, "job %llu: %s", (unsigned long long)id,
                   damaged            ? "was found damaged, and set aside"
                   : id && id <= last ? "was purged, or its store was replaced"
                                      : "no such job");
}

int store_job(struct store *s, uint64_t id, struct job **out, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_JOB];
    int rc;

    sqlite3_bind_int64(st, 1, (int64_t)id);
    rc = store_step(s, st, e);
    if (rc == 1)
        *out = store_take_job(st);
    sqlite3_reset(st);
    return rc == 1 ? 0 : rc == 0 ? not_there(s, id, e) : rc;
}

static int each_job(struct store *s, sqlite3_stmt *st, store_job_f *fn, void *arg,
                    struct err *e)
{
    bool more = true;
    int rc = 0;

    while (more && (rc = store_step(s, st, e)) == 1) {
        struct job *j = store_take_job(st);

        more = fn(arg, j);
        job_destroy(j);
    }
    sqlite3_reset(st);
    return rc < 0 ? rc : 0;
}

int store_each(struct store *s, const struct store_filter *f, store_job_f *fn,
               void *arg, struct err *e)
{
    bool active = f->states < 1u << WIRE__STATE__COMPLETED; /* few, by the index */
    sqlite3_stmt *st = s->st[active ? STORE_ACTIVE : STORE_EACH];

    sqlite3_bind_int64(
        st, 1, f->before && f->before < INT64_MAX ? (int64_t)f->before : INT64_MAX);
    sqlite3_bind_int64(st, 2, f->states);
    sqlite3_bind_int64(st, 3, f->since_us);
    sqlite3_bind_int64(st, 4, f->first < INT64_MAX ? (int64_t)f->first : INT64_MAX);
    return each_job(s, st, fn, arg, e);
}

int store_array(struct store *s, uint64_t id, store_state_f *fn, void *arg,
                struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_ARRAY];
    bool more = true;
    int rc = 0;

    sqlite3_bind_int64(st, 1, id < INT64_MAX ? (int64_t)id : INT64_MAX);
    while (more && (rc = store_step(s, st, e)) == 1) {
        uint64_t at = (uint64_t)sqlite3_column_int64(st, 0);
        uint64_t array = (uint64_t)sqlite3_column_int64(st, 2);

        more = (at == id || array == id) &&
               fn(arg, at, (Wire__State)sqlite3_column_int(st, 1));
    }
    sqlite3_reset(st);
    return rc < 0 ? rc : 0;
}

int store_ended(struct store *s, int64_t before_us, store_job_f *fn, void *arg,
                struct err *e)
{
    sqlite3_bind_int64(s->st[STORE_ENDED], 1, before_us ? before_us : INT64_MAX);
    return each_job(s, s->st[STORE_ENDED], fn, arg, e);
}

int store_count_ended(struct store *s, uint64_t *out, struct err *e)
{
    return one_number(s, STORE_COUNT_ENDED, out, e);
}

int store_folders(struct store *s, store_folder_f *fn, void *arg, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_FOLDERS];
    int rc;

    while ((rc = store_step(s, st, e)) == 1)
        fn(arg, (uint64_t)sqlite3_column_int64(st, 0));
    sqlite3_reset(st);
    return rc;
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
