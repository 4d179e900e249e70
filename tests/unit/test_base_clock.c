/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_clock.c - times as text, durations from text.
 */
#include "base/clock.h"

#include <math.h>

#include "unit.h"

static void clocks_go_forward(void **state)
{
    int64_t a = clock_mono_ns(), b = clock_mono_ns();

    (void)state;
    assert_true(a > 0 && b >= a);
    assert_true(clock_wall_us() > INT64_C(1700000000000000));
}

static void iso_is_rfc_3339(void **state)
{
    char text[32];

    (void)state;
    clock_iso(INT64_C(1795167000123999), text, sizeof text);
    assert_string_equal(text, "2026-11-20T09:30:00.123Z");
    clock_iso(0, text, sizeof text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_iso(-1, text, sizeof text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

static void human_fits_eight_characters(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {
        {0, "0.0s"},
        {12.34, "12.3s"},
        {59.94, "59.9s"},
        {59.96, "1m00s"},
        {185, "3m05s"},
        {3599.4, "59m59s"},
        {3599.6, "1h00m"},
        {4320, "1h12m"},
        {359999, "4d04h"},
        {863999999, ">9999d"},
        {86400.0 * 9999, "9999d00h"},
        {1e300, ">9999d"},
        {-1, "--"},
        {NAN, "--"},
        {INFINITY, ">9999d"},
    };
    char text[16];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        clock_human(rows[i].seconds, text, sizeof text);
        assert_string_equal(text, rows[i].text);
        assert_true(strlen(text) <= 8);
    }
}

static void durations_are_read(void **state)
{
    static const struct {
        const char *text;
        double seconds;
    } rows[] = {{"90s", 90},     {"5m", 300}, {"1.5h", 5400}, {"2d", 172800},
                {"250ms", 0.25}, {"7", 7},    {"0", 0}};
    struct err e;
    double s;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(clock_duration(rows[i].text, &s, &e), 0);
        assert_true(fabs(s - rows[i].seconds) < 1e-12);
    }
}

static void other_durations_are_refused(void **state)
{
    static const char *const texts[] = {"",     "s",   "5x",    "-1s", " 5s", "5 s",
                                        "1e3s", "5s ", "1.2.3", "inf", "0x5", "5S"};
    struct err e;
    double s = 42;

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(clock_duration(texts[i], &s, &e), ERR_USAGE);
    assert_true(s == 42);
    assert_non_null(strstr(e.text, "found \"5S\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_go_forward),
        cmocka_unit_test(iso_is_rfc_3339),
        cmocka_unit_test(human_fits_eight_characters),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(other_durations_are_refused),
    };

    return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
