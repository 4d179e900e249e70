/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_grad.h - what kernels of attention's backward by the tensor cores share: the
 * weight of a query and a key from their product, and which queries see a tile of keys.
 */
#ifndef CUDA_ATTN_GRAD_H
#define CUDA_ATTN_GRAD_H

#include "attn.h"

/* Where a block works: head h of sequence b, rows from `first` on; queries or keys. */
struct corner {
    struct seq s;
    int b, hk;
    int64_t first;
    uint64_t key;
    bool plain; /* scores are products times scale */
    float unit; /* of scores, in powers of two     */
};

DEVICE struct corner corner_of(const struct attns &a, int b, int hk, int64_t first)
{
    return {seq_of(a, b),
            b,
            hk,
            first,
            a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0,
            !a.bias.data && a.softcap <= 0 && !a.drop.on,
            a.scale * LOG2E};
}

/* A query's log-sum-exp as a power of two; weights are 0 where it saw nothing, and
 * behind the last query. */
DEVICE float norm_of(const struct attns &a, const struct corner &at, int h, int64_t i)
{
    if (i >= at.s.nq)
        return INFINITY;
    float lse = a.lse[h * a.lse_step + at.s.q + i];
    return lse == -INFINITY ? INFINITY : lse * LOG2E;
}

DEVICE float delta_of(const struct attns &a, const struct corner &at, int h, int64_t i)
{
    return i < at.s.nq ? a.delta[h * a.t + at.s.q + i] : 0;
}

/* In: a product of query i and key j, and one of the gradient of i's result and value
 * j.  Out: what the value, and what the product have of it, the latter without scale.
 */
DEVICE void pair_slopes(const struct attns &a, const struct corner &at, int h,
                        int64_t i, int64_t j, bool seen, float norm, float delta,
                        float *p, float *dp)
{
    float weight = 0, slope = 1, keep = 1;
    if (at.plain) {
        weight = seen ? exp2_fast(*p * at.unit - norm) : 0;
    } else if (seen) {
        float score = score_of(a, at.b, h, i, j, *p, &slope);
        weight = exp2_fast(score * LOG2E - norm);
        slope = a.softcap > 0 && a.scale != 0 ? slope / a.scale : 1;
        keep = kept_weight(a, at.key, at.s.q + i, h, j);
    }
    *p = weight * keep;
    *dp = weight != 0 ? weight * ((keep > 0 ? keep * *dp : 0) - delta) * slope : 0;
}

/* The queries that see a key of [first, first + n). */
DEVICE struct span seeing(const struct attns &a, const struct seq &s, int64_t first,
                          int n)
{
    struct span r = {0, s.nq};
    int64_t ahead = s.nk - s.nq; /* query i is at key i + ahead */
    if (a.causal)
        r.first = max(first - ahead, (int64_t)0);
    if (a.window > 0)
        r.end = a.causal ? min(first + n + a.window - 1 - ahead, s.nq)
                : s.nk - a.window < first + n ? s.nq
                                              : 0;
    if (first >= s.nk)
        r.end = 0;
    return r;
}

/* Of attn_bwd_mma.cu: delta, the sums of o times its gradient. */
int cuda_attn_delta(const struct attns *a, const struct nnd_launch *l);

/* What is refused of a backward by the tensor cores: other types, gradients of biases.
 */
extern "C" int cuda_attn_grad_check(const void *params, struct nnd_error *e);
extern "C" size_t cuda_attn_grad_workspace(const void *params);

#endif
