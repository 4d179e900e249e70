/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent.c - cross entropy of a softmax: "xent.fwd", "xent.bwd".
 */
#include <math.h>

#include "impl.h"

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    int64_t t = p->logits.dim[0];
    const struct ref_shape shapes[] = {
        {"logits", &p->logits, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"loss", &p->loss, REF_WIDE, 1, {t}},
        {"lse", &p->lse, REF_WIDE, 1, {t}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    int64_t t = p->logits.dim[0], v = p->logits.dim[1];
    const struct ref_shape shapes[] = {
        {"logits", &p->logits, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"dlogits", &p->dlogits, REF_FLOAT, 2, {t, v}},
        {"lse", &p->lse, REF_WIDE, 1, {t}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int check_target(const struct nnd_xent *p, int64_t t, struct nnd_error *e)
{
    if (p->target[t] < p->logits.dim[1])
        return NND_OK;
    return ref_refuse(e, NND_EINVAL, "target %d in row %lld of %lld classes",
                      p->target[t], (long long)t, (long long)p->logits.dim[1]);
}

double ref_xent_loss(const struct ref_xent *x, int32_t target, double *lse)
{
    double max = -INFINITY, sum = 0, mean = 0;
    for (int64_t v = 0; v < x->classes; v++)
        max = fmax(max, x->z[v]);
    for (int64_t v = 0; v < x->classes; v++) {
        sum += exp(x->z[v] - max);
        mean += x->z[v] / (double)x->classes;
    }
    *lse = max + log(sum);
    return *lse - (1 - x->smoothing) * x->z[target] -
           (x->smoothing > 0 ? x->smoothing * mean : 0) + x->z_loss * *lse * *lse;
}

double ref_xent_slope(const struct ref_xent *x, int64_t v, int32_t target, double lse)
{
    return exp(x->z[v] - lse) * (1 + 2 * x->z_loss * lse) -
           (1 - x->smoothing) * (v == target) - x->smoothing / (double)x->classes;
}

/* Row t of the logits, in the workspace. */
static struct ref_xent row_of(const struct nnd_xent *p, int64_t t,
                              const struct nnd_launch *l)
{
    struct ref_xent x = {l->workspace, p->logits.dim[1], (double)p->smoothing,
                         (double)p->z_loss};
    for (int64_t v = 0; v < x.classes; v++)
        x.z[v] = ref_get(&p->logits, at2(&p->logits, t, v));
    return x;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_xent *p = params;
    (void)self;
    return ref_need(out, p->logits.dim[1]);
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    (void)self, (void)plan;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        double lse = 0, loss = 0;
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        if (p->target[t] >= 0) {
            struct ref_xent x = row_of(p, t, l);
            loss = ref_xent_loss(&x, p->target[t], &lse);
        }
        ref_put(&p->lse, at1(&p->lse, t), lse);
        ref_put(&p->loss, at1(&p->loss, t), loss);
    }
    return NND_OK;
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    (void)self, (void)plan;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        struct ref_xent x = row_of(p, t, l);
        double lse = p->target[t] < 0 ? 0 : ref_get(&p->lse, at1(&p->lse, t));
        for (int64_t v = 0; v < x.classes; v++)
            ref_put(&p->dlogits, at2(&p->dlogits, t, v),
                    p->target[t] < 0
                        ? 0
                        : ref_xent_slope(&x, v, p->target[t], lse) * (double)*p->seed);
    }
    return NND_OK;
}

const struct nnd_kernel ref_xent_fwd =
    REF_KERNEL("xent.fwd", supports_fwd, need, launch_fwd);
const struct nnd_kernel ref_xent_bwd =
    REF_KERNEL("xent.bwd", supports_bwd, need, launch_bwd);
