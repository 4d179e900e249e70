/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rope.c - rotary positions.  Angles, sines and cosines are computed in double
 * for each row, by vectors, once for all heads; nothing is kept between calls.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

#define HEAD_MAX 512 /* a row's rotated head lies on the stack */

/* ln x in double, x >= 1: halved into [1, 2), then the series of atanh. */
static double log_of(double x)
{
    double e = 0, s, z, sum = 0;

    for (; x >= 2; x /= 2)
        e++;
    s = (x - 1) / (x + 1);
    z = s * s;
    for (int k = 33; k >= 1; k -= 2)
        sum = sum * z + 1.0 / k;
    return e * 0.693147180559945309417 + 2 * s * sum;
}

/* e^-x in double, x >= 0: a Taylor series of x / 2^k, squared k times. */
static double exp_minus(double x)
{
    double sum = 1;
    int squarings = 0;

    for (; x > 0.5; x /= 2)
        squarings++;
    for (int k = 16; k >= 1; k--)
        sum = 1 - x / k * sum;
    for (; squarings > 0; squarings--)
        sum *= sum;
    return sum;
}

struct rope_job {
    const struct nnd_rope *p;
    const double *frequency; /* [D / 2], padded */
};

static void rotate(const struct nnd_rope *p, float *x, const float *c, const float *s)
{
    int64_t half = p->x.dim[2] / 2;
    int64_t step = p->interleaved ? 2 : 1, other = p->interleaved ? 1 : half;

    for (int64_t i = 0; i < half; i++) {
        float a = x[i * step], b = x[i * step + other];

        x[i * step] = a * c[i] - b * s[i];
        x[i * step + other] = b * c[i] + a * s[i];
    }
}

static void angles(const struct rope_job *j, int32_t pos, float *c, float *s)
{
    int64_t half = j->p->x.dim[2] / 2;

    for (int64_t i = 0; i < half; i += VL / 2) {
        vd f, sine, cosine;
        vfhalf c32, s32;

        memcpy(&f, j->frequency + i, sizeof f);
        vec_sincos(f * (double)pos, &sine, &cosine);
        if (j->p->inverse)
            sine = -sine;
        c32 = __builtin_convertvector(cosine, vfhalf);
        s32 = __builtin_convertvector(sine, vfhalf);
        memcpy(c + i, &c32, sizeof c32);
        memcpy(s + i, &s32, sizeof s32);
    }
}

static void rope_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct rope_job *j = arg;
    const struct nnd_rope *p = j->p;
    int64_t d = p->x.dim[2];
    float c[HEAD_MAX / 2 + VL], s[HEAD_MAX / 2 + VL], row[HEAD_MAX];
    int64_t xs = p->x.stride[1] * (int64_t)dtype_size(p->x.dtype);
    int64_t ys = p->y.stride[1] * (int64_t)dtype_size(p->y.dtype);

    for (int64_t t = lo; t < hi; t++) {
        angles(j, p->pos[t], c, s);
        for (int64_t h = 0; h < p->x.dim[1]; h++) {
            const char *x = (const char *)row_of(&p->x, t) + h * xs;
            char *y = (char *)row_of(&p->y, t) + h * ys;

            for (int64_t i = 0; i < d; i += VL)
                vec_put(row, NND_F32, i, d - i, vec_get(x, p->x.dtype, i, d - i));
            rotate(p, row, c, s);
            for (int64_t i = 0; i < d; i += VL)
                vec_put(y, p->y.dtype, i, d - i, vec_get(row, NND_F32, i, d - i));
        }
    }
}

static int rope_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rope *p = params;

    if (p->x.dim[2] % 2 || p->x.dim[2] > HEAD_MAX)
        return op_refuse(e, NND_EUNSUPPORTED, "head size %lld, wanted even, at most %d",
                         (long long)p->x.dim[2], HEAD_MAX);
    if (!(p->theta >= 1))
        return op_refuse(e, NND_EUNSUPPORTED, "theta %g, wanted >= 1",
                         (double)p->theta);
    return NND_OK;
}

static size_t rope_workspace(const void *params)
{
    const struct nnd_rope *p = params;

    return (size_t)(p->x.dim[2] / 2 + VL) * sizeof(double);
}

static int rope_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rope *p = params;
    struct rope_job j = {p, l->workspace};
    double *f = l->workspace, step = log_of(p->theta) * 2;
    int64_t d = p->x.dim[2];

    for (int64_t i = 0; i < d / 2; i++)
        f[i] = exp_minus(step * (double)i / (double)d);
    for (int64_t i = d / 2; i < d / 2 + VL; i++)
        f[i] = 0;
    return par_rows(l, p->x.dim[0], p->x.dim[1] * d + 4 * d, rope_rows, &j);
}

const struct op OPS(rope)[] = {
    {.name = "rope",
     .check = rope_check,
     .workspace = rope_workspace,
     .launch = rope_launch},
    {0},
};
