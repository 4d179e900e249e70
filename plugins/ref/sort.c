/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sort.c - order the choices of experts: "moe.sort".  A counting sort, stable,
 * so that an expert's choices stay in row order.
 */
#include "impl.h"

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_sort *p = params;
    int64_t t = p->expert.dim[0], k = p->expert.dim[1];
    const struct ref_shape shapes[] = {
        {"expert", &p->expert, REF_I32, 2, {REF_ANY, REF_ANY}},
        {"place", &p->place, REF_I32, 2, {t, k}},
        {"source", &p->source, REF_I32, 1, {t * k}},
        {"total", &p->total, REF_I32, 1, {REF_ANY}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 4, e);
}

/* Where each expert's next choice goes. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_sort *p = params;
    (void)self;
    return ref_need(out, p->total.dim[0]);
}

static int32_t expert_of(const struct nnd_sort *p, int64_t t, int64_t k)
{
    return *ref_int(&p->expert, at2(&p->expert, t, k));
}

static int count(const struct nnd_sort *p, struct nnd_error *e)
{
    for (int64_t n = 0; n < p->total.dim[0]; n++)
        *ref_int(&p->total, at1(&p->total, n)) = 0;
    for (int64_t t = 0; t < p->expert.dim[0]; t++)
        for (int64_t k = 0; k < p->expert.dim[1]; k++) {
            int32_t n = expert_of(p, t, k);
            if (n >= p->total.dim[0])
                return ref_refuse(e, NND_EINVAL, "row %lld chose expert %d of %lld",
                                  (long long)t, n, (long long)p->total.dim[0]);
            if (n >= 0)
                *ref_int(&p->total, at1(&p->total, n)) += 1;
        }
    return NND_OK;
}

static void put_choice(const struct nnd_sort *p, int64_t t, int64_t k, int64_t *next)
{
    int32_t n = expert_of(p, t, k);
    int64_t j = n < 0 ? -1 : next[n]++;
    *ref_int(&p->place, at2(&p->place, t, k)) = (int32_t)j;
    if (j >= 0)
        *ref_int(&p->source, at1(&p->source, j)) = (int32_t)(t * p->expert.dim[1] + k);
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_sort *p = params;
    int64_t *next = l->workspace, first = 0;
    (void)self, (void)plan;
    if (count(p, e) != NND_OK)
        return NND_EINVAL;
    for (int64_t n = 0; n < p->total.dim[0]; n++) {
        next[n] = first;
        first += *ref_int(&p->total, at1(&p->total, n));
    }
    for (int64_t t = 0; t < p->expert.dim[0]; t++)
        for (int64_t k = 0; k < p->expert.dim[1]; k++)
            put_choice(p, t, k, next);
    for (int64_t j = first; j < p->source.dim[0]; j++)
        *ref_int(&p->source, at1(&p->source, j)) = -1;
    return NND_OK;
}

const struct nnd_kernel ref_sort = REF_KERNEL("moe.sort", supports, need, launch);
