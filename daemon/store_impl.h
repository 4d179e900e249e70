/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_impl.h - what store.c and store_read.c share; for nobody else.
 */
#ifndef DAEMON_STORE_IMPL_H
#define DAEMON_STORE_IMPL_H

#include <limits.h>

#include <sqlite3.h>

#include "daemon/store.h"

/* In the order in which store_read.c takes them. */
#define STORE_JOB_COLUMNS                                                              \
    "id, uid, name, cwd, ranks, threads, steps, retry_max, retry_delay, submitted_us," \
    " state, reason, attempt, epoch, retries, cancel_asked, failure, exit_code,"       \
    " signal, failed_step, checkpoint, checkpoint_step, first_step, started_us,"       \
    " attempt_started_us, ended_us, due_us, metric, seq"
#define STORE_EVENT_COLUMNS                                                            \
    "seq, time_us, job, kind, state, attempt, failure, exit_code, signal, bad_rank,"   \
    " step, first_step, due_us, pid, text, cause, metric"

enum store_statement {
    STORE_BEGIN,
    STORE_COMMIT,
    STORE_ADD,
    STORE_ADD_SPEC,
    STORE_KEY,
    STORE_PUT,
    STORE_APPEND,
    STORE_SEQ,
    STORE_JOB,
    STORE_EACH,
    STORE_ACTIVE,
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
    bool dirty;  /* a transaction is open                      */
    bool broken; /* something failed: nothing of it may survive */
    uint64_t seq, durable_seq;
};

/* The database's complaint as an error; marks the transaction as lost. */
int store_fail(struct store *s, struct err *e);

/* 1: a row; 0: done; negative: failed, and the statement is reset. */
int store_step(struct store *s, sqlite3_stmt *st, struct err *e);

#endif
