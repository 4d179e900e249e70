/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_math.c - the vector functions against libm in double, in units of the
 * last place, over all exponents; and the 16-bit conversions over all values.
 */
#include "unit.h"

#include <math.h>

#include "plugins/cpu/philox.h"
#include "plugins/cpu/vmath.h"

/* Every 1009th float: about four million, all exponents, both signs. */
#define STEP 1009u

static float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* |got - want| in units of the last place of a float near want. */
static double ulps(float got, double want)
{
    int e;

    if (isnan(want))
        return isnan(got) ? 0 : INFINITY;
    if (isinf(want) || fabs(want) > 0x1.ffffffp127)
        return isinf(got) && (got > 0) == (want > 0) ? 0 : INFINITY;
    if (isnan(got) || isinf(got))
        return INFINITY;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1, e - 24 < -149 ? -149 : e - 24);
}

static void expect_accuracy(const char *name, vf (*fn)(vf), double (*exact)(double),
                            double limit, float from, float to)
{
    double worst = 0;
    float at = 0;

    for (uint64_t bits = 0; bits < 1ull << 32; bits += STEP) {
        float x = float_of((uint32_t)bits);
        double u;

        if (!(x >= from && x <= to))
            continue;
        u = ulps(fn(vec_all(x))[0], exact((double)x));
        if (u > worst) {
            worst = u;
            at = x;
        }
    }
    print_message("# %s: %.2f ulp, at %a\n", name, worst, (double)at);
    assert_true(worst <= limit);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double phi(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

static void test_accuracy(void **state)
{
    (void)state;
    expect_accuracy("exp", vec_exp, exp, 1, -87.3f, INFINITY);
    expect_accuracy("log", vec_log, log, 2, -1, INFINITY);
    expect_accuracy("tanh", vec_tanh, tanh, 2, -INFINITY, INFINITY);
    expect_accuracy("sigmoid", vec_sigmoid, sigmoid, 3, -80, INFINITY);
    expect_accuracy("phi", vec_phi, phi, 5, -1, INFINITY);
    /* The rounding of x^2 in exp(-x^2 / 2) shows: at -9 about x^2 ulp. */
    expect_accuracy("phi's tail", vec_phi, phi, 100, -9, -1);
    /* 1 ulp is 6e-8 to 1.2e-7 of a number; a result of bf16 may be off by 3.9e-3. */
    expect_accuracy("short phi", vec_phi_short, phi, 500, -3, INFINITY);
    expect_accuracy("short phi's tail", vec_phi_short, phi, 2400, -5, -3);
    expect_accuracy("short phi's far tail", vec_phi_short, phi, 12000, -8, -5);
    expect_accuracy("short 2^x", vec_exp2_short, exp2, 50, -125, 0);
}

static void test_ends(void **state)
{
    (void)state;
    assert_true(isnan(vec_exp(vec_all(NAN))[0]));
    assert_true(vec_exp(vec_all(0))[0] == 1.0f);
    assert_true(vec_exp(vec_all(-INFINITY))[0] == 0.0f);
    assert_true(vec_exp(vec_all(-87.4f))[0] == 0.0f);
    assert_true(vec_exp(vec_all(INFINITY))[0] == INFINITY);
    assert_true(vec_log(vec_all(0))[0] == -INFINITY);
    assert_true(isnan(vec_log(vec_all(-1))[0]));
    assert_true(vec_log(vec_all(INFINITY))[0] == INFINITY);
    assert_true(isnan(vec_tanh(vec_all(NAN))[0]));
    assert_true(vec_phi(vec_all(0))[0] == 0.5f);
    assert_true(vec_phi_short(vec_all(0))[0] == 0.5f);
    assert_true(vec_phi_short(vec_all(INFINITY))[0] == 1.0f);
    assert_true(vec_phi_short(vec_all(-3e38f))[0] == 0.0f);
    assert_true(isnan(vec_phi_short(vec_all(NAN))[0]));
}

static void test_sincos(void **state)
{
    double worst = 0;

    (void)state;
    for (double x = -1e6; x <= 1e6; x += 7.0 / 3) {
        vd s, c;

        vec_sincos(x - (vd){0}, &s, &c);
        worst = fmax(worst, fmax(fabs(s[0] - sin(x)), fabs(c[0] - cos(x))));
    }
    print_message("# sin, cos: %.2g\n", worst);
    assert_true(worst < 1e-15);
}

static vh all16(uint32_t bits)
{
    return (vh){0} + (uint16_t)bits;
}

static int is_nan16(uint32_t bits, int dtype)
{
    return (bits & 0x7fff) > (dtype == NND_BF16 ? 0x7f80u : 0x7c00u);
}

/* Every value comes back, NaN made quiet; between two neighbours the middle goes
 * to the even one, and a hair to either side to the nearer. */
static void check16(int dtype)
{
    uint32_t top = dtype == NND_BF16 ? 0x7f7f : 0x7bff;

    for (uint32_t b = 0; b <= 0xffff; b++) {
        float x = vec_widen(all16(b), dtype)[0], next, middle;
        uint32_t even;

        if (is_nan16(b, dtype)) {
            assert_true(isnan(x));
            assert_true(is_nan16(vec_narrow(vec_all(x), dtype)[0], dtype));
            continue;
        }
        assert_int_equal(vec_narrow(vec_all(x), dtype)[0], b);
        if ((b & 0x7fff) >= top)
            continue;
        next = vec_widen(all16(b + 1), dtype)[0];
        middle = (float)(((double)x + (double)next) / 2);
        even = b & 1 ? b + 1 : b;
        assert_int_equal(vec_narrow(vec_all(middle), dtype)[0], even);
        assert_int_equal(vec_narrow(vec_all(nextafterf(middle, x)), dtype)[0], b);
        assert_int_equal(vec_narrow(vec_all(nextafterf(middle, next)), dtype)[0],
                         b + 1);
    }
}

static void test_16_bits(void **state)
{
    (void)state;
    check16(NND_BF16);
    check16(NND_F16);
    assert_int_equal(vec_to_f16(vec_all(65519.0f))[0], 0x7bff);
    assert_int_equal(vec_to_f16(vec_all(65520.0f))[0], 0x7c00);
    assert_int_equal(vec_to_bf16(vec_all(INFINITY))[0], 0x7f80);
    assert_int_equal(vec_to_bf16(vec_all(0x1.ffp127f))[0], 0x7f80);
}

/* Known answers of Philox4x32-10, from its authors' kat_vectors. */
static void test_philox(void **state)
{
    uint32_t words[4 * VL];

    (void)state;
    drop_words(0, 0, 0, 0, 0, 4, words);
    assert_int_equal(words[0], 0x6627e8d5);
    assert_int_equal(words[1], 0xe169c58d);
    assert_int_equal(words[2], 0xbc57ac4c);
    assert_int_equal(words[3], 0x9b00dbd8);
    drop_words(~0ull, -1, ~0u, -1, 4ll * 0xffffffff, 4, words);
    assert_int_equal(words[0], 0x408f276d);
    assert_int_equal(words[1], 0x41c83b0e);
    assert_int_equal(words[2], 0xa20bc7c6);
    assert_int_equal(words[3], 0x6d5451fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accuracy), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_sincos),   cmocka_unit_test(test_16_bits),
        cmocka_unit_test(test_philox),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
