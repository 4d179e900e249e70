/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum.c - element-wise sum of up to NND_SUM_MAX tensors, which is also the copy
 * and the conversion.  Each addition is rounded to f32, or to f64 where y is f64.
 */
#include "op.h"
#include "par.h"
#include "vec.h"

/* Tensors are cut into runs of at most this many elements without a gap. */
#define RUN 4096

struct sum_job {
    const struct nnd_sum *p;
    int64_t length; /* elements that follow one another in every tensor */
    int64_t parts;  /* runs in such a stretch */
    int wide;
};

static int is_packed(const struct nnd_tensor *t)
{
    int64_t want = 1;

    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->dim[i] > 1 && t->stride[i] != want)
            return 0;
        want *= t->dim[i];
    }
    return 1;
}

/* Where stretch number r of the tensor begins. */
static int64_t offset_of(const struct nnd_tensor *t, int64_t r)
{
    int64_t at = 0;

    for (int i = t->ndim - 2; i >= 0; i--) {
        at += r % t->dim[i] * t->stride[i];
        r /= t->dim[i];
    }
    return at;
}

static double get_double(const struct nnd_tensor *t, int64_t i)
{
    if (t->dtype == NND_F64)
        return ((const double *)t->data)[i];
    return (double)vec_get(t->data, t->dtype, i, 1)[0];
}

static void run_wide(const struct nnd_sum *p, int64_t y, const int64_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double s = get_double(&p->x[0], x[0] + i);

        for (int k = 1; k < p->n; k++) {
            s += get_double(&p->x[k], x[k] + i);
            if (p->y.dtype != NND_F64)
                s = (double)(float)s;
        }
        if (p->y.dtype == NND_F64)
            ((double *)p->y.data)[y + i] = s;
        else
            vec_put(p->y.data, p->y.dtype, y + i, 1, vec_all((float)s));
    }
}

static void run_narrow(const struct nnd_sum *p, int64_t y, const int64_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += VL) {
        vf s = vec_get(p->x[0].data, p->x[0].dtype, x[0] + i, n - i);

        for (int k = 1; k < p->n; k++)
            s += vec_get(p->x[k].data, p->x[k].dtype, x[k] + i, n - i);
        vec_put(p->y.data, p->y.dtype, y + i, n - i, s);
    }
}

static void sum_runs(const void *arg, int64_t lo, int64_t hi)
{
    const struct sum_job *j = arg;
    const struct nnd_sum *p = j->p;
    int packed = j->length != p->y.dim[p->y.ndim - 1];

    for (int64_t i = lo; i < hi; i++) {
        int64_t first = i % j->parts * RUN, left = j->length - first, r = i / j->parts;
        int64_t n = left < RUN ? left : RUN;
        int64_t x[NND_SUM_MAX], y = first + (packed ? 0 : offset_of(&p->y, r));

        for (int k = 0; k < p->n; k++)
            x[k] = first + (packed ? 0 : offset_of(&p->x[k], r));
        if (j->wide)
            run_wide(p, y, x, n);
        else
            run_narrow(p, y, x, n);
    }
}

static int sum_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sum *p = params;
    const struct nnd_tensor *y = &p->y;
    struct sum_job j = {p, y->dim[y->ndim - 1], 1, y->dtype == NND_F64};
    int packed = is_packed(y);
    int64_t all = 1, cost;

    for (int i = 0; i < y->ndim; i++)
        all *= y->dim[i];
    for (int k = 0; k < p->n; k++) {
        packed = packed && is_packed(&p->x[k]);
        j.wide = j.wide || p->x[k].dtype == NND_F64;
    }
    if (all == 0)
        return NND_OK;
    if (packed)
        j.length = all;
    j.parts = (j.length + RUN - 1) / RUN;
    cost = (j.length < RUN ? j.length : RUN) * p->n;
    return par_rows(l, all / j.length * j.parts, cost, sum_runs, &j);
}

static int check_one(const struct nnd_tensor *t, const struct nnd_tensor *like,
                     const char *name, int k, struct nnd_error *e)
{
    if (t->ndim < 1 || t->ndim > NND_MAX_DIMS || t->ndim != like->ndim)
        return op_refuse(e, NND_EINVAL, "%s%d: %d dims, wanted %d", name, k, t->ndim,
                         like->ndim);
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] != like->dim[i] || t->dim[i] < 0)
            return op_refuse(e, NND_EINVAL, "%s%d: dim %d is %lld, wanted %lld", name,
                             k, i, (long long)t->dim[i], (long long)like->dim[i]);
    if (t->dtype < 1 || t->dtype > NND_BOOL || !((IN_FLOATS | IN_F64) >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s%d: dtype %d, wanted a float", name, k,
                         t->dtype);
    if (t->dim[t->ndim - 1] > 1 && t->stride[t->ndim - 1] != 1)
        return op_refuse(e, NND_EUNSUPPORTED, "%s%d: the last stride is %lld, wanted 1",
                         name, k, (long long)t->stride[t->ndim - 1]);
    return NND_OK;
}

static int sum_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sum *p = params;
    int r = check_one(&p->y, &p->y, "y", 0, e);

    if (p->n < 1 || p->n > NND_SUM_MAX)
        return op_refuse(e, NND_EINVAL, "n is %d, wanted 1 to %d", p->n, NND_SUM_MAX);
    for (int k = 0; k < p->n && !r; k++)
        r = check_one(&p->x[k], &p->y, "x", k, e);
    return r;
}

const struct op OPS(sum)[] = {
    {.name = "sum",
     .params_size = sizeof(struct nnd_sum),
     .check = sum_check,
     .launch = sum_launch},
    {0},
};
