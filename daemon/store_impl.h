/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_impl.h - what the store's sources share; for nobody else.
 */
#ifndef DAEMON_STORE_IMPL_H
#define DAEMON_STORE_IMPL_H

#include <limits.h>

#include <sqlite3.h>

#include "daemon/store.h"

/* In the order in which store_read.c takes them. */
#define STORE_JOB_COLUMNS                                                              \
    "id, uid, name, cwd, ranks, threads, steps, retry_max, retry_delay, submitted_us," \
    " time_limit, warn, array, label, needs, state, reason, attempt, epoch, retries,"  \
    " cancel_asked, failure, exit_code, signal, failed_step, checkpoint,"              \
    " checkpoint_step, first_step, started_us, attempt_started_us, ended_us, due_us,"  \
    " priority, nodes, paused_at_us, paused_us, metric, seq"
#define STORE_EVENT_COLUMNS                                                            \
    "seq, time_us, job, kind, state, attempt, failure, exit_code, signal, bad_rank,"   \
    " step, first_step, due_us, pid, text, cause, metric"

enum store_statement {
    STORE_BEGIN,
    STORE_COMMIT,
    STORE_ADD,
    STORE_ADD_SPEC,
    STORE_ADD_KEY,
    STORE_KEY,
    STORE_OLD_KEYS,
    STORE_PUT,
    STORE_MEND,
    STORE_SET_ASIDE,
    STORE_DROP_JOB,
    STORE_DROP_SPEC,
    STORE_DROP_EVENTS,
    STORE_FOLDER,
    STORE_FOLDERS,
    STORE_FOLDER_GONE,
    STORE_DAMAGED,
    STORE_APPEND,
    STORE_SEQ,
    STORE_DROP_ID,
    STORE_SKIP_ID,
    STORE_LAST_ID,
    STORE_COUNT_ENDED,
    STORE_HASH,
    STORE_JOB,
    STORE_EACH,
    STORE_ACTIVE,
    STORE_ARRAY,
    STORE_ENDED,
    STORE_SPEC,
    STORE_EVENTS,
    STORE_JOB_EVENTS,
    STORE_STATEMENTS
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *st[STORE_STATEMENTS];
    char path[PATH_MAX];
    char uuid[33];
    bool dirty;    /* a transaction is open                      */
    bool broken;   /* something failed: nothing of it may survive */
    bool salvaged; /* what could be read of a damaged file        */
    uint64_t seq, durable_seq;
};

/* The database's complaint as an error; store_fail marks the transaction as lost. */
int store_say(struct store *s, struct err *e);
int store_fail(struct store *s, struct err *e);

/* 1: a row; 0: done; negative: failed, and the statement is reset; the transaction is
 * lost if it was to write. */
int store_step(struct store *s, sqlite3_stmt *st, struct err *e);

/* Run a statement that gives no rows and leave it clean. */
int store_run(struct store *s, enum store_statement which, struct err *e);

/* Begin a transaction unless one is open. */
int store_begin(struct store *s, struct err *e);

/* Write the job's row; STORE_PUT leaves a job alone that has ended, STORE_MEND
 * does not. */
int store_put(struct store *s, enum store_statement which, const struct job *j,
              struct err *e);

/* The number that the next job gets. */
int store_next_id(struct store *s, uint64_t *out, struct err *e);

/* The tables of a new store, in an empty database. */
int store_create_tables(sqlite3 *db);

/* The next job of a statement that selects STORE_JOB_COLUMNS. */
struct job *store_take_job(sqlite3_stmt *st);

/* Copy what can be read of DIR/nnd.db, which is damaged, into a new file that
 * takes its place; the old one stays beside it. */
int store_salvage(const char *dir, struct err *e);

/* The second half of it, which a crash may have left undone. */
int store_finish_salvage(const char *dir, struct err *e);

#endif
