/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_store.c - what is committed is there, what is not is gone; keys; replaying
 * the journal gives the rows.
 */
#include "tests/unit/unit.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/sha256.h"
#include "daemon/store.h"

static struct store *reopen(struct store *s, const char *dir)
{
    struct err e = {0};

    store_close(s);
    if (store_open(dir, &s, &e) < 0)
        fail_msg("%s", e.text);
    return s;
}

/* A job as submit makes it. */
static struct job *make(void)
{
    struct job *j = job_create(0);

    j->uid = 7;
    j->name = strdup("a name");
    j->cwd = strdup("/somewhere");
    j->ranks = 2;
    j->threads = 3;
    j->steps = 100;
    j->retry_max = 4;
    j->retry_delay = 1.5;
    return j;
}

static int add(struct store *s, struct job *j, const char *key, const char *spec,
               bool *known, struct err *e)
{
    const struct submission sub = {key, spec, spec, strlen(spec), false};

    return store_add(s, j, &sub, known, e);
}

static void post(struct store *s, struct job *j, enum event_kind kind, const char *text)
{
    struct event ev = {.kind = kind, .bad_rank = -1, .text = text};
    struct err e = {0};

    if (kind == EVENT_START)
        ev.attempt = j->attempt + 1;
    if (kind == EVENT_SAVED)
        ev.step = j->checkpoint_step + 10;
    if (event_is_end(kind)) {
        ev.failure = kind == EVENT_RETRY ? WIRE__FAILURE__SIGNAL : 0;
        ev.signal = kind == EVENT_RETRY ? 9 : 0;
        ev.step = 12;
        ev.due_us = 123456;
        ev.metric = &j->metric;
        ev.cause = "line one\nline two";
    }
    if (store_post(s, j, &ev, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(ev.seq, j->seq);
}

static void commit(struct store *s)
{
    struct err e = {0};

    if (store_commit(s, &e) < 0)
        fail_msg("%s", e.text);
}

static void test_committed_is_there(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make(), *back;
    struct buf spec = {0};
    struct err e;
    bool known;

    assert_int_equal(add(s, j, "key-0", "the spec", &known, &e), 0);
    assert_false(known);
    post(s, j, EVENT_SUBMIT, NULL);
    post(s, j, EVENT_QUEUE, NULL);
    assert_true(store_dirty(s));
    commit(s);
    assert_false(store_dirty(s));
    s = reopen(s, *state);
    assert_int_equal(store_job(s, j->id, &back, &e), 0);
    assert_int_equal(back->uid, 7);
    assert_string_equal(back->name, "a name");
    assert_string_equal(back->cwd, "/somewhere");
    assert_int_equal(back->ranks, 2);
    assert_int_equal(back->threads, 3);
    assert_int_equal(back->steps, 100);
    assert_int_equal(back->retry_max, 4);
    assert_true(back->retry_delay == 1.5);
    assert_int_equal(back->state, WIRE__STATE__QUEUED);
    assert_int_equal(store_spec(s, j->id, &spec, &e), 0);
    assert_string_equal(spec.data, "the spec");
    assert_int_equal(store_seq(s), 2);
    job_destroy(back);
    assert_int_equal(store_job(s, 99, &back, &e), ERR_NOTFOUND);
    buf_free(&spec);
    job_destroy(j);
    store_close(s);
}

static void test_not_committed_is_gone(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make(), *back;
    struct err e;
    bool known;

    assert_int_equal(add(s, j, "key-0", "the spec", &known, &e), 0);
    post(s, j, EVENT_SUBMIT, NULL);
    assert_int_equal(store_seq(s), 0);
    s = reopen(s, *state);
    assert_int_equal(store_job(s, j->id, &back, &e), ERR_NOTFOUND);
    job_destroy(j);
    store_close(s);
}

static void test_keys(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *a = make(), *b = make(), *c = make(), *d = make();
    struct err e;
    bool known;

    assert_int_equal(add(s, a, "key-0", "one", &known, &e), 0);
    assert_false(known);
    assert_int_equal(add(s, b, "key-0", "one", &known, &e), 0); /* same transaction */
    assert_true(known);
    assert_int_equal(b->id, a->id);
    commit(s);
    s = reopen(s, *state);
    assert_int_equal(add(s, c, "key-0", "one", &known, &e), 0);
    assert_true(known);
    assert_int_equal(c->id, a->id);
    assert_int_equal(add(s, d, "key-0", "two", &known, &e), ERR_SPEC);
    d->uid = 8; /* somebody else's key */
    assert_int_equal(add(s, d, "key-0", "two", &known, &e), 0);
    assert_false(known);
    assert_int_equal(d->id, a->id + 1);
    commit(s);
    job_destroy(a);
    job_destroy(b);
    job_destroy(c);
    job_destroy(d);
    store_close(s);
}

/* A way through the states chosen by `seed`: any event that can happen. */
static void wander(struct store *s, struct job *j, unsigned seed)
{
    post(s, j, EVENT_SUBMIT, NULL);
    for (int i = 0; i < 60 && !state_is_final(j->state); i++) {
        enum event_kind kind;
        Wire__State to;

        do {
            seed = seed * 1103515245 + 12345;
            kind = (enum event_kind)(2 + (seed >> 16) % (EVENT_COUNT - 2));
        } while (!state_next(j->state, kind, &to) || (state_is_final(to) && i < 12));
        if (state_is_live(j->state)) { /* figures come from ranks */
            j->metric.has_loss = j->metric.has_step = 1;
            j->metric.loss = 1.0 / (i + 1);
            j->metric.step = (uint64_t)i;
        }
        post(s, j, kind, i % 3 ? "some text" : NULL);
        if (i % 5 == 0)
            commit(s);
    }
}

static void test_replay_is_the_row(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct err e = {0};

    for (unsigned seed = 1; seed <= 40; seed++) {
        struct job *j = make();
        char key[16];
        bool known;

        snprintf(key, sizeof key, "key-%u", seed);
        assert_int_equal(add(s, j, key, "spec", &known, &e), 0);
        wander(s, j, seed);
        commit(s);
        if (store_check(s, j->id, &e) < 0)
            fail_msg("seed %u: %s", seed, e.text);
        job_destroy(j);
    }
    store_close(s);
}

/* The check above can fail. */
static void test_check_finds_a_difference(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make();
    struct err e = {0};
    char path[128];
    sqlite3 *db;
    bool known;

    assert_int_equal(add(s, j, "key-0", "spec", &known, &e), 0);
    wander(s, j, 3);
    commit(s);
    assert_int_equal(store_check(s, j->id, &e), 0);
    store_close(s);
    snprintf(path, sizeof path, "%s/nnd.db", (char *)*state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE job SET attempt = attempt + 1", NULL, NULL, NULL), 0);
    sqlite3_close(db);
    s = reopen(NULL, *state);
    assert_int_equal(store_check(s, j->id, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "another attempt"));
    job_destroy(j);
    store_close(s);
}

static void test_impossible_event(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make();
    struct event ev = {.kind = EVENT_UP, .bad_rank = -1};
    struct err e;
    bool known;

    assert_int_equal(add(s, j, "key-0", "spec", &known, &e), 0);
    post(s, j, EVENT_SUBMIT, NULL);
    assert_int_equal(store_post(s, j, &ev, &e), ERR_FAILED);
    assert_int_equal(j->state, WIRE__STATE__NEW);
    commit(s);
    assert_int_equal(store_seq(s), 1);
    job_destroy(j);
    store_close(s);
}

/* A disk without room: the process may not write files beyond what is there. */
static void test_full_disk(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *a = make(), *b = make(), *back;
    struct rlimit old, none;
    struct err e;
    bool known;
    int rc;

    assert_int_equal(add(s, a, "key-0", "spec", &known, &e), 0);
    post(s, a, EVENT_SUBMIT, NULL);
    commit(s);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = old;
    none.rlim_cur = 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    rc = add(s, b, "key-1", "spec", &known, &e);
    rc = store_commit(s, &e) < 0 ? e.code : rc;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(rc, ERR_RETRY);
    assert_int_equal(add(s, b, "key-1", "spec", &known, &e),
                     0); /* there is room again */
    assert_false(known);
    commit(s);
    assert_int_equal(store_job(s, b->id, &back, &e), 0);
    job_destroy(back);
    job_destroy(a);
    job_destroy(b);
    store_close(s);
}

static void write_file(const char *dir, const char *text)
{
    char path[128];
    struct err e;

    snprintf(path, sizeof path, "%s/nnd.db", dir);
    assert_int_equal(fs_replace(path, text, strlen(text), &e), 0);
}

static void test_damaged_and_newer(void **state)
{
    struct store *s = reopen(NULL, *state);
    char path[128];
    struct err e;
    sqlite3 *db;

    store_close(s);
    snprintf(path, sizeof path, "%s/nnd.db", (char *)*state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_int_equal(store_open(*state, &s, &e), ERR_PROTOCOL);
    assert_non_null(strstr(e.text, "newer nnd"));
    write_file(*state, "this is not a database, however long one looks at it......");
    assert_true(store_open(*state, &s, &e) < 0);
}

static void change(const char *dir, const char *sql)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof path, "%s/nnd.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* n jobs with as many keys, wandered about. */
static void fill(struct store *s, unsigned n)
{
    struct err e;
    bool known;

    for (unsigned i = 1; i <= n; i++) {
        struct job *j = make();
        char key[16];

        snprintf(key, sizeof key, "key-%u", i);
        assert_int_equal(add(s, j, key, "the spec", &known, &e), 0);
        wander(s, j, i);
        job_destroy(j);
    }
    commit(s);
}

static void test_mending(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct err e = {0}, why;
    struct job *back;
    bool lost = true;

    fill(s, 3);
    store_close(s);
    change(*state, "UPDATE job SET attempt = 77, state = 3 WHERE id = 1;"
                   "DELETE FROM event WHERE job = 2 AND seq = "
                   "(SELECT min(seq) FROM event WHERE job = 2);"
                   "UPDATE spec SET packed = 'another' WHERE job = 3");
    s = reopen(NULL, *state);
    for (uint64_t id = 1; id <= 3; id++) {
        assert_int_equal(store_check(s, id, &why), ERR_FAILED);
        assert_int_equal(store_mend(s, id, why.text, &lost, &e), 0);
        assert_int_equal(lost, id > 1);
        commit(s);
        assert_int_equal(store_check(s, id, &e), id > 1 ? ERR_NOTFOUND : 0);
    }
    assert_non_null(strstr(e.text, "set aside"));
    assert_int_equal(store_job(s, 1, &back, &e), 0);
    assert_int_not_equal(back->attempt, 77);
    job_destroy(back);
    store_close(s);
}

static void count_folder(void *arg, uint64_t id)
{
    *(uint64_t *)arg += id;
}

/* Pages in the middle of the file overwritten: most jobs are there again, every one
 * that is there is whole, and numbers go on where they were; so do folders that are to
 * go, and what was set aside. */
static void test_salvage(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make();
    char path[128], junk[4096];
    uint64_t folders = 0;
    unsigned whole = 0;
    struct err e = {0};
    bool known;
    FILE *f;

    fill(s, 60);
    store_close(s); /* and the log is in the file */
    change(*state, "INSERT INTO damaged SELECT 1, 'why', * FROM job WHERE id = 59;"
                   "INSERT INTO folder VALUES (60); DELETE FROM job WHERE id >= 59");
    snprintf(path, sizeof path, "%s/nnd.db", (char *)*state);
    f = fopen(path, "r+b");
    assert_non_null(f);
    memset(junk, 0xa5, sizeof junk);
    fseek(f, 0, SEEK_END);
    fseek(f, ftell(f) / 2 & ~4095L, SEEK_SET);
    fwrite(junk, sizeof junk, 1, f);
    fclose(f);
    s = reopen(NULL, *state);
    assert_true(store_was_salvaged(s));
    for (uint64_t id = 1; id <= 60; id++) {
        struct err why;
        bool lost;
        int rc = store_check(s, id, &why);

        if (rc == ERR_FAILED)
            assert_int_equal(store_mend(s, id, why.text, &lost, &e), 0);
        commit(s);
        whole += store_check(s, id, &e) == 0;
    }
    assert_true(whole >= 30);
    assert_int_equal(store_check(s, 59, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "set aside"));
    assert_int_equal(store_folders(s, count_folder, &folders, &e), 0);
    assert_int_equal(folders, 60);
    assert_int_equal(add(s, j, "key-new", "spec", &known, &e), 0);
    assert_int_equal(j->id, 61);
    commit(s);
    job_destroy(j);
    s = reopen(s, *state);
    assert_false(store_was_salvaged(s));
    store_close(s);
}

static void test_forgetting(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make(), *back;
    struct err e = {0};
    bool known;

    fill(s, 2);
    assert_int_equal(store_forget(s, 2, &e), 0);
    commit(s);
    s = reopen(s, *state);
    assert_int_equal(store_job(s, 2, &back, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "was purged"));
    assert_int_equal(store_job(s, 3, &back, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "no such job"));
    assert_int_equal(add(s, j, "key-2", "the spec", &known, &e), 0);
    assert_true(known); /* its key is kept */
    assert_int_equal(j->id, 2);
    store_close(s);
    change(*state, "UPDATE submission SET time_us = time_us - 7 * 86400000000 - 1"
                   " WHERE key = 'key-2'");
    s = reopen(NULL, *state);
    assert_int_equal(store_forget_keys(s, &e), 0);
    assert_int_equal(add(s, j, "key-2", "another", &known, &e), 0);
    assert_false(known);
    assert_int_equal(j->id, 3); /* numbers are never given twice */
    assert_int_equal(add(s, j, "key-1", "the spec", &known, &e), 0);
    assert_true(known);
    commit(s);
    job_destroy(j);
    store_close(s);
}

/* A store as version 1 wrote it, with one job that was submitted and queued. */
static const char version_1[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, uid INTEGER NOT NULL,"
    " key TEXT NOT NULL, hash TEXT NOT NULL, name TEXT NOT NULL, cwd TEXT NOT NULL,"
    " ranks INTEGER NOT NULL, threads INTEGER NOT NULL, steps INTEGER NOT NULL,"
    " retry_max INTEGER NOT NULL, retry_delay REAL NOT NULL,"
    " submitted_us INTEGER NOT NULL, state INTEGER NOT NULL, reason TEXT,"
    " attempt INTEGER NOT NULL, epoch INTEGER NOT NULL, retries INTEGER NOT NULL,"
    " cancel_asked INTEGER NOT NULL, failure INTEGER NOT NULL,"
    " exit_code INTEGER NOT NULL, signal INTEGER NOT NULL,"
    " failed_step INTEGER NOT NULL, checkpoint TEXT, checkpoint_step INTEGER NOT NULL,"
    " first_step INTEGER NOT NULL, started_us INTEGER NOT NULL,"
    " attempt_started_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,"
    " due_us INTEGER NOT NULL, metric BLOB, seq INTEGER NOT NULL, UNIQUE (uid, key));"
    "CREATE INDEX job_state ON job (state);"
    "CREATE TABLE spec (job INTEGER PRIMARY KEY, packed BLOB NOT NULL);"
    "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " time_us INTEGER NOT NULL, job INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " state INTEGER NOT NULL, attempt INTEGER NOT NULL, failure INTEGER NOT NULL,"
    " exit_code INTEGER NOT NULL, signal INTEGER NOT NULL, bad_rank INTEGER NOT NULL,"
    " step INTEGER NOT NULL, first_step INTEGER NOT NULL, due_us INTEGER NOT NULL,"
    " pid INTEGER NOT NULL, text TEXT, cause TEXT, metric BLOB);"
    "CREATE INDEX event_job ON event (job, seq);"
    "INSERT INTO meta VALUES ('uuid', '0123456789abcdef0123456789abcdef');"
    "INSERT INTO job VALUES (7, 5, 'key-old', '%s', 'old', '/x', 2, 1, 10, 3, 1.5,"
    " 1000, 2, NULL, 0, 0, 0, 0, 0, 0, 0, 0, NULL, 0, 0, 0, 0, 0, 0, NULL, 2);"
    "INSERT INTO spec VALUES (7, 'spec');"
    "INSERT INTO event VALUES (1, 1000, 7, 1, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, NULL,"
    " NULL, NULL), (2, 1000, 7, 2, 2, 0, 0, 0, 0, -1, 0, 0, 0, 0, NULL, NULL, NULL);"
    "PRAGMA user_version = 1";

static void test_version_1(void **state)
{
    struct store *s;
    struct job *j = make(), *back;
    char sql[4096], hash[SHA256_HEX];
    struct err e = {0};
    bool known;

    sha256_bytes("spec", 4, hash);
    snprintf(sql, sizeof sql, version_1, hash);
    change(*state, sql);
    s = reopen(NULL, *state);
    assert_int_equal(store_job(s, 7, &back, &e), 0);
    assert_string_equal(back->name, "old");
    assert_int_equal(back->priority, 50);
    if (store_check(s, 7, &e) < 0)
        fail_msg("%s", e.text);
    j->uid = 5;
    assert_int_equal(add(s, j, "key-old", hash, &known, &e), 0);
    assert_true(known);
    assert_int_equal(add(s, j, "key-new", "spec", &known, &e), 0);
    assert_int_equal(j->id, 8);
    commit(s);
    job_destroy(back);
    job_destroy(j);
    s = reopen(s, *state);
    store_close(s);
}

struct seen {
    uint64_t ids[8];
    size_t n;
};

static bool see(void *arg, const struct job *j)
{
    struct seen *seen = arg;

    seen->ids[seen->n++] = j->id;
    return seen->n < 3;
}

static int each(struct store *s, unsigned states, uint64_t before, struct seen *seen)
{
    const struct store_filter f = {.states = states, .before = before};
    struct err e;

    return store_each(s, &f, see, seen, &e);
}

static void test_lists(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct seen all = {0}, queued = {0}, page = {0};
    struct err e;
    bool known;

    for (int i = 1; i <= 5; i++) {
        struct job *j = make();
        char key[8];

        snprintf(key, sizeof key, "key-%d", i);
        assert_int_equal(add(s, j, key, "spec", &known, &e), 0);
        post(s, j, EVENT_SUBMIT, NULL);
        post(s, j, i % 2 ? EVENT_QUEUE : EVENT_HOLD, NULL);
        if (i == 5)
            post(s, j, EVENT_CANCEL, NULL);
        job_destroy(j);
    }
    commit(s);
    assert_int_equal(each(s, 0xfff, 0, &all), 0);
    assert_int_equal(all.n, 3);
    assert_int_equal(all.ids[0], 5);
    assert_int_equal(all.ids[2], 3);
    assert_int_equal(each(s, 1u << WIRE__STATE__QUEUED, 0, &queued), 0);
    assert_int_equal(queued.n, 2);
    assert_int_equal(queued.ids[0], 3);
    assert_int_equal(queued.ids[1], 1);
    assert_int_equal(each(s, 0xfff, 3, &page), 0);
    assert_int_equal(page.n, 2);
    assert_int_equal(page.ids[0], 2);
    store_close(s);
}

static void save(struct store *s, struct job *j, uint64_t step, uint64_t first_step,
                 uint64_t wanted)
{
    struct event ev = {.kind = EVENT_SAVED,
                       .bad_rank = -1,
                       .step = step,
                       .first_step = first_step,
                       .text = "a checkpoint"};
    struct err e;

    assert_int_equal(store_post(s, j, &ev, &e), 0);
    assert_int_equal(j->checkpoint_step, wanted);
}

/* A smaller step is late, or of an attempt that began before a damaged one. */
static void test_saved_again(void **state)
{
    struct store *s = reopen(NULL, *state);
    struct job *j = make();
    struct err e;
    bool known;

    assert_int_equal(add(s, j, NULL, "the spec", &known, &e), 0);
    post(s, j, EVENT_SUBMIT, NULL);
    post(s, j, EVENT_QUEUE, NULL);
    post(s, j, EVENT_START, NULL);
    save(s, j, 100, 1, 100);
    save(s, j, 90, 0, 100); /* of an nnd that did not say where it took up */
    post(s, j, EVENT_RETRY, NULL);
    post(s, j, EVENT_QUEUE, NULL);
    post(s, j, EVENT_START, NULL);
    assert_int_equal(j->retries, 1);
    save(s, j, 95, 101, 100);
    assert_int_equal(j->retries, 1);
    save(s, j, 95, 91, 95);
    assert_int_equal(j->retries, 0);
    commit(s);
    assert_int_equal(store_check(s, j->id, &e), 0);
    job_destroy(j);
    store_close(s);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_committed_is_there),
        TEST(test_not_committed_is_gone),
        TEST(test_keys),
        TEST(test_replay_is_the_row),
        TEST(test_check_finds_a_difference),
        TEST(test_impossible_event),
        TEST(test_full_disk),
        TEST(test_damaged_and_newer),
        TEST(test_mending),
        TEST(test_salvage),
        TEST(test_forgetting),
        TEST(test_version_1),
        TEST(test_lists),
        TEST(test_saved_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
