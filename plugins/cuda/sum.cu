/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum.cu - element-wise sums of several tensors, which with one of them is a copy
 * and a conversion.
 */
#include "families.h"
#include "kern.h"

struct terms {
    struct mat y, x[NND_SUM_MAX];
    int32_t n;
};

template <int DT> struct sum_numbers {
    struct terms m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float s[8], v[8];
        get8<DT>(m.x[0], r, c, left, s);
        for (int k = 1; k < m.n; k++) {
            get8<DT>(m.x[k], r, c, left, v);
#pragma unroll
            for (int i = 0; i < 8; i++)
                s[i] += v[i];
        }
        put8<DT>(m.y, r, c, left, s);
    }
};

/* f64 anywhere: number by number. */
struct sum_wide {
    struct terms m;
    __device__ double get(const struct mat &x, int64_t r, int64_t c) const
    {
        const char *row = x.data + r * x.step;
        return x.dtype == NND_F64 ? ((const double *)row)[c]
                                  : (double)get_at(x.dtype, row, c);
    }
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        for (int64_t j = c; j < c + 8 && j < c + left; j++) {
            double s = get(m.x[0], r, j);
            for (int k = 1; k < m.n; k++) {
                s += get(m.x[k], r, j);
                if (m.y.dtype != NND_F64)
                    s = (double)(float)s;
            }
            if (m.y.dtype == NND_F64)
                ((double *)(m.y.data + r * m.y.step))[j] = s;
            else
                put_at(m.y.dtype, m.y.data + r * m.y.step, j, (float)s);
        }
    }
};

/* The tensor as rows x cols: all axes but the first without gaps. */
static struct nnd_tensor flat(const struct nnd_tensor *t)
{
    struct nnd_tensor f = *t;
    int64_t cols = 1;
    for (int i = 1; i < t->ndim; i++)
        cols *= t->dim[i];
    if (t->ndim < 2)
        return f;
    f.ndim = 2;
    f.dim[1] = cols;
    f.stride[1] = 1;
    if (t->dim[0] == 1)
        f.stride[0] = cols;
    return f;
}

static int sum_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sum *p = (const struct nnd_sum *)params;
    struct nnd_tensor f[NND_SUM_MAX + 1];
    const struct nnd_tensor *t[NND_SUM_MAX + 1];
    struct terms m = {};
    bool wide = p->y.dtype == NND_F64;
    m.n = p->n;
    f[0] = flat(&p->y);
    t[0] = &f[0];
    m.y = mat_of(&f[0]);
    for (int k = 1; k <= p->n; k++) {
        f[k] = flat(&p->x[k - 1]);
        t[k] = &f[k];
        m.x[k - 1] = mat_of(&f[k]);
        wide = wide || f[k].dtype == NND_F64;
    }
    struct extent e = extent_of(t, p->n + 1);
    if (wide)
        return each(l, e.rows, e.cols, sum_wide{m});
    return each_typed<sum_numbers>(l, common_type(t, p->n + 1), e.rows, e.cols, m);
}

static int check_one(const struct nnd_tensor *t, const struct nnd_tensor *like,
                     const char *name, int k, struct nnd_error *e)
{
    int64_t least = 1;
    if (t->ndim < 1 || t->ndim > NND_MAX_DIMS || t->ndim != like->ndim)
        return op_refuse(e, NND_EINVAL, "%s%d: %d dims, wanted %d", name, k, t->ndim,
                         like->ndim);
    if (t->dtype < 1 || t->dtype > NND_BOOL || !((IN_FLOATS | IN_F64) >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s%d: dtype %d, wanted a float", name, k,
                         t->dtype);
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->dim[i] != like->dim[i] || t->dim[i] < 0)
            return op_refuse(e, NND_EINVAL, "%s%d: dim %d is %lld, wanted %lld", name,
                             k, i, (long long)t->dim[i], (long long)like->dim[i]);
        bool fixed = i > 0 || t->ndim == 1;
        if (t->dim[i] > 1 && (fixed ? t->stride[i] != least : t->stride[i] < least))
            return op_refuse(e, NND_EUNSUPPORTED,
                             "%s%d: stride %d is %lld, wanted %lld", name, k, i,
                             (long long)t->stride[i], (long long)least);
        least *= t->dim[i];
    }
    return NND_OK;
}

static int sum_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sum *p = (const struct nnd_sum *)params;
    int r = check_one(&p->y, &p->y, "y", 0, e);
    if (p->n < 1 || p->n > NND_SUM_MAX)
        return op_refuse(e, NND_EINVAL, "n is %d, wanted 1 to %d", p->n, NND_SUM_MAX);
    for (int k = 0; k < p->n && !r; k++)
        r = check_one(&p->x[k], &p->y, "x", k, e);
    return r;
}

extern "C" const struct op cuda_sum_ops[] = {
    {.name = "sum",
     .params_size = sizeof(struct nnd_sum),
     .check = sum_check,
     .launch = sum_launch},
    {},
};
