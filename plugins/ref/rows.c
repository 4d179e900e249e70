/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - whole rows: "rows.sum", "rows.gather", "rows.scatter".
 */
#include "impl.h"

static int supports_sum(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 1, {p->x.dim[1]}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_move(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {REF_ANY, p->x.dim[1]}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int launch_sum(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t n = 0; n < p->x.dim[1]; n++) {
        double sum = 0;
        for (int64_t t = 0; t < p->x.dim[0]; t++)
            sum += ref_get(&p->x, at2(&p->x, t, n));
        ref_put(&p->y, at1(&p->y, n), sum);
    }
    return NND_OK;
}

static int check_index(const struct nnd_rows *p, int64_t n, int64_t rows,
                       struct nnd_error *e)
{
    for (int64_t i = 0; i < n; i++)
        if (p->index[i] >= rows)
            return ref_refuse(e, NND_EINVAL, "index %d at %lld of %lld rows",
                              p->index[i], (long long)i, (long long)rows);
    return NND_OK;
}

static void copy_row(const struct nnd_rows *p, int64_t to, int64_t from)
{
    for (int64_t n = 0; n < p->x.dim[1]; n++)
        ref_put(&p->y, at2(&p->y, to, n), ref_get(&p->x, at2(&p->x, from, n)));
}

static int launch_gather(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    (void)self, (void)plan, (void)l;
    if (check_index(p, p->y.dim[0], p->x.dim[0], e) != NND_OK)
        return NND_EINVAL;
    for (int64_t i = 0; i < p->y.dim[0]; i++)
        if (p->index[i] >= 0)
            copy_row(p, i, p->index[i]);
    return NND_OK;
}

static int launch_scatter(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    (void)self, (void)plan, (void)l;
    if (check_index(p, p->x.dim[0], p->y.dim[0], e) != NND_OK)
        return NND_EINVAL;
    for (int64_t i = 0; i < p->x.dim[0]; i++)
        if (p->index[i] >= 0)
            copy_row(p, p->index[i], i);
    return NND_OK;
}

const struct nnd_kernel ref_rows_sum =
    REF_KERNEL("rows.sum", supports_sum, ref_need_none, launch_sum);
const struct nnd_kernel ref_rows_gather =
    REF_KERNEL("rows.gather", supports_move, ref_need_none, launch_gather);
const struct nnd_kernel ref_rows_scatter =
    REF_KERNEL("rows.scatter", supports_move, ref_need_none, launch_scatter);
