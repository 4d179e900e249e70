/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choose.c - numbers of a row by their place: "argmax", "sample", "select".
 */
#include <math.h>

#include "impl.h"

/* Sets sampling apart from other uses of a seed. */
#define SAMPLE_STREAM 0x53414d50u

static int supports_argmax(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = params;
    int64_t r = p->x.dim[0], k = p->index.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"index", &p->index, REF_I32, 2, {r, REF_ANY}},
        {"value", &p->value, REF_WIDE | REF_OPTIONAL, 2, {r, k}},
    };
    (void)self;
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 3, e);
    if (rc == NND_OK && k > p->x.dim[1])
        return ref_refuse(e, NND_EINVAL, "%lld of %lld columns are wanted",
                          (long long)k, (long long)p->x.dim[1]);
    return rc;
}

static int supports_sample(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = params;
    int rc = supports_argmax(self, params, e);
    if (rc == NND_OK && (p->index.dim[1] != 1 || !(p->temperature >= 0) ||
                         !(p->top_p > 0 && p->top_p <= 1) || p->top_k < 0))
        return ref_refuse(e, NND_EINVAL,
                          "one index of a row, temperature >= 0, 0 < top_p <= 1 and "
                          "top_k >= 0 are wanted");
    return rc;
}

/* The row's indices in order; of sample, their weights as well. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_choose *p = params;
    (void)self;
    return ref_need(out, 2 * p->x.dim[1]);
}

static double number(const struct nnd_choose *p, int64_t r, int64_t i)
{
    double x = ref_get(&p->x, at2(&p->x, r, i));
    return isnan(x) ? -INFINITY : x;
}

/* order[0 .. k) = the k largest of the row, by insertion. */
static void order_row(const struct nnd_choose *p, int64_t r, int64_t k, int64_t *order)
{
    int64_t have = 0;
    for (int64_t i = 0; i < p->x.dim[1]; i++) {
        int64_t at = have;
        while (at > 0 && number(p, r, order[at - 1]) < number(p, r, i))
            at--;
        if (at == k)
            continue;
        have += have < k;
        for (int64_t j = have - 1; j > at; j--)
            order[j] = order[j - 1];
        order[at] = i;
    }
}

static void put_choice(const struct nnd_choose *p, int64_t r, int64_t k, int64_t i)
{
    *ref_int(&p->index, at2(&p->index, r, k)) = (int32_t)i;
    if (ref_given(&p->value))
        ref_put(&p->value, at2(&p->value, r, k),
                i < 0 ? 0 : ref_get(&p->x, at2(&p->x, r, i)));
}

static int launch_argmax(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_choose *p = params;
    int64_t *order = l->workspace, k = p->index.dim[1];
    (void)self, (void)plan, (void)e;
    for (int64_t r = 0; r < p->x.dim[0]; r++) {
        order_row(p, r, k, order);
        for (int64_t i = 0; i < k; i++)
            put_choice(p, r, i, order[i]);
    }
    return NND_OK;
}

static double uniform(const struct nnd_choose *p, int64_t r)
{
    uint32_t c[4] = {(uint32_t)p->pos[r], 0, SAMPLE_STREAM, 0};
    ref_philox(p->seed[r], c);
    return (double)((uint64_t)c[0] << 21 | c[1] >> 11) * 0x1p-53;
}

static int64_t draw(const struct nnd_choose *p, int64_t r, const int64_t *order,
                    double *weight)
{
    int64_t n = p->x.dim[1], kept = 0, chosen = 0;
    double best = number(p, r, order[0]), sum = 0, have = 0;
    if (p->temperature == 0)
        return order[0];
    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    for (int64_t i = 0; i < n; i++) {
        weight[i] = exp((number(p, r, order[i]) - best) / (double)p->temperature);
        sum += weight[i];
    }
    while (p->top_p < 1 && kept < n && have < (double)p->top_p * sum)
        have += weight[kept++];
    if (p->top_p < 1) {
        sum = have;
        n = kept;
    }
    double mark = uniform(p, r) * sum;
    for (have = weight[0]; have <= mark && chosen + 1 < n && weight[chosen + 1] > 0;)
        have += weight[++chosen];
    return order[chosen];
}

static int launch_sample(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_choose *p = params;
    int64_t *order = l->workspace, n = p->x.dim[1];
    (void)self, (void)plan, (void)e;
    for (int64_t r = 0; r < p->x.dim[0]; r++) {
        if (p->pos[r] >= 0)
            order_row(p, r, n, order);
        put_choice(p, r, 0,
                   p->pos[r] < 0 ? -1 : draw(p, r, order, (double *)(order + n)));
    }
    return NND_OK;
}

static int supports_select(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_select *p = params;
    int64_t r = p->x.dim[0], k = p->index.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"index", &p->index, REF_I32, 2, {r, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {r, k}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int launch_select(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_select *p = params;
    (void)self, (void)plan, (void)l;
    for (int64_t r = 0; r < p->x.dim[0]; r++)
        for (int64_t k = 0; k < p->index.dim[1]; k++) {
            int32_t i = *ref_int(&p->index, at2(&p->index, r, k));
            if (i >= p->x.dim[1])
                return ref_refuse(e, NND_EINVAL, "index %d in row %lld of %lld columns",
                                  i, (long long)r, (long long)p->x.dim[1]);
            ref_put(&p->y, at2(&p->y, r, k),
                    i < 0 ? 0 : ref_get(&p->x, at2(&p->x, r, i)));
        }
    return NND_OK;
}

const struct nnd_kernel ref_argmax =
    REF_KERNEL("argmax", supports_argmax, need, launch_argmax);
const struct nnd_kernel ref_sample =
    REF_KERNEL("sample", supports_sample, need, launch_sample);
const struct nnd_kernel ref_select =
    REF_KERNEL("select", supports_select, ref_need_none, launch_select);
