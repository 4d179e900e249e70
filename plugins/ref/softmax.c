/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softmax.c - "softmax.fwd|bwd" over the columns of each row that count.
 */
#include <math.h>

#include "impl.h"

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_softmax *p = params;
    int64_t t = p->x.dim[0], n = p->x.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_softmax *p = params;
    int64_t t = p->y.dim[0], n = p->y.dim[1];
    const struct ref_shape shapes[] = {
        {"y", &p->y, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"dy", &p->dy, REF_FLOAT, 2, {t, n}},
        {"dx", &p->dx, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int check_lengths(const struct nnd_softmax *p, struct nnd_error *e)
{
    for (int64_t t = 0; p->len && t < p->y.dim[0]; t++)
        if (p->len[t] < 0 || p->len[t] > p->y.dim[1])
            return ref_refuse(e, NND_EINVAL, "row %lld has %d columns of %lld",
                              (long long)t, p->len[t], (long long)p->y.dim[1]);
    return NND_OK;
}

static int64_t columns_of(const struct nnd_softmax *p, int64_t t)
{
    return p->len ? p->len[t] : p->y.dim[1];
}

static double scale_of(const struct nnd_softmax *p)
{
    return p->scale == 0 ? 1 : (double)p->scale;
}

static void forward(const struct nnd_softmax *p, int64_t t)
{
    int64_t count = columns_of(p, t);
    double most = -INFINITY, sum = 0, scale = scale_of(p);
    for (int64_t n = 0; n < count; n++)
        most = fmax(most, scale * ref_get(&p->x, at2(&p->x, t, n)));
    for (int64_t n = 0; n < count; n++)
        sum += exp(scale * ref_get(&p->x, at2(&p->x, t, n)) - most);
    for (int64_t n = 0; n < p->y.dim[1]; n++) {
        double y = 0;
        if (n < count)
            y = exp(scale * ref_get(&p->x, at2(&p->x, t, n)) - most) / sum;
        ref_put(&p->y, at2(&p->y, t, n), y);
    }
}

static void backward(const struct nnd_softmax *p, int64_t t)
{
    int64_t count = columns_of(p, t);
    double mean = 0, scale = scale_of(p);
    for (int64_t n = 0; n < count; n++)
        mean += ref_get(&p->dy, at2(&p->dy, t, n)) * ref_get(&p->y, at2(&p->y, t, n));
    for (int64_t n = 0; n < p->y.dim[1]; n++) {
        double dx = 0;
        if (n < count)
            dx = scale * (ref_get(&p->dy, at2(&p->dy, t, n)) - mean) *
                 ref_get(&p->y, at2(&p->y, t, n));
        ref_put(&p->dx, at2(&p->dx, t, n), dx);
    }
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_softmax *p = params;
    int rc = check_lengths(p, e);
    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; rc == NND_OK && t < p->y.dim[0]; t++)
        forward(p, t);
    return rc;
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_softmax *p = params;
    int rc = check_lengths(p, e);
    (void)self, (void)plan, (void)l;
    for (int64_t t = 0; rc == NND_OK && t < p->y.dim[0]; t++)
        backward(p, t);
    return rc;
}

const struct nnd_kernel ref_softmax_fwd =
    REF_KERNEL("softmax.fwd", supports_fwd, ref_need_none, launch_fwd);
const struct nnd_kernel ref_softmax_bwd =
    REF_KERNEL("softmax.bwd", supports_bwd, ref_need_none, launch_bwd);
