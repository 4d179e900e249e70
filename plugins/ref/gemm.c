/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.c - the matrix product: "gemm".
 */
#include <string.h>

#include "impl.h"

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int64_t m = p->d.dim[0], n = p->d.dim[1], k = p->a.dim[p->trans_a ? 0 : 1];
    int c = p->beta == 0 ? REF_FLOAT | REF_OPTIONAL : REF_FLOAT;
    bool slope = nnd_slope_of(p->epilogue) != NND_EPI_NONE;
    const struct ref_shape shapes[] = {
        {"d", &p->d, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"a", &p->a, REF_FLOAT | REF_BYTE, 2, {p->trans_a ? k : m, p->trans_a ? m : k}},
        {"b", &p->b, REF_FLOAT | REF_BYTE, 2, {p->trans_b ? n : k, p->trans_b ? k : n}},
        {"c", &p->c, c, 2, {m, n}},
        {"bias", &p->bias, REF_FLOAT | REF_OPTIONAL, 1, {n}},
        {"pre", &p->pre, slope ? REF_FLOAT : REF_FLOAT | REF_OPTIONAL, 2, {m, n}},
        {"sums", &p->sums, REF_WIDE | REF_OPTIONAL, 1, {m}},
        {"act", &p->act, REF_FLOAT | REF_OPTIONAL, 2, {m, n}},
    };
    (void)self;
    if (p->epilogue != NND_EPI_NONE && !ref_function(p->epilogue))
        return ref_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if (ref_given(&p->sums) && !p->trans_a)
        return ref_refuse(e, NND_EUNSUPPORTED, "sums without trans_a");
    if (ref_given(&p->act) && !slope)
        return ref_refuse(e, NND_EINVAL, "act with epilogue %d", p->epilogue);
    return ref_check(p->struct_size, sizeof *p, shapes, 8, e);
}

/* The sum becomes D's element: with the stored value, where one is stored. */
static double finish(const struct nnd_gemm *p, int64_t m, int64_t n, double x)
{
    const struct ref_function *f = ref_function(p->epilogue);
    int64_t at = ref_given(&p->pre) ? at2(&p->pre, m, n) : 0;
    if (!f)
        return x;
    if (nnd_slope_of(p->epilogue)) {
        double pre = ref_get(&p->pre, at);
        if (ref_given(&p->act))
            ref_put(&p->act, at2(&p->act, m, n), f->of(pre));
        return f->back(x, pre);
    }
    if (ref_given(&p->pre)) {
        ref_put(&p->pre, at, x);
        x = ref_get(&p->pre, at);
    }
    return f->of(x);
}

/* Sums over K of op(A), block by block. */
static void sum_left(const struct nnd_gemm *p)
{
    int64_t nk = p->a.dim[0];
    for (int64_t m = 0; m < p->a.dim[1]; m++) {
        double all = 0;
        for (int64_t k = 0; k < nk; k++)
            all += ref_get(&p->a, at2(&p->a, k, m));
        ref_put(&p->sums, at1(&p->sums, m), all);
    }
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

static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_gemm *p = params;
    (void)self;
    if (NND_HAS(nnd_need, out, packed))
        out->packed = ref_packed_bytes(&p->b, &(struct nnd_tensor){0});
    return ref_need(out, 0);
}

static int pack(const void *self, const void *params, const struct nnd_launch *l,
                struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    (void)self, (void)l;
    return ref_pack(&p->b, &(struct nnd_tensor){0}, &p->packed, e);
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    struct nnd_gemm packed, *p = &packed;
    (void)self, (void)plan, (void)l, (void)e;
    memcpy(p, params, sizeof packed);
    p->b = ref_packed(&p->b, &p->packed, 0);
    for (int64_t m = 0; m < p->d.dim[0]; m++)
        for (int64_t n = 0; n < p->d.dim[1]; n++)
            ref_put(&p->d, at2(&p->d, m, n), finish(p, m, n, element(p, m, n)));
    if (ref_given(&p->sums))
        sum_left(p);
    return NND_OK;
}

const struct nnd_kernel ref_gemm = REF_PRODUCT("gemm", supports, need, launch, pack);
