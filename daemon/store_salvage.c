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
    sqlite3 *db; /* the new file, to which the damaged one is attached as old */
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
    char query[200];
    int64_t tree, count;

    snprintf(query, sizeof query, "SELECT max(rowid) FROM old.%s", table);
    tree = number(g->db, query);
    snprintf(query, sizeof query,
             "SELECT seq FROM old.sqlite_sequence WHERE name = '%s'", counter);
    count = number(g->db, query);
    return tree > count ? tree : count;
}

/* One by one, since each is looked up from the root: damage hides its own page. */
static void copy_rows(struct salvage *g, const char *table, const char *counter)
{
    int64_t last = last_key(g, table, counter);
    char query[200];
    sqlite3_stmt *st;
    int gap = 0;

    snprintf(query, sizeof query,
             "INSERT OR IGNORE INTO main.%s SELECT * FROM old.%s WHERE rowid = ?1",
             table, table);
    if (sqlite3_prepare_v2(g->db, query, -1, &st, NULL) != SQLITE_OK) {
        g->lost++;
        return;
    }
    for (int64_t i = 1; i <= last || (last == 0 && gap < GAP); i++) {
        sqlite3_bind_int64(st, 1, i);
        if (sqlite3_step(st) != SQLITE_DONE)
            g->lost++;
        else
            g->copied += sqlite3_changes(g->db);
        gap = sqlite3_changes(g->db) ? 0 : gap + 1;
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
}

/* Tables without numbered rows: as far as they can be read from the front. */
static void copy_front(struct salvage *g, const char *table)
{
    char query[200];
    sqlite3_stmt *from, *to;
    int columns, rc = SQLITE_ERROR;

    snprintf(query, sizeof query, "SELECT * FROM old.%s", table);
    if (sqlite3_prepare_v2(g->db, query, -1, &from, NULL) != SQLITE_OK) {
        g->lost++;
        return;
    }
    columns = sqlite3_column_count(from);
    snprintf(query, sizeof query, "INSERT OR IGNORE INTO main.%s VALUES (?1%s%s)",
             table, columns > 1 ? ", ?2" : "", columns > 2 ? ", ?3, ?4, ?5" : "");
    if (sqlite3_prepare_v2(g->db, query, -1, &to, NULL) == SQLITE_OK)
        while ((rc = sqlite3_step(from)) == SQLITE_ROW) {
            for (int i = 0; i < columns; i++)
                sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i));
            sqlite3_step(to);
            g->copied += sqlite3_changes(g->db);
            sqlite3_reset(to);
        }
    g->lost += rc != SQLITE_DONE;
    sqlite3_finalize(from);
    sqlite3_finalize(to);
}

static int copy_all(struct salvage *g, const char *old, struct err *e)
{
    sqlite3_stmt *attach = NULL;
    bool attached =
        sqlite3_prepare_v2(g->db, "ATTACH ?1 AS old", -1, &attach, NULL) == SQLITE_OK &&
        sqlite3_bind_text(attach, 1, old, -1, SQLITE_STATIC) == SQLITE_OK &&
        sqlite3_step(attach) == SQLITE_DONE;

    sqlite3_finalize(attach);
    if (!attached || store_create_tables(g->db) != SQLITE_OK ||
        sqlite3_exec(g->db, "BEGIN", NULL, NULL, NULL) != SQLITE_OK)
        return err_set(e, ERR_FAILED, "%s: cannot be salvaged: %s", old,
                       sqlite3_errmsg(g->db));
    copy_front(g, "meta");
    copy_front(g, "submission");
    copy_rows(g, "job", "job");
    copy_rows(g, "spec", "job");
    copy_rows(g, "event", "event");
    /* numbers are never given twice, whatever was lost */
    sqlite3_exec(
        g->db,
        "UPDATE main.sqlite_sequence SET seq = max(seq, coalesce((SELECT o.seq"
        " FROM old.sqlite_sequence o WHERE o.name = main.sqlite_sequence.name),"
        " 0))",
        NULL, NULL, NULL);
    if (number(g->db, "SELECT count(*) FROM main.meta WHERE key = 'uuid'") != 1)
        return err_set(e, ERR_FAILED,
                       "%s: is damaged beyond what can be salvaged; move it away to "
                       "start anew",
                       old);
    return sqlite3_exec(g->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : err_set(e, ERR_RETRY, "%s: cannot be salvaged: %s", old,
                         sqlite3_errmsg(g->db));
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
    if (sqlite3_open_v2(fresh, &g.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK)
        rc = err_set(e, ERR_FAILED, "%s: %s", fresh, sqlite3_errmsg(g.db));
    else
        rc = copy_all(&g, old, e);
    sqlite3_close(g.db);
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
