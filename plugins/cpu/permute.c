/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permute.c - rows to experts and back: moe.sort, moe.permute, moe.unpermute,
 * moe.dgate.  Sorting is a counting sort over a few thousand integers and stays
 * in one thread.
 */
#include "op.h"
#include "par.h"
#include "vec.h"

static int sort_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sort *p = params;
    int64_t rows = p->expert.dim[0], top_k = p->expert.dim[1], n = p->total.dim[0];
    int32_t *next = l->workspace, *total = p->total.data, *source = p->source.data;
    int32_t real = 0;

    memset(total, 0, (size_t)n * sizeof *total);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t k = 0; k < top_k; k++) {
            int32_t e = ((const int32_t *)row_of(&p->expert, t))[k];

            if (e >= 0)
                total[e]++;
        }
    for (int64_t e = 0; e < n; e++) {
        next[e] = real;
        real += total[e];
    }
    for (int64_t t = 0; t < rows; t++)
        for (int64_t k = 0; k < top_k; k++) {
            int32_t e = ((const int32_t *)row_of(&p->expert, t))[k];
            int32_t at = e >= 0 ? next[e]++ : -1;

            ((int32_t *)row_of(&p->place, t))[k] = at;
            if (at >= 0)
                source[at] = (int32_t)(t * top_k + k);
        }
    for (int64_t i = real; i < p->source.dim[0]; i++)
        source[i] = -1;
    return NND_OK;
}

static size_t sort_workspace(const void *params)
{
    const struct nnd_sort *p = params;

    return (size_t)p->total.dim[0] * sizeof(int32_t);
}

static int sort_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sort *p = params;
    int64_t want = p->expert.dim[0] * p->expert.dim[1];

    if (p->source.dim[0] < want)
        return op_refuse(e, NND_EINVAL, "source: %lld elements, wanted %lld",
                         (long long)p->source.dim[0], (long long)want);
    return NND_OK;
}

/* The gate of choice number c = t * top_k + k, or 1. */
static float gate_of(const struct nnd_permute *p, int64_t c)
{
    if (!p->gate.ndim)
        return 1;
    return ((const float *)row_of(&p->gate, c / p->top_k))[c % p->top_k];
}

static void permute_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_permute *p = arg;
    const int32_t *source = p->source.data;
    int64_t n = p->x.dim[1];

    for (int64_t j = lo; j < hi; j++) {
        const void *x;
        void *y = row_of(&p->y, j);
        float g;

        if (source[j] < 0)
            continue;
        x = row_of(&p->x, source[j] / p->top_k);
        g = gate_of(p, source[j]);
        for (int64_t i = 0; i < n; i += VL)
            vec_put(y, p->y.dtype, i, n - i, vec_get(x, p->x.dtype, i, n - i) * g);
    }
}

static void unpermute_row(const struct nnd_permute *p, int64_t t)
{
    const int32_t *place = row_of(&p->place, t);
    void *y = row_of(&p->y, t);
    int64_t n = p->y.dim[1];

    for (int64_t i = 0; i < n; i += VL) {
        vf sum = vec_all(0);

        for (int k = 0; k < p->top_k; k++) {
            if (place[k] < 0)
                continue;
            sum += vec_get(row_of(&p->x, place[k]), p->x.dtype, i, n - i) *
                   gate_of(p, t * p->top_k + k);
        }
        vec_put(y, p->y.dtype, i, n - i, sum);
    }
}

static void unpermute_rows(const void *arg, int64_t lo, int64_t hi)
{
    for (int64_t t = lo; t < hi; t++)
        unpermute_row(arg, t);
}

static float row_dot(const struct nnd_tensor *a, int64_t ra, const struct nnd_tensor *b,
                     int64_t rb)
{
    const void *x = row_of(a, ra), *y = row_of(b, rb);
    int64_t n = a->dim[1];
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            s.v[u] += vec_get(x, a->dtype, i, n - i) * vec_get(y, b->dtype, i, n - i);
        }
    return lanes_sum(&s);
}

static void dgate_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_permute *p = arg;

    for (int64_t t = lo; t < hi; t++) {
        const int32_t *place = row_of(&p->place, t);
        float *dgate = row_of(&p->dgate, t);

        for (int k = 0; k < p->top_k; k++)
            dgate[k] = place[k] < 0 ? 0 : row_dot(&p->dy, t, &p->x, place[k]);
    }
}

static int permute_check(const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = params;

    return p->top_k >= 1 ? NND_OK
                         : op_refuse(e, NND_EINVAL, "top_k %d, wanted >= 1", p->top_k);
}

static int place_check(const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = params;

    if (p->place.dim[1] != p->top_k)
        return op_refuse(e, NND_EINVAL, "place: dim 1 is %lld, wanted top_k = %d",
                         (long long)p->place.dim[1], p->top_k);
    return permute_check(params, e);
}

static int permute_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = params;
    int64_t rows = p->source.dim[0] < p->y.dim[0] ? p->source.dim[0] : p->y.dim[0];

    return par_rows(l, rows, p->x.dim[1], permute_rows, p);
}

static int unpermute_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = params;

    return par_rows(l, p->y.dim[0], p->y.dim[1] * p->top_k, unpermute_rows, p);
}

static int dgate_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = params;

    return par_rows(l, p->dy.dim[0], p->dy.dim[1] * p->top_k, dgate_rows, p);
}

const struct op OPS(permute)[] = {
    {.name = "moe.sort",
     .check = sort_check,
     .workspace = sort_workspace,
     .launch = sort_launch},
    {.name = "moe.permute", .check = permute_check, .launch = permute_launch},
    {.name = "moe.unpermute", .check = place_check, .launch = unpermute_launch},
    {.name = "moe.dgate", .check = place_check, .launch = dgate_launch},
    {0},
};
