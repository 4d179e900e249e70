/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad-grad.c - the gradient of gelu (by erf, f32), which with FAULT_SLOPE is a
 * hundredth off in one of its two terms; plugin_ask.test builds it.
 */
#include "bad.h"

#include <math.h>
#include <stdio.h>

#if defined FAULT_SLOPE
#define FACTOR 0.99
#else
#define FACTOR 1.0
#endif

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self;
    if (p->a.dtype == NND_F32 && p->dy.dtype == NND_F32 && !p->approx)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "wanted f32, by erf");
    return NND_EUNSUPPORTED;
}

static float *at(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return (float *)t->data + i * t->stride[0] + j * t->stride[1];
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < p->a.dim[0]; i++)
        for (int64_t j = 0; j < p->a.dim[1]; j++) {
            double a = (double)*at(&p->a, i, j);
            double below = 0.5 * (1 + erf(a * M_SQRT1_2));
            double density = exp(-0.5 * a * a) * M_SQRT1_2 / sqrt(acos(-1));
            *at(&p->da, i, j) =
                (float)((below + FACTOR * a * density) * (double)*at(&p->dy, i, j));
        }
    return NND_OK;
}

static const struct nnd_kernel bad_kernel = {
    .struct_size = sizeof bad_kernel,
    .name = "slope",
    .op = "act.gelu.bwd",
    .device = "cpu",
    .op_version = 1,
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
    .priority = 10,
    .supports = supports,
    .need = need_nothing,
    .launch = launch,
};
