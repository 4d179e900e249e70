/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.c - what is left to do with a step's sums: "total", "opt.hyper",
 * "moe.balance", "moe.window".  Whole rows in the order of their contract, since
 * there is one right answer to each.
 */
#include <math.h>

#include "impl.h"

/* ---- total ---- */

static int total_supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_total *p = params;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_WIDE, 1, {REF_ANY}},
        {"order", &p->order, REF_I32 | REF_OPTIONAL, 1, {p->x.dim[0]}},
        {"y", &p->y, REF_F64, 1, {1}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int total_launch(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_total *p = params;
    double sum = 0;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < p->x.dim[0]; i++) {
        int64_t at = ref_given(&p->order) ? *ref_int(&p->order, at1(&p->order, i)) : i;
        sum += ref_get(&p->x, at1(&p->x, at));
    }
    ref_put(&p->y, 0, p->root ? sqrt(sum) : sum);
    return NND_OK;
}

const struct nnd_kernel ref_total =
    REF_KERNEL("total", total_supports, ref_need_none, total_launch);

/* ---- opt.hyper ---- */

static int hyper_supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_hyper *p = params;
    const struct ref_shape shapes[] = {
        {"given", &p->given, REF_F64, 1, {NND_HYPER_COUNT}},
        {"norm", &p->norm, REF_F64, 1, {1}},
        {"stats", &p->stats, REF_F64, 2, {REF_ANY, REF_ANY}},
        {"hyper", &p->hyper, REF_WIDE, 1, {NND_HYPER_COUNT}},
        {"skip", &p->skip, REF_I32, 1, {1}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 5, e);
}

static int hyper_launch(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_hyper *p = params;
    double given[NND_HYPER_COUNT], hyper[NND_HYPER_COUNT] = {0}, losses = 0, c = 1;
    (void)self, (void)plan, (void)l, (void)e;
    for (int i = 0; i < NND_HYPER_COUNT; i++)
        given[i] = ref_get(&p->given, at1(&p->given, i));
    for (int64_t i = 0; i < p->stats.dim[0]; i++)
        losses += ref_get(&p->stats, at2(&p->stats, i, 0));
    double scale = given[NND_HYPER_LOSS_SCALE], n = ref_get(&p->norm, 0) / scale;
    if (given[NND_HYPER_CLIP] > 0 && n > 0)
        c = fmin(1, given[NND_HYPER_CLIP] / (n + 1e-6));
    hyper[NND_HYPER_LR] = given[NND_HYPER_LR];
    hyper[NND_HYPER_GRAD_SCALE] = c / scale;
    hyper[NND_HYPER_BIAS1] = given[NND_HYPER_BIAS1];
    hyper[NND_HYPER_BIAS2] = given[NND_HYPER_BIAS2];
    for (int i = 0; i < NND_HYPER_COUNT; i++)
        ref_put(&p->hyper, at1(&p->hyper, i), hyper[i]);
    *ref_int(&p->skip, 0) = !isfinite(n) || !isfinite(losses);
    return NND_OK;
}

const struct nnd_kernel ref_hyper =
    REF_KERNEL("opt.hyper", hyper_supports, ref_need_none, hyper_launch);

/* ---- moe.balance ---- */

static int balance_supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_balance *p = params;
    int64_t g = p->count.dim[0], n = p->count.dim[1];
    const struct ref_shape shapes[] = {
        {"count", &p->count, REF_I32, 2, {REF_ANY, REF_ANY}},
        {"load", &p->load, REF_I64 | REF_OPTIONAL, 1, {n}},
        {"psum", &p->psum, REF_F64 | REF_OPTIONAL, 2, {g, n}},
        {"count0", &p->count0, REF_I32 | REF_OPTIONAL, 2, {g, n}},
        {"psum0", &p->psum0, REF_F64 | REF_OPTIONAL, 2, {g, n}},
        {"count_sum", &p->count_sum, REF_I32 | REF_OPTIONAL, 2, {g, n}},
        {"psum_sum", &p->psum_sum, REF_F64 | REF_OPTIONAL, 2, {g, n}},
        {"aux_weight", &p->aux_weight, REF_WIDE | REF_OPTIONAL, 2, {g, n}},
        {"zsq", &p->zsq, REF_F64 | REF_OPTIONAL, 1, {1}},
        {"z_weight", &p->z_weight, REF_WIDE | REF_OPTIONAL, 1, {1}},
        {"stats", &p->stats, REF_F64 | REF_OPTIONAL, 1, {2}},
    };
    bool sums = ref_given(&p->count_sum), loss = ref_given(&p->aux_weight);
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 11, e);
    (void)self;
    if (rc != NND_OK)
        return rc;
    if (sums && (!ref_given(&p->count0) || !ref_given(&p->psum) ||
                 !ref_given(&p->psum0) || !ref_given(&p->psum_sum)))
        return ref_refuse(e, NND_EINVAL, "count_sum: wanted psum, and all to be added");
    if (loss && (!ref_given(&p->psum) || !ref_given(&p->zsq) ||
                 !ref_given(&p->z_weight) || !ref_given(&p->stats)))
        return ref_refuse(e, NND_EINVAL,
                          "aux_weight: wanted psum, zsq, z_weight and stats");
    if (p->top_k < 1 || p->layers < 1)
        return ref_refuse(e, NND_EINVAL, "top_k %d of %d layers, wanted at least 1",
                          p->top_k, p->layers);
    return NND_OK;
}

static int32_t count_at(const struct nnd_balance *p, int64_t g, int64_t i)
{
    return *ref_int(&p->count, at2(&p->count, g, i));
}

static void add_loads(const struct nnd_balance *p)
{
    for (int64_t g = 0; g < p->count.dim[0]; g++)
        for (int64_t i = 0; i < p->count.dim[1]; i++)
            ((int64_t *)p->load.data)[at1(&p->load, i)] += count_at(p, g, i);
}

static void add_sums(const struct nnd_balance *p)
{
    for (int64_t g = 0; g < p->count.dim[0]; g++)
        for (int64_t i = 0; i < p->count.dim[1]; i++) {
            *ref_int(&p->count_sum, at2(&p->count_sum, g, i)) =
                *ref_int(&p->count0, at2(&p->count0, g, i)) + count_at(p, g, i);
            ref_put(&p->psum_sum, at2(&p->psum_sum, g, i),
                    ref_get(&p->psum0, at2(&p->psum0, g, i)) +
                        ref_get(&p->psum, at2(&p->psum, g, i)));
        }
}

/* The loss of a group, and its weights; *rows: choices so far. */
static double group_loss(const struct nnd_balance *p, int64_t g, double *rows)
{
    int64_t experts = p->count.dim[1], groups = p->count.dim[0];
    double n = 0, loss = 0;
    for (int64_t i = 0; i < experts; i++) {
        n += count_at(p, g, i);
        *rows += count_at(p, g, i);
    }
    n /= p->top_k;
    double f = n > 0 ? (double)experts / (n * n * (p->concat ? 1 : p->top_k)) : 0;
    for (int64_t i = 0; i < experts; i++) {
        double w = f * count_at(p, g, i);
        loss += w * ref_get(&p->psum, at2(&p->psum, g, i));
        ref_put(&p->aux_weight, at2(&p->aux_weight, g, i),
                p->aux_coef * (double)*p->scale * w / (double)groups);
    }
    return loss;
}

static void add_stat(const struct nnd_balance *p, int64_t i, double x)
{
    ref_put(&p->stats, at1(&p->stats, i), ref_get(&p->stats, at1(&p->stats, i)) + x);
}

static void find_losses(const struct nnd_balance *p)
{
    double loss = 0, rows = 0;
    for (int64_t g = 0; g < p->count.dim[0]; g++)
        loss += group_loss(p, g, &rows);
    rows /= p->top_k * p->layers;
    ref_put(&p->z_weight, 0, rows > 0 ? p->z_coef * (double)*p->scale / rows : 0);
    add_stat(p, 0, p->aux_coef > 0 ? loss / (double)p->count.dim[0] : 0);
    add_stat(p, 1, p->z_coef > 0 && rows > 0 ? ref_get(&p->zsq, 0) / rows : 0);
}

static int balance_launch(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_balance *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    if (ref_given(&p->load))
        add_loads(p);
    if (ref_given(&p->count_sum))
        add_sums(p);
    if (ref_given(&p->aux_weight))
        find_losses(p);
    return NND_OK;
}

const struct nnd_kernel ref_balance =
    REF_KERNEL("moe.balance", balance_supports, ref_need_none, balance_launch);

/* ---- moe.window ---- */

static int window_supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_balance *p = params;
    const struct ref_shape shapes[] = {
        {"count", &p->count, REF_I32, 1, {REF_ANY}},
        {"segments", &p->segments, REF_I32, 2, {p->count.dim[0], 4}},
        {"leaves", &p->leaves, REF_I32, 2, {p->count.dim[0], 4}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static void put_segment(const struct nnd_tensor *t, int64_t i, const int32_t part[4])
{
    for (int64_t j = 0; j < 4; j++)
        *ref_int(t, at2(t, i, j)) = part[j];
}

static int window_launch(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_balance *p = params;
    int32_t row = 0;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < p->count.dim[0]; i++) {
        int32_t rows = *ref_int(&p->count, at1(&p->count, i));
        const int32_t part[4] = {row, rows, (int32_t)i, 0};
        put_segment(&p->segments, i, part);
        put_segment(&p->leaves, i, part);
        row += rows;
    }
    return NND_OK;
}

const struct nnd_kernel ref_window =
    REF_KERNEL("moe.window", window_supports, ref_need_none, window_launch);
