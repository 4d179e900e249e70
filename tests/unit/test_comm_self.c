/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_comm_self.c - a world of one: data keeps its place, counters count.
 */
#include "comm/comm.h"

#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

static int setup(void **state)
{
    struct comm *c;

    if (comm_self(&c, NULL) < 0)
        return -1;
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    comm_destroy(*state);
    return 0;
}

static void assert_counted(const struct comm *c, int64_t calls, int64_t local)
{
    const struct comm_count n = comm_counted(c);

    assert_int_equal(n.calls, calls);
    assert_int_equal(n.remote, 0);
    assert_int_equal(n.local, local);
}

static void is_rank_0_of_1(void **state)
{
    assert_int_equal(comm_rank(*state), 0);
    assert_int_equal(comm_size(*state), 1);
    assert_counted(*state, 0, 0);
}

static void alltoallv_copies_to_itself(void **state)
{
    const char send[] = "0123456789";
    char recv[] = "..........";
    const size_t len = 4, from = 3, to = 1, none = 0;

    assert_int_equal(comm_alltoallv(*state, send, &len, &from, recv, &len, &to, NULL),
                     0);
    assert_string_equal(recv, ".3456.....");
    assert_int_equal(
        comm_alltoallv(*state, NULL, &none, &none, NULL, &none, &none, NULL), 0);
    assert_counted(*state, 2, 4);
}

static void alltoallv_refuses_unequal_lengths(void **state)
{
    char send[8] = {0}, recv[8];
    const size_t sent = 4, wanted = 8, off = 0;
    struct err e;

    assert_int_equal(comm_alltoallv(*state, send, &sent, &off, recv, &wanted, &off, &e),
                     ERR_FAILED);
    assert_string_equal(e.text,
                        "comm alltoallv: rank 0: wanted 8 bytes from itself, found 4");
    assert_counted(*state, 0, 0);
}

static void the_rest_leaves_data_alone(void **state)
{
    char text[] = "abc";
    int64_t x[2] = {-5, 7};
    const size_t len = 3, off = 0;

    assert_int_equal(comm_allgatherv(*state, text, &len, &off, NULL), 0);
    assert_int_equal(comm_bcast(*state, text, 3, 0, NULL), 0);
    assert_int_equal(comm_allreduce(*state, x, 2, COMM_MAX, NULL), 0);
    assert_int_equal(comm_barrier(*state, NULL), 0);
    assert_string_equal(text, "abc");
    assert_int_equal(x[0], -5);
    assert_int_equal(x[1], 7);
    assert_counted(*state, 4, 3 + 3 + 16);
}

static void bcast_wants_a_root_of_its_world(void **state)
{
    struct err e;

    assert_int_equal(comm_bcast(*state, NULL, 0, 1, &e), ERR_FAILED);
    assert_string_equal(e.text, "comm bcast: wanted a root below 1, found rank 1");
}

static void a_part_counts_for_itself(void **state)
{
    struct comm *part;
    struct err e;

    assert_int_equal(comm_split(*state, 5, &part, &e), 0);
    assert_int_equal(comm_size(part), 1);
    assert_int_equal(comm_barrier(part, &e), 0);
    assert_counted(part, 1, 0);
    assert_counted(*state, 0, 0);
    comm_destroy(part);
    assert_int_equal(comm_split(*state, -1, &part, &e), ERR_FAILED);
    assert_string_equal(e.text, "comm split: wanted a color from 0 on, found -1");
}

static void abort_ends_the_process(void **state)
{
    pid_t child = fork();
    int status;

    if (child == 0)
        comm_abort(*state, 42);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void destroying_nothing_is_legal(void **state)
{
    (void)state;
    comm_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_rank_0_of_1, setup, teardown),
        cmocka_unit_test_setup_teardown(alltoallv_copies_to_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(alltoallv_refuses_unequal_lengths, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_rest_leaves_data_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(bcast_wants_a_root_of_its_world, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_part_counts_for_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(abort_ends_the_process, setup, teardown),
        cmocka_unit_test(destroying_nothing_is_legal),
    };

    return cmocka_run_group_tests_name("comm/self", tests, NULL, NULL);
}
