/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - SQLite: transactions and writing.  Opening is store_open.c's, reading
 * store_read.c's, and damage store_mend.c's.
 *
 * WAL with synchronous=FULL: a commit returns after the log is on disk.  NORMAL
 * would lose acknowledged jobs at a power cut.
 */
#include "daemon/store_impl.h"

#include <string.h>

#include "base/clock.h"
#include "base/sha256.h"

/* --- statements ----------------------------------------------------------- */

int store_say(struct store *s, struct err *e)
{
    int code = sqlite3_extended_errcode(s->db) & 0xff;
    bool later = code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_BUSY ||
                 code == SQLITE_READONLY || code == SQLITE_CANTOPEN;

    return err_set(e, later ? ERR_RETRY : ERR_FAILED, "%s: %s", s->path,
                   sqlite3_errmsg(s->db));
}

int store_fail(struct store *s, struct err *e)
{
    s->broken = true;
    return store_say(s, e);
}

/* What cannot be read spoils nothing that others wrote, unless it ended their
 * transaction as well. */
static bool is_harmless(const struct store *s, sqlite3_stmt *st)
{
    return sqlite3_stmt_readonly(st) && !(s->dirty && sqlite3_get_autocommit(s->db));
}

int store_step(struct store *s, sqlite3_stmt *st, struct err *e)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    rc = is_harmless(s, st) ? store_say(s, e) : store_fail(s, e);
    sqlite3_reset(st);
    return rc;
}

int store_run(struct store *s, enum store_statement which, struct err *e)
{
    int rc = store_step(s, s->st[which], e);

    sqlite3_reset(s->st[which]);
    sqlite3_clear_bindings(s->st[which]);
    return rc < 0 ? rc : 0;
}

int store_begin(struct store *s, struct err *e)
{
    int rc;

    if (s->broken)
        return err_set(e, ERR_RETRY, "%s: the disk refused what came before", s->path);
    if (s->dirty)
        return 0;
    rc = store_run(s, STORE_BEGIN, e);
    s->dirty = rc == 0;
    return rc;
}

int store_commit(struct store *s, struct err *e)
{
    int rc = 0;

    if (s->broken)
        rc = err_set(e, ERR_RETRY, "%s: the disk refused to store it", s->path);
    else if (s->dirty)
        rc = store_run(s, STORE_COMMIT, e);
    if (rc < 0 && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    if (rc < 0) { /* what the log no longer needs may be room enough */
        s->seq = s->durable_seq;
        sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    }
    s->durable_seq = s->seq;
    s->dirty = s->broken = false;
    return rc;
}

bool store_dirty(const struct store *s)
{
    return s->dirty || s->broken;
}

uint64_t store_seq(const struct store *s)
{
    return s->durable_seq;
}

const char *store_uuid(const struct store *s)
{
    return s->uuid;
}

/* --- writing -------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *st, int i, const char *text)
{
    if (text)
        sqlite3_bind_text(st, i, text, -1, SQLITE_TRANSIENT);
    else
        sqlite3_bind_null(st, i);
}

/* Bind figures as a packed message; one without any is NULL. */
static void bind_metric(sqlite3_stmt *st, int i, const Wire__RankMetric *m)
{
    uint8_t bytes[512];
    size_t size = m ? wire__rank_metric__get_packed_size(m) : 0;

    if (size == 0 || size > sizeof bytes) {
        sqlite3_bind_null(st, i);
        return;
    }
    wire__rank_metric__pack(m, bytes);
    sqlite3_bind_blob(st, i, bytes, (int)size, SQLITE_TRANSIENT);
}

/* Bind n numbers from parameter `first` on. */
static void bind_ints(sqlite3_stmt *st, int first, const int64_t *v, int n)
{
    for (int i = 0; i < n; i++)
        sqlite3_bind_int64(st, first + i, v[i]);
}

int store_put(struct store *s, enum store_statement which, const struct job *j,
              struct err *e)
{
    sqlite3_stmt *st = s->st[which];
    const int64_t head[] = {(int64_t)j->id, j->state};
    const int64_t middle[] = {
        j->attempt, (int64_t)j->epoch, j->retries, j->cancel_asked,
        j->failure, j->exit_code,      j->signal,  (int64_t)j->failed_step};
    const int64_t tail[] = {(int64_t)j->checkpoint_step,
                            (int64_t)j->first_step,
                            j->started_us,
                            j->attempt_started_us,
                            j->ended_us,
                            j->due_us};
    const int64_t queue[] = {j->paused_at_us, j->paused_us};

    bind_ints(st, 1, head, 2);
    bind_text(st, 3, j->reason);
    bind_ints(st, 4, middle, 8);
    bind_text(st, 12, j->checkpoint);
    bind_ints(st, 13, tail, 6);
    bind_metric(st, 19, &j->metric);
    sqlite3_bind_int64(st, 20, (int64_t)j->seq);
    sqlite3_bind_int64(st, 21, j->priority);
    bind_text(st, 22, j->nodes);
    bind_ints(st, 23, queue, 2);
    return store_run(s, which, e);
}

static int append(struct store *s, const struct event *ev, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_APPEND];
    const int64_t numbers[] = {
        ev->time_us,
        (int64_t)ev->job,
        ev->kind,
        ev->state,
        ev->attempt,
        ev->failure,
        ev->exit_code,
        ev->signal,
        ev->bad_rank,
        (int64_t)ev->step,
        (int64_t)ev->first_step,
        ev->due_us,
        ev->pid,
    };

    bind_ints(st, 1, numbers, 13);
    bind_text(st, 14, ev->text);
    bind_text(st, 15, ev->cause);
    bind_metric(st, 16, ev->metric);
    return store_run(s, STORE_APPEND, e);
}

int store_post(struct store *s, struct job *j, struct event *ev, struct err *e)
{
    int rc;

    ev->job = j->id;
    ev->time_us = clock_wall_us();
    if (ev->kind != EVENT_START)
        ev->attempt = j->attempt;
    if (!state_next(j->state, ev->kind, &ev->state))
        return err_set(e, ERR_FAILED, "job %llu: is %s, which \"%s\" does not apply to",
                       (unsigned long long)j->id, state_name(j->state),
                       event_name(ev->kind));
    rc = store_begin(s, e);
    if (rc == 0)
        rc = append(s, ev, e);
    if (rc < 0)
        return rc;
    ev->seq = (uint64_t)sqlite3_last_insert_rowid(s->db);
    s->seq = ev->seq;
    job_apply(j, ev);
    rc = store_put(s, STORE_PUT, j, e);
    if (rc == 0 && sqlite3_changes(s->db) != 1) {
        s->broken = true; /* the row is not what this job was loaded from */
        rc = err_set(e, ERR_FAILED, "job %llu: has ended in the store already",
                     (unsigned long long)j->id);
    }
    return rc;
}

int store_known(struct store *s, uint32_t uid, const struct submission *sub,
                uint64_t *id, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_KEY];
    int rc;

    sqlite3_bind_int64(st, 1, uid);
    bind_text(st, 2, sub->key);
    rc = store_step(s, st, e);
    if (rc == 1) {
        *id = (uint64_t)sqlite3_column_int64(st, 0);
        if (strcmp((const char *)sqlite3_column_text(st, 1), sub->hash) != 0)
            rc = err_set(e, ERR_SPEC,
                         "submission key %.64s: was used before for another job (%llu)",
                         sub->key, (unsigned long long)*id);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc;
}

static int add_row(struct store *s, const struct job *j, const struct submission *sub,
                   struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_ADD];
    const int64_t numbers[] = {j->ranks, j->threads, (int64_t)j->steps, j->retry_max};
    char hash[SHA256_HEX];

    sha256_bytes(sub->spec, sub->spec_size, hash);
    sqlite3_bind_int64(st, 1, j->uid);
    bind_text(st, 2, hash);
    bind_text(st, 3, j->name);
    bind_text(st, 4, j->cwd);
    bind_ints(st, 5, numbers, 4);
    sqlite3_bind_double(st, 9, j->retry_delay);
    sqlite3_bind_int64(st, 10, j->submitted_us);
    sqlite3_bind_double(st, 11, j->time_limit);
    sqlite3_bind_double(st, 12, j->warn);
    sqlite3_bind_int64(st, 13, (int64_t)j->array);
    bind_text(st, 14, j->label);
    bind_text(st, 15, j->needs);
    return store_run(s, STORE_ADD, e);
}

static int add_spec(struct store *s, const struct job *j, const struct submission *sub,
                    struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_ADD_SPEC];

    sqlite3_bind_int64(st, 1, (int64_t)j->id);
    sqlite3_bind_blob(st, 2, sub->spec, (int)sub->spec_size, SQLITE_TRANSIENT);
    return store_run(s, STORE_ADD_SPEC, e);
}

static int add_key(struct store *s, const struct job *j, const struct submission *sub,
                   struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_ADD_KEY];

    sqlite3_bind_int64(st, 1, j->uid);
    bind_text(st, 2, sub->key);
    bind_text(st, 3, sub->hash);
    sqlite3_bind_int64(st, 4, (int64_t)j->id);
    sqlite3_bind_int64(st, 5, j->submitted_us);
    return store_run(s, STORE_ADD_KEY, e);
}

int store_add(struct store *s, struct job *j, const struct submission *sub, bool *known,
              struct err *e)
{
    uint64_t id;
    int rc = sub->key ? store_known(s, j->uid, sub, &id, e) : 0;

    if (rc < 0)
        return rc;
    *known = rc == 1;
    if (*known) {
        j->id = id;
        return 0;
    }
    j->submitted_us = clock_wall_us();
    rc = store_begin(s, e);
    if (rc == 0 && sub->begins_array)
        rc = store_next_id(s, &j->array, e);
    if (rc == 0)
        rc = add_row(s, j, sub, e);
    if (rc < 0)
        return rc;
    j->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    rc = add_spec(s, j, sub, e);
    return rc == 0 && sub->key ? add_key(s, j, sub, e) : rc;
}

int store_skip(struct store *s, uint64_t last, bool *skipped, struct err *e)
{
    uint64_t next;
    int rc = store_next_id(s, &next, e);

    *skipped = rc == 0 && next <= last;
    if (!*skipped)
        return rc;
    rc = store_begin(s, e);
    if (rc == 0)
        rc = store_run(s, STORE_DROP_ID, e);
    sqlite3_bind_int64(s->st[STORE_SKIP_ID], 1, (int64_t)last);
    return rc == 0 ? store_run(s, STORE_SKIP_ID, e) : rc;
}

/* --- forgetting ----------------------------------------------------------- */

int store_forget(struct store *s, uint64_t id, struct err *e)
{
    static const enum store_statement drops[] = {STORE_DROP_JOB, STORE_DROP_SPEC,
                                                 STORE_DROP_EVENTS, STORE_FOLDER};
    int rc = store_begin(s, e);

    for (int i = 0; i < 4 && rc == 0; i++) {
        sqlite3_bind_int64(s->st[drops[i]], 1, (int64_t)id);
        rc = store_run(s, drops[i], e);
    }
    return rc;
}

int store_folder_gone(struct store *s, uint64_t id, struct err *e)
{
    int rc = store_begin(s, e);

    sqlite3_bind_int64(s->st[STORE_FOLDER_GONE], 1, (int64_t)id);
    return rc == 0 ? store_run(s, STORE_FOLDER_GONE, e) : rc;
}

int store_forget_keys(struct store *s, struct err *e)
{
    int64_t old = clock_wall_us() - STORE_KEY_DAYS * 86400000000LL;
    int rc = store_begin(s, e);

    sqlite3_bind_int64(s->st[STORE_OLD_KEYS], 1, old);
    return rc == 0 ? store_run(s, STORE_OLD_KEYS, e) : rc;
}
