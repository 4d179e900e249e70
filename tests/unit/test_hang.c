/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hang.c - whom a standstill is blamed on, and in which words.
 */
#include "tests/unit/unit.h"

#include "daemon/hang.h"

#define OF(n, ...) (struct hang_view[]){__VA_ARGS__}, n

static void expect(const struct hang_view *v, size_t n, size_t culprit,
                   const char *words)
{
    char text[512];

    assert_int_equal(hang_culprit(v, n), culprit);
    hang_describe(v, n, 2.0, text, sizeof text);
    assert_string_equal(text, words);
}

static void computing_while_others_wait(void **state)
{
    (void)state;
    expect(OF(3,
              {.rank = 0,
               .waits = true,
               .step = 7,
               .meetings = 41,
               .op = "reduce",
               .host = "a"},
              {.rank = 1, .step = 7, .meetings = 40, .op = "mlp", .host = "b"},
              {.rank = 2,
               .waits = true,
               .step = 7,
               .meetings = 41,
               .op = "reduce",
               .host = "b"}),
           1,
           "rank 1 (host b) does not get on for 2.0 s, after step 7 in mlp; "
           "waiting: rank 0, 2 in reduce (collective 41)");
}

static void stopped_comes_first(void **state)
{
    (void)state;
    expect(OF(2, {.rank = 0, .step = 3, .op = "mlp", .host = ""},
              {.rank = 1,
               .stopped = true,
               .waits = true,
               .step = 9,
               .meetings = 5,
               .op = "reduce",
               .host = ""}),
           1, "rank 1 was stopped by a signal, after step 9 in reduce (collective 5)");
}

static void silent_comes_next(void **state)
{
    (void)state;
    expect(
        OF(2, {.rank = 0, .silent_s = 0.3, .step = 3, .op = "mlp", .host = ""},
           {.rank = 1,
            .silent_s = 2.5,
            .waits = true,
            .step = 9,
            .meetings = 5,
            .op = "reduce",
            .host = "z"}),
        1,
        "rank 1 (host z) has given no sign of life for 2.5 s, after step 9 in reduce "
        "(collective 5)");
}

static void each_waits_for_the_other(void **state)
{
    (void)state;
    expect(
        OF(2,
           {.rank = 0, .waits = true, .step = 3, .meetings = 9, .op = "b", .host = ""},
           {.rank = 1, .waits = true, .step = 3, .meetings = 8, .op = "a", .host = ""}),
        1,
        "rank 1 waits for somebody who does not come, after step 3 in a (collective "
        "8); waiting: rank 0 in b (collective 9)");
}

static void many_are_not_all_named(void **state)
{
    struct hang_view v[20];
    char text[512];

    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        v[i] = (struct hang_view){
            .rank = i, .waits = i > 0, .meetings = 2, .op = i ? "x" : "", .host = ""};
    hang_describe(v, 20, 3, text, sizeof text);
    assert_string_equal(text,
                        "rank 0 does not get on for 3.0 s, after step 0 in its own "
                        "code; waiting: rank 1, 2, 3, 4, 5, 6, 7, 8 and 11 more "
                        "in x (collective 2)");
}

/* In tenths of a second, for a hang of 2 s. */
static int64_t patience(const struct attempt *a, const struct hang_view *v)
{
    Nnd__Patience p = NND__PATIENCE__INIT;
    Nnd__Config c = NND__CONFIG__INIT;
    const struct hub h = {.opt.conf = &c};

    c.patience = &p;
    c.hang = 2;
    return hang_patience_ns(&h, a, v) / 100000000;
}

static void who_is_stopped_or_silent_gets_no_more_time(void **state)
{
    struct rank r = {.phase = WIRE__PHASE__TRAIN};
    struct attempt a = {.ranks = &r};
    const struct hang_view at_work = {.silent_s = 0.5}, stopped = {.stopped = true},
                           silent = {.silent_s = 1.5};

    (void)state;
    hang_step(&a, 30);
    a.slowest[WIRE__PHASE__SAVE] = 50;
    assert_int_equal(patience(&a, &at_work), 900);
    assert_int_equal(patience(&a, &stopped), 20);
    assert_int_equal(patience(&a, &silent), 20);
    r.phase = WIRE__PHASE__SAVE;
    assert_int_equal(patience(&a, &at_work), 1500);
    assert_int_equal(patience(&a, &stopped), 20);
    r.phase = WIRE__PHASE__EVAL;
    assert_int_equal(patience(&a, &at_work), 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(computing_while_others_wait),
        cmocka_unit_test(stopped_comes_first),
        cmocka_unit_test(silent_comes_next),
        cmocka_unit_test(each_waits_for_the_other),
        cmocka_unit_test(many_are_not_all_named),
        cmocka_unit_test(who_is_stopped_or_silent_gets_no_more_time),
    };

    return cmocka_run_group_tests_name("daemon/hang", tests, NULL, NULL);
}
