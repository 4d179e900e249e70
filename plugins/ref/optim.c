/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.c - one step of an optimizer: "opt.adamw" (Loshchilov & Hutter 2019),
 * "opt.adam" (Kingma & Ba 2015), "opt.sgd" (momentum: Sutskever et al. 2013).
 */
#include <math.h>

#include "impl.h"

static int supports(const struct nnd_optim *p, bool second, struct nnd_error *e)
{
    int64_t n = p->w.dim[0];
    const struct ref_shape shapes[] = {
        {"w", &p->w, REF_WIDE, 1, {REF_ANY}},
        {"grad", &p->grad, REF_FLOAT, 1, {n}},
        {"m", &p->m, REF_FLOAT, 1, {n}},
        {"out", &p->out, REF_FLOAT | REF_OPTIONAL, 1, {n}},
        {"skip", &p->skip, REF_I32 | REF_OPTIONAL, 1, {1}},
        {"v", &p->v, REF_FLOAT, 1, {n}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, second ? 6 : 5, e);
}

static int supports_adam(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, true, e);
}

static int supports_sgd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, false, e);
}

/* How many elements there are to do. */
static int64_t count(const struct nnd_optim *p)
{
    bool skipped = ref_given(&p->skip) && *ref_int(&p->skip, 0);
    return skipped ? 0 : p->w.dim[0];
}

static double gradient(const struct nnd_optim *p, int64_t i)
{
    return ref_get(&p->grad, at1(&p->grad, i)) * (double)p->hyper[NND_HYPER_GRAD_SCALE];
}

static void put_weight(const struct nnd_optim *p, int64_t i, double w)
{
    ref_put(&p->w, at1(&p->w, i), w);
    if (ref_given(&p->out))
        ref_put(&p->out, at1(&p->out, i), ref_get(&p->w, at1(&p->w, i)));
}

static void adam(const struct nnd_optim *p, int64_t i, bool decoupled)
{
    double b1 = (double)p->beta1, b2 = (double)p->beta2, decay = (double)p->decay;
    double w = ref_get(&p->w, at1(&p->w, i)), g = gradient(p, i);
    if (!decoupled)
        g += decay * w;
    double m = b1 * ref_get(&p->m, at1(&p->m, i)) + (1 - b1) * g;
    double v = b2 * ref_get(&p->v, at1(&p->v, i)) + (1 - b2) * g * g;
    double step = m * (double)p->hyper[NND_HYPER_BIAS1] /
                  (sqrt(v * (double)p->hyper[NND_HYPER_BIAS2]) + (double)p->eps);
    if (decoupled)
        step += decay * w;
    ref_put(&p->m, at1(&p->m, i), m);
    ref_put(&p->v, at1(&p->v, i), v);
    put_weight(p, i, w - (double)p->hyper[NND_HYPER_LR] * step);
}

static int launch_adamw(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_optim *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0, n = count(p); i < n; i++)
        adam(p, i, true);
    return NND_OK;
}

static int launch_adam(const void *self, void *plan, const void *params,
                       const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_optim *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0, n = count(p); i < n; i++)
        adam(p, i, false);
    return NND_OK;
}

static int launch_sgd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_optim *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0, n = count(p); i < n; i++) {
        double w = ref_get(&p->w, at1(&p->w, i));
        double g = gradient(p, i) + (double)p->decay * w;
        double m = (double)p->beta1 * ref_get(&p->m, at1(&p->m, i)) + g;
        ref_put(&p->m, at1(&p->m, i), m);
        put_weight(p, i, w - (double)p->hyper[NND_HYPER_LR] * m);
    }
    return NND_OK;
}

const struct nnd_kernel ref_adamw =
    REF_KERNEL("opt.adamw", supports_adam, ref_need_none, launch_adamw);
const struct nnd_kernel ref_adam =
    REF_KERNEL("opt.adam", supports_adam, ref_need_none, launch_adam);
const struct nnd_kernel ref_sgd =
    REF_KERNEL("opt.sgd", supports_sgd, ref_need_none, launch_sgd);
