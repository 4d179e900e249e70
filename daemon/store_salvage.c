/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_salvage.c - a damaged file, row by row: what can be read is copied into a
 * new file.  Whether the rows fit together is store_mend.c's to find out.
 */
#include "daemon/store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"

enum { GAP = 4096 }; /* rows that are missing one after the other: the end */

struct salvage {
    sqlite3 *old, *fresh;
    int64_t copied, lost;
};

static int64_t number(sqlite3 *db, const char *query)
{
    sqlite3_stmt *st;
    int64_t n = 0;

    if (sqlite3_prepare_v2(db, query, -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return n;
}

/* The largest key that may be there: what the tree says, and what was counted. */
static int64_t last_key(struct salvage *g, const char *table, const char *counter)
{
    char query[120];
    int64_t tree, count;

    snprintf(query, sizeof query, "SELECT max(rowid) FROM %s", table);
    tree = number(g->old, query);
    snprintf(query, sizeof query, "SELECT seq FROM sqlite_sequence WHERE name = '%s'",
             counter);
    count = number(g->old, query);
    return tree > count ? tree : count;
}

/* Reading a row of the damaged table, and writing one of the new. */
static bool prepare(struct salvage *g, const char *table, const char *where,
                    sqlite3_stmt **from, sqlite3_stmt **to)
{
    struct buf query = {0};
    bool ok;

    buf_printf(&query, "SELECT * FROM %s%s", table, where);
    ok = sqlite3_prepare_v2(g->old, query.data, -1, from, NULL) == SQLITE_OK;
    query.len = 0;
    buf_printf(&query, "INSERT OR IGNORE INTO %s VALUES (", table);
    for (int i = 1; ok && i <= sqlite3_column_count(*from); i++)
        buf_printf(&query, "%s?%d", i > 1 ? ", " : "", i);
    buf_puts(&query, ")");
    ok = ok && sqlite3_prepare_v2(g->fresh, query.data, -1, to, NULL) == SQLITE_OK;
    buf_free(&query);
    g->lost += !ok;
    return ok;
}

static void copy_row(struct salvage *g, sqlite3_stmt *from, sqlite3_stmt *to)
{
    for (int i = 0; i < sqlite3_column_count(from); i++)
        sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i));
    if (sqlite3_step(to) == SQLITE_DONE)
        g->copied++;
    else
        g->lost++;
    sqlite3_reset(to);
}

/* One by one, since each is looked up from the root: damage hides its own page. */
static void copy_rows(struct salvage *g, const char *table, const char *counter)
{
    int64_t last = last_key(g, table, counter);
    sqlite3_stmt *from = NULL, *to = NULL;
    int gap = 0;

    if (prepare(g, table, " WHERE rowid = ?1", &from, &to))
        for (int64_t i = 1; i <= last || (last == 0 && gap < GAP); i++) {
            int rc;

            sqlite3_bind_int64(from, 1, i);
            rc = sqlite3_step(from);
            if (rc == SQLITE_ROW)
                copy_row(g, from, to);
            else
                g->lost += rc != SQLITE_DONE;
            gap = rc == SQLITE_ROW ? 0 : gap + 1;
            sqlite3_reset(from);
        }
    sqlite3_finalize(from);
    sqlite3_finalize(to);
}

/* Tables without numbered rows: as far as they can be read from the front. */
static void copy_front(struct salvage *g, const char *table)
{
    sqlite3_stmt *from = NULL, *to = NULL;
    int rc;

    if (prepare(g, table, "", &from, &to)) {
        while ((rc = sqlite3_step(from)) == SQLITE_ROW)
            copy_row(g, from, to);
        g->lost += rc != SQLITE_DONE;
    }
    sqlite3_finalize(from);
    sqlite3_finalize(to);
}

/* Numbers are never given twice, whatever was lost. */
static void copy_counter(struct salvage *g, const char *table)
{
    char query[200];

    snprintf(query, sizeof query,
             "DELETE FROM sqlite_sequence WHERE name = '%s' AND seq < %lld;"
             "INSERT INTO sqlite_sequence SELECT '%s', %lld WHERE NOT EXISTS"
             " (SELECT 1 FROM sqlite_sequence WHERE name = '%s')",
             table, (long long)last_key(g, table, table), table,
             (long long)last_key(g, table, table), table);
    sqlite3_exec(g->fresh, query, NULL, NULL, NULL);
}

static int copy_all(struct salvage *g, const char *path, struct err *e)
{
    if (number(g->old, "PRAGMA user_version") !=
            number(g->fresh, "PRAGMA user_version") ||
        sqlite3_exec(g->fresh, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return err_set(e, ERR_FAILED, "%s: cannot be salvaged: its version is unknown",
                       path);
    copy_front(g, "meta");
    copy_front(g, "submission");
    copy_rows(g, "job", "job");
    copy_rows(g, "spec", "job");
    copy_rows(g, "event", "event");
    copy_rows(g, "folder", "job");
    copy_front(g, "damaged");
    copy_counter(g, "job");
    copy_counter(g, "event");
    if (number(g->fresh, "SELECT count(*) FROM meta WHERE key = 'uuid'") != 1)
        return err_set(e, ERR_FAILED,
                       "%s: is damaged beyond what can be salvaged; move it away to "
                       "start anew",
                       path);
    return sqlite3_exec(g->fresh, "COMMIT", NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : err_set(e, ERR_RETRY, "%s: cannot be salvaged: %s", path,
                         sqlite3_errmsg(g->fresh));
}

int store_finish_salvage(const char *dir, struct err *e)
{
    static const char *const parts[] = {"-wal", "-shm", ""};
    char from[PATH_MAX], to[PATH_MAX], salvaged[PATH_MAX];
    int64_t now = clock_wall_us() / 1000000;

    snprintf(salvaged, sizeof salvaged, "%.4000s/nnd.db.salvaged", dir);
    if (!fs_exists(salvaged))
        return 0;
    for (int i = 0; i < 3; i++) {
        snprintf(from, sizeof from, "%.4000s/nnd.db%s", dir, parts[i]);
        snprintf(to, sizeof to, "%.4000s/nnd.db.damaged-%lld%s", dir, (long long)now,
                 parts[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return err_sys(e, ERR_FAILED, errno, "%s", from);
    }
    if (rename(salvaged, from) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", salvaged);
    return fs_sync_dir(dir, e);
}

/* From the moment when the copy bears its name on, it counts, even if the power fails
 * before the damaged file and its log, which would be taken for the copy's, have
 * stepped aside. */
static int name_copy(const char *dir, const char *fresh, struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.4000s/nnd.db.salvaged", dir);
    if (rename(fresh, path) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", fresh);
    return fs_sync_dir(dir, e);
}

int store_salvage(const char *dir, struct err *e)
{
    char old[PATH_MAX], fresh[PATH_MAX];
    struct salvage g = {0};
    int rc;

    snprintf(old, sizeof old, "%.4000s/nnd.db", dir);
    snprintf(fresh, sizeof fresh, "%.4000s/nnd.db.new", dir);
    unlink(fresh);
    if (sqlite3_open_v2(fresh, &g.fresh, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK ||
        sqlite3_open_v2(old, &g.old, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        store_create_tables(g.fresh) != SQLITE_OK)
        rc = err_set(e, ERR_FAILED, "%s: cannot be salvaged: %s", old,
                     sqlite3_errmsg(g.fresh));
    else
        rc = copy_all(&g, old, e);
    sqlite3_close(g.fresh);
    sqlite3_close(g.old);
    if (rc == 0)
        rc = name_copy(dir, fresh, e);
    if (rc < 0) {
        unlink(fresh);
        return rc;
    }
    log_warn("salvaged the store: rows=%lld unreadable=%lld", (long long)g.copied,
             (long long)g.lost);
    return store_finish_salvage(dir, e);
}
