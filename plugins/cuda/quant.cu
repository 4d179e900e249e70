/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quant.cu - cast.quant and cast.dequant: 8-bit numbers and their scales.
 *
 * quant is two passes: the largest number of each block of numbers, then scales and
 * numbers.  Quotients are taken in f64 and rounded once, so that a number on the border
 * of two goes where the contract sends it.
 */
#include "families.h"
#include "kern.h"

#define IN_BYTES (1u << NND_E4M3 | 1u << NND_E5M2)

/* A matrix of 8-bit numbers (OCP 8-bit floats, 2023) with its scales. */
struct scaled {
    uint8_t *data;
    int64_t step;
    void *scale;
    int64_t scale_step;
    int64_t high, wide; /* rows and columns of a block */
    int32_t e8m0, fraction, bias;
    float largest;
};

struct quants {
    struct mat other;
    struct scaled q;
    unsigned *most;             /* [blocks]: bits of the largest |x| of each */
    int64_t rows, cols, across; /* across: blocks of a row of them */
};

DEVICE float byte_get(const struct scaled &q, unsigned bits)
{
    int exponent = (int)(bits & 0x7f) >> q.fraction,
        part = (int)bits & ((1 << q.fraction) - 1);
    float x = exponent ? ldexpf((float)(part + (1 << q.fraction)),
                                exponent - q.bias - q.fraction)
                       : ldexpf((float)part, 1 - q.bias - q.fraction);
    if (q.fraction == 3 ? (bits & 0x7f) == 0x7f : exponent == 31 && part)
        x = NAN;
    else if (q.fraction == 2 && exponent == 31)
        x = INFINITY;
    return bits & 0x80 ? -x : x;
}

DEVICE uint8_t byte_put(const struct scaled &q, double x)
{
    int sign = signbit(x) ? 0x80 : 0, least = 1 - q.bias;
    double a = fmin(fabs(x), (double)q.largest);
    if (x != x)
        return (uint8_t)(sign | 0x7f);
    if (a == 0)
        return (uint8_t)sign;
    int e = ilogb(a) < least ? least : ilogb(a);
    int n = (int)rint(ldexp(a, q.fraction - e));
    return (uint8_t)(sign | (((e - least) << q.fraction) + n));
}

DEVICE double scale_get(const struct scaled &q, int64_t at)
{
    if (!q.scale)
        return 1;
    if (!q.e8m0)
        return (double)((const float *)q.scale)[at];
    uint8_t x = ((const uint8_t *)q.scale)[at];
    return x == 255 ? (double)NAN : ldexp(1.0, x - 127);
}

/* Of a block whose largest number is `most`. */
DEVICE void scale_put(const struct scaled &q, int64_t at, float most)
{
    bool finite = most <= 3.402823466e38f;
    double want = (double)most / (double)q.largest;
    if (!q.e8m0) {
        ((float *)q.scale)[at] = !finite     ? NAN
                                 : most == 0 ? 1.0f
                                             : fmaxf((float)want, 0x1p-149f);
        return;
    }
    int e = 0;
    double half = finite && want > 0 ? frexp(want, &e) : 1;
    int power = half == 0.5 ? e - 1 : e; /* the least with 2^power >= want */
    power = power < -127 ? -127 : power > 127 ? 127 : power;
    ((uint8_t *)q.scale)[at] = (uint8_t)(!finite ? 255 : most == 0 ? 127 : power + 127);
}

DEVICE int64_t scale_at(const struct scaled &q, int64_t r, int64_t c)
{
    return r / q.high * q.scale_step + c / q.wide;
}

__global__ void __launch_bounds__(256) most_zero(unsigned *most, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < n)
        most[i] = 0;
}

/* As bits, positive numbers are in order and NaN is beyond them all; a maximum does not
 * care who comes first. */
struct block_most {
    struct quants m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8];
        get8<0>(m.other, r, c, left, v);
        unsigned most = 0;
        int64_t block = -1;
        for (int i = 0; i < 8 && i < left; i++) {
            int64_t at = r / m.q.high * m.across + (c + i) / m.q.wide;
            if (at != block && block >= 0 &&
                most > *(volatile unsigned *)&m.most[block])
                atomicMax(&m.most[block], most);
            most = at == block ? most : 0;
            block = at;
            unsigned bits = __float_as_uint(fabsf(v[i]));
            most = bits > most ? bits : most;
        }
        if (block >= 0 && most > *(volatile unsigned *)&m.most[block])
            atomicMax(&m.most[block], most);
    }
};

__global__ void __launch_bounds__(256) quant_scales(struct quants m, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i < n)
        scale_put(m.q, i / m.across * m.q.scale_step + i % m.across,
                  __uint_as_float(m.most[i]));
}

struct quant_numbers {
    struct quants m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8];
        get8<0>(m.other, r, c, left, v);
        for (int i = 0; i < 8 && i < left; i++)
            m.q.data[r * m.q.step + c + i] =
                byte_put(m.q, (double)v[i] / scale_get(m.q, scale_at(m.q, r, c + i)));
    }
};

struct dequant_numbers {
    struct quants m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8] = {0};
        for (int i = 0; i < 8 && i < left; i++)
            v[i] = (float)((double)byte_get(m.q, m.q.data[r * m.q.step + c + i]) *
                           scale_get(m.q, scale_at(m.q, r, c + i)));
        put8<0>(m.other, r, c, left, v);
    }
};

static struct scaled scaled_of(const struct nnd_tensor *t)
{
    bool all = !t->scale_block;
    int64_t rows = t->dim[0] ? t->dim[0] : 1, cols = t->dim[1] ? t->dim[1] : 1;
    return {(uint8_t *)t->data,
            t->stride[0],
            (void *)t->scale,
            t->scale_stride,
            all                 ? rows
            : t->scale_rows > 1 ? t->scale_rows
                                : 1,
            all ? cols : t->scale_block,
            t->scale_dtype == NND_E8M0,
            t->dtype == NND_E4M3 ? 3 : 2,
            t->dtype == NND_E4M3 ? 7 : 15,
            t->dtype == NND_E4M3 ? 448.0f : 57344.0f};
}

static struct quants quants_of(const struct nnd_tensor *bytes,
                               const struct nnd_tensor *other, void *most)
{
    struct quants m = {mat_of(other), scaled_of(bytes), (unsigned *)most,
                       bytes->dim[0], bytes->dim[1],    0};
    m.across = blocks_for(m.cols, m.q.wide);
    return m;
}

static size_t quant_workspace(const void *params)
{
    struct quants m = quants_of(&((const struct nnd_cast *)params)->y,
                                &((const struct nnd_cast *)params)->x, NULL);
    return (size_t)(blocks_for(m.rows, m.q.high) * m.across) * sizeof(unsigned);
}

static int quant_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    struct quants m = quants_of(&p->y, &p->x, l->workspace);
    int64_t n = blocks_for(m.rows, m.q.high) * m.across;
    dim3 blocks((unsigned)blocks_for(n, 256));
    int r = launch(most_zero, blocks, dim3(256), 0, l, m.most, n);
    if (!r)
        r = each(l, m.rows, m.cols, block_most{m});
    if (!r)
        r = launch(quant_scales, blocks, dim3(256), 0, l, m, n);
    return r ? r : each(l, m.rows, m.cols, quant_numbers{m});
}

static int dequant_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    struct quants m = quants_of(&p->x, &p->y, NULL);
    return each(l, m.rows, m.cols, dequant_numbers{m});
}

static int scales_check(const struct nnd_tensor *t, const char *name,
                        struct nnd_error *e)
{
    if (t->scale_dtype != NND_F32 && t->scale_dtype != NND_E8M0)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%s: scales of dtype %d, wanted f32 or e8m0", name,
                         t->scale_dtype);
    if (t->scale_block < 0 || t->scale_rows < 0)
        return op_refuse(e, NND_EINVAL, "%s: blocks of %d rows and %d columns", name,
                         t->scale_rows, t->scale_block);
    int64_t blocks = t->scale_block ? blocks_for(t->dim[1], t->scale_block) : 0;
    if (t->scale_stride < blocks)
        return op_refuse(e, NND_EINVAL, "%s: %lld scales a row, wanted %lld", name,
                         (long long)t->scale_stride, (long long)blocks);
    return NND_OK;
}

static int quant_check(const void *params, struct nnd_error *e)
{
    return scales_check(&((const struct nnd_cast *)params)->y, "y", e);
}

static int dequant_check(const void *params, struct nnd_error *e)
{
    return scales_check(&((const struct nnd_cast *)params)->x, "x", e);
}

extern "C" const struct op cuda_quant_ops[] = {
    {.name = "cast.quant",
     .params_size = sizeof(struct nnd_cast),
     .args = {ARG(nnd_cast, x, "TN", IN_FLOATS, 0),
              ARG(nnd_cast, y, "TN", IN_BYTES, 0)},
     .check = quant_check,
     .workspace = quant_workspace,
     .launch = quant_launch},
    {.name = "cast.dequant",
     .params_size = sizeof(struct nnd_cast),
     .args = {ARG(nnd_cast, x, "TN", IN_BYTES, 0),
              ARG(nnd_cast, y, "TN", IN_FLOATS, 0)},
     .check = dequant_check,
     .launch = dequant_launch},
    {},
};
