/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.c - the matrix product: "gemm".
 */
#include "impl.h"

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int64_t m = p->d.dim[0], n = p->d.dim[1], k = p->a.dim[p->trans_a ? 0 : 1];
    int c = p->beta == 0 ? REF_FLOAT | REF_OPTIONAL : REF_FLOAT;
    const struct ref_shape shapes[] = {
        {"d", &p->d, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"a", &p->a, REF_FLOAT, 2, {p->trans_a ? k : m, p->trans_a ? m : k}},
        {"b", &p->b, REF_FLOAT, 2, {p->trans_b ? n : k, p->trans_b ? k : n}},
        {"c", &p->c, c, 2, {m, n}},
        {"bias", &p->bias, REF_FLOAT | REF_OPTIONAL, 1, {n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 5, e);
}

/* op(A)[m,:] . op(B)[:,n] over k in [from, to). */
static double dot(const struct nnd_gemm *p, int64_t m, int64_t n, int64_t from,
                  int64_t to)
{
    double sum = 0;
    for (int64_t k = from; k < to; k++)
        sum += ref_get(&p->a, p->trans_a ? at2(&p->a, k, m) : at2(&p->a, m, k)) *
               ref_get(&p->b, p->trans_b ? at2(&p->b, n, k) : at2(&p->b, k, n));
    return sum;
}

static double element(const struct nnd_gemm *p, int64_t m, int64_t n)
{
    int64_t nk = p->a.dim[p->trans_a ? 0 : 1], block = p->trans_a ? NND_BLOCK_ROWS : nk;
    double sum = 0;
    for (int64_t k = 0; k < nk; k += block)
        sum += dot(p, m, n, k, k + block < nk ? k + block : nk);
    if (p->beta != 0)
        sum += (double)p->beta * ref_get(&p->c, at2(&p->c, m, n));
    if (ref_given(&p->bias))
        sum += ref_get(&p->bias, at1(&p->bias, n));
    return sum;
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t m = 0; m < p->d.dim[0]; m++)
        for (int64_t n = 0; n < p->d.dim[1]; n++)
            ref_put(&p->d, at2(&p->d, m, n), element(p, m, n));
    return NND_OK;
}

const struct nnd_kernel ref_gemm = REF_KERNEL("gemm", supports, ref_need_none, launch);
