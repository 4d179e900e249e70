/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keys.c - lines of an allow list: none is taken for less than it says.
 */
#include "tests/unit/unit.h"

#include "proto/keys.h"

#define KEY  "yMnuCW)QjTE:Vg]6ZBR2^uNXH1o8kGs/tLdc3Fi4"
#define KEY2 "yMnuCW)QjTE:Vg]6ZBR2^uNXH1o8kGs/tLdc3Fi5"
#define KEY3 "yMnuCW)QjTE:Vg]6ZBR2^uNXH1o8kGs/tLdc3Fi6"

static int parse(const char *text, struct err *e)
{
    struct allow_list list;
    int rc = allow_list_parse("keys", text, strlen(text), &list, e);

    if (rc == 0)
        allow_list_free(&list);
    return rc;
}

static void test_whole_line_counts(void **state)
{
    char line[512] = KEY " user=a uid=5 role=user";
    struct err e;

    (void)state;
    assert_int_equal(parse(line, &e), 0);
    for (int i = 0; i < 12; i++)
        strcat(line, " comment=x");
    assert_int_equal(parse(line, &e), 0);
    strcat(line, " until=2020-01-01"); /* the 17th word */
    assert_int_equal(parse(line, &e), ERR_SPEC);
    assert_non_null(strstr(e.text, "keys:1: wanted at most 16 words"));
}

static void test_dates_are_days(void **state)
{
    static const char *const bad[] = {"2027-02-29", "2027-13-01", "2027-1-001",
                                      " 2027-1-01", "1969-12-31", "2027-01-0x"};
    int64_t us;

    (void)state;
    assert_true(keys_date_parse("2028-02-29", &us));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (keys_date_parse(bad[i], &us))
            fail_msg("%s was taken for a day", bad[i]);
}

/* What a person wrote into the list is there when nnctl has changed it. */
static void test_comments_stay(void **state)
{
    static const char text[] = "# My keys.\n\n# the phone\n" KEY
                               " user=a uid=5 role=user\n#\n# the desk\n" KEY2
                               " user=b uid=6 role=user\n# end\n";
    static const char more[] = KEY3 " user=a uid=5 role=user\n";
    const char *path = unit_path(state, "allow");
    struct allow_list list, other;
    struct allowed items[3];
    struct buf got = {0};
    struct err e;

    assert_int_equal(fs_replace(path, text, sizeof text - 1, &e), 0);
    assert_int_equal(allow_list_read(path, &list, &e), 0);
    assert_int_equal(list.n, 2);
    memcpy(items, list.items, sizeof *items * 2);
    items[2] = items[0];
    items[2].line = 0;
    strcpy(items[2].public, KEY3);

    other = (struct allow_list){list.arena, items, 3};
    assert_int_equal(allow_list_write(path, &other, &e), 0);
    assert_int_equal(fs_read(path, 0, &got, &e), 0);
    assert_int_equal(got.len, sizeof text + sizeof more - 2);
    assert_memory_equal(got.data, text, sizeof text - 1);
    assert_memory_equal(got.data + sizeof text - 1, more, sizeof more - 1);
    buf_free(&got);

    other = (struct allow_list){list.arena, items + 1, 1}; /* the phone is lost */
    assert_int_equal(allow_list_write(path, &other, &e), 0);
    assert_int_equal(fs_read(path, 0, &got, &e), 0);
    buf_puts(&got, "");
    assert_string_equal(got.data, "# My keys.\n\n# the phone\n#\n# the desk\n" KEY2
                                  " user=b uid=6 role=user\n# end\n");
    buf_free(&got);
    allow_list_free(&list);
}

/* Of the key of an account whose name is no word of ASCII. */
static void test_name_is_a_word(void **state)
{
    static const struct {
        const char *name, *word;
    } cases[] = {
        {"DOM\\john smith@here", "DOM\\john_smith@here"},
        {"j\303\274rgen@here", "j\303\274rgen@here"},
        {"j\303@here\t\n", "j_@here__"},
        {"", "_"},
    };
    struct key k, back;
    struct err e;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = unit_path(state, cases[i].word);

        assert_int_equal(key_make(cases[i].name, &k, &e), 0);
        assert_int_equal(key_write(path, &k, &e), 0);
        assert_int_equal(key_read(path, &back, &e), 0);
        assert_string_equal(back.name, cases[i].word);
        assert_string_equal(back.secret, k.secret);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_line_counts),
        cmocka_unit_test(test_dates_are_days),
        cmocka_unit_test(test_comments_stay),
        cmocka_unit_test(test_name_is_a_word),
    };

    return cmocka_run_group_tests(tests, unit_dir_setup, unit_dir_teardown);
}
