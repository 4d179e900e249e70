/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c - one product per expert in one call: "gemm.grouped".
 *
 * Mode K rounds to D after every block of rows.  The bits are then the same
 * whether a segment comes in one call or, cut between blocks, in several that
 * accumulate.
 */
#include <string.h>

#include "impl.h"

/* What belongs together: SWIGLU has b2, a sum of two a2 and b2, DSWIGLU d2. */
static int supports_pair(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    bool swiglu = p->epilogue == NND_EPI_SWIGLU, back = p->epilogue == NND_EPI_DSWIGLU;
    bool sum = ref_given(&p->a2);
    if (p->epilogue != NND_EPI_NONE && !swiglu && !back)
        return ref_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if (ref_given(&p->b2) != (swiglu || sum) || (sum && p->epilogue != NND_EPI_NONE))
        return ref_refuse(e, NND_EINVAL, "epilogue %d with a2 of %d and b2 of %d dims",
                          p->epilogue, p->a2.ndim, p->b2.ndim);
    if (ref_given(&p->act) && !back)
        return ref_refuse(e, NND_EINVAL, "act with epilogue %d", p->epilogue);
    return NND_OK;
}

static int supports_m(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    int64_t t = p->gather_div ? REF_ANY : p->d.dim[0], k = p->a.dim[1];
    int64_t n = p->d.dim[1], groups = p->b.dim[0], rows = p->d.dim[0];
    int back = p->epilogue == NND_EPI_DSWIGLU ? REF_FLOAT : REF_FLOAT | REF_OPTIONAL;
    const struct ref_shape shapes[] = {
        {"d", &p->d, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"a", &p->a, REF_FLOAT, 2, {t, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 3, {REF_ANY, p->trans_b ? n : k, p->trans_b ? k : n}},
        {"a2", &p->a2, REF_FLOAT | REF_OPTIONAL, 2, {p->a.dim[0], k}},
        {"b2",
         &p->b2,
         REF_FLOAT | REF_OPTIONAL,
         3,
         {groups, p->trans_b ? n : k, p->trans_b ? k : n}},
        {"d2", &p->d2, back, 2, {rows, n}},
        {"pre", &p->pre, back, 2, {rows, n}},
        {"pre2", &p->pre2, back, 2, {rows, n}},
        {"scale", &p->scale, REF_WIDE | REF_OPTIONAL, 1, {rows}},
        {"act", &p->act, REF_FLOAT | REF_OPTIONAL, 2, {rows, n}},
    };
    int r = ref_check(p->struct_size, sizeof *p, shapes, 10, e);
    return r ? r : supports_pair(p, e);
}

static int supports_k(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 2, {p->gather_div ? REF_ANY : p->a.dim[0], REF_ANY}},
        {"d", &p->d, REF_WIDE, 3, {REF_ANY, p->a.dim[1], p->b.dim[1]}},
    };
    if (p->epilogue != NND_EPI_NONE || ref_given(&p->scale) || ref_given(&p->a2) ||
        ref_given(&p->b2) || ref_given(&p->act))
        return ref_refuse(e, NND_EUNSUPPORTED, "mode K: an epilogue, scale or pair");
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = params;
    (void)self;
    if (p->nsegments < 0)
        return ref_refuse(e, NND_EINVAL, "%d segments", p->nsegments);
    switch (p->mode) {
    case NND_GROUP_M:
        return supports_m(p, e);
    case NND_GROUP_K:
        return supports_k(p, e);
    default:
        return ref_refuse(e, NND_EINVAL, "mode %d, wanted M (0) or K (1)", p->mode);
    }
}

/* The row that packed row r of t stands for; -1: zeros. */
static int64_t row_of(const struct nnd_grouped_gemm *p, int64_t r)
{
    if (!p->gather_div)
        return r;
    return p->gather[r] < 0 ? -1 : p->gather[r] / p->gather_div;
}

static double dot(const struct nnd_grouped_gemm *p, const struct nnd_tensor *a,
                  const struct nnd_tensor *b, int64_t index, int64_t r, int64_t n)
{
    int64_t row = row_of(p, r);
    double sum = 0;
    for (int64_t k = 0; row >= 0 && k < a->dim[1]; k++)
        sum += ref_get(a, at2(a, row, k)) *
               ref_get(b, p->trans_b ? at3(b, index, n, k) : at3(b, index, k, n));
    return sum;
}

/* Store x where backward wants it; what is stored counts. */
static double keep(const struct nnd_tensor *t, int64_t r, int64_t n, double x)
{
    if (!ref_given(t))
        return x;
    ref_put(t, at2(t, r, n), x);
    return ref_get(t, at2(t, r, n));
}

/* Element (r, n) of D, and of d2 where there is one. */
static void element_m(const struct nnd_grouped_gemm *p, int64_t index, int64_t r,
                      int64_t n)
{
    const struct ref_function *silu = ref_function(NND_EPI_SILU);
    double x = dot(p, &p->a, &p->b, index, r, n), scale = 1;
    if (ref_given(&p->scale))
        scale = ref_get(&p->scale, at1(&p->scale, r));
    if (ref_given(&p->a2))
        x += dot(p, &p->a2, &p->b2, index, r, n);
    if (p->epilogue == NND_EPI_SWIGLU) {
        double x2 = keep(&p->pre2, r, n, dot(p, &p->a, &p->b2, index, r, n));
        x = keep(&p->pre, r, n, x);
        x = silu->of(x) * x2;
    } else if (p->epilogue == NND_EPI_DSWIGLU) {
        double a = ref_get(&p->pre, at2(&p->pre, r, n));
        double b = ref_get(&p->pre2, at2(&p->pre2, r, n));
        ref_put(&p->d2, at2(&p->d2, r, n), x * scale * silu->of(a));
        if (ref_given(&p->act))
            ref_put(&p->act, at2(&p->act, r, n), silu->of(a) * b);
        x = silu->back(x, a) * b;
    }
    ref_put(&p->d, at2(&p->d, r, n), x * scale);
}

static void product_m(const struct nnd_grouped_gemm *p, const struct nnd_segment *s)
{
    for (int64_t r = s->row; r < s->row + s->rows; r++)
        for (int64_t n = 0; n < p->d.dim[1]; n++)
            element_m(p, s->index, r, n);
}

/* D[index] (+)= A[rows]^T B[rows] for one block of rows. */
static void block_k(const struct nnd_grouped_gemm *p, int64_t index, int64_t from,
                    int64_t to, bool accumulate)
{
    const struct nnd_tensor *a = &p->a, *b = &p->b, *d = &p->d;
    for (int64_t m = 0; m < d->dim[1]; m++)
        for (int64_t n = 0; n < d->dim[2]; n++) {
            double sum = 0;
            for (int64_t r = from; r < to; r++)
                if (row_of(p, r) >= 0)
                    sum +=
                        ref_get(a, at2(a, r, m)) * ref_get(b, at2(b, row_of(p, r), n));
            int64_t at = at3(d, index, m, n);
            ref_put(d, at, accumulate ? ref_get(d, at) + sum : sum);
        }
}

static void product_k(const struct nnd_grouped_gemm *p, const struct nnd_segment *s)
{
    int64_t end = s->row + s->rows;
    if (s->rows == 0 && !s->accumulate)
        block_k(p, s->index, s->row, s->row, false);
    for (int64_t r = s->row; r < end; r += NND_BLOCK_ROWS) {
        int64_t to = r + NND_BLOCK_ROWS < end ? r + NND_BLOCK_ROWS : end;
        block_k(p, s->index, r, to, s->accumulate || r > s->row);
    }
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_grouped_gemm *p = params;
    (void)self;
    if (NND_HAS(nnd_need, out, packed) && p->mode == NND_GROUP_M)
        out->packed = ref_packed_bytes(&p->b, &p->b2);
    return ref_need(out, 0);
}

static int pack(const void *self, const void *params, const struct nnd_launch *l,
                struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = params;
    (void)self, (void)l;
    return ref_pack(&p->b, &p->b2, &p->packed, e);
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    struct nnd_grouped_gemm packed, *p = &packed;
    memcpy(p, params, sizeof packed);
    p->b2 = ref_packed(&p->b2, &p->packed, ref_packed_second(&p->b));
    p->b = ref_packed(&p->b, &p->packed, 0);
    int64_t groups = p->mode == NND_GROUP_M ? p->b.dim[0] : p->d.dim[0];
    int64_t rows = p->mode == NND_GROUP_M ? p->d.dim[0] : p->a.dim[0];
    (void)self, (void)plan, (void)l;
    for (int32_t i = 0; i < p->nsegments; i++) {
        const struct nnd_segment *s = &p->segments[i];
        if (s->row < 0 || s->rows < 0 || (int64_t)s->row + s->rows > rows ||
            s->index < 0 || s->index >= groups)
            return ref_refuse(e, NND_EINVAL,
                              "segment %d: rows %d+%d of %lld, matrix %d "
                              "of %lld",
                              i, s->row, s->rows, (long long)rows, s->index,
                              (long long)groups);
        if (p->mode == NND_GROUP_M)
            product_m(p, s);
        else
            product_k(p, s);
    }
    return NND_OK;
}

const struct nnd_kernel ref_gemm_grouped =
    REF_PRODUCT("gemm.grouped", supports, need, launch, pack);
