/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016):
 * "norm.rms.fwd|bwd", "norm.layer.fwd|bwd".
 *
 * Both are y = u w + b with u = (x - mean) rstd; RMSNorm has mean 0 and no b.  A
 * residual is added to x before, and its gradient to dx.
 */
#include <math.h>

#include "impl.h"

/* RMSNorm adds nothing: what would be added is refused, not left out. */
static int check_none(const struct nnd_tensor *t, const char *name, struct nnd_error *e)
{
    return ref_given(t) ? ref_refuse(e, NND_EINVAL, "%s is given, wanted none", name)
                        : NND_OK;
}

static int supports_fwd(const struct nnd_norm *p, bool layer, struct nnd_error *e)
{
    int64_t t = p->x.dim[0], n = p->x.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"w", &p->w, REF_FLOAT, 1, {n}},
        {"b", &p->b, REF_FLOAT | REF_OPTIONAL, 1, {n}},
        {"y", &p->y, REF_FLOAT, 2, {t, n}},
        {"rstd", &p->rstd, REF_WIDE, 1, {t}},
        {"add", &p->add, REF_FLOAT | REF_OPTIONAL, 2, {t, n}},
        {"sum", &p->sum, REF_FLOAT | REF_OPTIONAL, 2, {t, n}},
        {"mean", &p->mean, REF_WIDE, 1, {t}},
    };
    if (ref_given(&p->add) != ref_given(&p->sum))
        return ref_refuse(e, NND_EINVAL, "add and sum: wanted both or none");
    return ref_check(p->struct_size, sizeof *p, shapes, layer ? 8 : 7, e);
}

static int supports_bwd(const struct nnd_norm *p, bool layer, struct nnd_error *e)
{
    int64_t t = p->x.dim[0], n = p->x.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"w", &p->w, REF_FLOAT, 1, {n}},
        {"dy", &p->dy, REF_FLOAT, 2, {t, n}},
        {"dx", &p->dx, REF_FLOAT, 2, {t, n}},
        {"dw", &p->dw, REF_FLOAT | REF_OPTIONAL, 1, {n}},
        {"rstd", &p->rstd, REF_WIDE, 1, {t}},
        {"dsum", &p->dsum, REF_FLOAT | REF_OPTIONAL, 2, {t, n}},
        {"db", &p->db, REF_FLOAT | REF_OPTIONAL, 1, {n}},
        {"mean", &p->mean, REF_WIDE, 1, {t}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, layer ? 9 : 7, e);
}

static int supports_rms_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_norm *p = params;
    (void)self;
    int rc = check_none(&p->b, "b", e);
    return rc == NND_OK ? supports_fwd(p, false, e) : rc;
}

static int supports_rms_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_norm *p = params;
    (void)self;
    int rc = check_none(&p->db, "db", e);
    return rc == NND_OK ? supports_bwd(p, false, e) : rc;
}

static int supports_layer_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_fwd(params, true, e);
}

static int supports_layer_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_bwd(params, true, e);
}

static double row_mean(const struct nnd_tensor *x, int64_t t)
{
    double sum = 0;
    for (int64_t n = 0; n < x->dim[1]; n++)
        sum += ref_get(x, at2(x, t, n));
    return sum / (double)x->dim[1];
}

/* What the norm is taken of, and row t of it made. */
static const struct nnd_tensor *input(const struct nnd_norm *p, int64_t t)
{
    if (!ref_given(&p->add))
        return &p->x;
    for (int64_t n = 0; n < p->x.dim[1]; n++)
        ref_put(&p->sum, at2(&p->sum, t, n),
                ref_get(&p->x, at2(&p->x, t, n)) +
                    ref_get(&p->add, at2(&p->add, t, n)));
    return &p->sum;
}

static double row_rstd(const struct nnd_norm *p, const struct nnd_tensor *x, int64_t t,
                       double mean)
{
    double sum = 0;
    for (int64_t n = 0; n < x->dim[1]; n++) {
        double d = ref_get(x, at2(x, t, n)) - mean;
        sum += d * d;
    }
    return 1 / sqrt(sum / (double)x->dim[1] + (double)p->eps);
}

static void forward(const struct nnd_norm *p, bool layer)
{
    for (int64_t t = 0; t < p->x.dim[0]; t++) {
        const struct nnd_tensor *x = input(p, t);
        double mean = layer ? row_mean(x, t) : 0, rstd = row_rstd(p, x, t, mean);
        if (layer)
            ref_put(&p->mean, at1(&p->mean, t), mean);
        ref_put(&p->rstd, at1(&p->rstd, t), rstd);
        for (int64_t n = 0; n < p->x.dim[1]; n++) {
            double u = (ref_get(x, at2(x, t, n)) - mean) * rstd;
            double y = u * ref_get(&p->w, at1(&p->w, n));
            if (layer && ref_given(&p->b))
                y += ref_get(&p->b, at1(&p->b, n));
            ref_put(&p->y, at2(&p->y, t, n), y);
        }
    }
}

/* u[t,n], from what forward stored. */
static double unit(const struct nnd_norm *p, bool layer, int64_t t, int64_t n)
{
    double mean = layer ? ref_get(&p->mean, at1(&p->mean, t)) : 0;
    return (ref_get(&p->x, at2(&p->x, t, n)) - mean) *
           ref_get(&p->rstd, at1(&p->rstd, t));
}

/* dl/du[t,n]. */
static double unit_grad(const struct nnd_norm *p, int64_t t, int64_t n)
{
    return ref_get(&p->w, at1(&p->w, n)) * ref_get(&p->dy, at2(&p->dy, t, n));
}

/* dx = rstd (g - mean(g) - u mean(g u)), g = dl/du; RMSNorm without mean(g). */
static void backward_row(const struct nnd_norm *p, bool layer, int64_t t)
{
    int64_t nn = p->x.dim[1];
    double g_mean = 0, gu_mean = 0;
    for (int64_t n = 0; n < nn; n++) {
        double g = unit_grad(p, t, n);
        g_mean += layer ? g / (double)nn : 0;
        gu_mean += g * unit(p, layer, t, n) / (double)nn;
    }
    for (int64_t n = 0; n < nn; n++) {
        double g = unit_grad(p, t, n), u = unit(p, layer, t, n);
        double dx = ref_get(&p->rstd, at1(&p->rstd, t)) * (g - g_mean - u * gu_mean);
        if (ref_given(&p->dsum))
            dx += ref_get(&p->dsum, at2(&p->dsum, t, n));
        ref_put(&p->dx, at2(&p->dx, t, n), dx);
    }
}

static void backward_weights(const struct nnd_norm *p, bool layer, int64_t n)
{
    double dw = 0, db = 0;
    for (int64_t t = 0; t < p->x.dim[0]; t++) {
        double dy = ref_get(&p->dy, at2(&p->dy, t, n));
        dw += dy * unit(p, layer, t, n);
        db += dy;
    }
    if (ref_given(&p->dw))
        ref_put(&p->dw, at1(&p->dw, n), dw);
    if (layer && ref_given(&p->db))
        ref_put(&p->db, at1(&p->db, n), db);
}

static void backward(const struct nnd_norm *p, bool layer)
{
    for (int64_t t = 0; t < p->x.dim[0]; t++)
        backward_row(p, layer, t);
    for (int64_t n = 0; n < p->x.dim[1]; n++)
        backward_weights(p, layer, n);
}

static int launch_rms_fwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    forward(params, false);
    return NND_OK;
}

static int launch_rms_bwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    backward(params, false);
    return NND_OK;
}

static int launch_layer_fwd(const void *self, void *plan, const void *params,
                            const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    forward(params, true);
    return NND_OK;
}

static int launch_layer_bwd(const void *self, void *plan, const void *params,
                            const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    backward(params, true);
    return NND_OK;
}

const struct nnd_kernel ref_rms_fwd =
    REF_KERNEL("norm.rms.fwd", supports_rms_fwd, ref_need_none, launch_rms_fwd);
const struct nnd_kernel ref_rms_bwd =
    REF_KERNEL("norm.rms.bwd", supports_rms_bwd, ref_need_none, launch_rms_bwd);
const struct nnd_kernel ref_layer_fwd =
    REF_KERNEL("norm.layer.fwd", supports_layer_fwd, ref_need_none, launch_layer_fwd);
const struct nnd_kernel ref_layer_bwd =
    REF_KERNEL("norm.layer.bwd", supports_layer_bwd, ref_need_none, launch_layer_bwd);
