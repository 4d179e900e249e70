/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - SQLite: opening, the schema, transactions and writing.  Reading is
 * store_read.c's.
 *
 * WAL with synchronous=FULL: a commit returns after the log is on disk.  NORMAL
 * would lose acknowledged jobs at a power cut.
 */
#include "daemon/store_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

enum { SCHEMA_VERSION = 1 };

static const char schema[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE job ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, uid INTEGER NOT NULL, key TEXT NOT NULL,"
    " hash TEXT NOT NULL, name TEXT NOT NULL, cwd TEXT NOT NULL, ranks INTEGER NOT "
    "NULL,"
    " threads INTEGER NOT NULL, steps INTEGER NOT NULL, retry_max INTEGER NOT NULL,"
    " retry_delay REAL NOT NULL, submitted_us INTEGER NOT NULL,"
    " state INTEGER NOT NULL, reason TEXT, attempt INTEGER NOT NULL,"
    " epoch INTEGER NOT NULL, retries INTEGER NOT NULL, cancel_asked INTEGER NOT NULL,"
    " failure INTEGER NOT NULL, exit_code INTEGER NOT NULL, signal INTEGER NOT NULL,"
    " failed_step INTEGER NOT NULL, checkpoint TEXT, checkpoint_step INTEGER NOT NULL,"
    " first_step INTEGER NOT NULL, started_us INTEGER NOT NULL,"
    " attempt_started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,"
    " due_us INTEGER NOT NULL, metric BLOB, seq INTEGER NOT NULL, UNIQUE (uid, key));"
    "CREATE INDEX job_state ON job (state);"
    "CREATE TABLE spec (job INTEGER PRIMARY KEY, packed BLOB NOT NULL);"
    "CREATE TABLE event ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL,"
    " job INTEGER NOT NULL, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL, failure INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
    " signal INTEGER NOT NULL, bad_rank INTEGER NOT NULL, step INTEGER NOT NULL,"
    " first_step INTEGER NOT NULL, due_us INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " text TEXT, cause TEXT, metric BLOB);"
    "CREATE INDEX event_job ON event (job, seq);";

static const char *const sql[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_COMMIT] = "COMMIT",
    [STORE_ADD] = "INSERT INTO job (uid, key, hash, name, cwd, ranks, threads, steps,"
                  " retry_max, retry_delay, submitted_us, state, attempt, epoch,"
                  " retries, cancel_asked, failure, exit_code, signal, failed_step,"
                  " checkpoint_step, first_step, started_us, attempt_started_us,"
                  " ended_us, due_us, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                  " ?10, ?11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
    [STORE_ADD_SPEC] = "INSERT INTO spec (job, packed) VALUES (?1, ?2)",
    [STORE_KEY] = "SELECT id, hash FROM job WHERE uid = ?1 AND key = ?2",
    [STORE_PUT] = "UPDATE job SET state = ?2, reason = ?3, attempt = ?4, epoch = ?5,"
                  " retries = ?6, cancel_asked = ?7, failure = ?8, exit_code = ?9,"
                  " signal = ?10, failed_step = ?11, checkpoint = ?12,"
                  " checkpoint_step = ?13, first_step = ?14, started_us = ?15,"
                  " attempt_started_us = ?16, ended_us = ?17, due_us = ?18,"
                  " metric = ?19, seq = ?20 WHERE id = ?1",
    [STORE_APPEND] = "INSERT INTO event (time_us, job, kind, state, attempt, failure,"
                     " exit_code, signal, bad_rank, step, first_step, due_us, pid,"
                     " text, cause, metric) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                     " ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [STORE_SEQ] = "SELECT coalesce(max(seq), 0) FROM event",
    [STORE_JOB] = "SELECT " STORE_JOB_COLUMNS " FROM job WHERE id = ?1",
    [STORE_EACH] = "SELECT " STORE_JOB_COLUMNS " FROM job WHERE id < ?1 AND"
                   " (1 << state) & ?2 AND (?3 = 0 OR submitted_us >= ?3 OR"
                   " ended_us >= ?3) ORDER BY id DESC",
    [STORE_ACTIVE] = "SELECT " STORE_JOB_COLUMNS " FROM job WHERE id < ?1 AND"
                     " state <= 7 AND (1 << state) & ?2 AND (?3 = 0 OR"
                     " submitted_us >= ?3) ORDER BY id DESC",
    [STORE_SPEC] = "SELECT packed FROM spec WHERE job = ?1",
    [STORE_EVENTS] = "SELECT " STORE_EVENT_COLUMNS " FROM event WHERE seq > ?2 AND"
                     " ?1 = 0 ORDER BY seq",
    [STORE_JOB_EVENTS] = "SELECT " STORE_EVENT_COLUMNS " FROM event WHERE job = ?1 AND"
                         " seq > ?2 ORDER BY seq",
};

/* --- statements ----------------------------------------------------------- */

int store_fail(struct store *s, struct err *e)
{
    int code = sqlite3_extended_errcode(s->db) & 0xff;
    bool later = code == SQLITE_FULL || code == SQLITE_IOERR || code == SQLITE_BUSY ||
                 code == SQLITE_READONLY || code == SQLITE_CANTOPEN;

    s->broken = true;
    return err_set(e, later ? ERR_RETRY : ERR_FAILED, "%s: %s", s->path,
                   sqlite3_errmsg(s->db));
}

int store_step(struct store *s, sqlite3_stmt *st, struct err *e)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    rc = store_fail(s, e);
    sqlite3_reset(st);
    return rc;
}

/* Run a statement that gives no rows and leave it clean. */
static int run(struct store *s, enum store_statement which, struct err *e)
{
    int rc = store_step(s, s->st[which], e);

    sqlite3_reset(s->st[which]);
    sqlite3_clear_bindings(s->st[which]);
    return rc < 0 ? rc : 0;
}

static int begin(struct store *s, struct err *e)
{
    int rc;

    if (s->broken)
        return err_set(e, ERR_RETRY, "%s: the disk refused what came before", s->path);
    if (s->dirty)
        return 0;
    rc = run(s, STORE_BEGIN, e);
    s->dirty = rc == 0;
    return rc;
}

int store_commit(struct store *s, struct err *e)
{
    int rc = 0;

    if (s->broken)
        rc = err_set(e, ERR_RETRY, "%s: the disk refused to store it", s->path);
    else if (s->dirty)
        rc = run(s, STORE_COMMIT, e);
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

/* --- opening -------------------------------------------------------------- */

/* Run a pragma or query and keep the first value as text. */
static int ask(struct store *s, const char *query, char *out, size_t size,
               struct err *e)
{
    sqlite3_stmt *st;
    int rc;

    if (sqlite3_prepare_v2(s->db, query, -1, &st, NULL) != SQLITE_OK)
        return store_fail(s, e);
    rc = store_step(s, st, e);
    if (rc >= 0)
        snprintf(out, size, "%s",
                 rc == 1 ? (const char *)sqlite3_column_text(st, 0) : "");
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

static int tell(struct store *s, const char *text, struct err *e)
{
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                    : store_fail(s, e);
}

static int create_schema(struct store *s, struct err *e)
{
    uint8_t bytes[16];
    char uuid[33], text[200];
    int rc;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(e, ERR_FAILED, "%s: no random numbers", s->path);
    for (int i = 0; i < 16; i++)
        snprintf(uuid + 2 * i, 3, "%02x", bytes[i]);
    snprintf(text, sizeof text,
             "INSERT INTO meta VALUES ('uuid', '%s'); PRAGMA user_version = %d; COMMIT",
             uuid, SCHEMA_VERSION);
    rc = tell(s, "BEGIN IMMEDIATE", e);
    if (rc == 0)
        rc = tell(s, schema, e);
    return rc == 0 ? tell(s, text, e) : rc;
}

static int check_schema(struct store *s, struct err *e)
{
    char text[200];
    int rc = ask(s, "PRAGMA user_version", text, sizeof text, e);

    if (rc == 0 && atoi(text) > SCHEMA_VERSION)
        return err_set(e, ERR_PROTOCOL,
                       "%s: was written by a newer nnd (format %d, this one knows %d)",
                       s->path, atoi(text), SCHEMA_VERSION);
    if (rc == 0 && atoi(text) == 0)
        rc = create_schema(s, e);
    if (rc == 0)
        rc = ask(s, "PRAGMA quick_check(1)", text, sizeof text, e);
    if (rc == 0 && strcmp(text, "ok") != 0)
        return err_set(e, ERR_FAILED, "%s: is damaged: %s", s->path, text);
    if (rc == 0)
        rc = ask(s, "SELECT value FROM meta WHERE key = 'uuid'", s->uuid,
                 sizeof s->uuid, e);
    return rc;
}

static int configure(struct store *s, struct err *e)
{
    char mode[16];
    int rc;

    sqlite3_busy_timeout(s->db, 5000);
    rc = ask(s, "PRAGMA journal_mode = WAL", mode, sizeof mode, e);
    if (rc == 0 && strcmp(mode, "wal") != 0)
        return err_set(e, ERR_FAILED,
                       "%s: needs write-ahead logging, which this file system does not "
                       "allow (journal mode is \"%s\"); use a local disk",
                       s->path, mode);
    return rc == 0 ? tell(s, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON", e)
                   : rc;
}

static int prepare(struct store *s, struct err *e)
{
    for (int i = 0; i < STORE_STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i],
                               NULL) != SQLITE_OK)
            return store_fail(s, e);
    return 0;
}

static int open_all(struct store *s, struct err *e)
{
    int rc;

    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
        return store_fail(s, e);
    rc = configure(s, e);
    if (rc == 0)
        rc = check_schema(s, e);
    if (rc == 0)
        rc = prepare(s, e);
    if (rc < 0)
        return rc;
    rc = store_step(s, s->st[STORE_SEQ], e);
    if (rc == 1)
        s->seq = s->durable_seq = (uint64_t)sqlite3_column_int64(s->st[STORE_SEQ], 0);
    sqlite3_reset(s->st[STORE_SEQ]);
    return rc < 0 ? rc : 0;
}

int store_open(const char *dir, struct store **out, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return err_set(e, ERR_FAILED, "%s: out of memory", dir);
    snprintf(s->path, sizeof s->path, "%s/nnd.db", dir);
    rc = open_all(s, e);
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < STORE_STATEMENTS; i++)
        sqlite3_finalize(s->st[i]);
    sqlite3_close(s->db);
    free(s);
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

static int put_job(struct store *s, const struct job *j, struct err *e)
{
    sqlite3_stmt *st = s->st[STORE_PUT];
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

    bind_ints(st, 1, head, 2);
    bind_text(st, 3, j->reason);
    bind_ints(st, 4, middle, 8);
    bind_text(st, 12, j->checkpoint);
    bind_ints(st, 13, tail, 6);
    bind_metric(st, 19, &j->metric);
    sqlite3_bind_int64(st, 20, (int64_t)j->seq);
    return run(s, STORE_PUT, e);
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
    return run(s, STORE_APPEND, e);
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
    rc = begin(s, e);
    if (rc == 0)
        rc = append(s, ev, e);
    if (rc < 0)
        return rc;
    ev->seq = (uint64_t)sqlite3_last_insert_rowid(s->db);
    s->seq = ev->seq;
    job_apply(j, ev);
    return put_job(s, j, e);
}

/* Look (uid, key) up: 1 with *id when it is there with the same specification. */
static int find_key(struct store *s, uint32_t uid, const struct submission *sub,
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

    sqlite3_bind_int64(st, 1, j->uid);
    bind_text(st, 2, sub->key);
    bind_text(st, 3, sub->hash);
    bind_text(st, 4, j->name);
    bind_text(st, 5, j->cwd);
    bind_ints(st, 6, numbers, 4);
    sqlite3_bind_double(st, 10, j->retry_delay);
    sqlite3_bind_int64(st, 11, j->submitted_us);
    return run(s, STORE_ADD, e);
}

int store_add(struct store *s, struct job *j, const struct submission *sub, bool *known,
              struct err *e)
{
    uint64_t id;
    int rc = find_key(s, j->uid, sub, &id, e);

    if (rc < 0)
        return rc;
    *known = rc == 1;
    if (*known) {
        j->id = id;
        return 0;
    }
    j->submitted_us = clock_wall_us();
    rc = begin(s, e);
    if (rc == 0)
        rc = add_row(s, j, sub, e);
    if (rc < 0)
        return rc;
    j->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    sqlite3_bind_int64(s->st[STORE_ADD_SPEC], 1, (int64_t)j->id);
    sqlite3_bind_blob(s->st[STORE_ADD_SPEC], 2, sub->spec, (int)sub->spec_size,
                      SQLITE_TRANSIENT);
    return run(s, STORE_ADD_SPEC, e);
}
