/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_fwd.cu - attention forward for all types, masks and head sizes up to 256, in
 * f32: online softmax (Milakov & Gimelshein 2018, Dao et al. 2022), a warp a query.
 */
#include "attn.h"
#include "families.h"

__global__ void __launch_bounds__(ATTN_WARPS * 32, 2) attn_forward(struct attns a)
{
    int d = a.d, warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
    int tiles = (a.max_q + ATTN_WARPS - 1) / ATTN_WARPS, b = blockIdx.x / tiles;
    float *keys = (float *)shared_dynamic(), *values = keys + ATTN_LANES * (d + 1);
    float *query = values + ATTN_LANES * (d + 1);
    float *weight = query + ATTN_WARPS * (d + 1) + warp * ATTN_LANES;
    struct seq s = seq_of(a, b);
    int64_t first = (int64_t)(blockIdx.x % tiles) * ATTN_WARPS, i = first + warp;
    if (first >= s.nq)
        return;
    int64_t last = min(first + ATTN_WARPS, s.nq) - 1, hk = h / (a.h / a.hk);
    struct span mine = visible(a, s, i), end = visible(a, s, last);
    uint64_t key = a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0;
    float most = -INFINITY, sum = 0, o[HEAD_PARTS] = {0}, slope;
    load_rows(a.q, query, s.q + first, ATTN_WARPS, s.q + s.nq, h, d);
    for (int64_t k0 = visible(a, s, first).first / ATTN_LANES * ATTN_LANES;
         k0 < end.end; k0 += ATTN_LANES) {
        __syncthreads();
        load_rows(a.k, keys, s.k + k0, ATTN_LANES, s.k + s.nk, hk, d);
        load_rows(a.v, values, s.k + k0, ATTN_LANES, s.k + s.nk, hk, d);
        __syncthreads();
        int64_t j = k0 + lane;
        float x = -INFINITY, p = 0;
        if (i < s.nq && j >= mine.first && j < mine.end)
            x = score_of(a, b, h, i, j,
                         dot(query + warp * (d + 1), keys + lane * (d + 1), d), &slope);
        float top = fmaxf(most, warp_max(x));
        if (x != -INFINITY) /* a NaN is something */
            p = expf(x - top);
        float shrink = most > -INFINITY ? expf(most - top) : 0;
        sum = sum * shrink + warp_sum(p);
        most = top;
        if (p != 0)
            p *= kept_weight(a, key, s.q + i, h, j);
        weight[lane] = p;
        __syncwarp();
#pragma unroll
        for (int u = 0; u < HEAD_PARTS; u++)
            o[u] *= shrink;
        add_rows(o, weight, values, d);
    }
    if (i >= s.nq)
        return;
    if (lane == 0)
        a.lse[h * a.lse_step + s.q + i] = sum == 0 ? -INFINITY : most + logf(sum);
    store_row(a.o, s.q + i, h, o, sum == 0 ? 0 : 1.0f / sum, d);
}

extern "C" int cuda_attn_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    const struct nnd_tensor *const bias[] = {&p->bias, &p->dbias};
    int64_t h = p->q.dim[1], hk = p->k.dim[1];
    if (h > 0 && (hk <= 0 || h % hk != 0))
        return op_refuse(e, NND_EINVAL, "%lld query heads over %lld key heads",
                         (long long)h, (long long)hk);
    if (p->batch < 0 || !(p->dropout.p >= 0 && p->dropout.p < 1))
        return op_refuse(e, NND_EINVAL, "batch %d, dropout %g", p->batch,
                         (double)p->dropout.p);
    for (int i = 0; i < 2; i++)
        if (bias[i]->ndim &&
            (bias[i]->ndim != 4 ||
             (bias[i]->dim[0] != 1 && bias[i]->dim[0] != p->batch) ||
             (bias[i]->dim[1] != 1 && bias[i]->dim[1] != h) ||
             bias[i]->dim[2] != p->max_q || bias[i]->dim[3] != p->max_k))
            return op_refuse(e, NND_EINVAL, "bias: wanted [1 or %d,1 or %lld,%d,%d]",
                             p->batch, (long long)h, p->max_q, p->max_k);
    if (p->q.dim[2] > HEAD_MAX || h > 65535)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%lld heads of size %lld, wanted at most 65535 of %d",
                         (long long)h, (long long)p->q.dim[2], HEAD_MAX);
    return NND_OK;
}

int cuda_attn_clear(const struct attns *a, const struct nnd_launch *l)
{
    struct clear_outside rest = {
        a->o,     a->lse, a->lse_step, a->cu_q, (int64_t)a->batch * a->max_q,
        a->batch, a->h};
    return a->h && a->d ? each(l, a->t, (int64_t)a->h * a->d, rest) : NND_OK;
}

static int forward_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    struct attns a = attns_of(p);
    int64_t tiles = (int64_t)a.batch * blocks_for(a.max_q, ATTN_WARPS);
    size_t shared =
        (size_t)((2 * ATTN_LANES + ATTN_WARPS) * (a.d + 1) + ATTN_WARPS * ATTN_LANES) *
        sizeof(float);
    int r = cuda_attn_clear(&a, l);
    if (r || !a.d)
        return r;
    return launch(attn_forward, dim3((unsigned)tiles, (unsigned)a.h),
                  dim3(ATTN_WARPS * 32), shared, l, a);
}

extern "C" const struct op cuda_attn_fwd_ops[] = {
    {.name = "attn.fwd", .check = cuda_attn_check, .launch = forward_launch},
    {},
};
