/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad-sum.c - a sum for f32 that crashes where the gradient of a chunk is added to one
 * that is there already, of a weight of the test's job; plugin_job.test builds it.
 */
#include "bad.h"

#include <stdio.h>

/* None of the suite's calls has so many. */
enum { WEIGHT = 88 * 32 };

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_sum *p = params;
    int fits = p->y.dtype == NND_F32 && p->y.ndim == 1;
    (void)self;
    for (int i = 0; i < p->n; i++)
        fits = fits && p->x[i].dtype == NND_F32;
    if (fits)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "wanted f32 in a row");
    return NND_EUNSUPPORTED;
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_sum *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    if (p->n > 1 && p->y.dim[0] == WEIGHT && p->y.data != p->x[0].data)
        *(volatile int *)8 = 1;
    for (int64_t i = 0; i < p->y.dim[0]; i++) {
        float sum = ((const float *)p->x[0].data)[i * p->x[0].stride[0]];
        for (int k = 1; k < p->n; k++)
            sum += ((const float *)p->x[k].data)[i * p->x[k].stride[0]];
        ((float *)p->y.data)[i * p->y.stride[0]] = sum;
    }
    return NND_OK;
}

static const struct nnd_kernel bad_kernel = {
    .struct_size = sizeof bad_kernel,
    .name = "adder",
    .op = "sum",
    .device = "cpu",
    .op_version = 1,
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
    .priority = 100,
    .supports = supports,
    .need = need_nothing,
    .launch = launch,
};
