/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqnorm.c - sums of squares by blocks, for norms that do not depend on how a
 * tensor is cut: "sqnorm".
 */
#include "impl.h"

enum { LANES = 16 };

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_sqnorm *p = params;
    int64_t blocks = (p->x.dim[0] + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 1, {REF_ANY}},
        {"y", &p->y, REF_F64, 1, {blocks}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static double block(const struct nnd_tensor *x, int64_t from, int64_t to)
{
    double lane[LANES] = {0};
    for (int64_t i = from; i < to; i++) {
        double v = ref_get(x, at1(x, i));
        lane[(i - from) % LANES] += v * v;
    }
    for (int n = LANES / 2; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            lane[i] += lane[i + n];
    return lane[0];
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_sqnorm *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t b = 0; b < p->y.dim[0]; b++) {
        int64_t from = b * NND_BLOCK_ELEMS, to = from + NND_BLOCK_ELEMS;
        ref_put(&p->y, at1(&p->y, b),
                block(&p->x, from, to < p->x.dim[0] ? to : p->x.dim[0]));
    }
    return NND_OK;
}

const struct nnd_kernel ref_sqnorm =
    REF_KERNEL("sqnorm", supports, ref_need_none, launch);
