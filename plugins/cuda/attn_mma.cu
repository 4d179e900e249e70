/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_mma.cu - attention forward by the tensor cores, for 16-bit queries, keys and
 * values with heads of up to 128: a warp has 16 queries of a block's 64, whose scores
 * and weights never leave its registers (Dao 2023); keys and values come 64 at a time,
 * the next ones while these are multiplied.
 */
#include "attn_tile.h"
#include "families.h"

#define QUERIES TILE
#define KEYS    TILE
#define LN2     0.693147180559945309f

/* What a warp carries from tile to tile: rows lane / 4 and lane / 4 + 8. */
template <int DP> struct carried {
    float o[DP / 8][4];
    float most[2], sum[2]; /* in units of log 2; of this lane's columns alone */
};

/* Where a block works. */
struct place {
    struct seq s;
    int b, h;
    int64_t row; /* of this lane's first query, in the sequence */
    uint64_t key;
};

/* Products become scores in units of log 2; -inf where nothing is seen. */
DEVICE void mask_tile(const struct attns &a, const struct place &at, int64_t k0,
                      float (&s)[KEYS / 8][4])
{
    bool plain = !a.bias.data && a.softcap <= 0;
    struct span seen[2] = {visible(a, at.s, at.row), visible(a, at.s, at.row + 8)};
#pragma unroll
    for (int i = 0; i < KEYS / 2; i++) {
        float *x = &s[i / 4][i % 4], slope;
        int half = i % 4 / 2;
        int64_t row = at.row + half * 8;
        int64_t j = k0 + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
        bool sees = row < at.s.nq && j >= seen[half].first && j < seen[half].end;
        if (!sees)
            *x = -INFINITY;
        else if (plain)
            *x *= a.scale * LOG2E;
        else
            *x = LOG2E * score_of(a, at.b, at.h, row, j, *x, &slope);
    }
}

/* Scores become weights, and what is carried shrinks by what grew. */
template <int DP>
DEVICE void weigh_tile(const struct attns &a, const struct place &at, int64_t k0,
                       float (&s)[KEYS / 8][4], struct carried<DP> &c)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = c.most[half];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
            top = fmaxf(top, fmaxf(s[n][half * 2], s[n][half * 2 + 1]));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        float base = top > -INFINITY ? top : 0;
        float shrink = exp2_fast(c.most[half] - base);
        c.most[half] = top;
        c.sum[half] *= shrink;
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            c.o[n][half * 2] *= shrink;
            c.o[n][half * 2 + 1] *= shrink;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float *x = &s[n][half * 2 + e];
                *x = exp2_fast(*x - base);
                c.sum[half] += *x;
                if (a.drop.on && *x > 0)
                    *x *= kept_weight(a, at.key, at.s.q + at.row + half * 8, at.h,
                                      k0 + n * 8 + threadIdx.x % 4 * 2 + e);
            }
    }
}

template <int DP>
DEVICE void store_rows(const struct attns &a, const struct place &at,
                       const struct carried<DP> &c)
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int64_t row = at.row + half * 8;
        float sum = c.sum[half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        if (row >= at.s.nq)
            continue;
        float share = sum == 0 ? 0 : 1.0f / sum; /* a NaN is something */
        if (threadIdx.x % 4 == 0)
            a.lse[at.h * a.lse_step + at.s.q + row] =
                sum == 0 ? -INFINITY : c.most[half] * LN2 + logf(sum);
        char *to = (char *)row_at(a.o, at.s.q + row, at.h);
#pragma unroll
        for (int n = 0; n < DP / 8; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int col = n * 8 + threadIdx.x % 4 * 2 + e;
                if (col < a.d)
                    put_at(a.o.dtype, to, col, c.o[n][half * 2 + e] * share);
            }
    }
}

template <bool BF16, int DP>
__global__ void __launch_bounds__(WARPS * 32) attn_mma(struct attns a)
{
    constexpr int ROOM = tile_room<DP>;
    uint16_t *room = (uint16_t *)shared_dynamic(); /* two of keys, two of values */
    int tiles = (a.max_q + QUERIES - 1) / QUERIES, lane = threadIdx.x % 32;
    struct place at = {seq_of(a, blockIdx.x / tiles), (int)(blockIdx.x / tiles),
                       (int)blockIdx.y, 0, 0};
    /* Causal: the longest first. */
    int64_t first = (int64_t)(tiles - 1 - blockIdx.x % tiles) * QUERIES;
    if (first >= at.s.nq)
        return;
    at.row = first + threadIdx.x / 32 * 16 + lane / 4;
    at.key = a.drop.on ? rng_key(a.drop.state, a.drop.op) : 0;
    int hk = at.h / (a.h / a.hk);
    int64_t end = visible(a, at.s, min(first + QUERIES, at.s.nq) - 1).end;
    int64_t begin = visible(a, at.s, first).first / KEYS * KEYS;
    struct carried<DP> c = {
    };
    c.most[0] = c.most[1] = -INFINITY;
    uint32_t q[DP / 16][4];
    load_tile<DP>(a.q, room, at.s.q + first, at.s.q + at.s.nq, at.h, a.d);
    copy_commit();
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (int k = 0; k < DP / 16; k++)
        tile_fragment<DP>(room, k, q[k]);
    __syncthreads();
    auto fetch = [&](int64_t k0, int stage) {
        if (k0 < end) {
            load_tile<DP>(a.k, room + stage * ROOM, at.s.k + k0, at.s.k + at.s.nk, hk,
                          a.d);
            load_tile<DP>(a.v, room + (2 + stage) * ROOM, at.s.k + k0, at.s.k + at.s.nk,
                          hk, a.d);
        }
        copy_commit();
    };
    fetch(begin, 0);
    for (int64_t k0 = begin; k0 < end; k0 += KEYS) {
        int stage = (int)((k0 - begin) / KEYS % 2);
        float s[KEYS / 8][4] = {};
        fetch(k0 + KEYS, stage ^ 1);
        copy_wait<1>();
        __syncthreads();
        tile_products<BF16, DP>(
            [&](int k, uint32_t(&f)[4]) { memcpy(f, q[k], sizeof f); },
            room + stage * ROOM, s);
        mask_tile(a, at, k0, s);
        weigh_tile<DP>(a, at, k0, s, c);
        tile_sums<BF16, DP>(s, room + (2 + stage) * ROOM, c.o);
        __syncthreads(); /* before this stage is filled anew */
    }
    copy_wait<0>();
    store_rows<DP>(a, at, c);
}

template <bool BF16, int DP>
static int run(const struct attns &a, const struct nnd_launch *l)
{
    int64_t tiles = (int64_t)a.batch * blocks_for(a.max_q, QUERIES);
    return launch(attn_mma<BF16, DP>, dim3((unsigned)tiles, (unsigned)a.h),
                  dim3(WARPS * 32), 4 * tile_room<DP> * sizeof(uint16_t), l, a);
}

template <bool BF16>
static int run_size(const struct attns &a, const struct nnd_launch *l)
{
    return a.d <= 64 ? run<BF16, 64>(a, l) : run<BF16, 128>(a, l);
}

static int mma_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    struct attns a = attns_of(p);
    int r = cuda_attn_clear(&a, l);
    if (r || !a.d || !a.h)
        return r;
    return p->q.dtype == NND_BF16 ? run_size<true>(a, l) : run_size<false>(a, l);
}

extern "C" int cuda_attn_half_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    int r = cuda_attn_check(params, e);
    if (r)
        return r;
    if (p->q.dtype != p->k.dtype || p->q.dtype != p->v.dtype ||
        (p->q.dtype != NND_BF16 && p->q.dtype != NND_F16))
        return op_refuse(e, NND_EUNSUPPORTED,
                         "types %d, %d and %d, wanted one of 16 bits", p->q.dtype,
                         p->k.dtype, p->v.dtype);
    return p->q.dim[2] <= 128 ? NND_OK
                              : op_refuse(e, NND_EUNSUPPORTED,
                                          "heads of size %lld, wanted at most 128",
                                          (long long)p->q.dim[2]);
}

extern "C" const struct op cuda_attn_mma_ops[] = {
    {.name = "attn.fwd", .check = cuda_attn_half_check, .launch = mma_launch},
    {},
};
