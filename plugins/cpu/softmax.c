/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softmax.c - softmax over the columns of each row that count: the largest, the sum of
 * exponentials, the quotients; backward a product of two rows, and its use.
 *
 * Exponentials are made twice, so that y may be x, and of any type.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

/* e^(scale (x - most)), most the largest of scale x by its sign: the difference of
 * numbers that are near has no error. */
struct scale {
    float sign, size;
};

static struct scale scale_of(const struct nnd_softmax *p)
{
    float s = p->scale == 0 ? 1.0f : p->scale;

    return s < 0 ? (struct scale){-1.0f, -s} : (struct scale){1.0f, s};
}

/* What is not there is the least. */
static inline __attribute__((always_inline)) vf
signed_x(const void *x, int dtype, int64_t i, int64_t left, float sign)
{
    return sign * vec_get_or(x, dtype, i, left, -sign * __builtin_inff());
}

static float row_max(const void *x, int dtype, int64_t n, float sign)
{
    struct lanes m;

    for (int u = 0; u < PER; u++)
        m.v[u] = vec_all(-__builtin_inff());
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            m.v[u] = vec_max(signed_x(x, dtype, i, n - i, sign), m.v[u]);
        }
    return lanes_max(&m);
}

static float row_sum(const void *x, int dtype, int64_t n, struct scale s, float most)
{
    struct lanes sum = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            sum.v[u] += vec_exp((signed_x(x, dtype, i, n - i, s.sign) - most) * s.size);
        }
    return lanes_sum(&sum);
}

static int64_t columns_of(const struct nnd_softmax *p, int64_t r)
{
    return p->len ? p->len[r] : p->y.dim[1];
}

/* The columns from `from` on. */
static void clear(const struct nnd_tensor *t, int64_t r, int64_t from)
{
    size_t size = dtype_size(t->dtype);

    memset((char *)row_of(t, r) + (size_t)from * size, 0,
           (size_t)(t->dim[1] - from) * size);
}

static void forward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_softmax *p = arg;
    struct scale s = scale_of(p);
    int dtype = p->x.dtype;

    for (int64_t r = lo; r < hi; r++) {
        const void *x = row_of(&p->x, r);
        void *y = row_of(&p->y, r);
        int64_t n = columns_of(p, r);
        float most = row_max(x, dtype, n, s.sign);
        float share = 1.0f / row_sum(x, dtype, n, s, most);

        for (int64_t i = 0; i < n; i += VL) {
            vf v = (signed_x(x, dtype, i, n - i, s.sign) - most) * s.size;

            vec_put(y, p->y.dtype, i, n - i, vec_exp(v) * share);
        }
        clear(&p->y, r, n);
    }
}

static void backward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_softmax *p = arg;
    struct scale s = scale_of(p);

    for (int64_t r = lo; r < hi; r++) {
        const void *y = row_of(&p->y, r), *dy = row_of(&p->dy, r);
        void *dx = row_of(&p->dx, r);
        int64_t n = columns_of(p, r);
        struct lanes sum = {0};
        float mean;

        for (int64_t c = 0; c < n; c += LANES)
            for (int u = 0; u < PER; u++) {
                int64_t i = c + u * VL;

                sum.v[u] += vec_get(dy, p->dy.dtype, i, n - i) *
                            vec_get(y, p->y.dtype, i, n - i);
            }
        mean = lanes_sum(&sum);
        for (int64_t i = 0; i < n; i += VL) {
            vf d = vec_get(dy, p->dy.dtype, i, n - i) - mean;

            vec_put(dx, p->dx.dtype, i, n - i,
                    (s.sign * s.size) * (d * vec_get(y, p->y.dtype, i, n - i)));
        }
        clear(&p->dx, r, n);
    }
}

static int softmax_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_softmax *p = params;

    return par_rows(l, p->y.dim[0], p->y.dim[1] * 4, forward_rows, p);
}

static int softmax_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_softmax *p = params;

    return par_rows(l, p->y.dim[0], p->y.dim[1] * 2, backward_rows, p);
}

const struct op OPS(softmax)[] = {
    {.name = "softmax.fwd", .launch = softmax_fwd},
    {.name = "softmax.bwd", .launch = softmax_bwd},
    {0},
};
