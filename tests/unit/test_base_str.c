/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_str.c - numbers, words and UTF-8, read strictly.
 */
#include "base/str.h"

#include "unit.h"

static void integers(void **state)
{
    int64_t i = 0;
    uint64_t u = 0;

    (void)state;
    assert_true(str_to_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(str_to_i64("9223372036854775807", &i) && i == INT64_MAX);
    assert_true(str_to_i64("010", &i) && i == 10);
    assert_true(str_to_i64("-0x10", &i) && i == -16);
    assert_true(str_to_u64("18446744073709551615", &u) && u == UINT64_MAX);
    assert_true(str_to_u64("0xffffffffffffffff", &u) && u == UINT64_MAX);
}

static void no_integers(void **state)
{
    static const char *const texts[] = {"",
                                        "-",
                                        "--1",
                                        " 1",
                                        "1 ",
                                        "+1",
                                        "1.0",
                                        "1e3",
                                        "0x",
                                        "0xg",
                                        "0x-1",
                                        "abc",
                                        "9223372036854775808",
                                        "-9223372036854775809",
                                        "1_000"};
    int64_t i = 42;
    uint64_t u = 42;

    (void)state;
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++)
        assert_false(str_to_i64(texts[n], &i));
    assert_false(str_to_u64("-1", &u));
    assert_false(str_to_u64("18446744073709551616", &u));
    assert_true(i == 42 && u == 42);
}

static void doubles(void **state)
{
    static const char *const texts[] = {"",  " 1", "1 ",    "inf", "nan", "0x1p3",
                                        "e", "1e", "1e999", "-",   ".",   "1,5"};
    double d = 42;

    (void)state;
    for (size_t n = 0; n < sizeof texts / sizeof *texts; n++)
        assert_false(str_to_double(texts[n], &d));
    assert_true(d == 42);
    assert_true(str_to_double("-3.5e-4", &d) && d == -3.5e-4);
    assert_true(str_to_double("7", &d) && d == 7);
    assert_true(str_to_double("1e-999", &d) && d == 0);
}

static void nearest_word(void **state)
{
    static const char *const words[] = {"train", "data",     "model",     "lr",
                                        "seed",  "parallel", "checkpoint"};
    size_t n = sizeof words / sizeof *words;
    char endless[200];

    (void)state;
    assert_string_equal(str_nearest("trian", words, n), "train");
    assert_string_equal(str_nearest("paralell", words, n), "parallel");
    assert_string_equal(str_nearest("checkpiont", words, n), "checkpoint");
    assert_string_equal(str_nearest("rl", words, n), "lr");
    assert_string_equal(str_nearest("sed", words, n), "seed");
    assert_null(str_nearest("optimizer", words, n));
    assert_null(str_nearest("dada_x", words, 0));
    assert_null(str_nearest("model_size", words, n));
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_null(str_nearest(endless, words, n));
}

static void prefixes(void **state)
{
    (void)state;
    assert_true(str_starts("train.lr", "train."));
    assert_true(str_starts("x", ""));
    assert_false(str_starts("tr", "train"));
    assert_true(str_ends("a.svg", ".svg"));
    assert_false(str_ends(".svg", ".svg"));
    assert_false(str_ends("a.svg.png", ".svg"));
    assert_false(str_ends("g", ".svg"));
}

static void utf8(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xC3\xA9",
                                       "\xE2\x82\xAC",
                                       "\xED\x9F\xBF",
                                       "\xF0\x9F\x98\x80",
                                       "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {"\x80",
                                      "\xC3",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xE2\x82",
                                      "a\xFF",
                                      "\xE2\x28\xA1"};

    (void)state;
    for (size_t n = 0; n < sizeof good / sizeof *good; n++)
        assert_true(str_is_utf8(good[n], strlen(good[n])));
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++)
        assert_false(str_is_utf8(bad[n], strlen(bad[n])));
    assert_false(str_is_utf8("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers), cmocka_unit_test(no_integers),
        cmocka_unit_test(doubles),  cmocka_unit_test(nearest_word),
        cmocka_unit_test(prefixes), cmocka_unit_test(utf8),
    };

    return cmocka_run_group_tests_name("base/str", tests, NULL, NULL);
}
