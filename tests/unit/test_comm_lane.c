/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_comm_lane.c - a lane does its jobs in order, stops at the first that fails,
 * and knows what it hid.
 */
#include "comm/lane.h"

#include <stdatomic.h>
#include <time.h>

#include "unit.h"

enum { SLEEP_NS = 10000000 };

struct lab {
    struct comm *comm;
    struct lane *lane;
    int done;
    atomic_bool ended;
};

static int setup(void **state)
{
    static struct lab l;

    l = (struct lab){0};
    *state = &l;
    return comm_self(&l.comm, NULL) < 0 ? -1 : lane_create(2, &l.lane, NULL);
}

static int teardown(void **state)
{
    struct lab *l = *state;

    lane_destroy(l->lane);
    comm_destroy(l->comm);
    return 0;
}

struct numbered {
    struct lab *lab;
    int number;
};

/* Number n is the n-th, or fails. */
static int in_order(void *arg, struct err *e)
{
    struct numbered *j = arg;

    if (j->number != j->lab->done)
        return err_set(e, ERR_FAILED, "job %d came as number %d", j->number,
                       j->lab->done);
    j->lab->done++;
    return 0;
}

static void does_more_jobs_than_it_has_room_for(void **state)
{
    struct lab *l = *state;
    struct numbered j[50];

    for (int i = 0; i < 50; i++) {
        j[i] = (struct numbered){l, i};
        lane_post(l->lane, l->comm, in_order, &j[i]);
    }
    assert_int_equal(lane_wait(l->lane, NULL), 0);
    assert_int_equal(l->done, 50);
    assert_int_equal(lane_wait(l->lane, NULL), 0); /* of nothing */
}

static void stops_at_the_first_error(void **state)
{
    struct lab *l = *state;
    struct numbered j[3] = {{l, 0}, {l, 7}, {l, 1}};
    struct err e;

    for (int i = 0; i < 3; i++)
        lane_post(l->lane, l->comm, in_order, &j[i]);
    assert_int_equal(lane_wait(l->lane, &e), ERR_FAILED);
    assert_string_equal(e.text, "job 7 came as number 1");
    assert_int_equal(l->done, 1);
    lane_post(l->lane, l->comm, in_order, &j[2]);
    assert_int_equal(lane_wait(l->lane, &e), ERR_FAILED);
}

static int nap(void *arg, struct err *e)
{
    struct lab *l = arg;

    (void)e;
    nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
    atomic_store(&l->ended, true);
    return 0;
}

static void what_nobody_waited_for_is_hidden(void **state)
{
    struct lab *l = *state;
    struct lane_time t;

    lane_post(l->lane, l->comm, nap, l);
    while (!atomic_load(&l->ended))
        ;
    assert_int_equal(lane_wait(l->lane, NULL), 0);
    t = lane_timed(l->lane);
    assert_true(t.busy >= SLEEP_NS);
    assert_true(t.busy - t.exposed >= SLEEP_NS);
}

/* Who waits at once sees the job run, unless the machine has something better to do:
 * then again. */
static void what_somebody_waited_for_is_exposed(void **state)
{
    struct lab *l = *state;

    for (int i = 0; i < 100 && lane_timed(l->lane).exposed == 0; i++) {
        lane_post(l->lane, l->comm, nap, l);
        assert_int_equal(lane_wait(l->lane, NULL), 0);
    }
    assert_true(lane_timed(l->lane).exposed > 0);
    assert_true(lane_timed(l->lane).exposed <= lane_timed(l->lane).busy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(does_more_jobs_than_it_has_room_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stops_at_the_first_error, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_waited_for_is_hidden, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_somebody_waited_for_is_exposed, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
