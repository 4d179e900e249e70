/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c - one product per expert in one call: "gemm.grouped".
 *
 * Mode K rounds to D after every block of rows.  The bits are then the same
 * whether a segment comes in one call or, cut between blocks, in several that
 * accumulate.
 */
#include "impl.h"

static int supports_m(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    int64_t t = p->a.dim[0], k = p->a.dim[1], n = p->d.dim[1];
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 3, {REF_ANY, p->trans_b ? n : k, p->trans_b ? k : n}},
        {"d", &p->d, REF_FLOAT, 2, {t, REF_ANY}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int supports_k(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 2, {p->a.dim[0], REF_ANY}},
        {"d", &p->d, REF_WIDE, 3, {REF_ANY, p->a.dim[1], p->b.dim[1]}},
    };
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

/* D[seg] = A[seg] op(B[index]). */
static void product_m(const struct nnd_grouped_gemm *p, const struct nnd_segment *s)
{
    const struct nnd_tensor *a = &p->a, *b = &p->b, *d = &p->d;
    for (int64_t r = s->row; r < s->row + s->rows; r++)
        for (int64_t n = 0; n < d->dim[1]; n++) {
            double sum = 0;
            for (int64_t k = 0; k < a->dim[1]; k++)
                sum += ref_get(a, at2(a, r, k)) *
                       ref_get(b, p->trans_b ? at3(b, s->index, n, k)
                                             : at3(b, s->index, k, n));
            ref_put(d, at2(d, r, n), sum);
        }
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
                sum += ref_get(a, at2(a, r, m)) * ref_get(b, at2(b, r, n));
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

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = params;
    int64_t groups = p->mode == NND_GROUP_M ? p->b.dim[0] : p->d.dim[0];
    (void)self, (void)plan, (void)l;
    for (int32_t i = 0; i < p->nsegments; i++) {
        const struct nnd_segment *s = &p->segments[i];
        if (s->row < 0 || s->rows < 0 || (int64_t)s->row + s->rows > p->a.dim[0] ||
            s->index < 0 || s->index >= groups)
            return ref_refuse(e, NND_EINVAL,
                              "segment %d: rows %d+%d of %lld, matrix %d "
                              "of %lld",
                              i, s->row, s->rows, (long long)p->a.dim[0], s->index,
                              (long long)groups);
        if (p->mode == NND_GROUP_M)
            product_m(p, s);
        else
            product_k(p, s);
    }
    return NND_OK;
}

const struct nnd_kernel ref_gemm_grouped =
    REF_KERNEL("gemm.grouped", supports, ref_need_none, launch);
