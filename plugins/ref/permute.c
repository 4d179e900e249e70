/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permute.c - rows to the order of their experts and back: "moe.permute",
 * "moe.unpermute", "moe.dgate".
 */
#include "impl.h"

static int supports_permute(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    int64_t t = p->x.dim[0], n = p->x.dim[1];
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {REF_ANY, n}},
        {"source", &p->source, REF_I32, 1, {REF_ANY}},
        {"gate", &p->gate, REF_FLOAT | REF_OPTIONAL, 2, {t, p->top_k}},
    };
    (void)self;
    if (p->top_k < 1)
        return ref_refuse(e, NND_EINVAL, "top_k %d", p->top_k);
    return ref_check(p->struct_size, sizeof *p, shapes, 4, e);
}

static int supports_unpermute(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    int64_t t = p->y.dim[0], n = p->y.dim[1];
    const struct ref_shape shapes[] = {
        {"y", &p->y, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, n}},
        {"place", &p->place, REF_I32, 2, {t, p->top_k}},
        {"gate", &p->gate, REF_FLOAT | REF_OPTIONAL, 2, {t, p->top_k}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 4, e);
}

static int supports_dgate(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    int64_t t = p->dy.dim[0], n = p->dy.dim[1];
    const struct ref_shape shapes[] = {
        {"dy", &p->dy, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"x", &p->x, REF_FLOAT, 2, {REF_ANY, n}},
        {"place", &p->place, REF_I32, 2, {t, p->top_k}},
        {"dgate", &p->dgate, REF_FLOAT, 2, {t, p->top_k}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 4, e);
}

/* Every entry of an index tensor lies below the number of rows it points to. */
static int check_places(const struct nnd_permute *p, int64_t rows, struct nnd_error *e)
{
    for (int64_t t = 0; t < p->place.dim[0]; t++)
        for (int64_t k = 0; k < p->place.dim[1]; k++) {
            int32_t j = *ref_int(&p->place, at2(&p->place, t, k));
            if (j >= rows)
                return ref_refuse(e, NND_EINVAL, "place %d in row %lld of %lld", j,
                                  (long long)t, (long long)rows);
        }
    return NND_OK;
}

static double gate(const struct nnd_permute *p, int64_t t, int64_t k)
{
    return ref_given(&p->gate) ? ref_get(&p->gate, at2(&p->gate, t, k)) : 1;
}

static int launch_permute(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    (void)self, (void)plan, (void)l;
    for (int64_t j = 0; j < p->source.dim[0]; j++) {
        int32_t s = *ref_int(&p->source, at1(&p->source, j));
        if (s < 0)
            continue;
        int64_t t = s / p->top_k, k = s % p->top_k;
        if (t >= p->x.dim[0] || j >= p->y.dim[0])
            return ref_refuse(e, NND_EINVAL, "source[%lld] = %d is outside x or y",
                              (long long)j, s);
        for (int64_t n = 0; n < p->x.dim[1]; n++)
            ref_put(&p->y, at2(&p->y, j, n),
                    ref_get(&p->x, at2(&p->x, t, n)) * gate(p, t, k));
    }
    return NND_OK;
}

static double combine(const struct nnd_permute *p, int64_t t, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < p->top_k; k++) {
        int32_t j = *ref_int(&p->place, at2(&p->place, t, k));
        if (j >= 0)
            sum += ref_get(&p->x, at2(&p->x, j, n)) * gate(p, t, k);
    }
    return sum;
}

static int launch_unpermute(const void *self, void *plan, const void *params,
                            const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    (void)self, (void)plan, (void)l;
    if (check_places(p, p->x.dim[0], e) != NND_OK)
        return NND_EINVAL;
    for (int64_t t = 0; t < p->y.dim[0]; t++)
        for (int64_t n = 0; n < p->y.dim[1]; n++)
            ref_put(&p->y, at2(&p->y, t, n), combine(p, t, n));
    return NND_OK;
}

static double row_dot(const struct nnd_permute *p, int64_t t, int64_t j)
{
    double sum = 0;
    for (int64_t n = 0; n < p->dy.dim[1]; n++)
        sum += ref_get(&p->dy, at2(&p->dy, t, n)) * ref_get(&p->x, at2(&p->x, j, n));
    return sum;
}

static int launch_dgate(const void *self, void *plan, const void *params,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_permute *p = params;
    (void)self, (void)plan, (void)l;
    if (check_places(p, p->x.dim[0], e) != NND_OK)
        return NND_EINVAL;
    for (int64_t t = 0; t < p->dgate.dim[0]; t++)
        for (int64_t k = 0; k < p->dgate.dim[1]; k++) {
            int32_t j = *ref_int(&p->place, at2(&p->place, t, k));
            ref_put(&p->dgate, at2(&p->dgate, t, k), j < 0 ? 0 : row_dot(p, t, j));
        }
    return NND_OK;
}

const struct nnd_kernel ref_permute =
    REF_KERNEL("moe.permute", supports_permute, ref_need_none, launch_permute);
const struct nnd_kernel ref_unpermute =
    REF_KERNEL("moe.unpermute", supports_unpermute, ref_need_none, launch_unpermute);
const struct nnd_kernel ref_dgate =
    REF_KERNEL("moe.dgate", supports_dgate, ref_need_none, launch_dgate);
