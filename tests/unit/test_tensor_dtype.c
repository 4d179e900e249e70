/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_tensor_dtype.c - 16-bit numbers convert exactly one way and round to the
 * nearest, ties to even, the other; checked against the definition, for every
 * 16-bit number and for the midpoints between them.
 */
#include "tensor/dtype.h"

#include <math.h>

#include "unit.h"

/* The value of 16 bits by the definition of the format. */
static double value_of(int fraction, int bias, uint16_t bits)
{
    int top = (0x7fff >> fraction), e = bits >> fraction & top;
    int f = bits & ((1 << fraction) - 1);
    double x = e ? ldexp((1 << fraction) + f, e - bias - fraction)
                 : ldexp(f, 1 - bias - fraction);
    if (e == top)
        x = f ? NAN : INFINITY;
    return bits & 0x8000 ? -x : x;
}

static double wide(int dtype, uint16_t bits)
{
    double x;
    dtype_to_f64(dtype, &bits, &x, 1);
    return x;
}

static uint16_t narrow(int dtype, double x)
{
    uint16_t bits;
    dtype_from_f64(dtype, &x, &bits, 1);
    return bits;
}

static void every_number(int dtype, int fraction, int bias)
{
    for (unsigned i = 0; i <= 0xffff; i++) {
        uint16_t bits = (uint16_t)i;
        double want = value_of(fraction, bias, bits), x = wide(dtype, bits);
        if (isnan(want)) {
            assert_true(isnan(x));
            assert_true(isnan(wide(dtype, narrow(dtype, x))));
            continue;
        }
        assert_true(x == want && signbit(x) == signbit(want));
        assert_int_equal(narrow(dtype, x), bits);
    }
}

/* Around the midpoint of each number and the next larger one. */
static void every_midpoint(int dtype, int fraction, int bias)
{
    int last = ((0x7fff >> fraction) << fraction) - 1; /* the largest finite */
    for (int i = 0; i < last; i++) {
        uint16_t lo = (uint16_t)i, hi = (uint16_t)(i + 1);
        double a = value_of(fraction, bias, lo), b = value_of(fraction, bias, hi);
        double mid = a / 2 + b / 2;
        assert_int_equal(narrow(dtype, mid), i & 1 ? hi : lo);
        assert_int_equal(narrow(dtype, nextafter(mid, 0)), lo);
        assert_int_equal(narrow(dtype, nextafter(mid, INFINITY)), hi);
        assert_int_equal(narrow(dtype, -mid), 0x8000 | (i & 1 ? hi : lo));
    }
}

static void bf16_is_exact_and_nearest(void **state)
{
    (void)state;
    every_number(NND_BF16, 7, 127);
    every_midpoint(NND_BF16, 7, 127);
}

static void f16_is_exact_and_nearest(void **state)
{
    (void)state;
    every_number(NND_F16, 10, 15);
    every_midpoint(NND_F16, 10, 15);
}

static void overflow_is_infinite(void **state)
{
    (void)state;
    assert_int_equal(narrow(NND_F16, 65519.999), 0x7bff);
    assert_int_equal(narrow(NND_F16, 65520), 0x7c00);
    assert_int_equal(narrow(NND_F16, -1e300), 0xfc00);
    assert_int_equal(narrow(NND_BF16, 1e300), 0x7f80);
    assert_int_equal(narrow(NND_BF16, 0x1.fefp127), 0x7f7f);
    assert_int_equal(narrow(NND_BF16, 0x1.ffp127), 0x7f80);
}

static void nan_stays_quiet(void **state)
{
    float x;
    uint32_t signalling = 0x7f800001;
    (void)state;
    memcpy(&x, &signalling, sizeof x);
    assert_int_equal(dtype_bf16_from_f32(x), 0x7fc0);
    assert_int_equal(dtype_f16_from_f32(x) & 0x7e00, 0x7e00);
}

/* The f32 and the f64 ways agree wherever the number is an f32. */
static void f32_and_f64_ways_agree(void **state)
{
    static const int dtypes[] = {NND_BF16, NND_F16};
    uint32_t seed = 1;
    (void)state;
    for (int n = 0; n < 200000; n++) {
        float x;
        uint16_t a, b;
        seed = seed * 1664525 + 1013904223;
        memcpy(&x, &seed, sizeof x);
        double d = x;
        if (isnan(x))
            continue;
        for (int i = 0; i < 2; i++) {
            dtype_from_f32(dtypes[i], &x, &a, 1);
            dtype_from_f64(dtypes[i], &d, &b, 1);
            assert_int_equal(a, b);
        }
    }
}

/* NaN and all: 50 are three vectors and a tail. */
static void many_are_as_one(void **state)
{
    uint32_t seed = 7;
    (void)state;
    for (int round = 0; round < 2000; round++) {
        float x[51], back[51];
        uint16_t half[51] = {0};
        for (int i = 0; i < 50; i++) {
            seed = seed * 1664525 + 1013904223;
            uint32_t bits = i % 5 ? seed : seed | 0x7f800000;
            memcpy(&x[i], &bits, sizeof x[i]);
        }
        back[50] = 1;
        dtype_from_f32(NND_BF16, x, half, 50);
        dtype_to_f32(NND_BF16, half, back, 50);
        assert_true(half[50] == 0 && back[50] == 1);
        for (int i = 0; i < 50; i++) {
            float one = dtype_bf16_to_f32(half[i]);
            assert_int_equal(half[i], dtype_bf16_from_f32(x[i]));
            assert_memory_equal(&back[i], &one, sizeof one);
        }
    }
}

/* 37 is two vectors and a tail in either type. */
static void adds_every_element_once(void **state)
{
    float x[38], y[38];
    double a[38], b[38];
    (void)state;
    for (int i = 0; i < 38; i++) {
        a[i] = x[i] = 1e8f / (float)(i + 1);
        b[i] = y[i] = (float)i * 0.3f;
    }
    dtype_add(NND_F32, y, x, 37);
    dtype_add(NND_F64, b, a, 37);
    for (int i = 0; i < 38; i++) {
        float was = (float)i * 0.3f;
        assert_true(y[i] == (i < 37 ? was + x[i] : was));
        assert_true(b[i] == (i < 37 ? was + a[i] : was));
    }
}

static void names_and_sizes(void **state)
{
    (void)state;
    assert_string_equal(dtype_name(NND_BF16), "bf16");
    assert_string_equal(dtype_name(9999), "?");
    assert_int_equal(dtype_parse("i32"), NND_I32);
    assert_int_equal(dtype_parse("float"), 0);
    assert_int_equal(dtype_size(NND_F64), 8);
    assert_int_equal(dtype_size(NND_F16), 2);
    assert_int_equal(dtype_size(NND_TF32), 0);
    assert_true(dtype_is_float(NND_F16) && !dtype_is_float(NND_I32));
}

static void first_that_is_none(void **state)
{
    static const int dtypes[] = {NND_F64, NND_F32, NND_BF16, NND_F16};
    (void)state;
    for (int d = 0; d < 4; d++) {
        double x[1500], most;
        char bytes[sizeof x];
        for (int i = 0; i < 1500; i++)
            x[i] = i % 7 ? 0.5 : -3;
        dtype_from_f64(dtypes[d], x, bytes, 1500);
        assert_int_equal(dtype_scan(dtypes[d], bytes, 1500, false, &most), 1500);
        assert_true(most == 3);
        x[1400] = NAN, x[1300] = INFINITY, x[1100] = -INFINITY;
        dtype_from_f64(dtypes[d], x, bytes, 1500);
        assert_int_equal(dtype_scan(dtypes[d], bytes, 1500, false, &most), 1100);
        assert_int_equal(dtype_scan(dtypes[d], bytes, 1500, true, &most), 1300);
        assert_int_equal(dtype_scan(dtypes[d], bytes, 1300, true, &most), 1300);
        assert_true(most == 3);
    }
    double most = 1;
    assert_int_equal(dtype_scan(NND_F32, NULL, 0, false, &most), 0);
    assert_true(most == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_sizes),
        cmocka_unit_test(bf16_is_exact_and_nearest),
        cmocka_unit_test(f16_is_exact_and_nearest),
        cmocka_unit_test(overflow_is_infinite),
        cmocka_unit_test(nan_stays_quiet),
        cmocka_unit_test(f32_and_f64_ways_agree),
        cmocka_unit_test(many_are_as_one),
        cmocka_unit_test(adds_every_element_once),
        cmocka_unit_test(first_that_is_none),
    };

    return cmocka_run_group_tests_name("tensor/dtype", tests, NULL, NULL);
}
