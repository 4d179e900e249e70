/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_train_folder.c - tidying up among checkpoints takes what nobody needs, and
 * nothing that somebody is at.
 */
#include "tests/unit/unit.h"

#include "train/checkpoint_folder.h"

static const char *const left[] = {
    ".step-000000008.attempt-1.tmp", /* of an attempt that is over      */
    ".step-000000016.attempt-2.tmp", /* the one that was just finished  */
    ".step-000000024.attempt-2.tmp", /* the next, begun by another rank */
    ".step-000000008.attempt-3.tmp", /* of somebody else                */
    "step-000000008",
};

enum { LEFT = sizeof left / sizeof *left };

static void make(void **state)
{
    struct err e;

    for (int i = 0; i < LEFT; i++)
        assert_int_equal(fs_mkdirs(unit_path(state, left[i]), &e), 0);
}

static void is_left(void **state, const bool want[LEFT])
{
    for (int i = 0; i < LEFT; i++)
        if (fs_exists(unit_path(state, left[i])) != want[i])
            fail_msg("%s: wanted it %s", left[i], want[i] ? "there" : "gone");
}

static void a_rank_ahead_keeps_its_folder(void **state)
{
    static const bool want[LEFT] = {false, false, true, true, true};
    struct err e;

    make(state);
    assert_int_equal(folder_clean(*state, 16, 2, &e), 0);
    is_left(state, want);
}

static void a_new_attempt_takes_all(void **state)
{
    static const bool want[LEFT] = {false, false, false, true, true};
    struct err e;

    make(state);
    assert_int_equal(folder_clean(*state, INT64_MAX, 2, &e), 0);
    is_left(state, want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_rank_ahead_keeps_its_folder, unit_dir_setup,
                                        unit_dir_teardown),
        cmocka_unit_test_setup_teardown(a_new_attempt_takes_all, unit_dir_setup,
                                        unit_dir_teardown),
    };

    return cmocka_run_group_tests_name("checkpoint folders", tests, NULL, NULL);
}
