/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_worker_topo.c - who sits where, on machines that hwloc makes up, and
 * that binding here does what it says.
 */
#include "worker/topo.h"

#include <sched.h>

#include "comm/comm_impl.h"
#include "unit.h"

enum { PUS_MAX = 64 };

static struct topo *machine(const char *text)
{
    struct topo *t;
    struct err e;

    if (topo_synthetic(text, &t, &e) < 0)
        fail_msg("%s", e.text);
    return t;
}

static void counts_what_there_is(void **state)
{
    struct topo *t = machine("numa:2 core:4 pu:2");

    (void)state;
    assert_int_equal(topo_nodes(t), 2);
    assert_int_equal(topo_cores(t), 8);
    assert_int_equal(topo_pus(t), 16);
    assert_int_equal(topo_share(t, 1), 8);
    assert_int_equal(topo_share(t, 3), 2);
    assert_int_equal(topo_share(t, 9), 1);
    topo_destroy(t);
}

static void a_machine_without_cores_has_pus(void **state)
{
    struct topo *t = machine("numa:1 pu:4");

    (void)state;
    assert_int_equal(topo_cores(t), 4);
    assert_int_equal(topo_pus(t), 4);
    topo_destroy(t);
}

/* No PU twice; first-to-last PUs of a rank do not cross another rank's. */
static void check_seats(const struct topo *t, int ranks, int threads)
{
    bool taken[PUS_MAX] = {false};
    int last = -1;

    for (int r = 0; r < ranks; r++) {
        const struct topo_seat s = {.rank = r, .ranks = ranks, .threads = threads};

        assert_true(topo_fits(t, &s));
        for (int i = 0; i < threads; i++) {
            int pu = topo_pu(t, &s, i);

            assert_in_range(pu, 0, topo_pus(t) - 1);
            assert_false(taken[pu]);
            assert_true(pu > last);
            taken[pu] = true;
            last = pu;
        }
    }
}

static void every_thread_has_a_pu_of_its_own(void **state)
{
    struct topo *t = machine("numa:2 core:4 pu:2");

    (void)state;
    for (int ranks = 1; ranks <= 16; ranks++)
        for (int threads = 1; ranks * threads <= 16; threads++)
            check_seats(t, ranks, threads);
    topo_destroy(t);
}

static void cores_come_before_hardware_threads(void **state)
{
    struct topo *t = machine("numa:2 core:4 pu:2");
    bool core[8] = {false};

    (void)state;
    for (int r = 0; r < 4; r++) {
        for (int i = 0; i < 2; i++) {
            const struct topo_seat s = {.rank = r, .ranks = 4, .threads = 2};
            int pu = topo_pu(t, &s, i);

            assert_int_equal(pu % 2, 0);
            assert_false(core[pu / 2]);
            core[pu / 2] = true;
        }
    }
    topo_destroy(t);
}

static void a_rank_stays_in_its_node(void **state)
{
    struct topo *t = machine("numa:2 core:4 pu:1");

    (void)state;
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 3; i++) {
            const struct topo_seat s = {.rank = r, .ranks = 2, .threads = 3};

            assert_int_equal(topo_pu(t, &s, i) / 4, r);
        }
    topo_destroy(t);
}

/* The kernel often numbers the second hardware threads after all the first. */
static void the_kernels_numbers_are_handed_out(void **state)
{
    struct topo *t = machine("numa:1 core:4 pu:2(indexes=0,4,1,5,2,6,3,7)");
    const struct topo_seat by_core = {.rank = 1, .ranks = 2, .threads = 2};
    const struct topo_seat by_pu = {.rank = 1, .ranks = 2, .threads = 4};

    (void)state;
    assert_int_equal(topo_pu(t, &by_core, 0), 2);
    assert_int_equal(topo_pu(t, &by_core, 1), 3);
    assert_int_equal(topo_pu(t, &by_pu, 0), 2);
    assert_int_equal(topo_pu(t, &by_pu, 1), 6);
    assert_int_equal(topo_pu(t, &by_pu, 2), 3);
    assert_int_equal(topo_pu(t, &by_pu, 3), 7);
    topo_destroy(t);
}

static void too_many_threads_are_not_bound(void **state)
{
    struct topo *t = machine("numa:1 core:2 pu:1");
    const struct topo_seat s = {.rank = 3, .ranks = 4, .threads = 1};
    const struct topo_seat huge = {.rank = 0, .ranks = 1 << 20, .threads = 1 << 20};

    (void)state;
    assert_false(topo_fits(t, &s));
    assert_false(topo_fits(t, &huge));
    assert_int_equal(topo_pu(t, &s, 0), -1);
    assert_int_equal(topo_bind(t, &s, 0, NULL), 0);
    topo_destroy(t);
}

static void nonsense_is_refused(void **state)
{
    struct topo *t = NULL;
    struct err e;

    (void)state;
    assert_int_equal(topo_synthetic("two of everything", &t, &e), ERR_FAILED);
    assert_string_equal(
        e.text, "topology: \"two of everything\" is not in hwloc's synthetic syntax");
    assert_null(t);
    topo_destroy(NULL);
}

static void alone_in_a_world_of_one(void **state)
{
    struct topo *t = machine("numa:1 core:2 pu:1");
    struct comm *c;
    int rank = -1, ranks = -1;

    (void)state;
    assert_int_equal(comm_self(&c, NULL), 0);
    assert_int_equal(topo_sit(t, c, &rank, &ranks, NULL), 0);
    assert_int_equal(rank, 0);
    assert_int_equal(ranks, 1);
    comm_destroy(c);
    topo_destroy(t);
}

/* Stands for three ranks elsewhere: 0 and 3 see the processors of rank 2. */
static int keys_of_four(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                        struct err *e)
{
    (void)e;
    assert_int_equal(n, 4);
    assert_int_equal(op, COMM_MAX);
    assert_true(x[c->rank] > 1);
    x[0] = x[3] = x[c->rank];
    x[1] = 1;
    return 0;
}

static void neighbours_are_those_on_the_same_pus(void **state)
{
    const struct comm_ops ops = {.allreduce = keys_of_four};
    struct comm c = {.ops = &ops, .rank = 2, .size = 4};
    struct topo *t = machine("numa:1 core:2 pu:1");
    int rank = -1, ranks = -1;

    (void)state;
    assert_int_equal(topo_sit(t, &c, &rank, &ranks, NULL), 0);
    assert_int_equal(rank, 1);
    assert_int_equal(ranks, 3);
    topo_destroy(t);
}

/* Here: bound to one PU, then that one is all there is to see. */
static void binding_takes_hold(void **state)
{
    const struct topo_seat s = {.rank = 0, .ranks = 1, .threads = 1};
    struct topo *t, *after;
    struct err e;
    cpu_set_t before, set;
    int pu;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(topo_here(&t, &e), 0);
    assert_in_range(topo_pus(t), 1, CPU_COUNT(&before));
    assert_in_range(topo_cores(t), 1, topo_pus(t));
    assert_in_range(topo_nodes(t), 1, topo_pus(t));
    pu = topo_pu(t, &s, 0);
    assert_true(CPU_ISSET(pu, &before));

    assert_int_equal(topo_bind(t, &s, 0, &e), 0);
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    assert_int_equal(CPU_COUNT(&set), 1);
    assert_true(CPU_ISSET(pu, &set));
    assert_int_equal(topo_here(&after, &e), 0);
    assert_int_equal(topo_pus(after), 1);
    assert_int_equal(topo_pu(after, &s, 0), pu);

    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    topo_destroy(after);
    topo_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_what_there_is),
        cmocka_unit_test(a_machine_without_cores_has_pus),
        cmocka_unit_test(every_thread_has_a_pu_of_its_own),
        cmocka_unit_test(cores_come_before_hardware_threads),
        cmocka_unit_test(a_rank_stays_in_its_node),
        cmocka_unit_test(the_kernels_numbers_are_handed_out),
        cmocka_unit_test(too_many_threads_are_not_bound),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(alone_in_a_world_of_one),
        cmocka_unit_test(neighbours_are_those_on_the_same_pus),
        cmocka_unit_test(binding_takes_hold),
    };

    return cmocka_run_group_tests_name("worker/topo", tests, NULL, NULL);
}
