/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cast.c - 8-bit numbers and their scales: "cast.quant", "cast.dequant"; and
 * "fill", "scale", "amax".
 */
#include <math.h>
#include <string.h>

#include "impl.h"

/* OCP 8-bit floats (2023): e4m3 has no infinities, and NaN only where all bits of
 * exponent and fraction are set; e5m2 is as IEEE 754 would have it. */
static const struct format {
    int fraction, bias;
    double largest;
} e4m3 = {3, 7, 448}, e5m2 = {2, 15, 57344};

static const struct format *format_of(int dtype)
{
    return dtype == NND_E4M3 ? &e4m3 : &e5m2;
}

double ref_largest8(int dtype)
{
    return format_of(dtype)->largest;
}

double ref_get8(int dtype, uint8_t bits)
{
    const struct format *f = format_of(dtype);
    int exponent = (bits & 0x7f) >> f->fraction,
        fraction = bits & ((1 << f->fraction) - 1);
    double x = exponent ? ldexp(fraction + (1 << f->fraction),
                                exponent - f->bias - f->fraction)
                        : ldexp(fraction, 1 - f->bias - f->fraction);
    if (dtype == NND_E4M3 && (bits & 0x7f) == 0x7f)
        x = NAN;
    if (dtype == NND_E5M2 && exponent == 31)
        x = fraction ? NAN : INFINITY;
    return bits & 0x80 ? -x : x;
}

uint8_t ref_put8(int dtype, double x)
{
    const struct format *f = format_of(dtype);
    int sign = signbit(x) ? 0x80 : 0, least = 1 - f->bias;
    double a = fmin(fabs(x), f->largest);
    if (isnan(x))
        return (uint8_t)(sign | 0x7f);
    if (a == 0)
        return (uint8_t)sign;
    int e = ilogb(a) < least ? least : ilogb(a);
    int n = (int)nearbyint(ldexp(a, f->fraction - e));
    return (uint8_t)(sign | (((e - least) << f->fraction) + n));
}

static double get_scale(const struct nnd_tensor *t, int64_t i)
{
    if (t->scale_dtype == NND_F32)
        return ((const float *)t->scale)[i];
    uint8_t x = ((const uint8_t *)t->scale)[i];
    return x == 255 ? NAN : ldexp(1, x - 127);
}

static int64_t scale_at(const struct nnd_tensor *t, int64_t r, int64_t c)
{
    int64_t rows = t->scale_rows > 1 ? t->scale_rows : 1;
    return t->scale_block ? r / rows * t->scale_stride + c / t->scale_block : 0;
}

double ref_scale(const struct nnd_tensor *t, int64_t at)
{
    if (!t->scale)
        return 1;
    int64_t ld = t->ndim > 1 ? t->stride[t->ndim - 2] : 0;
    return get_scale(t, ld ? scale_at(t, at / ld, at % ld) : scale_at(t, 0, at));
}

/* ---- what is asked for ---- */

static int supports_scales(const struct nnd_tensor *t, const char *name,
                           struct nnd_error *e)
{
    if (t->scale_dtype != NND_F32 && t->scale_dtype != NND_E8M0)
        return ref_refuse(e, NND_EUNSUPPORTED,
                          "%s: scales of dtype %d, wanted f32 or e8m0", name,
                          t->scale_dtype);
    if (t->stride[1] != 1 || t->scale_block < 0 || t->scale_rows < 0)
        return ref_refuse(e, NND_EINVAL, "%s: blocks of %d rows and %d columns", name,
                          t->scale_rows, t->scale_block);
    int64_t blocks =
        t->scale_block ? (t->dim[1] + t->scale_block - 1) / t->scale_block : 0;
    if (t->scale_stride < blocks)
        return ref_refuse(e, NND_EINVAL, "%s: %lld scales a row, wanted %lld", name,
                          (long long)t->scale_stride, (long long)blocks);
    return NND_OK;
}

static int supports_two(const struct nnd_cast *p, int x, int y, struct nnd_error *e)
{
    const struct ref_shape shapes[] = {
        {"x", &p->x, x, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, y, 2, {p->x.dim[0], p->x.dim[1]}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_quant(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    int rc = supports_two(p, REF_FLOAT, REF_BYTE, e);
    (void)self;
    return rc != NND_OK ? rc : supports_scales(&p->y, "y", e);
}

static int supports_dequant(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    int rc = supports_two(p, REF_BYTE, REF_FLOAT, e);
    (void)self;
    return rc != NND_OK ? rc : supports_scales(&p->x, "x", e);
}

static int supports_scale(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_two(params, REF_FLOAT, REF_FLOAT, e);
}

static int supports_fill(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    const struct ref_shape y = {"y", &p->y, REF_FLOAT, 2, {REF_ANY, REF_ANY}};
    (void)self;
    return ref_check(p->struct_size, sizeof *p, &y, 1, e);
}

static int supports_amax(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"amax", &p->amax, REF_WIDE, 1, {1}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

/* ---- work ---- */

/* |x| at its largest in rows [r, r_end) and columns [c, c_end); NaN if there is one. */
static double largest_of(const struct nnd_tensor *x, int64_t r, int64_t r_end,
                         int64_t c, int64_t c_end)
{
    double most = 0;
    for (int64_t i = r; i < r_end; i++)
        for (int64_t j = c; j < c_end; j++) {
            double a = fabs(ref_get(x, at2(x, i, j)));
            most = isnan(a) || a > most ? a : most;
            if (isnan(most))
                return most;
        }
    return most;
}

/* Store the scale of a block whose largest number is `most`. */
static void put_scale(const struct nnd_tensor *y, int64_t at, double most)
{
    double want = most / ref_largest8(y->dtype);
    if (y->scale_dtype == NND_F32) {
        ((float *)y->scale)[at] = !isfinite(most) ? NAN
                                  : most == 0     ? 1
                                                  : fmaxf((float)want, 0x1p-149f);
        return;
    }
    int e = 0;
    double half = isfinite(want) && want > 0 ? frexp(want, &e) : 1;
    int power = half == 0.5 ? e - 1 : e; /* the least with 2^power >= want */
    power = power < -127 ? -127 : power > 127 ? 127 : power;
    ((uint8_t *)y->scale)[at] = (uint8_t)(!isfinite(most) ? 255
                                          : most == 0     ? 127
                                                          : power + 127);
}

static int64_t least_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int launch_quant(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    const struct nnd_tensor *y = &p->y;
    int64_t rows = y->dim[0], cols = y->dim[1],
            high = y->scale_rows > 1 ? y->scale_rows : 1,
            wide = y->scale_block ? y->scale_block : cols;
    (void)self, (void)plan, (void)l, (void)e;
    if (!y->scale_block)
        high = rows;
    for (int64_t r = 0; r < rows; r += high)
        for (int64_t c = 0; c < cols; c += wide) {
            int64_t r_end = least_of(r + high, rows), c_end = least_of(c + wide, cols);
            int64_t at = scale_at(y, r, c);
            put_scale(y, at, largest_of(&p->x, r, r_end, c, c_end));
            for (int64_t i = r; i < r_end; i++)
                for (int64_t j = c; j < c_end; j++)
                    ((uint8_t *)y->data)[at2(y, i, j)] = ref_put8(
                        y->dtype, ref_get(&p->x, at2(&p->x, i, j)) / get_scale(y, at));
        }
    return NND_OK;
}

/* y = x * factor, of the values that the scales give. */
static int times(const struct nnd_cast *p, double factor)
{
    for (int64_t i = 0; i < p->x.dim[0]; i++)
        for (int64_t j = 0; j < p->x.dim[1]; j++)
            ref_put(&p->y, at2(&p->y, i, j), factor * ref_get(&p->x, at2(&p->x, i, j)));
    return NND_OK;
}

static int launch_dequant(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    return times(params, 1);
}

static int launch_scale(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    return times(p, (double)*p->factor);
}

static int launch_fill(const void *self, void *plan, const void *params,
                       const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    ref_fill(&p->y, (double)p->value);
    return NND_OK;
}

static int launch_amax(const void *self, void *plan, const void *params,
                       const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_cast *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    ref_put(&p->amax, 0, largest_of(&p->x, 0, p->x.dim[0], 0, p->x.dim[1]));
    return NND_OK;
}

const struct nnd_kernel ref_quant =
    REF_KERNEL("cast.quant", supports_quant, ref_need_none, launch_quant);
const struct nnd_kernel ref_dequant =
    REF_KERNEL("cast.dequant", supports_dequant, ref_need_none, launch_dequant);
const struct nnd_kernel ref_filled =
    REF_KERNEL("fill", supports_fill, ref_need_none, launch_fill);
const struct nnd_kernel ref_scaled =
    REF_KERNEL("scale", supports_scale, ref_need_none, launch_scale);
const struct nnd_kernel ref_amax =
    REF_KERNEL("amax", supports_amax, ref_need_none, launch_amax);
