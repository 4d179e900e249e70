/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_bwd_mma.cu - attention backward by the tensor cores, for what attn_mma.cu takes:
 * deterministic, with a number a query for workspace.  A block of keys goes over the
 * queries that see them, of all heads of the group in order, for dk and dv; a block of
 * queries over its keys for dq.  Scores are made twice, and nothing is added from
 * several blocks (compare Dao 2023, whose dq is).
 */
#include "attn_tile.h"
#include "families.h"

#include "attn_grad.h"

#define STAGES 2

/* Queries that a warp takes at once against its keys, as registers allow. */
template <int DP> constexpr int part_of = DP > 64 ? 16 : 32;

/* Shared memory: this block's two tiles, two of the others at a time. */
template <int DP> struct room {
    uint16_t mine[2][tile_room<DP>], other[STAGES][2][tile_room<DP>];
    float norm[STAGES][TILE], delta[STAGES][TILE];
};

/* Rows first + lane / 4 and + 8 of 16, times factor. */
template <int DP>
DEVICE void store_rows(const struct heads &x, int64_t base, int64_t row, int64_t end,
                       int head, int d, const float (&v)[DP / 8][4], float factor)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (row + half * 8 >= end)
            continue;
        char *to = (char *)row_at(x, base + row + half * 8, head);
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            int col = n * 8 + threadIdx.x % 4 * 2;
#pragma unroll
            for (int e = 0; e < 2; e++)
                if (col + e < d)
                    put_at(x.dtype, to, col + e, v[n][half * 2 + e] * factor);
        }
    }
}

/* Products of 16 keys and PART queries from i0 on become weights and their gradients.
 */
template <int PART>
DEVICE void key_slopes(const struct attns &a, const struct corner &at, int h,
                       int64_t j0, int64_t i0, const float *norm, const float *delta,
                       float (&p)[PART / 8][4], float (&dp)[PART / 8][4])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        struct span seen = seeing(a, at.s, j0 + half * 8, 1);
        int lane = threadIdx.x % 4 * 2;
        int first = (int)min(seen.first - i0, (int64_t)PART) - lane;
        int end = (int)min(seen.end - i0, (int64_t)PART) - lane;
#pragma unroll
        for (int n = 0; n < PART / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int c = n * 8 + e;
                pair_slopes(a, at, h, i0 + lane + c, j0 + half * 8,
                            c >= first && c < end, norm[lane + c], delta[lane + c],
                            &p[n][half * 2 + e], &dp[n][half * 2 + e]);
            }
    }
}

template <bool BF16, int DP>
__global__ void __launch_bounds__(WARPS * 32) attn_keys_mma(struct attns a)
{
    constexpr int PART = part_of<DP>;
    struct room<DP> *r = (struct room<DP> *)shared_dynamic();
    int tiles = (a.max_k + TILE - 1) / TILE, group = a.h / a.hk;
    struct corner at = corner_of(a, blockIdx.x / tiles, blockIdx.y,
                                 (int64_t)(blockIdx.x % tiles) * TILE);
    if (at.first >= at.s.room)
        return;
    struct span seen = seeing(a, at.s, at.first, TILE);
    int64_t begin = seen.first / TILE * TILE;
    int per = seen.end > begin ? (int)((seen.end - begin + TILE - 1) / TILE) : 0;
    int64_t j = at.first + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    float dk[DP / 8][4] = {}, dv[DP / 8][4] = {};
    load_tile<DP>(a.k, r->mine[0], at.s.k + at.first, at.s.k + at.s.nk, at.hk, a.d);
    load_tile<DP>(a.v, r->mine[1], at.s.k + at.first, at.s.k + at.s.nk, at.hk, a.d);
    auto fetch = [&](int n) {
        int stage = n % STAGES, h = at.hk * group + n / max(per, 1);
        if (n < per * group) {
            int64_t i0 = begin + (int64_t)(n % per) * TILE;
            load_tile<DP>(a.q, r->other[stage][0], at.s.q + i0, at.s.q + at.s.nq, h,
                          a.d);
            load_tile<DP>(a.dout, r->other[stage][1], at.s.q + i0, at.s.q + at.s.nq, h,
                          a.d);
            if (threadIdx.x < TILE) {
                r->norm[stage][threadIdx.x] = norm_of(a, at, h, i0 + threadIdx.x);
                r->delta[stage][threadIdx.x] = delta_of(a, at, h, i0 + threadIdx.x);
            }
        }
        copy_commit();
    };
    fetch(0);
    for (int n = 0; n < per * group; n++) {
        int stage = n % STAGES, h = at.hk * group + n / per;
        fetch(n + 1);
        copy_wait<1>();
        __syncthreads();
        auto keys = [&](int k, uint32_t(&f)[4]) {
            tile_fragment<DP>(r->mine[0], k, f);
        };
        auto values = [&](int k, uint32_t(&f)[4]) {
            tile_fragment<DP>(r->mine[1], k, f);
        };
#pragma unroll 1
        for (int part = 0; part < TILE; part += PART) {
            const uint16_t *q = r->other[stage][0] + part * (DP + 8);
            const uint16_t *dout = r->other[stage][1] + part * (DP + 8);
            float p[PART / 8][4] = {}, dp[PART / 8][4] = {};
            tile_products<BF16, DP>(keys, q, p);
            tile_products<BF16, DP>(values, dout, dp);
            key_slopes<PART>(a, at, h, j, begin + (int64_t)(n % per) * TILE + part,
                             r->norm[stage] + part, r->delta[stage] + part, p, dp);
            tile_sums<BF16, DP>(p, dout, dv);
            tile_sums<BF16, DP>(dp, q, dk);
        }
        __syncthreads(); /* before this stage is filled anew */
    }
    copy_wait<0>();
    store_rows<DP>(a.dk, at.s.k, j, at.s.room, at.hk, a.d, dk, a.scale);
    store_rows<DP>(a.dv, at.s.k, j, at.s.room, at.hk, a.d, dv, 1);
}

/* The same of 16 queries and 64 keys from j0 on. */
DEVICE void query_slopes(const struct attns &a, const struct corner &at, int h,
                         int64_t i0, int64_t j0, const float (&norm)[2],
                         const float (&delta)[2], float (&p)[TILE / 8][4],
                         float (&dp)[TILE / 8][4])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        struct span seen = visible(a, at.s, i0 + half * 8);
        int lane = threadIdx.x % 4 * 2;
        int first = (int)min(seen.first - j0, (int64_t)TILE) - lane;
        int end = (int)min(min(seen.end, at.s.nk) - j0, (int64_t)TILE) - lane;
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int c = n * 8 + e;
                pair_slopes(a, at, h, i0 + half * 8, j0 + lane + c,
                            c >= first && c < end, norm[half], delta[half],
                            &p[n][half * 2 + e], &dp[n][half * 2 + e]);
            }
    }
}

template <bool BF16, int DP>
__global__ void __launch_bounds__(WARPS * 32) attn_queries_mma(struct attns a)
{
    struct room<DP> *r = (struct room<DP> *)shared_dynamic();
    int tiles = (a.max_q + TILE - 1) / TILE, h = blockIdx.y;
    /* Causal: the longest first. */
    struct corner at = corner_of(a, blockIdx.x / tiles, h / (a.h / a.hk),
                                 (int64_t)(tiles - 1 - blockIdx.x % tiles) * TILE);
    if (at.first >= at.s.nq)
        return;
    int64_t end = visible(a, at.s, min(at.first + TILE, at.s.nq) - 1).end;
    int64_t begin = visible(a, at.s, at.first).first / TILE * TILE;
    int64_t i = at.first + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    const float norm[2] = {norm_of(a, at, h, i), norm_of(a, at, h, i + 8)};
    const float delta[2] = {delta_of(a, at, h, i), delta_of(a, at, h, i + 8)};
    float dq[DP / 8][4] = {};
    load_tile<DP>(a.q, r->mine[0], at.s.q + at.first, at.s.q + at.s.nq, h, a.d);
    load_tile<DP>(a.dout, r->mine[1], at.s.q + at.first, at.s.q + at.s.nq, h, a.d);
    auto fetch = [&](int64_t j0, int stage) {
        if (j0 < end) {
            load_tile<DP>(a.k, r->other[stage][0], at.s.k + j0, at.s.k + at.s.nk, at.hk,
                          a.d);
            load_tile<DP>(a.v, r->other[stage][1], at.s.k + j0, at.s.k + at.s.nk, at.hk,
                          a.d);
        }
        copy_commit();
    };
    fetch(begin, 0);
    for (int64_t j0 = begin; j0 < end; j0 += TILE) {
        int stage = (int)((j0 - begin) / TILE % STAGES);
        float p[TILE / 8][4] = {}, dp[TILE / 8][4] = {};
        fetch(j0 + TILE, stage ^ 1);
        copy_wait<1>();
        __syncthreads();
        auto queries = [&](int k, uint32_t(&f)[4]) {
            tile_fragment<DP>(r->mine[0], k, f);
        };
        auto slopes = [&](int k, uint32_t(&f)[4]) {
            tile_fragment<DP>(r->mine[1], k, f);
        };
        tile_products<BF16, DP>(queries, r->other[stage][0], p);
        tile_products<BF16, DP>(slopes, r->other[stage][1], dp);
        query_slopes(a, at, h, i, j0, norm, delta, p, dp);
        tile_sums<BF16, DP>(dp, r->other[stage][0], dq);
        __syncthreads();
    }
    copy_wait<0>();
    store_rows<DP>(a.dq, at.s.q, i, at.s.nq, h, a.d, dq, a.scale);
}

#define DELTA_LANES 16 /* of a row: 8 columns each */

__global__ void __launch_bounds__(256) attn_delta(struct attns a)
{
    int64_t row = (int64_t)blockIdx.x * (256 / DELTA_LANES) + threadIdx.x / DELTA_LANES;
    int c = threadIdx.x % DELTA_LANES * 8, h = blockIdx.y;
    float o[8] = {}, g[8] = {}, sum = 0;
    if (row < a.t && c < a.d) {
        load8<0>(a.o.dtype, row_at(a.o, row, h) + c * bytes_of(a.o.dtype), a.o.wide,
                 a.d - c, 0, o);
        load8<0>(a.dout.dtype, row_at(a.dout, row, h) + c * bytes_of(a.dout.dtype),
                 a.dout.wide, a.d - c, 0, g);
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum += o[i] * g[i];
#pragma unroll
    for (int i = DELTA_LANES / 2; i > 0; i /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, i);
    if (row < a.t && c == 0)
        a.delta[h * a.t + row] = sum;
}

int cuda_attn_delta(const struct attns *a, const struct nnd_launch *l)
{
    return launch(attn_delta,
                  dim3((unsigned)blocks_for(a->t, 256 / DELTA_LANES), (unsigned)a->h),
                  dim3(256), 0, l, *a);
}

template <bool BF16, int DP>
static int run(const struct attns &a, const struct nnd_launch *l)
{
    int64_t keys = (int64_t)a.batch * blocks_for(a.max_k, TILE);
    int64_t queries = (int64_t)a.batch * blocks_for(a.max_q, TILE);
    int r = launch(attn_keys_mma<BF16, DP>, dim3((unsigned)keys, (unsigned)a.hk),
                   dim3(WARPS * 32), sizeof(struct room<DP>), l, a);
    return r ? r
             : launch(attn_queries_mma<BF16, DP>,
                      dim3((unsigned)queries, (unsigned)a.h), dim3(WARPS * 32),
                      sizeof(struct room<DP>), l, a);
}

static int grad_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    struct attns a = attns_of(p);
    a.delta = (float *)l->workspace;
    if (!a.h || !a.d)
        return NND_OK;
    int r = cuda_attn_clear_slopes(&a, l);
    if (!r)
        r = cuda_attn_delta(&a, l);
    if (r)
        return r;
    if (p->q.dtype == NND_BF16)
        return a.d <= 64 ? run<true, 64>(a, l) : run<true, 128>(a, l);
    return a.d <= 64 ? run<false, 64>(a, l) : run<false, 128>(a, l);
}

extern "C" int cuda_attn_grad_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    int r = cuda_attn_half_check(params, e);
    if (r)
        return r;
    if (p->dout.dtype != p->q.dtype)
        return op_refuse(e, NND_EUNSUPPORTED, "dout of type %d, wanted q's, %d",
                         p->dout.dtype, p->q.dtype);
    return p->dbias.ndim ? op_refuse(e, NND_EUNSUPPORTED, "dbias, wanted none")
                         : NND_OK;
}

/* Smaller chips have no room for the tiles of large heads. */
static int mma_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    int r = cuda_attn_grad_check(params, e);
    if (r)
        return r;
    return cuda_shared_check(
        p->q.dim[2] <= 64 ? sizeof(struct room<64>) : sizeof(struct room<128>), e);
}

extern "C" size_t cuda_attn_grad_workspace(const void *params)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    return (size_t)(p->q.dim[0] * p->q.dim[1]) * sizeof(float);
}

extern "C" const struct op cuda_attn_bwd_mma_ops[] = {
    {.name = "attn.bwd",
     .check = mma_check,
     .workspace = cuda_attn_grad_workspace,
     .launch = grad_launch},
    {},
};
