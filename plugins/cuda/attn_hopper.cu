/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_hopper.cu - attention forward for Hopper, for 16-bit queries, keys and values
 * with heads of up to 128 (Shah et al. 2024): one warp fetches tiles of 128 keys and
 * values into a ring of two, two or three groups of four warps have 64 queries each.  A
 * group multiplies its next scores and the weights before them at once, and makes
 * weights of the ones while the others are in flight; the groups take turns, so that
 * one multiplies while the other one does that.
 */
#include "families.h"
#include "hopper.h"

#define QUERIES 64 /* of a group */
#define KEYS    128
#define STAGES  2

/* Groups that share a block's keys, and what registers leave to each. */
template <int DP> constexpr int groups_of = DP > 64 ? 2 : 3;
template <int DP> constexpr int consumers = groups_of<DP> *WARPGROUP;

/* Named barriers; a group adds its number. */
enum { TURN = 1, TAIL = TURN + 3, STORE };

/* Shared memory; tiles are of 64 columns, the second half of a head after the first. */
template <int DP> struct room {
    uint16_t q[groups_of<DP>][QUERIES * DP];
    uint16_t k[STAGES][KEYS * DP], v[STAGES][KEYS * DP];
    uint64_t q_full, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
};

/* Where a block works: tiles of keys from `begin` on, `n` of them. */
struct place {
    struct seq s;
    int64_t first, begin;
    int h, hk, n;
};

template <int DP> DEVICE struct place place_of(const struct attns &a)
{
    const int high = groups_of<DP> * QUERIES;
    int tiles = (a.max_q + high - 1) / high;
    struct place at = {seq_of(a, blockIdx.x / tiles), 0, 0, (int)blockIdx.y, 0, 0};
    at.hk = at.h / (a.h / a.hk);
    /* Causal: the longest first. */
    at.first = (int64_t)(tiles - 1 - blockIdx.x % tiles) * high;
    int64_t last = min(at.first + high, at.s.nq) - 1;
    at.begin = visible(a, at.s, at.first).first / KEYS * KEYS;
    int64_t end = visible(a, at.s, last).end;
    at.n = end > at.begin ? (int)((end - at.begin + KEYS - 1) / KEYS) : 0;
    return at;
}

/* Which stage tile n is in, and the parity of that stage's turn. */
DEVICE int stage_of(int n)
{
    return n % STAGES;
}

DEVICE uint32_t turn_of(int n)
{
    return (uint32_t)(n / STAGES) & 1;
}

/* The one thread that fetches. */
template <int DP>
DEVICE void produce(const struct place &at, struct room<DP> *r, const CUtensorMap *q,
                    const CUtensorMap *k, const CUtensorMap *v)
{
    const uint32_t bytes = KEYS * DP * sizeof(uint16_t);
    if (at.n == 0)
        return;
    barrier_expect(&r->q_full, sizeof r->q);
    for (int g = 0; g < groups_of<DP>; g++)
        load_tiles<DP>(r->q[g], QUERIES, q, &r->q_full, at.h,
                       at.s.q + at.first + g * QUERIES);
    for (int n = 0; n < at.n; n++) {
        int stage = stage_of(n);
        int64_t row = at.s.k + at.begin + (int64_t)n * KEYS;
        barrier_wait(&r->k_empty[stage], turn_of(n) ^ 1);
        barrier_expect(&r->k_full[stage], bytes);
        load_tiles<DP>(r->k[stage], KEYS, k, &r->k_full[stage], at.hk, row);
        barrier_wait(&r->v_empty[stage], turn_of(n) ^ 1);
        barrier_expect(&r->v_full[stage], bytes);
        load_tiles<DP>(r->v[stage], KEYS, v, &r->v_full[stage], at.hk, row);
    }
}

/* What a thread carries from tile to tile: rows lane / 4 and lane / 4 + 8 of its
 * warp's 16. */
template <int DP> struct carried {
    float s[KEYS / 2], o[DP / 2];
    uint32_t p[KEYS / 16][4]; /* weights, rounded */
    float most[2], sum[2];    /* most: of products; sum: of this lane's columns */
};

/* s = queries x keys of a tile, in flight. */
template <bool BF16, int DP>
DEVICE void multiply_keys(uint64_t q, const uint16_t *keys, float (&s)[KEYS / 2])
{
    uint64_t k = shared_matrix(keys, 0);
#pragma unroll
    for (int i = 0; i < DP / 16; i++) {
        const int half = i / 4, at = i % 4 * 32;
        product<BF16, false, KEYS>(s, matrix_at(q, half * QUERIES * TILE_ROW + at),
                                   matrix_at(k, half * KEYS * TILE_ROW + at), i > 0);
    }
}

/* o += weights x values of a tile, in flight. */
template <bool BF16, int DP>
DEVICE void multiply_values(const uint32_t (&p)[KEYS / 16][4], const uint16_t *values,
                            float (&o)[DP / 2])
{
    uint64_t v = shared_matrix(values, KEYS * TILE_ROW);
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        product<BF16, true, DP>(o, p[i], matrix_at(v, i * 16 * TILE_ROW), 1);
}

/* Products that row does not see become -inf. */
DEVICE void mask_tile(const struct attns &a, const struct place &at, int64_t row,
                      int64_t k0, float (&s)[KEYS / 2])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        struct span seen = visible(a, at.s, row + half * 8);
        int lane = threadIdx.x % 4 * 2;
        int first = (int)max(seen.first - k0, (int64_t)-1) - lane;
        int end = (int)min(seen.end - k0, (int64_t)KEYS) - lane;
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) {
            int j = i / 2 * 8 + i % 2;
            if (j < first || j >= end)
                s[i / 2 * 4 + half * 2 + i % 2] = -INFINITY;
        }
    }
}

/* Products become weights; shrink: by what those before have to be multiplied. */
template <int DP>
DEVICE void weigh_tile(float unit, struct carried<DP> &c, float (&shrink)[2])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float top = c.most[half];
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++)
            top = fmaxf(top, c.s[i / 2 * 4 + half * 2 + i % 2]);
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        float base = top > -INFINITY ? top * unit : 0;
        shrink[half] = exp2_fast(c.most[half] * unit - base);
        c.most[half] = top;
        c.sum[half] *= shrink[half];
#pragma unroll
        for (int i = 0; i < KEYS / 4; i++) {
            float *x = &c.s[i / 2 * 4 + half * 2 + i % 2];
            *x = exp2_fast(*x * unit - base);
            c.sum[half] += *x;
        }
    }
}

/* What the weights in s become, and o, when nothing is in flight. */
template <bool BF16, int DP>
DEVICE void take_weights(struct carried<DP> &c, const float (&shrink)[2])
{
#pragma unroll
    for (int i = 0; i < DP / 2; i++)
        c.o[i] *= shrink[i / 2 % 2];
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
        sums_operand<BF16>(c.s, i, c.p[i]);
}

/* o and lse of a group; o by way of its queries' room, which nobody reads any more. */
template <bool BF16, int DP>
DEVICE void store_group(const struct attns &a, const struct place &at, int group,
                        int64_t row, uint16_t *room, const struct carried<DP> &c)
{
    float share[2];
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float sum = c.sum[half];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        share[half] = sum > 0 ? 1.0f / sum : 0;
        if (threadIdx.x % 4 == 0 && row + half * 8 < at.s.nq)
            a.lse[at.h * a.lse_step + at.s.q + row + half * 8] =
                sum > 0 ? c.most[half] * a.scale + logf(sum) : -INFINITY;
    }
    group_sync(STORE + group, WARPGROUP); /* all have multiplied with the room */
    store_sums<BF16, DP>(a.o, at.s.q, at.first + group * QUERIES, at.s.nq, at.h, a.d,
                         room, c.o, share);
}

/* Does every query of a group see all keys of a tile? */
DEVICE bool is_whole(const struct attns &a, const struct place &at, int64_t first,
                     int64_t k0)
{
    return visible(a, at.s, first).end >= k0 + KEYS &&
           visible(a, at.s, first + QUERIES - 1).first <= k0;
}

template <bool BF16, int DP>
DEVICE void consume(const struct attns &a, const struct place &at, struct room<DP> *r)
{
    int group = threadIdx.x / WARPGROUP - 1;
    int64_t first = at.first + group * QUERIES;
    int64_t row = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    const float unit = a.scale * LOG2E;
    uint64_t q = shared_matrix(r->q[group], 0);
    struct carried<DP> c = {
    };
    float shrink[2];
    c.most[0] = c.most[1] = -INFINITY;
    if (at.n > 0) {
        barrier_wait(&r->q_full, 0);
        barrier_wait(&r->k_full[0], 0);
        product_fence();
        multiply_keys<BF16, DP>(q, r->k[0], c.s);
        product_commit();
        if (group == groups_of<DP> - 1)
            group_arrive(TURN, 2 * WARPGROUP); /* the first group begins */
        product_wait<0>();
        release(&r->k_empty[0]);
        if (!is_whole(a, at, first, at.begin))
            mask_tile(a, at, row, at.begin, c.s);
        weigh_tile<DP>(unit, c, shrink);
        take_weights<BF16, DP>(c, shrink);
    }
    for (int n = 1; n < at.n; n++) {
        int now = stage_of(n), before = stage_of(n - 1);
        int64_t k0 = at.begin + (int64_t)n * KEYS;
        barrier_wait(&r->k_full[now], turn_of(n));
        group_sync(TURN + group, 2 * WARPGROUP);
        product_fence();
        multiply_keys<BF16, DP>(q, r->k[now], c.s);
        product_commit();
        barrier_wait(&r->v_full[before], turn_of(n - 1));
        product_fence();
        multiply_values<BF16, DP>(c.p, r->v[before], c.o);
        product_commit();
        group_arrive(TURN + (group + 1) % groups_of<DP>, 2 * WARPGROUP);
        product_wait<1>();
        release(&r->k_empty[now]);
        if (!is_whole(a, at, first, k0))
            mask_tile(a, at, row, k0, c.s);
        weigh_tile<DP>(unit, c, shrink);
        product_wait<0>();
        release(&r->v_empty[before]);
        take_weights<BF16, DP>(c, shrink);
    }
    if (at.n > 0) {
        int last = stage_of(at.n - 1);
        barrier_wait(&r->v_full[last], turn_of(at.n - 1));
        int64_t real = at.s.nk - at.begin - (int64_t)(at.n - 1) * KEYS;
        if (real < KEYS) { /* what is behind the last value may be anything */
            clear_rows<DP, KEYS>(r->v[last], real, threadIdx.x - WARPGROUP,
                                 consumers<DP>);
            shared_publish();
            group_sync(TAIL, consumers<DP>);
        }
        product_fence();
        multiply_values<BF16, DP>(c.p, r->v[last], c.o);
        product_commit();
        if (group == 0)
            group_sync(TURN, 2 * WARPGROUP); /* the last group's last turn */
        product_wait<0>();
    }
    store_group<BF16, DP>(a, at, group, row, r->q[group], c);
}

template <bool BF16, int DP>
__global__ void __launch_bounds__(consumers<DP> + WARPGROUP, 1)
    attn_hopper(struct attns a, const __grid_constant__ CUtensorMap q,
                const __grid_constant__ CUtensorMap k,
                const __grid_constant__ CUtensorMap v)
{
    if constexpr (HOPPER) {
        struct room<DP> *r = (struct room<DP> *)shared_dynamic();
        struct place at = place_of<DP>(a);
        if (at.first >= at.s.nq)
            return;
        if (threadIdx.x == 0) {
            map_prefetch(&q), map_prefetch(&k), map_prefetch(&v);
            barrier_init(&r->q_full, 1);
            for (int i = 0; i < STAGES; i++) {
                barrier_init(&r->k_full[i], 1);
                barrier_init(&r->v_full[i], 1);
                barrier_init(&r->k_empty[i], consumers<DP> / 32);
                barrier_init(&r->v_empty[i], consumers<DP> / 32);
            }
            barrier_publish();
        }
        __syncthreads();
        if (threadIdx.x < WARPGROUP) {
            registers_less<groups_of<DP> == 2 ? 24 : 32>();
            if (threadIdx.x == 0)
                produce<DP>(at, r, &q, &k, &v);
        } else {
            registers_more<groups_of<DP> == 2 ? 240 : 160>();
            consume<BF16, DP>(a, at, r);
        }
    }
}

template <bool BF16, int DP>
static int run(const struct attns &a, const struct nnd_launch *l)
{
    int64_t tiles = (int64_t)a.batch * blocks_for(a.max_q, groups_of<DP> * QUERIES);
    CUtensorMap q, k, v;
    int r = cuda_hopper_map(&a.q, a.t, a.h, a.d, QUERIES, &q);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.k : &a.q, a.s, a.hk, a.d, KEYS, &k);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.v : &a.q, a.s, a.hk, a.d, KEYS, &v);
    if (r)
        return r;
    return launch(attn_hopper<BF16, DP>, dim3((unsigned)tiles, (unsigned)a.h),
                  dim3(consumers<DP> + WARPGROUP), sizeof(struct room<DP>), l, a, q, k,
                  v);
}

static int hopper_launch(const void *params, const struct nnd_launch *l)
{
    struct attns a = attns_of((const struct nnd_attn *)params);
    int r = cuda_attn_clear(&a, l);
    if (r || !a.d || !a.h || !a.t)
        return r;
    if (a.q.dtype == NND_BF16)
        return a.d <= 64 ? run<true, 64>(a, l) : run<true, 128>(a, l);
    return a.d <= 64 ? run<false, 64>(a, l) : run<false, 128>(a, l);
}

int cuda_attn_plain_check(const struct nnd_attn *p, struct nnd_error *e)
{
    if (p->softcap > 0 || p->bias.ndim || p->dropout.p > 0 || !(p->scale > 0))
        return op_refuse(e, NND_EUNSUPPORTED,
                         "softcap, bias, dropout or a scale of %g, wanted none of them "
                         "and a scale above 0",
                         (double)p->scale);
    return NND_OK;
}

static int hopper_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    int r = cuda_attn_half_check(params, e);
    if (!r)
        r = cuda_hopper_check(e);
    if (!r)
        r = cuda_hopper_rows(&p->q, "q", e);
    if (!r)
        r = cuda_hopper_rows(&p->k, "k", e);
    if (!r)
        r = cuda_hopper_rows(&p->v, "v", e);
    if (r)
        return r;
    if (p->o.dtype != p->q.dtype)
        return op_refuse(e, NND_EUNSUPPORTED, "o of type %d, wanted q's, %d",
                         p->o.dtype, p->q.dtype);
    return cuda_attn_plain_check(p, e);
}

extern "C" const struct op cuda_attn_hopper_ops[] = {
    {.name = "attn.fwd",
     .params_size = sizeof(struct nnd_attn),
     .args = {ARG(nnd_attn, q, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, k, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, v, "SGD", IN_FLOATS, 0),
              ARG(nnd_attn, o, "THD", IN_FLOATS, 0),
              ARG(nnd_attn, lse, "HT", IN_F32, 0)},
     .check = hopper_check,
     .launch = hopper_launch},
    {},
};
