/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_open.c - from a folder to an open store: whether the file system will do,
 * the schema and its older version, and every statement there is.
 */
#include "daemon/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>

#include "base/fs.h"
#include "base/log.h"

enum { SCHEMA_VERSION = 2 };

/* Rows of the kind that version 1 had as well. */
static const char schema_common[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE spec (job INTEGER PRIMARY KEY, packed BLOB NOT NULL);"
    "CREATE TABLE event ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT, time_us INTEGER NOT NULL,"
    " job INTEGER NOT NULL, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
    " attempt INTEGER NOT NULL, failure INTEGER NOT NULL, exit_code INTEGER NOT NULL,"
    " signal INTEGER NOT NULL, bad_rank INTEGER NOT NULL, step INTEGER NOT NULL,"
    " first_step INTEGER NOT NULL, due_us INTEGER NOT NULL, pid INTEGER NOT NULL,"
    " text TEXT, cause TEXT, metric BLOB);"
    "CREATE INDEX event_job ON event (job, seq);";

/* `hash` is that of the packed job; submission.hash that of all that came with the
 * key, which for an array is more. */
static const char schema_job[] =
    "CREATE TABLE job ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, uid INTEGER NOT NULL, hash TEXT NOT NULL,"
    " name TEXT NOT NULL, cwd TEXT NOT NULL, ranks INTEGER NOT NULL,"
    " threads INTEGER NOT NULL, steps INTEGER NOT NULL, retry_max INTEGER NOT NULL,"
    " retry_delay REAL NOT NULL, submitted_us INTEGER NOT NULL,"
    " time_limit REAL NOT NULL, warn REAL NOT NULL, array INTEGER NOT NULL,"
    " label TEXT, needs TEXT,"
    " state INTEGER NOT NULL DEFAULT 0, reason TEXT, attempt INTEGER NOT NULL DEFAULT "
    "0,"
    " epoch INTEGER NOT NULL DEFAULT 0, retries INTEGER NOT NULL DEFAULT 0,"
    " cancel_asked INTEGER NOT NULL DEFAULT 0, failure INTEGER NOT NULL DEFAULT 0,"
    " exit_code INTEGER NOT NULL DEFAULT 0, signal INTEGER NOT NULL DEFAULT 0,"
    " failed_step INTEGER NOT NULL DEFAULT 0, checkpoint TEXT,"
    " checkpoint_step INTEGER NOT NULL DEFAULT 0,"
    " first_step INTEGER NOT NULL DEFAULT 0, started_us INTEGER NOT NULL DEFAULT 0,"
    " attempt_started_us INTEGER NOT NULL DEFAULT 0,"
    " ended_us INTEGER NOT NULL DEFAULT 0, due_us INTEGER NOT NULL DEFAULT 0,"
    " priority INTEGER NOT NULL DEFAULT 0, nodes TEXT,"
    " paused_at_us INTEGER NOT NULL DEFAULT 0, paused_us INTEGER NOT NULL DEFAULT 0,"
    " metric BLOB, seq INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX job_active ON job (state) WHERE state < 8;"
    "CREATE INDEX job_ended ON job (ended_us) WHERE state >= 8;"
    "CREATE TABLE submission (uid INTEGER NOT NULL, key TEXT NOT NULL,"
    " hash TEXT NOT NULL, job INTEGER NOT NULL, time_us INTEGER NOT NULL,"
    " PRIMARY KEY (uid, key)) WITHOUT ROWID;"
    "CREATE INDEX submission_time ON submission (time_us);"
    "CREATE TABLE folder (job INTEGER PRIMARY KEY);"
    "CREATE TABLE damaged AS SELECT 0 AS found_us, '' AS why, * FROM job WHERE 0;";

/* Version 1 kept the key in the job's row and had no queue to speak of. */
#define FROM_1                                                                         \
    "id, uid, hash, name, cwd, ranks, threads, steps, retry_max, retry_delay,"         \
    " submitted_us, state, reason, attempt, epoch, retries, cancel_asked, failure,"    \
    " exit_code, signal, failed_step, checkpoint, checkpoint_step, first_step,"        \
    " started_us, attempt_started_us, ended_us, due_us, metric, seq"
static const char migrate_1[] =
    "INSERT INTO job (" FROM_1 ", time_limit, warn, array, priority)"
    " SELECT " FROM_1 ", 0, 0, 0, 50 FROM old_job;"
    "INSERT INTO submission SELECT uid, key, hash, id, submitted_us FROM old_job;"
    "UPDATE event SET step = 50 WHERE kind = 1;"
    "DROP TABLE old_job;";

static const char *const sql[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_COMMIT] = "COMMIT",
    [STORE_ADD] = "INSERT INTO job (uid, hash, name, cwd, ranks, threads, steps,"
                  " retry_max, retry_delay, submitted_us, time_limit, warn, array,"
                  " label, needs) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
                  " ?12, ?13, ?14, ?15)",
    [STORE_ADD_SPEC] = "INSERT INTO spec (job, packed) VALUES (?1, ?2)",
    [STORE_ADD_KEY] = "INSERT INTO submission (uid, key, hash, job, time_us)"
                      " VALUES (?1, ?2, ?3, ?4, ?5)",
    [STORE_KEY] = "SELECT job, hash FROM submission WHERE uid = ?1 AND key = ?2",
    [STORE_OLD_KEYS] = "DELETE FROM submission WHERE time_us < ?1",
#define PUT                                                                            \
    "UPDATE job SET state = ?2, reason = ?3, attempt = ?4, epoch = ?5, retries = ?6,"  \
    " cancel_asked = ?7, failure = ?8, exit_code = ?9, signal = ?10,"                  \
    " failed_step = ?11, checkpoint = ?12, checkpoint_step = ?13, first_step = ?14,"   \
    " started_us = ?15, attempt_started_us = ?16, ended_us = ?17, due_us = ?18,"       \
    " metric = ?19, seq = ?20, priority = ?21, nodes = ?22, paused_at_us = ?23,"       \
    " paused_us = ?24 WHERE id = ?1"
    [STORE_PUT] = PUT " AND state < 8",
    [STORE_MEND] = PUT,
    [STORE_SET_ASIDE] = "INSERT INTO damaged SELECT ?2, ?3, * FROM job WHERE id = ?1",
    [STORE_DROP_JOB] = "DELETE FROM job WHERE id = ?1",
    [STORE_DROP_SPEC] = "DELETE FROM spec WHERE job = ?1",
    [STORE_DROP_EVENTS] = "DELETE FROM event WHERE job = ?1",
    [STORE_FOLDER] = "INSERT OR IGNORE INTO folder VALUES (?1)",
    [STORE_FOLDERS] = "SELECT job FROM folder",
    [STORE_FOLDER_GONE] = "DELETE FROM folder WHERE job = ?1",
    [STORE_DAMAGED] = "SELECT count(*) FROM damaged WHERE id = ?1",
    [STORE_APPEND] = "INSERT INTO event (time_us, job, kind, state, attempt, failure,"
                     " exit_code, signal, bad_rank, step, first_step, due_us, pid,"
                     " text, cause, metric) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                     " ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    [STORE_SEQ] = "SELECT seq FROM sqlite_sequence WHERE name = 'event'",
    [STORE_DROP_ID] = "DELETE FROM sqlite_sequence WHERE name = 'job'",
    [STORE_SKIP_ID] = "INSERT INTO sqlite_sequence VALUES ('job', ?1)",
    [STORE_LAST_ID] = "SELECT seq FROM sqlite_sequence WHERE name = 'job'",
    [STORE_COUNT_ENDED] = "SELECT count(*) FROM job WHERE state >= 8",
    [STORE_HASH] = "SELECT hash FROM job WHERE id = ?1",
    [STORE_JOB] = "SELECT " STORE_JOB_COLUMNS " FROM job WHERE id = ?1",
    [STORE_EACH] = "SELECT " STORE_JOB_COLUMNS " FROM job WHERE id < ?1 AND id >= ?4"
                   " AND (1 << state) & ?2 AND (?3 = 0 OR submitted_us >= ?3 OR"
                   " ended_us >= ?3) ORDER BY id DESC",
    [STORE_ACTIVE] = "SELECT " STORE_JOB_COLUMNS " FROM job INDEXED BY job_active"
                     " WHERE id < ?1 AND id >= ?4 AND state < 8 AND (1 << state) & ?2"
                     " AND (?3 = 0 OR submitted_us >= ?3) ORDER BY id DESC",
    [STORE_ARRAY] = "SELECT id, state, array FROM job WHERE id >= ?1 ORDER BY id",
    [STORE_ENDED] = "SELECT " STORE_JOB_COLUMNS " FROM job INDEXED BY job_ended"
                    " WHERE state >= 8 AND ended_us < ?1 ORDER BY ended_us",
    [STORE_SPEC] = "SELECT packed FROM spec WHERE job = ?1",
    [STORE_EVENTS] = "SELECT " STORE_EVENT_COLUMNS " FROM event WHERE seq > ?2 AND"
                     " ?1 = 0 ORDER BY seq",
    [STORE_JOB_EVENTS] = "SELECT " STORE_EVENT_COLUMNS " FROM event WHERE job = ?1 AND"
                         " seq > ?2 ORDER BY seq",
};

/* --- the folder ----------------------------------------------------------- */

/* The numbers of statfs(2) and of the kernel's magic.h. */
static const struct {
    unsigned long magic;
    const char *name;
} remote[] = {
    {0x6969, "NFS"},       {0x517b, "SMB"},      {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB2"},  {0x01021997, "9P"},   {0x5346414f, "AFS"},
    {0x6b414653, "AFS"},   {0x73757245, "Coda"}, {0x0bd00bd0, "Lustre"},
    {0x00c36400, "Ceph"},  {0x47504653, "GPFS"}, {0x19830326, "BeeGFS"},
    {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"}, {0x20030528, "OrangeFS"},
    {0xaad7aaea, "PanFS"},
};

static int check_folder(const char *dir, struct err *e)
{
    struct statfs fs;

    if (statfs(dir, &fs) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", dir);
    for (size_t i = 0; i < sizeof remote / sizeof *remote; i++)
        if ((unsigned long)(unsigned)fs.f_type == remote[i].magic)
            return err_set(e, ERR_FAILED,
                           "%s: must be on a local disk, is on %s, where another "
                           "machine's locks cannot be trusted; name another with --dir",
                           dir, remote[i].name);
    return 0;
}

/* --- the schema ----------------------------------------------------------- */

/* Run a pragma or query and keep the first value as text. */
static int ask(struct store *s, const char *query, char *out, size_t size,
               struct err *e)
{
    sqlite3_stmt *st;
    int rc;

    if (sqlite3_prepare_v2(s->db, query, -1, &st, NULL) != SQLITE_OK)
        return store_fail(s, e);
    rc = store_step(s, st, e);
    s->broken |= rc < 0;
    if (rc >= 0)
        snprintf(out, size, "%s",
                 rc == 1 && sqlite3_column_text(st, 0)
                     ? (const char *)sqlite3_column_text(st, 0)
                     : "");
    sqlite3_finalize(st);
    return rc < 0 ? rc : 0;
}

static int tell(struct store *s, const char *text, struct err *e)
{
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0
                                                                    : store_fail(s, e);
}

int store_create_tables(sqlite3 *db)
{
    char text[60];
    int rc = sqlite3_exec(db, schema_common, NULL, NULL, NULL);

    snprintf(text, sizeof text, "PRAGMA user_version = %d", SCHEMA_VERSION);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, schema_job, NULL, NULL, NULL);
    return rc == SQLITE_OK ? sqlite3_exec(db, text, NULL, NULL, NULL) : rc;
}

static int create_schema(struct store *s, struct err *e)
{
    uint8_t bytes[16];
    char uuid[33], text[120];
    int rc;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(e, ERR_FAILED, "%s: no random numbers", s->path);
    for (int i = 0; i < 16; i++)
        snprintf(uuid + 2 * i, 3, "%02x", bytes[i]);
    snprintf(text, sizeof text, "INSERT INTO meta VALUES ('uuid', '%s'); COMMIT", uuid);
    rc = tell(s, "BEGIN IMMEDIATE", e);
    if (rc == 0 && store_create_tables(s->db) != SQLITE_OK)
        rc = store_fail(s, e);
    return rc == 0 ? tell(s, text, e) : rc;
}

/* All of it or nothing: a crash leaves version 1, or version 2. */
static int migrate(struct store *s, struct err *e)
{
    char text[80];
    int rc = tell(s,
                  "BEGIN IMMEDIATE; ALTER TABLE job RENAME TO old_job;"
                  "DROP INDEX IF EXISTS job_state",
                  e);

    snprintf(text, sizeof text, "PRAGMA user_version = %d; COMMIT", SCHEMA_VERSION);
    if (rc == 0)
        rc = tell(s, schema_job, e);
    if (rc == 0)
        rc = tell(s, migrate_1, e);
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
    else if (rc == 0 && atoi(text) == 1)
        rc = migrate(s, e);
    if (rc == 0)
        rc = ask(s, "SELECT value FROM meta WHERE key = 'uuid'", s->uuid,
                 sizeof s->uuid, e);
    if (rc == 0 && strlen(s->uuid) != 32)
        rc = err_set(e, ERR_FAILED, "%s: is damaged: it has no name", s->path);
    return rc;
}

/* --- opening -------------------------------------------------------------- */

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

/* 0, ERR_FAILED with s->broken for what salvaging may mend, or another refusal. */
static int open_file(struct store *s, struct err *e)
{
    char text[200];
    int rc;

    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
        return store_fail(s, e);
    rc = configure(s, e);
    if (rc == 0)
        rc = ask(s, "PRAGMA quick_check(1)", text, sizeof text, e);
    if (rc == 0 && strcmp(text, "ok") != 0) {
        s->broken = true;
        return err_set(e, ERR_FAILED, "%s: is damaged: %s", s->path, text);
    }
    if (rc == 0)
        rc = check_schema(s, e);
    if (rc == 0)
        rc = prepare(s, e);
    if (rc < 0)
        return rc;
    rc = store_step(s, s->st[STORE_SEQ], e);
    if (rc == 1)
        s->seq = s->durable_seq = (uint64_t)sqlite3_column_int64(s->st[STORE_SEQ], 0);
    s->broken |= rc < 0;
    sqlite3_reset(s->st[STORE_SEQ]);
    return rc < 0 ? rc : 0;
}

static int open_store(const char *dir, struct store **out, bool *damaged, struct err *e)
{
    struct store *s = calloc(1, sizeof *s);
    int rc, code;

    if (!s)
        return err_set(e, ERR_NOMEM, "%s: out of memory", dir);
    snprintf(s->path, sizeof s->path, "%s/nnd.db", dir);
    rc = open_file(s, e);
    if (rc < 0) {
        code = s->db ? sqlite3_errcode(s->db) : SQLITE_OK;
        *damaged = s->broken && rc == ERR_FAILED && code != SQLITE_NOTADB;
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

bool store_exists(const char *dir)
{
    char path[PATH_MAX], salvaged[PATH_MAX];

    snprintf(path, sizeof path, "%.4000s/nnd.db", dir);
    snprintf(salvaged, sizeof salvaged, "%.4000s/nnd.db.salvaged", dir);
    return fs_exists(path) || fs_exists(salvaged);
}

int store_open(const char *dir, struct store **out, struct err *e)
{
    bool damaged = false, again = false;
    int rc = check_folder(dir, e);

    if (rc == 0)
        rc = store_finish_salvage(dir, e);
    if (rc == 0)
        rc = open_store(dir, out, &damaged, e);
    if (rc == 0 || !damaged)
        return rc;
    log_error("the store is damaged: error=\"%s\"", e->text);
    rc = store_salvage(dir, e);
    if (rc == 0)
        rc = open_store(dir, out, &again, e);
    if (rc == 0)
        (*out)->salvaged = true;
    return rc;
}

bool store_was_salvaged(const struct store *s)
{
    return s->salvaged;
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
