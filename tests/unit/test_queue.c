/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_queue.c - what jobs that wait for others wait for, and what the queue does when
 * the disk refuses or the clock is set; with a hub that has no sockets.
 */
#include "tests/unit/unit.h"

#include <sqlite3.h>

#include "base/clock.h"
#include "daemon/need.h"
#include "daemon/queue.h"

static void hub_begin(const char *dir, struct hub *h)
{
    static Nnd__User user = NND__USER__INIT;
    static Nnd__Config conf = NND__CONFIG__INIT;
    struct err e;

    conf.user = &user;
    *h = (struct hub){.opt = {.conf = &conf}, .queue = queue_create()};
    assert_int_equal(store_open(dir, &h->store, &e), 0);
    assert_int_equal(nodes_local("here", 4, &h->nodes, &e), 0);
    h->slots = h->nodes.slots;
}

static void hub_end(struct hub *h)
{
    for (size_t i = 0; i < h->njobs; i++)
        job_destroy(h->jobs[i]);
    free(h->jobs);
    free(h->dirty);
    queue_destroy(h->queue);
    nodes_free(&h->nodes);
    store_close(h->store);
}

static struct job *make(const char *needs)
{
    struct job *j = job_create(0);

    j->name = strdup("a name");
    j->cwd = strdup("/somewhere");
    j->ranks = j->threads = 1;
    j->needs = needs ? strdup(needs) : NULL;
    return j;
}

static void commit(struct hub *h)
{
    struct err e = {0};

    if (store_commit(h->store, &e) < 0)
        fail_msg("%s", e.text);
}

/* A job with these events, in the store alone, as if it had ended long ago. */
static uint64_t stored(struct hub *h, uint64_t array, const enum event_kind *kinds)
{
    const struct submission sub = {.hash = "x", .spec = "x", .spec_size = 1};
    struct job *j = make(NULL);
    struct err e = {0};
    uint64_t id;
    bool known;

    j->array = array;
    assert_int_equal(store_add(h->store, j, &sub, &known, &e), 0);
    for (; *kinds; kinds++) {
        struct event ev = {.kind = *kinds, .attempt = 1, .bad_rank = -1};

        if (store_post(h->store, j, &ev, &e) < 0)
            fail_msg("%s", e.text);
    }
    id = j->id;
    job_destroy(j);
    return id;
}

static const enum event_kind held[] = {EVENT_SUBMIT, EVENT_HOLD, 0};
static const enum event_kind completed[] = {EVENT_SUBMIT, EVENT_QUEUE, EVENT_START,
                                            EVENT_COMPLETE, 0};
static const enum event_kind failed[] = {EVENT_SUBMIT, EVENT_QUEUE, EVENT_START,
                                         EVENT_FAIL, 0};

static enum need look(struct hub *h, const char *needs)
{
    struct need_memo m = {0};
    struct job *j = make(needs);
    enum need found = need_look(h, j, &m);

    job_destroy(j);
    return found;
}

/* An array of four, then a job, then whichever are forgotten. */
static void test_arrays(void **state)
{
    struct hub h;
    struct err e;

    hub_begin(*state, &h);
    assert_int_equal(stored(&h, 1, completed), 1);
    assert_int_equal(stored(&h, 1, completed), 2);
    assert_int_equal(stored(&h, 1, held), 3);
    assert_int_equal(stored(&h, 1, failed), 4);
    assert_int_equal(stored(&h, 0, failed), 5);
    commit(&h);
    assert_int_equal(look(&h, "ok:1"), NEED_OPEN);
    assert_int_equal(look(&h, "any:1"), NEED_OPEN);
    assert_int_equal(look(&h, "ok:2"), NEED_MET);
    assert_int_equal(look(&h, "ok:2,notok:5"), NEED_MET);
    assert_int_equal(look(&h, "ok:5"), NEED_NEVER);
    assert_int_equal(store_forget(h.store, 2, &e), 0);
    assert_int_equal(look(&h, "any:1"), NEED_OPEN);
    assert_int_equal(look(&h, "ok:1"), NEED_NEVER);
    assert_int_equal(store_forget(h.store, 1, &e), 0);
    assert_int_equal(look(&h, "any:1"), NEED_OPEN);
    assert_int_equal(store_forget(h.store, 3, &e), 0);
    assert_int_equal(look(&h, "any:1"), NEED_MET);
    assert_int_equal(store_forget(h.store, 5, &e), 0);
    assert_int_equal(look(&h, "any:5"), NEED_MET);
    assert_int_equal(look(&h, "notok:5"), NEED_NEVER);
    hub_end(&h);
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

/* What cannot be read has not ended, nor is it gone. */
static void test_unreadable(void **state)
{
    struct hub h;

    hub_begin(*state, &h);
    stored(&h, 0, completed);
    commit(&h);
    change(*state, "ALTER TABLE job RENAME TO away");
    assert_int_equal(look(&h, "ok:1"), NEED_UNKNOWN);
    assert_int_equal(look(&h, "any:1"), NEED_UNKNOWN);
    change(*state, "ALTER TABLE away RENAME TO job");
    assert_int_equal(look(&h, "ok:1"), NEED_MET);
    hub_end(&h);
}

/* Who asks for the same needs again is told what was found. */
static void test_memo(void **state)
{
    struct need_memo m = {0};
    struct job *one = make("ok:1"), *same = make("ok:1"), *other = make("notok:1");
    struct hub h;

    hub_begin(*state, &h);
    stored(&h, 0, failed);
    commit(&h);
    assert_int_equal(need_look(&h, one, &m), NEED_NEVER);
    assert_string_equal(m.why, "canceled: it was to run after the success of job 1");
    change(*state, "ALTER TABLE job RENAME TO away");
    assert_int_equal(need_look(&h, same, &m), NEED_NEVER);
    assert_int_equal(need_look(&h, other, &m), NEED_UNKNOWN);
    assert_string_equal(m.why, "waits for the failure of job 1");
    change(*state, "ALTER TABLE away RENAME TO job");
    job_destroy(one);
    job_destroy(same);
    job_destroy(other);
    hub_end(&h);
}

/* --- the queue ------------------------------------------------------------ */

/* A job as it is after these events, in the hub and in the store. */
static struct job *added(struct hub *h, const char *needs, const enum event_kind *kinds)
{
    const struct submission sub = {.hash = "x", .spec = "x", .spec_size = 1};
    struct job *j = make(needs);
    struct err e = {0};
    bool known;

    assert_int_equal(store_add(h->store, j, &sub, &known, &e), 0);
    hub_add(h, j);
    for (; *kinds; kinds++) {
        struct event ev = {.kind = *kinds, .attempt = 1, .bad_rank = -1};

        if (ev.kind == EVENT_RETRY)
            ev.due_us = clock_wall_us() + 86400 * 1000000LL;
        if (hub_post(h, j, &ev, &e) < 0)
            fail_msg("%s", e.text);
    }
    return j;
}

static const enum event_kind queued[] = {EVENT_SUBMIT, EVENT_QUEUE, 0};
static const enum event_kind delayed[] = {EVENT_SUBMIT, EVENT_QUEUE, EVENT_START,
                                          EVENT_RETRY, 0};

/* The journal refuses a start and a cancel: both come when it takes them again. */
static void test_refused(void **state)
{
    struct job *ready, *late;
    struct hub h;
    struct err e;

    hub_begin(*state, &h);
    stored(&h, 0, failed);
    ready = added(&h, NULL, queued);
    late = added(&h, "ok:1", queued);
    commit(&h);
    change(*state, "ALTER TABLE event RENAME TO away");
    queue_act(&h);
    assert_true(store_commit(h.store, &e) < 0);
    assert_int_equal(ready->state, WIRE__STATE__QUEUED);
    assert_int_equal(late->state, WIRE__STATE__QUEUED);
    change(*state, "ALTER TABLE away RENAME TO event");
    queue_act(&h);
    commit(&h);
    assert_int_equal(ready->state, WIRE__STATE__STARTING);
    assert_int_equal(late->state, WIRE__STATE__CANCELED);
    hub_end(&h);
}

/* A back-off of a day is none that nnd made: the clock stood there meanwhile. */
static void test_clock(void **state)
{
    struct job *j;
    struct hub h;

    hub_begin(*state, &h);
    j = added(&h, NULL, delayed);
    commit(&h);
    assert_int_equal(j->state, WIRE__STATE__RETRY_WAIT);
    queue_act(&h);
    assert_int_not_equal(j->state, WIRE__STATE__RETRY_WAIT);
    hub_end(&h);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_arrays),  TEST(test_unreadable), TEST(test_memo),
        TEST(test_refused), TEST(test_clock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
