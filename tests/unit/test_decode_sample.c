/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_decode_sample.c - what is drawn follows the exact probabilities; borders
 * and ties have one answer.
 */
#include "decode/sample.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

#include "unit.h"

#define N 100000

static const struct sample_rule plain = {.temperature = 1, .top_p = 1, .seed = 1};

static uint32_t next(const struct sample_rule *r, const float *logits, uint32_t vocab,
                     uint64_t position)
{
    struct sample_space *s;
    uint32_t id;
    struct err e;

    assert_int_equal(sample_rule_check(r, &e), 0);
    assert_int_equal(sample_space_create(vocab, &s, &e), 0);
    if (sample_next(r, s, logits, position, &id, &e) < 0)
        fail_msg("%s", e.text);
    sample_space_destroy(s);
    return id;
}

/* The chi-square that sound draws pass in all but 3e-7 of cases: 5 standard
 * deviations by Wilson and Hilferty (1931). */
static double chi_limit(double df)
{
    return df * pow(1 - 2 / (9 * df) + 5 * sqrt(2 / (9 * df)), 3);
}

/* Draw N times; chi-square against want[vocab], which sums to 1.  What has no
 * chance never comes. */
static void expect(const struct sample_rule *r, const float *logits, uint32_t vocab,
                   const double *want)
{
    double hits[64] = {0}, chi = 0, df = -1;
    struct sample_space *s;
    struct err e;
    uint32_t id;

    assert_int_equal(sample_rule_check(r, &e), 0);
    assert_int_equal(sample_space_create(vocab, &s, &e), 0);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(sample_next(r, s, logits, i, &id, &e), 0);
        hits[id]++;
    }
    sample_space_destroy(s);
    for (uint32_t i = 0; i < vocab; i++) {
        if (want[i] == 0) {
            assert_true(hits[i] == 0);
            continue;
        }
        chi += (hits[i] - N * want[i]) * (hits[i] - N * want[i]) / (N * want[i]);
        df++;
    }
    if (chi > chi_limit(df))
        fail_msg("chi-square %g for %g degrees of freedom", chi, df);
}

/* log of p, as logits that give these probabilities at temperature 1. */
static void logits_of(const double *p, uint32_t n, float *logits)
{
    for (uint32_t i = 0; i < n; i++)
        logits[i] = (float)log(p[i]) + 3;
}

static const double five[] = {0.1, 0.4, 0.05, 0.25, 0.2};

static void plain_sampling_has_the_models_chances(void **state)
{
    float logits[5];

    (void)state;
    logits_of(five, 5, logits);
    expect(&plain, logits, 5, five);
}

static void temperature_sharpens_and_flattens(void **state)
{
    static const double temperatures[] = {0.5, 2};
    float logits[5];

    (void)state;
    logits_of(five, 5, logits);
    for (int k = 0; k < 2; k++) {
        struct sample_rule r = plain;
        double want[5], sum = 0;

        r.temperature = temperatures[k];
        for (int i = 0; i < 5; i++)
            sum += want[i] = pow(five[i], 1 / r.temperature);
        for (int i = 0; i < 5; i++)
            want[i] /= sum;
        expect(&r, logits, 5, want);
    }
}

static void top_k_keeps_k(void **state)
{
    const double two[] = {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0};
    struct sample_rule r = plain;
    float logits[5];

    (void)state;
    logits_of(five, 5, logits);
    r.top_k = 2;
    expect(&r, logits, 5, two);
    r.top_k = 5;
    expect(&r, logits, 5, five);
    r.top_k = 1000;
    expect(&r, logits, 5, five);
    r.top_k = 1;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(next(&r, logits, 5, i), 1);
}

static void top_p_keeps_the_token_that_crosses(void **state)
{
    const double two[] = {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0};
    const double three[] = {0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85};
    struct sample_rule r = plain;
    float logits[5];

    (void)state;
    logits_of(five, 5, logits);
    r.top_p = 0.41;
    expect(&r, logits, 5, two);
    r.top_p = 0.649;
    expect(&r, logits, 5, two);
    r.top_p = 0.651;
    expect(&r, logits, 5, three);
    r.top_p = 0.39;
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(next(&r, logits, 5, i), 1);
    r.top_p = 1e-300;
    assert_int_equal(next(&r, logits, 5, 0), 1);
    r.top_p = 0.99999999;
    expect(&r, logits, 5, five);
}

/* Equal logits, so that sums are exact: half of the mass is two of four. */
static void top_p_reached_exactly_is_enough(void **state)
{
    static const float logits[] = {2, 2, 2, 2};
    static const double half[] = {0.5, 0.5, 0, 0},
                        three[] = {1 / 3., 1 / 3., 1 / 3., 0};
    struct sample_rule r = plain;

    (void)state;
    r.top_p = 0.5;
    expect(&r, logits, 4, half);
    r.top_p = nextafter(0.5, 1);
    expect(&r, logits, 4, three);
}

static void top_p_counts_what_top_k_left(void **state)
{
    const double two[] = {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0};
    struct sample_rule r = plain;
    float logits[5];

    (void)state;
    logits_of(five, 5, logits);
    r.top_k = 3;    /* 0.4, 0.25, 0.2 of 0.85 */
    r.top_p = 0.75; /* two have 0.765 */
    expect(&r, logits, 5, two);
}

static void ties_go_to_the_lower_id(void **state)
{
    static const float logits[] = {-1, 3, 0.0f, 3, -0.0f, 3};
    static const double two[] = {0, 0.5, 0, 0.5, 0, 0};
    static const float zeros[] = {-0.0f, 0.0f, -0.0f};
    static const double first_two[] = {0.5, 0.5, 0};
    struct sample_rule greedy = {.top_p = 1}, r = plain;

    (void)state;
    assert_int_equal(next(&greedy, logits, 6, 0), 1);
    assert_int_equal(next(&greedy, zeros, 3, 0), 0);
    r.top_k = 2;
    expect(&r, logits, 6, two);
    expect(&r, zeros, 3, first_two);
}

/* The order of the radix sort against comparing pairs. */
static void order_is_by_logit_then_id(void **state)
{
    enum { V = 200 };
    float logits[V];
    uint32_t random = 1;

    (void)state;
    for (uint32_t i = 0; i < V; i++) {
        random = random * 1664525 + 1013904223;
        logits[i] = (float)((int32_t)random >> 20) * 0.25f; /* many are equal */
        logits[i] *= i % 3 ? 1.0f : 1e-30f;
    }
    logits[17] = -INFINITY;
    logits[18] = 3e38f;
    logits[19] = -3e38f;
    /* With k tokens kept and a weight of 1 each, the last is reached some time. */
    for (uint32_t k = 1; k < 40; k++) {
        struct sample_rule r = {.temperature = 1e6, .top_p = 1, .top_k = k};
        bool seen[V] = {0};

        logits[18] = 600;
        for (uint64_t i = 0; i < 40 * k; i++)
            seen[next(&r, logits, V, i)] = true;
        for (uint32_t i = 0; i < V; i++) {
            uint32_t before = 0;

            for (uint32_t j = 0; j < V; j++)
                before += logits[j] > logits[i] || (logits[j] == logits[i] && j < i);
            assert_int_equal(seen[i], before < k);
        }
    }
}

static void excluded_tokens_never_come(void **state)
{
    static const float logits[] = {-INFINITY, 0, -INFINITY, 0};
    static const double want[] = {0, 0.5, 0, 0.5};
    static const float far[] = {-3e38f, 3e38f};
    struct sample_rule r = plain;

    (void)state;
    expect(&r, logits, 4, want);
    r.top_k = 3;
    expect(&r, logits, 4, want);
    r.top_k = 0;
    r.top_p = 0.999;
    expect(&r, logits, 4, want);
    r.temperature = 1e-300;
    assert_int_equal(next(&r, far, 2, 0), 1);
}

static void choice_depends_on_seed_and_position_alone(void **state)
{
    struct sample_rule r = plain, other = plain;
    float logits[64] = {0}, lone[64] = {0};
    struct sample_space *s;
    int same = 0;
    uint32_t a, b;
    struct err e;

    (void)state;
    other.seed = 2;
    assert_int_equal(sample_space_create(64, &s, &e), 0);
    lone[5] = 50;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(sample_next(&r, s, logits, i, &a, &e), 0);
        /* another row between, as in a batch; then a fresh space */
        assert_int_equal(sample_next(&other, s, lone, i, &b, &e), 0);
        assert_int_equal(b, 5);
        assert_int_equal(next(&r, logits, 64, i), a);
        same += next(&other, logits, 64, i) == a;
    }
    assert_true(same < 50);
    assert_true(next(&r, logits, 64, 1) !=
                next(&r, logits, 64, 1 + ((uint64_t)1 << 32)));
    sample_space_destroy(s);
}

/* The others share all chances among them, and are all that top_k and top_p count. */
static void what_is_never_written_is_not_drawn(void **state)
{
    static const uint32_t never[] = {1, 0, 2, 3, 4};
    const double left[] = {0, 0, 0.1, 0.5, 0.4};
    const double two[] = {0, 0, 0, 0.5 / 0.9, 0.4 / 0.9};
    struct sample_rule r = plain;
    struct sample_space *s;
    float logits[5];
    uint32_t id;
    struct err e;

    (void)state;
    logits_of(five, 5, logits);
    r.never = never;
    r.nnever = 2;
    expect(&r, logits, 5, left);
    r.top_k = 2;
    expect(&r, logits, 5, two);
    r.top_k = 0;
    r.top_p = 0.6;
    expect(&r, logits, 5, two);
    r.temperature = 0;
    assert_int_equal(next(&r, logits, 5, 0), 3);
    r.nnever = 5;
    assert_int_equal(sample_space_create(5, &s, &e), 0);
    assert_int_equal(sample_next(&r, s, logits, 0, &id, &e), ERR_FAILED);
    sample_space_destroy(s);
}

/* Kept tokens and random bits stay what they are: users keep seeds. */
static void choice_never_changes(void **state)
{
    float logits[64] = {0};

    (void)state;
    assert_int_equal(next(&plain, logits, 64, 0), 59);
    assert_int_equal(next(&plain, logits, 64, 1), 44);
    assert_int_equal(next(&plain, logits, 64, 2), 49);
    assert_int_equal(next(&plain, logits, 64, 1000), 15);
    assert_int_equal(next(&plain, logits, 64, (uint64_t)1 << 40), 29);
}

static void bad_logits_are_refused(void **state)
{
    const float bad[] = {0, NAN, 0}, infinite[] = {0, 1, INFINITY};
    const float none[] = {-INFINITY, -INFINITY, -INFINITY};
    struct sample_rule rules[2] = {plain, {.top_p = 1}};
    struct sample_space *s;
    uint32_t id = 77;
    struct err e;

    (void)state;
    assert_int_equal(sample_space_create(3, &s, &e), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sample_next(&rules[i], s, bad, 0, &id, &e), ERR_FAILED);
        assert_string_equal(e.text, "logits: wanted numbers, found nan for id 1");
        assert_int_equal(sample_next(&rules[i], s, infinite, 0, &id, &e), ERR_FAILED);
        assert_string_equal(e.text, "logits: wanted numbers, found inf for id 2");
        assert_int_equal(sample_next(&rules[i], s, none, 0, &id, &e), ERR_FAILED);
        assert_string_equal(e.text,
                            "logits: wanted a token to choose, found 3 of -inf");
    }
    assert_int_equal(id, 77);
    sample_space_destroy(s);
}

static void bad_rules_are_refused(void **state)
{
    struct sample_rule r = plain;
    struct err e;

    (void)state;
    r.temperature = -1;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
    assert_string_equal(e.text, "temperature: wanted 0 to 1e6, found -1");
    r.temperature = NAN;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
    r.temperature = INFINITY;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
    r = plain;
    r.top_p = 0;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
    assert_string_equal(e.text, "top_p: wanted above 0 and at most 1, found 0");
    r.top_p = 1.5;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
    r.top_p = NAN;
    assert_int_equal(sample_rule_check(&r, &e), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_sampling_has_the_models_chances),
        cmocka_unit_test(temperature_sharpens_and_flattens),
        cmocka_unit_test(top_k_keeps_k),
        cmocka_unit_test(top_p_keeps_the_token_that_crosses),
        cmocka_unit_test(top_p_reached_exactly_is_enough),
        cmocka_unit_test(top_p_counts_what_top_k_left),
        cmocka_unit_test(ties_go_to_the_lower_id),
        cmocka_unit_test(order_is_by_logit_then_id),
        cmocka_unit_test(excluded_tokens_never_come),
        cmocka_unit_test(choice_depends_on_seed_and_position_alone),
        cmocka_unit_test(what_is_never_written_is_not_drawn),
        cmocka_unit_test(choice_never_changes),
        cmocka_unit_test(bad_logits_are_refused),
        cmocka_unit_test(bad_rules_are_refused),
    };

    return cmocka_run_group_tests_name("decode/sample", tests, NULL, NULL);
}
