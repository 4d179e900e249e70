/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_mend.c - damage: a replay of the journal is compared with what the rows say,
 * and what does not fit is made anew or set aside.
 */
#include "daemon/store_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"
#include "proto/chan.h"

/* --- replay --------------------------------------------------------------- */

struct replay {
    struct job *job;
    uint64_t refused; /* seq of the first event that could not happen, or 0 */
    uint64_t n;       /* events                                             */
};

static bool replay_one(void *arg, const struct event *ev)
{
    struct replay *r = arg;

    r->n++;
    if ((r->n == 1) != (ev->kind == EVENT_SUBMIT) || !job_apply(r->job, ev) ||
        r->job->state != ev->state)
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
    bool live = state_is_live(b->state);
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
        {"started_us", a->started_us == b->started_us},
        {"attempt_started_us", a->attempt_started_us == b->attempt_started_us},
        {"ended_us", a->ended_us == b->ended_us},
        {"due_us", a->due_us == b->due_us},
        {"priority", a->priority == b->priority},
        {"nodes", same_text(a->nodes, b->nodes)},
        {"paused_at_us", a->paused_at_us == b->paused_at_us},
        {"paused_us", a->paused_us == b->paused_us},
        {"seq", a->seq == b->seq},
        /* between ends the row may hold newer figures than the journal */
        {"first_step", live || a->first_step == b->first_step},
        {"metric", !state_is_final(b->state) || same_metric(&a->metric, &b->metric)},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!fields[i].same)
            return fields[i].name;
    return NULL;
}

static int check_events(struct store *s, const struct job *row, struct err *e)
{
    struct replay r = {.job = job_create(row->id)};
    unsigned long long id = row->id;
    const char *field = NULL;
    int rc = store_events(s, row->id, 0, replay_one, &r, e);

    if (rc == 0 && r.refused)
        rc =
            err_set(e, ERR_FAILED, "job %llu: event %llu cannot follow those before it",
                    id, (unsigned long long)r.refused);
    if (rc == 0)
        field = difference(r.job, row);
    if (field)
        rc = err_set(e, ERR_FAILED, "job %llu: replaying its events gives another %s",
                     id, field);
    job_destroy(r.job);
    return rc;
}

static int check_spec(struct store *s, uint64_t id, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_HASH];
    char hash[SHA256_HEX], wanted[SHA256_HEX] = "";
    struct buf spec = {0};
    int rc = store_spec(s, id, &spec, e);

    if (rc == ERR_NOTFOUND)
        rc = err_set(e, ERR_FAILED, "job %llu: its specification is missing",
                     (unsigned long long)id);
    if (rc == 0) {
        sha256_bytes(spec.data, spec.len, hash);
        sqlite3_bind_int64(st, 1, (int64_t)id);
        rc = store_step(s, st, e);
        if (rc == 1 && sqlite3_column_text(st, 0))
            snprintf(wanted, sizeof wanted, "%s",
                     (const char *)sqlite3_column_text(st, 0));
        sqlite3_reset(st);
        rc = rc < 0 ? rc : 0;
    }
    if (rc == 0 && strcmp(hash, wanted) != 0)
        rc = err_set(e, ERR_FAILED,
                     "job %llu: its specification is not what was submitted",
                     (unsigned long long)id);
    buf_free(&spec);
    return rc;
}

/* What nnd cannot run, however its events go. */
static int check_row(const struct job *j, struct err *e)
{
    unsigned long long id = j->id;

    if (!j->name || !j->cwd || j->ranks < 1 || j->threads < 1 ||
        (uint64_t)j->ranks * j->threads > UINT32_MAX || !(j->retry_delay >= 0) ||
        !(j->time_limit >= 0) || !(j->warn >= 0))
        return err_set(e, ERR_FAILED, "job %llu: its row holds what no job has", id);
    return 0;
}

int store_check(struct store *s, uint64_t id, struct err *e)
{
    struct job *row = NULL;
    int rc = store_job(s, id, &row, e);

    if (rc == 0)
        rc = check_row(row, e);
    if (rc == 0)
        rc = check_events(s, row, e);
    if (rc == 0)
        rc = check_spec(s, id, e);
    job_destroy(row);
    return rc;
}

/* --- mending -------------------------------------------------------------- */

static int set_aside(struct store *s, uint64_t id, const char *why, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_SET_ASIDE];
    int rc = store_begin(s, e);

    sqlite3_bind_int64(st, 1, (int64_t)id);
    sqlite3_bind_int64(st, 2, clock_wall_us());
    sqlite3_bind_text(st, 3, why, -1, SQLITE_TRANSIENT);
    if (rc == 0)
        rc = store_run(s, STORE_SET_ASIDE, e);
    sqlite3_bind_int64(s->st[STORE_DROP_JOB], 1, (int64_t)id);
    return rc == 0 ? store_run(s, STORE_DROP_JOB, e) : rc;
}

/* 1: the row is what its events say now; 0: they do not say enough. */
static int rebuild(struct store *s, const struct job *row, struct err *e)
{
    struct replay r = {.job = job_create(row->id)};
    int rc = store_events(s, row->id, 0, replay_one, &r, e);
    bool whole = rc == 0 && !r.refused && r.n >= 2;

    if (whole)
        rc = store_begin(s, e);
    if (whole && rc == 0)
        rc = store_put(s, STORE_MEND, r.job, e);
    job_destroy(r.job);
    return rc < 0 ? rc : whole;
}

int store_mend(struct store *s, uint64_t id, const char *why, bool *lost, struct err *e)
{
    struct job *row = NULL;
    struct err spec;
    int rc, whole = 0;

    rc = store_job(s, id, &row, e);
    if (rc == 0 && check_row(row, NULL) == 0 && check_spec(s, id, &spec) == 0)
        rc = whole = rebuild(s, row, e);
    if (rc >= 0 && !whole)
        rc = set_aside(s, id, why, e);
    job_destroy(row);
    if (rc < 0)
        return rc;
    *lost = !whole;
    return 0;
}

/* --- all of them ---------------------------------------------------------- */

int store_check_all(struct store *s, uint64_t after, unsigned most,
                    store_complaint_f *fn, void *arg, uint64_t *next, unsigned *seen,
                    struct err *e)
{
    static const char query[] = "SELECT id FROM job WHERE id > ?1 ORDER BY id";
    sqlite3_stmt *st;
    uint64_t last = 0;
    unsigned n = 0;
    int rc;

    if (sqlite3_prepare_v2(s->db, query, -1, &st, NULL) != SQLITE_OK)
        return store_say(s, e);
    sqlite3_bind_int64(st, 1, (int64_t)after);
    while (n < most && (rc = store_step(s, st, e)) == 1) {
        struct err found;

        last = (uint64_t)sqlite3_column_int64(st, 0);
        n++;
        if (store_check(s, last, &found) < 0)
            fn(arg, last, found.text);
    }
    sqlite3_finalize(st);
    if (n < most && rc < 0)
        return rc;
    *next = n < most ? 0 : last;
    *seen = n;
    return 0;
}

int store_check_file(struct store *s, struct err *e)
{
    sqlite3_stmt *st;
    int rc;

    if (sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &st, NULL) !=
        SQLITE_OK)
        return store_say(s, e);
    rc = store_step(s, st, e);
    if (rc == 1 && strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        rc = err_set(e, ERR_FAILED, "%s: is damaged: %s", s->path,
                     (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}
