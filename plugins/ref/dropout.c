/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dropout.c - Philox4x32-10 (Salmon et al. 2011), which elements are kept, and
 * the op "dropout".
 */
#include "impl.h"

void ref_philox(uint64_t key, uint32_t c[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53 * c[0], b = (uint64_t)0xcd9e8d57 * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
}

double ref_dropout(const struct nnd_dropout *d, int64_t row, uint32_t head,
                   int64_t column)
{
    if (d->p <= 0)
        return 1;
    uint32_t c[4] = {(uint32_t)d->sample[row], head, (uint32_t)d->pos[row],
                     (uint32_t)(column / 4)};
    ref_philox(nnd_rng_key(d->state, d->op), c);
    return c[column % 4] >= (double)d->p * 0x1p32 ? 1 / (1 - (double)d->p) : 0;
}

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_drop *p = params;
    const int64_t *dim = p->x.dim;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {dim[0], dim[1]}},
    };
    (void)self;
    if (!(p->dropout.p >= 0 && p->dropout.p < 1))
        return ref_refuse(e, NND_EINVAL, "p is %g, wanted 0 <= p < 1",
                          (double)p->dropout.p);
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_drop *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t t = 0; t < p->x.dim[0]; t++)
        for (int64_t n = 0; n < p->x.dim[1]; n++) {
            double keep = ref_dropout(&p->dropout, t, 0xffffffff, n);
            ref_put(&p->y, at2(&p->y, t, n),
                    keep == 0 ? 0 : keep * ref_get(&p->x, at2(&p->x, t, n)));
        }
    return NND_OK;
}

const struct nnd_kernel ref_drop =
    REF_KERNEL("dropout", supports, ref_need_none, launch);
