/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent_linear.c - cross entropy of x w^T: "xent.linear.fwd", "xent.linear.bwd".
 */
#include <math.h>

#include "impl.h"

static int supports(const struct nnd_xent_linear *p, bool bwd, struct nnd_error *e)
{
    int64_t t = p->x.dim[0], n = p->x.dim[1], v = p->w.dim[0];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"w", &p->w, REF_FLOAT, 2, {REF_ANY, n}},
        {"lse", &p->lse, REF_WIDE, 1, {t}},
        {"loss", &p->loss, bwd ? REF_WIDE | REF_OPTIONAL : REF_WIDE, 1, {t}},
        {"dx", &p->dx, REF_FLOAT, 2, {t, n}},
        {"dw", &p->dw, REF_WIDE, 2, {v, n}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, bwd ? 6 : 4, e);
}

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, false, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, true, e);
}

/* One row of logits; backward: their gradients of all rows. */
static int need_fwd(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_xent_linear *p = params;
    (void)self;
    return ref_need(out, p->w.dim[0]);
}

static int need_bwd(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_xent_linear *p = params;
    (void)self;
    return ref_need(out, p->w.dim[0] * p->x.dim[0]);
}

static void logits(const struct nnd_xent_linear *p, int64_t t, double *z)
{
    for (int64_t v = 0; v < p->w.dim[0]; v++) {
        z[v] = 0;
        for (int64_t n = 0; n < p->x.dim[1]; n++)
            z[v] += ref_get(&p->x, at2(&p->x, t, n)) * ref_get(&p->w, at2(&p->w, v, n));
    }
}

static int check_target(const struct nnd_xent_linear *p, int64_t t, struct nnd_error *e)
{
    if (p->target[t] < p->w.dim[0])
        return NND_OK;
    return ref_refuse(e, NND_EINVAL, "target %d in row %lld of %lld classes",
                      p->target[t], (long long)t, (long long)p->w.dim[0]);
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent_linear *p = params;
    struct ref_xent x = {l->workspace, p->w.dim[0], (double)p->smoothing,
                         (double)p->z_loss};
    (void)self, (void)plan;
    for (int64_t t = 0; t < p->x.dim[0]; t++) {
        double lse = 0, loss = 0;
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        if (p->target[t] >= 0) {
            logits(p, t, l->workspace);
            loss = ref_xent_loss(&x, p->target[t], &lse);
        }
        ref_put(&p->lse, at1(&p->lse, t), lse);
        ref_put(&p->loss, at1(&p->loss, t), loss);
    }
    return NND_OK;
}

static void put_dx(const struct nnd_xent_linear *p, int64_t t, const double *g)
{
    for (int64_t n = 0; n < p->x.dim[1]; n++) {
        double dx = 0;
        for (int64_t v = 0; v < p->w.dim[0]; v++)
            dx += g[v] * ref_get(&p->w, at2(&p->w, v, n));
        ref_put(&p->dx, at2(&p->dx, t, n), p->target[t] < 0 ? 0 : dx);
    }
}

/* g [T,V]: the gradients of all logits. */
static void put_dw(const struct nnd_xent_linear *p, int64_t v, const double *g)
{
    int64_t vocabulary = p->w.dim[0];
    for (int64_t n = 0; n < p->x.dim[1]; n++) {
        double dw = 0;
        for (int64_t t = 0; t < p->x.dim[0]; t++)
            if (p->target[t] >= 0)
                dw += g[t * vocabulary + v] * ref_get(&p->x, at2(&p->x, t, n));
        ref_put(&p->dw, at2(&p->dw, v, n), dw);
    }
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent_linear *p = params;
    int64_t vocabulary = p->w.dim[0];
    (void)self, (void)plan;
    for (int64_t t = 0; t < p->x.dim[0]; t++) {
        double *g = (double *)l->workspace + t * vocabulary;
        struct ref_xent x = {g, vocabulary, (double)p->smoothing, (double)p->z_loss};
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        if (p->target[t] >= 0)
            logits(p, t, g);
        for (int64_t v = 0; v < vocabulary && p->target[t] >= 0; v++)
            g[v] =
                ref_xent_slope(&x, v, p->target[t], ref_get(&p->lse, at1(&p->lse, t))) *
                (double)*p->seed;
        put_dx(p, t, g);
    }
    for (int64_t v = 0; v < vocabulary; v++)
        put_dw(p, v, l->workspace);
    return NND_OK;
}

const struct nnd_kernel ref_xent_linear_fwd =
    REF_KERNEL("xent.linear.fwd", supports_fwd, need_fwd, launch_fwd);
const struct nnd_kernel ref_xent_linear_bwd =
    REF_KERNEL("xent.linear.bwd", supports_bwd, need_bwd, launch_bwd);
