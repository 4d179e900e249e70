/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_err.c - error texts are whole lines, and cut visibly.
 */
#include "base/err.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

static void set_writes_code_and_text(void **state)
{
    struct err e;

    (void)state;
    assert_int_equal(err_set(&e, ERR_SPEC, "%s: wanted %d", "a.yaml", 3), ERR_SPEC);
    assert_int_equal(e.code, ERR_SPEC);
    assert_string_equal(e.text, "a.yaml: wanted 3");
}

static void null_error_keeps_the_code(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_DENIED, "x"), ERR_DENIED);
    assert_int_equal(err_sys(NULL, ERR_RETRY, EAGAIN, "x"), ERR_RETRY);
}

static void sys_appends_the_reason(void **state)
{
    struct err e;

    (void)state;
    err_sys(&e, ERR_NOTFOUND, ENOENT, "open /x");
    assert_string_equal(e.text, "open /x: No such file or directory");
    assert_int_equal(err_sys(&e, ERR_FAILED, ENOMEM, "x"), ERR_NOMEM);
    assert_int_equal(e.code, ERR_NOMEM);
}

static void prefix_puts_a_noun_in_front(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, ERR_FAILED, "no such dtype");
    assert_int_equal(err_prefix(&e, "tensor %d", 7), ERR_FAILED);
    assert_string_equal(e.text, "tensor 7: no such dtype");
}

static void long_text_is_cut_visibly(void **state)
{
    struct err e;
    char big[3000];

    (void)state;
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_set(&e, ERR_FAILED, "%s", big);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_string_equal(e.text + sizeof e.text - 5, "x...");
    err_prefix(&e, "noun");
    assert_memory_equal(e.text, "noun: xxx", 9);
    assert_string_equal(e.text + sizeof e.text - 5, "x...");
    err_sys(&e, ERR_FAILED, ENOENT, "%s", big);
    assert_string_equal(e.text + sizeof e.text - 5, "x...");
}

static void text_is_one_line_of_utf8(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, ERR_FAILED, "a\nb\tc");
    assert_string_equal(e.text, "a b c");
    err_set(&e, ERR_FAILED, "key \"%s\"", "\xC3\xA9");
    assert_string_equal(e.text, "key \"\xC3\xA9\"");
    err_set(&e, ERR_FAILED, "key \"%s\"", "\xC3(");
    assert_string_equal(e.text, "key \"?(\"");
}

static void old_text_may_be_an_argument(void **state)
{
    struct err e;

    (void)state;
    err_set(&e, ERR_FAILED, "inner");
    err_set(&e, ERR_SPEC, "outer: %s", e.text);
    assert_string_equal(e.text, "outer: inner");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_writes_code_and_text),
        cmocka_unit_test(null_error_keeps_the_code),
        cmocka_unit_test(sys_appends_the_reason),
        cmocka_unit_test(prefix_puts_a_noun_in_front),
        cmocka_unit_test(long_text_is_cut_visibly),
        cmocka_unit_test(text_is_one_line_of_utf8),
        cmocka_unit_test(old_text_may_be_an_argument),
    };

    return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
