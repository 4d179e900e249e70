/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_state.c - every pair of a state and an event, against a table of its own.
 */
#include "tests/unit/unit.h"

#include <strings.h>

#include "daemon/state.h"

/* A column per state, in the order of Wire__State; '.' where the event cannot
 * happen, else the state after it: N new, H held, Q queued, S starting, R running,
 * P suspended, T stopping, W retry_wait, C completed, F failed, X canceled,
 * O timeout. */
static const char letters[] = "NHQSRPTWCFXO";
static const struct {
    enum event_kind kind;
    const char *after;
} rows[] = {
    {EVENT_SUBMIT, "N..........."},   {EVENT_QUEUE, "Q......Q...."},
    {EVENT_HOLD, "H.H....H...."},     {EVENT_RELEASE, ".Q.........."},
    {EVENT_START, "..S........."},    {EVENT_UP, "...R........"},
    {EVENT_SUSPEND, "....P......."},  {EVENT_RESUME, ".....R......"},
    {EVENT_SAVED, "...SRPT....."},    {EVENT_LOST, "...SRPT....."},
    {EVENT_CANCEL, ".XXTTTTX...."},   {EVENT_STOP, "...TTT......"},
    {EVENT_COMPLETE, "...CCCC....."}, {EVENT_RETRY, "...WWWW....."},
    {EVENT_REQUEUE, "...QQQQ....."},  {EVENT_FAIL, "...FFFF....."},
    {EVENT_CANCELED, "......X....."}, {EVENT_TIMEOUT, "...OOOO....."},
    {EVENT_PRIORITY, ".HQSRPTW...."}, {EVENT_NOTE, "...SRPT....."},
};

static void test_every_pair(void **state)
{
    (void)state;
    assert_int_equal(sizeof rows / sizeof *rows, EVENT_COUNT - 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int from = 0; from < STATE_COUNT; from++) {
            Wire__State to = (Wire__State)99;
            bool happens = state_next((Wire__State)from, rows[i].kind, &to);

            if (rows[i].after[from] == '.') {
                assert_false(happens);
                assert_int_equal(to, 99);
            } else {
                assert_true(happens);
                assert_int_equal(letters[to], rows[i].after[from]);
            }
        }
    }
}

static void test_final_is_final(void **state)
{
    (void)state;
    for (int from = 0; from < STATE_COUNT; from++) {
        bool leaves = false;

        for (int kind = 0; kind < EVENT_COUNT + 3; kind++) {
            Wire__State to;

            leaves |= state_next((Wire__State)from, (enum event_kind)kind, &to);
        }
        assert_int_equal(leaves, !state_is_final((Wire__State)from));
    }
}

static void test_foreign_numbers(void **state)
{
    Wire__State to;

    (void)state;
    assert_false(state_next((Wire__State)STATE_COUNT, EVENT_CANCEL, &to));
    assert_false(state_next((Wire__State)-1, EVENT_CANCEL, &to));
    assert_false(state_next((Wire__State)77, EVENT_START, &to));
    assert_string_equal(state_name((Wire__State)STATE_COUNT), "?");
    assert_string_equal(event_name((enum event_kind)EVENT_COUNT), "?");
    assert_string_equal(failure_name((Wire__Failure)77), "?");
    assert_false(state_is_live((Wire__State)40));
}

/* What clients print is the schema's names; ours must be the same. */
static void test_names_are_the_schemas(void **state)
{
    (void)state;
    for (int i = 0; i < STATE_COUNT; i++)
        assert_int_equal(strcasecmp(state_name((Wire__State)i),
                                    wire__state__descriptor.values[i].name),
                         0);
    for (int i = 1; i <= WIRE__FAILURE__KERNEL; i++)
        assert_int_equal(strcasecmp(failure_name((Wire__Failure)i),
                                    wire__failure__descriptor.values[i].name),
                         0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_pair),
        cmocka_unit_test(test_final_is_final),
        cmocka_unit_test(test_foreign_numbers),
        cmocka_unit_test(test_names_are_the_schemas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
