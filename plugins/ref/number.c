/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.c - the 16-bit formats, from and to f64.
 */
#include <math.h>
#include <string.h>

#include "impl.h"

static const struct format {
    int fraction; /* bits of the fraction */
    int exponent; /* bits of the exponent */
    int min;      /* exponent of the smallest normal number */
} bf16 = {7, 8, -126}, f16 = {10, 5, -14};

double ref_get16(int dtype, uint16_t bits)
{
    const struct format *f = dtype == NND_BF16 ? &bf16 : &f16;
    int top = (1 << f->exponent) - 1;
    int exponent = bits >> f->fraction & top,
        fraction = bits & ((1 << f->fraction) - 1);
    double x;
    if (exponent == top)
        x = fraction ? NAN : INFINITY;
    else if (exponent == 0)
        x = ldexp(fraction, f->min - f->fraction);
    else
        x = ldexp(fraction + (1 << f->fraction), exponent - 1 + f->min - f->fraction);
    return bits & 0x8000 ? -x : x;
}

/* |x| = n units of the last place, n rounded to an even integer on a tie.  The
 * bits of exponent and fraction together count those units, so that a carry out
 * of the fraction needs no care. */
uint16_t ref_put16(int dtype, double x)
{
    const struct format *f = dtype == NND_BF16 ? &bf16 : &f16;
    int infinity = ((1 << f->exponent) - 1) << f->fraction;
    int sign = signbit(x) ? 0x8000 : 0;
    if (isnan(x))
        return (uint16_t)(sign | infinity | 1 << (f->fraction - 1));
    if (x == 0)
        return (uint16_t)sign;
    int e = isinf(x) ? 1 << 20 : ilogb(x);
    if (e >= 1 << (f->exponent - 1))
        return (uint16_t)(sign | infinity);
    if (e < f->min)
        e = f->min;
    int n = (int)nearbyint(ldexp(fabs(x), f->fraction - e));
    int bits = ((e - f->min) << f->fraction) + n;
    return (uint16_t)(sign | bits);
}

static void fill(const struct nnd_tensor *t, int axis, int64_t at, double x)
{
    for (int64_t i = 0; i < t->dim[axis]; i++, at += t->stride[axis]) {
        if (axis + 1 < t->ndim)
            fill(t, axis + 1, at, x);
        else
            ref_put(t, at, x);
    }
}

void ref_fill(const struct nnd_tensor *t, double x)
{
    fill(t, 0, 0, x);
}
