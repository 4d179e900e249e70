/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.c - the formats of 8 bits, by trying all of their numbers; i64.
 */
#include "number.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tensor/dtype.h"

/* OCP 8-bit floats (2023) and the power of 2 that scales are. */
static const struct format {
    int dtype, fraction, bias, infinities;
} formats[] = {{NND_E4M3, 3, 7, 0}, {NND_E5M2, 2, 15, 1}};

static double decode(const struct format *f, unsigned bits)
{
    int exponent = (int)(bits & 0x7f) >> f->fraction;
    int fraction = (int)bits & ((1 << f->fraction) - 1);
    int top = 0x7f >> f->fraction, most = (1 << f->fraction) - 1;
    double x = exponent ? ldexp(fraction + (1 << f->fraction),
                                exponent - f->bias - f->fraction)
                        : ldexp(fraction, 1 - f->bias - f->fraction);
    if (exponent == top && f->infinities)
        x = fraction ? NAN : INFINITY;
    else if (exponent == top && fraction == most)
        x = NAN;
    return bits & 0x80 ? -x : x;
}

static const struct format *format_of(int dtype)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i].dtype == dtype)
            return &formats[i];
    return NULL;
}

/* A type of a plugin; of one that is converted by blocks a number alone has no value.
 */
static const struct nnd_dtype_def *outside(int dtype)
{
    const struct nnd_dtype_def *d = dtype_outside(dtype);
    return d && d->block == 1 ? d : NULL;
}

/* A number of a type that lib/tensor does not convert. */
static double get_one(int dtype, const void *from)
{
    float single = 0;
    const struct format *f = format_of(dtype);
    uint8_t bits;
    int64_t whole;
    memcpy(&bits, from, 1);
    if (dtype == NND_I64) {
        memcpy(&whole, from, sizeof whole);
        return (double)whole;
    }
    if (f)
        return decode(f, bits);
    if (dtype == NND_E8M0)
        return bits == 255 ? NAN : ldexp(1, bits - 127);
    if (outside(dtype))
        outside(dtype)->to_f32(from, &single, 1);
    return (double)single;
}

static bool is_converted(int dtype)
{
    return !format_of(dtype) && dtype != NND_E8M0 && dtype != NND_I64 &&
           !dtype_outside(dtype);
}

void number_get(int dtype, const void *from, size_t n, double *x)
{
    if (is_converted(dtype))
        dtype_to_f64(dtype, from, x, n);
    else
        for (size_t i = 0; i < n; i++)
            x[i] = get_one(dtype, (const char *)from + i * dtype_size(dtype));
}

/* The nearest of all finite numbers, of two the one whose last bit is 0. */
static uint8_t encode(const struct format *f, double x)
{
    unsigned best = 0;
    if (isnan(x))
        return 0x7f;
    for (unsigned bits = 1; bits < 0x80; bits++) {
        double far = fabs(decode(f, bits) - fabs(x));
        double least = fabs(decode(f, best) - fabs(x));
        if (far < least || (far == least && bits % 2 == 0))
            best = bits;
    }
    return (uint8_t)(best | (signbit(x) ? 0x80 : 0));
}

static void put_one(int dtype, double x, void *to)
{
    const struct format *f = format_of(dtype);
    uint8_t bits = 255;
    float single = (float)x;
    if (dtype_outside(dtype)) {
        memset(to, 0, dtype_size(dtype));
        if (outside(dtype))
            outside(dtype)->from_f32(&single, to, 1);
        return;
    }
    if (dtype == NND_I64) {
        int64_t whole = (int64_t)x;
        memcpy(to, &whole, sizeof whole);
        return;
    }
    if (f)
        bits = encode(f, x);
    else if (x > 0 && isfinite(x))
        bits = (uint8_t)fmin(254, fmax(0, ilogb(x) + 127));
    memcpy(to, &bits, 1);
}

void number_put(int dtype, const double *x, size_t n, void *to)
{
    if (is_converted(dtype))
        dtype_from_f64(dtype, x, to, n);
    else
        for (size_t i = 0; i < n; i++)
            put_one(dtype, x[i], (char *)to + i * dtype_size(dtype));
}

uint64_t number_canary(int dtype, bool other)
{
    size_t size = dtype_size(dtype);
    uint64_t any = other ? ~(uint64_t)0x5aa5dead : 0x5aa5dead;
    switch (dtype) {
    case NND_F64:
        return 0x7ff8deadbeef5aa5;
    case NND_F32:
        return 0x7fc5aaa5;
    case NND_BF16:
        return 0x7fda;
    case NND_F16:
        return 0x7eda;
    case NND_E4M3:
    case NND_E5M2:
        return 0x7f;
    case NND_E8M0:
        return 0xff;
    default:
        return size < sizeof any ? any & (((uint64_t)1 << 8 * size) - 1) : any;
    }
}
