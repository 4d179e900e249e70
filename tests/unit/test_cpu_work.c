/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_work.c - each task once, each worker its own part first, and nobody's work
 * left when a worker does not come.
 */
#include "plugins/cpu/work.h"

#include "plugins/cpu/par.h"
#include "unit.h"

enum { TASKS = 8 };

static struct {
    int n, task[TASKS], slot[TASKS];
} seen;

static char room[64];

static void note(void *arg, int task, void *slot)
{
    (void)arg;
    seen.task[seen.n] = task;
    seen.slot[seen.n++] = (int)((char *)slot - room);
}

static int forwards(void *h, int n, void (*fn)(void *arg, int i), void *arg)
{
    (void)h;
    for (int i = 0; i < n; i++)
        fn(arg, i);
    return NND_OK;
}

static int backwards(void *h, int n, void (*fn)(void *arg, int i), void *arg)
{
    (void)h;
    for (int i = n - 1; i >= 0; i--)
        fn(arg, i);
    return NND_OK;
}

static int run(int (*parallel)(void *, int, void (*)(void *, int), void *), int threads,
               size_t size)
{
    struct nnd_host host = {.parallel = parallel};
    struct nnd_launch l = {.nthreads = threads};

    par_init(&host);
    memset(&seen, 0, sizeof seen);
    return work_run(&l, TASKS, 16, room, size, note, NULL);
}

static void a_worker_alone_does_all(void **state)
{
    static const int first[] = {0, 1, 2, 3, 7, 6, 5, 4};
    static const int second[] = {4, 5, 6, 7, 3, 2, 1, 0};

    (void)state;
    assert_int_equal(run(forwards, 2, sizeof room), NND_OK);
    assert_memory_equal(seen.task, first, sizeof first);
    assert_int_equal(run(backwards, 2, sizeof room), NND_OK);
    assert_memory_equal(seen.task, second, sizeof second);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(seen.slot[i], 16);
}

/* As many workers as the workspace has slots for, at least one. */
static void workspace_bounds_the_workers(void **state)
{
    (void)state;
    assert_int_equal(run(backwards, 3, 32), NND_OK);
    assert_int_equal(seen.n, TASKS);
    assert_int_equal(seen.task[0], 4);
    assert_int_equal(run(backwards, 3, 16), NND_OK);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(seen.task[i], i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_alone_does_all),
        cmocka_unit_test(workspace_bounds_the_workers),
    };

    return cmocka_run_group_tests_name("cpu/work", tests, NULL, NULL);
}
