/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_replay.c - rows and journal of a store that somebody else has written to:
 * reading, replaying, mending.
 *
 * A line is a row: "job", "event" or "spec" and its values in the order of the table's
 * columns, parted by "|": whole numbers, numbers with a point, "#" and hexadecimal
 * digits for bytes, nothing for NULL, anything else for text.
 * parser: daemon/store_read.c daemon/store_mend.c daemon/job.c daemon/state.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "daemon/store_impl.h"

enum { LINES = 64 };

static sqlite3 *tables; /* store's own, for rows that it would not write */
static struct store *store;

/* Damage knows no constraints: columns may be NULL, and keys are there twice or not. */
static void open_store(void)
{
    char path[300];
    struct err e;

    snprintf(path, sizeof path, "%s/nnd.db", fuzz_dir());
    FUZZ_HOLDS(store_open(fuzz_dir(), &store, &e) == 0);
    store_close(store);
    FUZZ_HOLDS(sqlite3_open(path, &tables) == SQLITE_OK);
    FUZZ_HOLDS(sqlite3_exec(tables,
                            "PRAGMA writable_schema = ON;"
                            "UPDATE sqlite_schema SET sql ="
                            " replace(sql, ' NOT NULL', '') WHERE type = 'table'",
                            NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(tables);
    FUZZ_HOLDS(store_open(fuzz_dir(), &store, &e) == 0);
    tables = store->db;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : 0;
}

static void bind_bytes(sqlite3_stmt *st, int column, const char *hex)
{
    uint8_t bytes[512];
    size_t n = strlen(hex) / 2;

    n = n < sizeof bytes ? n : sizeof bytes;
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    sqlite3_bind_blob(st, column, bytes, (int)n, SQLITE_TRANSIENT);
}

static void bind(sqlite3_stmt *st, int column, const char *text)
{
    char *end;
    long long whole = strtoll(text, &end, 10);

    if (!*text)
        return; /* NULL */
    if (!*end)
        sqlite3_bind_int64(st, column, whole);
    else if (strtod(text, &end), !*end)
        sqlite3_bind_double(st, column, strtod(text, NULL));
    else if (*text == '#')
        bind_bytes(st, column, text + 1);
    else
        sqlite3_bind_text(st, column, text, -1, SQLITE_TRANSIENT);
}

static const struct {
    const char *word, *insert;
} kinds[] = {
    {"job", "INSERT INTO job (hash, " STORE_JOB_COLUMNS ") VALUES (?39, ?1, ?2, ?3, ?4,"
            " ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,"
            " ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33,"
            " ?34, ?35, ?36, ?37, ?38)"},
    {"event", "INSERT INTO event (" STORE_EVENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5,"
              " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)"},
    {"spec", "INSERT INTO spec VALUES (?1, ?2)"},
};

enum { KINDS = sizeof kinds / sizeof *kinds };

static void insert(char *line)
{
    static sqlite3_stmt *made[KINDS];
    char *word = strsep(&line, "|"), *value;
    size_t k = 0;

    while (k < KINDS && strcmp(kinds[k].word, word) != 0)
        k++;
    if (k == KINDS)
        return;
    if (!made[k])
        FUZZ_HOLDS(sqlite3_prepare_v2(tables, kinds[k].insert, -1, &made[k], NULL) ==
                   SQLITE_OK);
    sqlite3_clear_bindings(made[k]);
    for (int c = 1; (value = strsep(&line, "|")) &&
                    c <= sqlite3_bind_parameter_count(made[k]);
         c++)
        bind(made[k], c, value);
    sqlite3_step(made[k]);
    sqlite3_reset(made[k]);
}

/* --- what nnd does with them ------------------------------------------------ */

static bool look_job(void *arg, const struct job *j)
{
    Wire__JobInfo info;

    job_info(j, &info);
    *(uint64_t *)arg = j->id;
    return true;
}

static bool look_event(void *arg, const struct event *ev)
{
    size_t *bytes = arg;

    *bytes += strlen(event_name(ev->kind)) + strlen(state_name(ev->state)) +
              strlen(failure_name(ev->failure)) + (ev->text ? strlen(ev->text) : 0);
    return true;
}

static void look_folder(void *arg, uint64_t id)
{
    *(uint64_t *)arg = id;
}

static void mend(void *arg, uint64_t id, const char *text)
{
    struct err e;
    bool lost;

    (void)arg;
    if (store_mend(store, id, text, &lost, &e) < 0)
        return;
    FUZZ_HOLDS(lost || store_check(store, id, &e) == 0);
    FUZZ_HOLDS(!lost || store_check(store, id, &e) == ERR_NOTFOUND);
}

static void read_all(void)
{
    struct store_filter all = {.states = ~0u}, live = {.states = 0xff};
    struct buf spec = {0};
    uint64_t id = 0, n;
    size_t bytes = 0;
    unsigned seen;
    struct err e;

    store_each(store, &all, look_job, &id, &e);
    store_each(store, &live, look_job, &n, &e);
    store_ended(store, 0, look_job, &n, &e);
    store_count_ended(store, &n, &e);
    store_events(store, 0, 0, look_event, &bytes, &e);
    store_folders(store, look_folder, &n, &e);
    store_spec(store, id, &spec, &e);
    store_next_id(store, &n, &e);
    buf_free(&spec);
    store_check_all(store, 0, LINES, mend, NULL, &n, &seen, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup(size ? (const char *)data : "", size), *rest = text, *line;
    struct err e;

    if (!store)
        open_store();
    FUZZ_HOLDS(store_begin(store, &e) == 0);
    for (int n = 0; n < LINES && (line = strsep(&rest, "\n")); n++)
        insert(line);
    read_all();
    sqlite3_exec(tables, "ROLLBACK", NULL, NULL, NULL);
    store->dirty = store->broken = false;
    free(text);
    return 0;
}
