/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_bwd.cu - attention backward for all types, masks and head sizes up to 256, in
 * f32, deterministic, with O(H T) workspace: queries give dq and delta, then keys give
 * dk and dv over the heads of their group and the queries, in order.
 */
#include "attn.h"
#include "families.h"

/* A pair's weight, its gradient, and what dropout does to it. */
struct pair {
    float p, dp, keep, slope;
};

DEVICE struct pair pair_of(const struct attns &a, uint64_t key, int b, int h, int64_t t,
                           int64_t i, int64_t j, float qk, float dv)
{
    struct pair x = {0, 0, 1, 0};
    float lse = a.lse[h * a.lse_step + t];
    float score = score_of(a, b, h, i, j, qk, &x.slope);
    x.keep = kept_weight(a, key, t, h, j);
    x.p = lse == -INFINITY ? 0 : expf(score - lse);
    x.dp = x.keep == 0 ? 0 : x.keep * dv;
    return x;
}

/* Twice over the keys: first delta, then dq. */
__global__ void __launch_bounds__(ATTN_WARPS * 32, 2) attn_queries(struct attns a)
{
    int d = a.d, warp = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y;
    int tiles = (a.max_q + ATTN_WARPS - 1) / ATTN_WARPS, b = blockIdx.x / tiles;
    float *keys = (float *)shared_dynamic(), *values = keys + ATTN_LANES * (d + 1);
    float *query = values + ATTN_LANES * (d + 1), *dout = query + ATTN_WARPS * (d + 1);
    float *weight = dout + ATTN_WARPS * (d + 1) + warp * ATTN_LANES;
    struct seq s = seq_of(a, b);
    int64_t first = (int64_t)(blockIdx.x % tiles) * ATTN_WARPS, i = first + warp;
    if (first >= s.nq)
        return;
    int64_t last = min(first + ATTN_WARPS, s.nq) - 1, hk = h / (a.h / a.hk);
    int64_t begin = visible(a, s, first).first / ATTN_LANES * ATTN_LANES;
    struct span mine = visible(a, s, i), end = visible(a, s, last);
    uint64_t key = a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0;
    float delta = 0, dq[HEAD_PARTS] = {0};
    load_rows(a.q, query, s.q + first, ATTN_WARPS, s.q + s.nq, h, d);
    load_rows(a.dout, dout, s.q + first, ATTN_WARPS, s.q + s.nq, h, d);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k0 = begin; k0 < end.end; k0 += ATTN_LANES) {
            __syncthreads();
            load_rows(a.k, keys, s.k + k0, ATTN_LANES, s.k + s.nk, hk, d);
            load_rows(a.v, values, s.k + k0, ATTN_LANES, s.k + s.nk, hk, d);
            __syncthreads();
            int64_t j = k0 + lane;
            struct pair x = {0, 0, 1, 0};
            if (i < s.nq && j >= mine.first && j < mine.end)
                x = pair_of(a, key, b, h, s.q + i, i, j,
                            dot(query + warp * (d + 1), keys + lane * (d + 1), d),
                            dot(dout + warp * (d + 1), values + lane * (d + 1), d));
            if (pass == 0) {
                delta += x.p * x.dp;
                continue;
            }
            __syncwarp();
            weight[lane] = x.p * (x.dp - delta) * x.slope;
            __syncwarp();
            add_rows(dq, weight, keys, d);
        }
        if (pass == 0)
            delta = warp_sum(delta);
    }
    if (i >= s.nq)
        return;
    if (lane == 0)
        a.delta[h * a.t + s.q + i] = delta;
    store_row(a.dq, s.q + i, h, dq, 1, d);
}

/* A key to a warp, queries to its lanes. */
__global__ void __launch_bounds__(ATTN_WARPS * 32, 2) attn_keys(struct attns a)
{
    int d = a.d, warp = threadIdx.x / 32, lane = threadIdx.x % 32, hk = blockIdx.y;
    int tiles = (a.max_k + ATTN_WARPS - 1) / ATTN_WARPS, b = blockIdx.x / tiles;
    float *queries = (float *)shared_dynamic(), *douts = queries + ATTN_LANES * (d + 1);
    float *keys = douts + ATTN_LANES * (d + 1), *values = keys + ATTN_WARPS * (d + 1);
    float *weight = values + ATTN_WARPS * (d + 1) + warp * 2 * ATTN_LANES;
    struct seq s = seq_of(a, b);
    int64_t first = (int64_t)(blockIdx.x % tiles) * ATTN_WARPS, j = first + warp;
    int group = a.h / a.hk;
    if (first >= s.room)
        return;
    uint64_t key = a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0;
    float dk[HEAD_PARTS] = {0}, dv[HEAD_PARTS] = {0};
    load_rows(a.k, keys, s.k + first, ATTN_WARPS, s.k + s.nk, hk, d);
    load_rows(a.v, values, s.k + first, ATTN_WARPS, s.k + s.nk, hk, d);
    for (int h = hk * group; h < (hk + 1) * group; h++)
        for (int64_t q0 = 0; q0 < s.nq; q0 += ATTN_LANES) {
            struct span last = visible(a, s, min(q0 + ATTN_LANES, s.nq) - 1);
            if (last.end <= first || visible(a, s, q0).first >= first + ATTN_WARPS)
                continue; /* nobody here sees these keys */
            __syncthreads();
            load_rows(a.q, queries, s.q + q0, ATTN_LANES, s.q + s.nq, h, d);
            load_rows(a.dout, douts, s.q + q0, ATTN_LANES, s.q + s.nq, h, d);
            __syncthreads();
            int64_t i = q0 + lane;
            struct span seen = visible(a, s, i);
            struct pair x = {0, 0, 1, 0};
            float delta = 0;
            if (i < s.nq && j < s.nk && j >= seen.first && j < seen.end) {
                x = pair_of(a, key, b, h, s.q + i, i, j,
                            dot(queries + lane * (d + 1), keys + warp * (d + 1), d),
                            dot(douts + lane * (d + 1), values + warp * (d + 1), d));
                delta = a.delta[h * a.t + s.q + i];
            }
            weight[lane] = x.p * (x.dp - delta) * x.slope;
            weight[ATTN_LANES + lane] = x.p * x.keep;
            __syncwarp();
            add_rows(dk, weight, queries, d);
            add_rows(dv, weight + ATTN_LANES, douts, d);
        }
    if (j >= s.room)
        return;
    store_row(a.dk, s.k + j, hk, dk, 1, d);
    store_row(a.dv, s.k + j, hk, dv, 1, d);
}

/* An element of dbias, of all sequences and heads that it serves, in order. */
struct bias_slopes {
    struct attns a;
    int64_t sequences, heads;
    __device__ float slope(int b, int h, int64_t i, int64_t j) const
    {
        struct seq s = seq_of(a, b);
        struct span seen = visible(a, s, i);
        if (i >= s.nq || j < seen.first || j >= seen.end || j >= s.nk)
            return 0;
        uint64_t key = a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0;
        int64_t t = s.q + i, hk = h / (a.h / a.hk);
        float qk = 0, dv = 0;
        for (int c = 0; c < a.d; c++) {
            qk += get_at(a.q.dtype, row_at(a.q, t, h), c) *
                  get_at(a.k.dtype, row_at(a.k, s.k + j, hk), c);
            dv += get_at(a.dout.dtype, row_at(a.dout, t, h), c) *
                  get_at(a.v.dtype, row_at(a.v, s.k + j, hk), c);
        }
        struct pair x = pair_of(a, key, b, h, t, i, j, qk, dv);
        return x.p * (x.dp - a.delta[h * a.t + t]);
    }
    /* Rows: [sequences of dbias, its heads, max_q]; columns: max_k. */
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        uint32_t whole = (uint32_t)r / (uint32_t)a.max_q;
        int64_t i = (uint32_t)r % (uint32_t)a.max_q;
        int64_t h = whole % (uint32_t)heads, b = whole / (uint32_t)heads;
        int64_t b_end = a.dbias.seq ? b + 1 : a.batch,
                h_end = a.dbias.head ? h + 1 : a.h;
        for (int64_t j = c; j < c + 8 && j < c + left; j++) {
            float sum = 0;
            for (int64_t bb = b; bb < b_end; bb++)
                for (int64_t hh = h; hh < h_end; hh++)
                    sum += slope((int)bb, (int)hh, i, j);
            put_at(a.dbias.dtype, a.dbias.data,
                   b * a.dbias.seq + h * a.dbias.head + i * a.dbias.row +
                       j * a.dbias.column,
                   sum);
        }
    }
};

int cuda_attn_clear_slopes(const struct attns *all, const struct nnd_launch *l)
{
    const struct attns &a = *all;
    const struct heads x[] = {a.dq, a.dk, a.dv};
    for (int i = 0; i < 3; i++) {
        int32_t heads = i ? a.hk : a.h;
        int64_t end = (int64_t)a.batch * (i ? a.max_k : a.max_q);
        struct clear_outside rest = {x[i], NULL,    0,    i ? a.cu_k : a.cu_q,
                                     end,  a.batch, heads};
        int r = each(l, i ? a.s : a.t, (int64_t)heads * a.d, rest);
        if (r)
            return r;
    }
    return NND_OK;
}

static int backward_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    struct attns a = attns_of(p);
    int64_t row = a.d + 1, weights = ATTN_WARPS * ATTN_LANES;
    size_t shared =
        (size_t)((2 * ATTN_LANES + 2 * ATTN_WARPS) * row + 2 * weights) * sizeof(float);
    a.delta = (float *)l->workspace;
    int r = a.h && a.d ? cuda_attn_clear_slopes(&a, l) : NND_OK;
    if (r || !a.h || !a.d)
        return r;
    r = launch(
        attn_queries,
        dim3((unsigned)(a.batch * blocks_for(a.max_q, ATTN_WARPS)), (unsigned)a.h),
        dim3(ATTN_WARPS * 32), shared, l, a);
    if (!r)
        r = launch(
            attn_keys,
            dim3((unsigned)(a.batch * blocks_for(a.max_k, ATTN_WARPS)), (unsigned)a.hk),
            dim3(ATTN_WARPS * 32), shared, l, a);
    if (r || !p->dbias.ndim)
        return r;
    return each(l, p->dbias.dim[0] * p->dbias.dim[1] * a.max_q, a.max_k,
                bias_slopes{a, p->dbias.dim[0], p->dbias.dim[1]});
}

static size_t backward_workspace(const void *params)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    return (size_t)(p->q.dim[0] * p->q.dim[1]) * sizeof(float);
}

extern "C" const struct op cuda_attn_bwd_ops[] = {
    {.name = "attn.bwd",
     .params_size = sizeof(struct nnd_attn),
     .args = {ARG(nnd_attn, q, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, k, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, v, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, lse, "HT", IN_F32, 0),
              ARG(nnd_attn, dout, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, dq, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, dk, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, dv, "SGD", IN_FLOATS, 0)},
     .check = cuda_attn_check,
     .workspace = backward_workspace,
     .launch = backward_launch},
    {},
};
