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

static double row_lse(const struct nnd_tensor *z, int64_t t)
{
    double max = -INFINITY, sum = 0;
    for (int64_t v = 0; v < z->dim[1]; v++)
        max = fmax(max, ref_get(z, at2(z, t, v)));
    for (int64_t v = 0; v < z->dim[1]; v++)
        sum += exp(ref_get(z, at2(z, t, v)) - max);
    return max + log(sum);
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        double lse = 0, loss = 0;
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        if (p->target[t] >= 0) {
            lse = row_lse(&p->logits, t);
            loss = lse - ref_get(&p->logits, at2(&p->logits, t, p->target[t]));
        }
        ref_put(&p->lse, at1(&p->lse, t), lse);
        ref_put(&p->loss, at1(&p->loss, t), loss);
    }
    return NND_OK;
}

static double gradient(const struct nnd_xent *p, int64_t t, int64_t v)
{
    if (p->target[t] < 0)
        return 0;
    double lse = ref_get(&p->lse, at1(&p->lse, t));
    double softmax = exp(ref_get(&p->logits, at2(&p->logits, t, v)) - lse);
    return (softmax - (v == p->target[t])) * (double)*p->seed;
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_xent *p = params;
    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        for (int64_t v = 0; v < p->logits.dim[1]; v++)
            ref_put(&p->dlogits, at2(&p->dlogits, t, v), gradient(p, t, v));
    }
    return NND_OK;
}

const struct nnd_kernel ref_xent_fwd =
    REF_KERNEL("xent.fwd", supports_fwd, ref_need_none, launch_fwd);
const struct nnd_kernel ref_xent_bwd =
    REF_KERNEL("xent.bwd", supports_bwd, ref_need_none, launch_bwd);
