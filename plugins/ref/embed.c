/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - rows of a table by number: "embed.fwd", "embed.bwd".  A negative
 * number is padding: a row of zeros, and no gradient.
 */
#include "impl.h"

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_embed *p = params;
    const struct ref_shape shapes[] = {
        {"table", &p->table, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {REF_ANY, p->table.dim[1]}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_embed *p = params;
    const struct ref_shape shapes[] = {
        {"dtable", &p->dtable, REF_WIDE, 2, {REF_ANY, REF_ANY}},
        {"dy", &p->dy, REF_FLOAT, 2, {REF_ANY, p->dtable.dim[1]}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int check_ids(const struct nnd_embed *p, int64_t rows, int64_t words,
                     struct nnd_error *e)
{
    for (int64_t t = 0; t < rows; t++)
        if (p->id[t] >= words)
            return ref_refuse(e, NND_EINVAL, "id %d in row %lld of a table of %lld",
                              p->id[t], (long long)t, (long long)words);
    return NND_OK;
}

static double scale_of(const struct nnd_embed *p)
{
    return p->scale == 0 ? 1 : (double)p->scale;
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_embed *p = params;
    (void)self, (void)plan, (void)l;
    if (check_ids(p, p->y.dim[0], p->table.dim[0], e) != NND_OK)
        return NND_EINVAL;
    for (int64_t t = 0; t < p->y.dim[0]; t++)
        for (int64_t n = 0; n < p->y.dim[1]; n++) {
            int32_t id = p->id[t];
            double x = id < 0 ? 0 : ref_get(&p->table, at2(&p->table, id, n));
            ref_put(&p->y, at2(&p->y, t, n), scale_of(p) * x);
        }
    return NND_OK;
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_embed *p = params;
    (void)self, (void)plan, (void)l;
    if (check_ids(p, p->dy.dim[0], p->dtable.dim[0], e) != NND_OK)
        return NND_EINVAL;
    if (!p->accumulate)
        ref_fill(&p->dtable, 0);
    for (int64_t t = 0; t < p->dy.dim[0]; t++)
        for (int64_t n = 0; p->id[t] >= 0 && n < p->dy.dim[1]; n++) {
            int64_t at = at2(&p->dtable, p->id[t], n);
            ref_put(&p->dtable, at,
                    ref_get(&p->dtable, at) +
                        scale_of(p) * ref_get(&p->dy, at2(&p->dy, t, n)));
        }
    return NND_OK;
}

const struct nnd_kernel ref_embed_fwd =
    REF_KERNEL("embed.fwd", supports_fwd, ref_need_none, launch_fwd);
const struct nnd_kernel ref_embed_bwd =
    REF_KERNEL("embed.bwd", supports_bwd, ref_need_none, launch_bwd);
