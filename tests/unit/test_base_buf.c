/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_buf.c - bytes in, the same bytes out, always NUL-terminated.
 */
#include "base/buf.h"

#include "unit.h"

static void grows_and_stays_terminated(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        buf_printf(&b, "%d,", i % 10);
        assert_int_equal(b.len, 2 * (i + 1));
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_memory_equal(b.data + 1996, "8,9,", 5);
    buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
}

static void adds_bytes_and_text(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_add(&b, "", 0);
    assert_string_equal(b.data, "");
    buf_add(&b, "a\0b", 3);
    buf_puts(&b, "cd");
    assert_int_equal(b.len, 5);
    assert_memory_equal(b.data, "a\0bcd", 6);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
    buf_free(&b);
}

static void reserve_keeps_contents(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_clear(&b);
    buf_puts(&b, "abc");
    buf_reserve(&b, 100000);
    assert_true(b.cap > 100003);
    assert_string_equal(b.data, "abc");
    assert_false(buf_try_reserve(&b, SIZE_MAX));
    assert_false(buf_try_reserve(&b, SIZE_MAX / 2));
    assert_string_equal(b.data, "abc");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(adds_bytes_and_text),
        cmocka_unit_test(reserve_keeps_contents),
    };

    return cmocka_run_group_tests_name("base/buf", tests, NULL, NULL);
}
