/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_keys.c - lines of an allow list: none is taken for less than it says.
 */
#include "tests/unit/unit.h"

#include "proto/keys.h"

#define KEY "yMnuCW)QjTE:Vg]6ZBR2^uNXH1o8kGs/tLdc3Fi4"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_line_counts),
        cmocka_unit_test(test_dates_are_days),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
