/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_pool.c - every task once, whatever the threads do, and clean failure.
 */
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "unit.h"

enum { TASKS = 1000 };

static atomic_int ran[TASKS];
static struct pool *pool;

static void count_task(void *arg, int i)
{
    atomic_fetch_add(&((atomic_int *)arg)[i], 1);
}

static void every_task_runs_once(void **state)
{
    struct err e;

    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        assert_int_equal(pool_create(threads, NULL, NULL, &pool, &e), 0);
        assert_int_equal(pool_threads(pool), threads);
        if (threads % 2)
            pool_alone(pool);
        memset(ran, 0, sizeof ran);
        for (int run = 0; run < 200; run++)
            pool_run(pool, run, count_task, ran);
        for (int i = 0; i < TASKS; i++)
            assert_int_equal(ran[i], i < 199 ? 199 - i : 0);
        pool_destroy(pool);
    }
    pool_destroy(NULL);
}

static _Thread_local int me; /* the caller is 0 */

static void number_thread(void *arg, int index)
{
    (void)arg;
    me = index;
}

static struct {
    int by[8];
    atomic_int begun[8], ended;
    int order[8];
} part;

/* Tasks of both halves begin at once, pair by pair. */
static void meet_the_other(void *arg, int i)
{
    int other = (i + 4) % 8;

    (void)arg;
    part.by[i] = me;
    atomic_store(&part.begun[i], 1);
    while (!atomic_load(&part.begun[other]))
        usleep(100);
}

static void threads_keep_their_part(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(pool_create(2, number_thread, NULL, &pool, &e), 0);
    for (int run = 0; run < 10; run++) {
        memset(&part, 0, sizeof part);
        pool_run(pool, 8, meet_the_other, NULL);
        for (int i = 0; i < 8; i++)
            assert_int_equal(part.by[i], i / 4);
    }
    pool_destroy(pool);
}

/* The first task begins before and ends after all others. */
static void outlast_others(void *arg, int i)
{
    (void)arg;
    atomic_store(&part.begun[i], 1);
    while (!atomic_load(&part.begun[0]))
        usleep(100);
    while (i == 0 && atomic_load(&part.ended) < 7)
        usleep(100);
    part.order[atomic_fetch_add(&part.ended, 1)] = i;
}

/* Who has done its part takes over another's, from its end. */
static void nobody_waits_for_a_slow_one(void **state)
{
    static const int wanted[] = {4, 5, 6, 7, 3, 2, 1, 0};
    struct err e;

    (void)state;
    assert_int_equal(pool_create(2, NULL, NULL, &pool, &e), 0);
    memset(&part, 0, sizeof part);
    pool_run(pool, 8, outlast_others, NULL);
    assert_memory_equal(part.order, wanted, sizeof wanted);
    pool_destroy(pool);
}

/* Runs with pauses between them find the threads asleep. */
static void sleeping_threads_wake(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(pool_create(3, NULL, NULL, &pool, &e), 0);
    memset(ran, 0, sizeof ran);
    for (int run = 0; run < 20; run++) {
        usleep(2000);
        pool_run(pool, 50, count_task, ran);
    }
    for (int i = 0; i < 50; i++)
        assert_int_equal(ran[i], 20);
    pool_destroy(pool);
}

static void wait_for_the_other(void *arg, int i)
{
    atomic_int *arrived = arg;

    (void)i;
    atomic_fetch_add(arrived, 1);
    while (atomic_load(arrived) < 2)
        usleep(100);
}

/* Two tasks that wait for each other end only if two threads run them; the
 * caller sleeps meanwhile, since this takes longer than it spins. */
static void tasks_run_at_once(void **state)
{
    atomic_int arrived = 0;
    struct err e;

    (void)state;
    assert_int_equal(pool_create(2, NULL, NULL, &pool, &e), 0);
    usleep(2000);
    pool_run(pool, 2, wait_for_the_other, &arrived);
    assert_int_equal(arrived, 2);
    pool_destroy(pool);
}

struct nest {
    atomic_int inner, strangers;
};

struct inner {
    struct nest *nest;
    pthread_t owner;
};

static void inner_task(void *arg, int i)
{
    struct inner *in = arg;

    (void)i;
    atomic_fetch_add(&in->nest->inner, 1);
    if (!pthread_equal(pthread_self(), in->owner))
        atomic_fetch_add(&in->nest->strangers, 1);
}

static void outer_task(void *arg, int i)
{
    struct inner in = {arg, pthread_self()};

    (void)i;
    pool_run(pool, 10, inner_task, &in);
}

static void nested_runs_stay_in_their_thread(void **state)
{
    struct nest nest = {0};
    struct err e;

    (void)state;
    assert_int_equal(pool_create(3, NULL, NULL, &pool, &e), 0);
    pool_run(pool, 40, outer_task, &nest);
    assert_int_equal(nest.inner, 400);
    assert_int_equal(nest.strangers, 0);
    pool_destroy(pool);
}

static void note_start(void *arg, int index)
{
    atomic_fetch_add(&((atomic_int *)arg)[index], 1);
}

static void each_helper_calls_the_start_hook(void **state)
{
    struct err e;

    (void)state;
    memset(ran, 0, sizeof ran);
    assert_int_equal(pool_create(4, note_start, ran, &pool, &e), 0);
    pool_destroy(pool);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ran[i], i >= 1 && i < 4);
}

static void wrong_counts_are_refused(void **state)
{
    struct err e;

    (void)state;
    pool = NULL;
    assert_int_equal(pool_create(0, NULL, NULL, &pool, &e), ERR_FAILED);
    assert_int_equal(pool_create(1 << 20, NULL, NULL, &pool, &e), ERR_FAILED);
    assert_null(pool);
}

/* Stacks for so many threads do not fit: the threads already started end. */
static void failed_create_leaves_nothing(void **state)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    unit_skip("a sanitizer needs the address space that this takes away");
#endif
    struct rlimit old, small;
    struct err e;

    (void)state;
    pool = NULL;
    getrlimit(RLIMIT_AS, &old);
    small = old;
    small.rlim_cur = (rlim_t)512 << 20;
    setrlimit(RLIMIT_AS, &small);
    int rc = pool_create(1000, NULL, NULL, &pool, &e);
    setrlimit(RLIMIT_AS, &old);
    assert_int_equal(rc, ERR_FAILED);
    assert_null(pool);
    assert_memory_equal(e.text, "thread pool: start thread ", 26);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(threads_keep_their_part),
        cmocka_unit_test(nobody_waits_for_a_slow_one),
        cmocka_unit_test(sleeping_threads_wake),
        cmocka_unit_test(tasks_run_at_once),
        cmocka_unit_test(nested_runs_stay_in_their_thread),
        cmocka_unit_test(each_helper_calls_the_start_hook),
        cmocka_unit_test(wrong_counts_are_refused),
        cmocka_unit_test(failed_create_leaves_nothing),
    };

    return cmocka_run_group_tests_name("base/pool", tests, NULL, NULL);
}
