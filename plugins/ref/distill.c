/* SPDX-License-Identifier: Apache-2.0 */
/*
 * distill.c - a student's loss beside its teacher: "distill.fwd", "distill.bwd".
 */
#include <math.h>

#include "impl.h"

static int supports(const struct nnd_distill *p, bool bwd, struct nnd_error *e)
{
    int64_t t = p->logits.dim[0], v = p->logits.dim[1];
    const struct ref_shape shapes[] = {
        {"logits", &p->logits, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"teacher", &p->teacher, REF_FLOAT, 2, {t, v}},
        {"lse", &p->lse, REF_WIDE, 1, {t}},
        {"lse_soft", &p->lse_soft, REF_WIDE, 1, {t}},
        {"lse_teacher", &p->lse_teacher, REF_WIDE, 1, {t}},
        {"loss", &p->loss, REF_WIDE, 1, {t}},
        {"dlogits", &p->dlogits, REF_FLOAT, 2, {t, v}},
    };
    struct ref_shape bwd_shapes[6];
    int rc;

    for (int i = 0; i < 6; i++)
        bwd_shapes[i] = shapes[i == 5 ? 6 : i];
    rc = ref_check(p->struct_size, sizeof *p, bwd ? bwd_shapes : shapes, 6, e);
    if (rc != NND_OK || p->temperature > 0)
        return rc;
    return ref_refuse(e, NND_EINVAL, "temperature %g, wanted one above 0",
                      (double)p->temperature);
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

static int check_target(const struct nnd_distill *p, int64_t t, struct nnd_error *e)
{
    if (p->target[t] < p->logits.dim[1])
        return NND_OK;
    return ref_refuse(e, NND_EINVAL, "target %d in row %lld of %lld classes",
                      p->target[t], (long long)t, (long long)p->logits.dim[1]);
}

static double at(const struct nnd_tensor *x, int64_t t, int64_t v)
{
    return ref_get(x, at2(x, t, v));
}

/* log(sum(exp(x[t] / temperature))) */
static double lse_of(const struct nnd_tensor *x, int64_t t, double temperature)
{
    double max = -INFINITY, sum = 0;

    for (int64_t v = 0; v < x->dim[1]; v++)
        max = fmax(max, at(x, t, v));
    for (int64_t v = 0; v < x->dim[1]; v++)
        sum += exp((at(x, t, v) - max) / temperature);
    return max / temperature + log(sum);
}

/* lse: of the logits, of them and of the teacher's divided by the temperature. */
static double loss_of(const struct nnd_distill *p, int64_t t, const double lse[3])
{
    double a = (double)p->alpha, T = (double)p->temperature, kl = 0;

    for (int64_t v = 0; v < p->logits.dim[1]; v++) {
        double taught = at(&p->teacher, t, v) / T - lse[2];
        double mine = at(&p->logits, t, v) / T - lse[1];

        kl += exp(taught) * (taught - mine);
    }
    return (1 - a) * (lse[0] - at(&p->logits, t, p->target[t])) + a * T * T * kl;
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_distill *p = params;

    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        double lse[3] = {0}, loss = 0;

        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        if (p->target[t] >= 0) {
            lse[0] = lse_of(&p->logits, t, 1);
            lse[1] = lse_of(&p->logits, t, (double)p->temperature);
            lse[2] = lse_of(&p->teacher, t, (double)p->temperature);
            loss = loss_of(p, t, lse);
        }
        ref_put(&p->lse, at1(&p->lse, t), lse[0]);
        ref_put(&p->lse_soft, at1(&p->lse_soft, t), lse[1]);
        ref_put(&p->lse_teacher, at1(&p->lse_teacher, t), lse[2]);
        ref_put(&p->loss, at1(&p->loss, t), loss);
    }
    return NND_OK;
}

static double slope_of(const struct nnd_distill *p, int64_t t, int64_t v)
{
    double a = (double)p->alpha, T = (double)p->temperature, z = at(&p->logits, t, v);
    double hard =
        exp(z - ref_get(&p->lse, at1(&p->lse, t))) - (double)(v == p->target[t]);
    double soft = exp(z / T - ref_get(&p->lse_soft, at1(&p->lse_soft, t))) -
                  exp(at(&p->teacher, t, v) / T -
                      ref_get(&p->lse_teacher, at1(&p->lse_teacher, t)));

    return ((1 - a) * hard + a * T * soft) * (double)*p->seed;
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_distill *p = params;

    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; t < p->logits.dim[0]; t++) {
        if (check_target(p, t, e) != NND_OK)
            return NND_EINVAL;
        for (int64_t v = 0; v < p->logits.dim[1]; v++)
            ref_put(&p->dlogits, at2(&p->dlogits, t, v),
                    p->target[t] < 0 ? 0 : slope_of(p, t, v));
    }
    return NND_OK;
}

const struct nnd_kernel ref_distill_fwd =
    REF_KERNEL("distill.fwd", supports_fwd, ref_need_none, launch_fwd);
const struct nnd_kernel ref_distill_bwd =
    REF_KERNEL("distill.bwd", supports_bwd, ref_need_none, launch_bwd);
