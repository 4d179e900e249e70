/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rope.c - rotary positions (Su et al. 2021): "rope".
 */
#include <math.h>

#include "impl.h"

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_rope *p = params;
    const int64_t *dim = p->x.dim;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 3, {REF_ANY, REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 3, {dim[0], dim[1], dim[2]}},
    };
    (void)self;
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 2, e);
    if (rc == NND_OK && dim[2] % 2 != 0)
        return ref_refuse(e, NND_EINVAL, "head size %lld is odd", (long long)dim[2]);
    return rc;
}

static void rotate(const struct nnd_rope *p, int64_t t, int64_t h, int64_t i)
{
    int64_t size = p->x.dim[2];
    int64_t first = p->interleaved ? 2 * i : i;
    int64_t second = p->interleaved ? 2 * i + 1 : i + size / 2;
    double angle = p->pos[t] * pow((double)p->theta, -2.0 * (double)i / (double)size);
    double c = cos(angle), s = p->inverse ? -sin(angle) : sin(angle);
    double a = ref_get(&p->x, at3(&p->x, t, h, first));
    double b = ref_get(&p->x, at3(&p->x, t, h, second));
    ref_put(&p->y, at3(&p->y, t, h, first), a * c - b * s);
    ref_put(&p->y, at3(&p->y, t, h, second), b * c + a * s);
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rope *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t t = 0; t < p->x.dim[0]; t++)
        for (int64_t h = 0; h < p->x.dim[1]; h++)
            for (int64_t i = 0; i < p->x.dim[2] / 2; i++)
                rotate(p, t, h, i);
    return NND_OK;
}

const struct nnd_kernel ref_rope = REF_KERNEL("rope", supports, ref_need_none, launch);
