/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_hopper.cu - attention forward for Hopper, for 16-bit queries, keys and values
 * with heads of up to 128 (Shah et al. 2024): one warp fetches tiles of 128 keys and
 * values into a ring of two, two or three groups of four warps have 64 queries each.  A
 * group multiplies its next scores and the weights before them at once, and makes
 * weights of the ones while the others are in flight; the groups take turns, so that
 * one multiplies while the other one does that.  Blocks stay and take pieces of work
 * one after another; the next one's tiles are fetched while this one ends.
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
enum { TURN = 1, TAIL = TURN + 3 };

/* Shared memory; tiles are of 64 columns, the second half of a head after the first. */
template <int DP> struct room {
    uint16_t q[groups_of<DP>][QUERIES * DP];
    uint16_t k[STAGES][KEYS * DP], v[STAGES][KEYS * DP];
    uint16_t o[groups_of<DP>][QUERIES * DP];
    uint64_t q_full, q_empty, work_full, work_empty;
    uint64_t k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
    int work;
};

/* A piece of work: queries of a head from `first` on, tiles of keys from `begin` on,
 * `n` of them. */
struct place {
    struct seq s;
    int64_t first, begin;
    int h, hk, n;
};

/* What all blocks together do: pieces are numbered, and each block takes the next one
 * when its own is fetched. */
struct works {
    int *next;
    int n, tiles; /* tiles of queries in a sequence */
};

/* Piece w: the tiles of a head one after another, the heads of a sequence. */
template <int DP>
DEVICE struct place place_of(const struct attns &a, const struct works &all, int w)
{
    const int high = groups_of<DP> * QUERIES;
    int rest = w / all.tiles;
    struct place at = {seq_of(a, rest / a.h), 0, 0, rest % a.h, 0, 0};
    at.hk = at.h / (a.h / a.hk);
    /* Causal: the longest first. */
    at.first = (int64_t)(all.tiles - 1 - w % all.tiles) * high;
    int64_t last = min(at.first + high, at.s.nq) - 1;
    at.begin = visible(a, at.s, at.first).first / KEYS * KEYS;
    int64_t end = visible(a, at.s, last).end;
    if (last >= at.first && end > at.begin)
        at.n = (int)((end - at.begin + KEYS - 1) / KEYS);
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

/* What a role has behind it: tiles, pieces with tiles. */
struct past {
    int tiles, pieces;
};

template <int DP>
DEVICE void fetch(const struct place &at, const struct past &past, struct room<DP> *r,
                  const CUtensorMap *q, const CUtensorMap *k, const CUtensorMap *v)
{
    const uint32_t bytes = KEYS * DP * sizeof(uint16_t);
    barrier_wait(&r->q_empty, (past.pieces & 1) ^ 1);
    barrier_expect(&r->q_full, sizeof r->q);
    for (int g = 0; g < groups_of<DP>; g++)
        load_tiles<DP>(r->q[g], QUERIES, q, &r->q_full, at.h,
                       at.s.q + at.first + g * QUERIES);
    for (int n = 0; n < at.n; n++) {
        int stage = stage_of(past.tiles + n);
        uint32_t before = turn_of(past.tiles + n) ^ 1;
        int64_t row = at.s.k + at.begin + (int64_t)n * KEYS;
        barrier_wait(&r->k_empty[stage], before);
        barrier_expect(&r->k_full[stage], bytes);
        load_tiles<DP>(r->k[stage], KEYS, k, &r->k_full[stage], at.hk, row);
        barrier_wait(&r->v_empty[stage], before);
        barrier_expect(&r->v_full[stage], bytes);
        load_tiles<DP>(r->v[stage], KEYS, v, &r->v_full[stage], at.hk, row);
    }
}

/* The one thread that takes pieces of work and fetches for them. */
template <int DP>
DEVICE void produce(const struct attns &a, const struct works &all, struct room<DP> *r,
                    const CUtensorMap *q, const CUtensorMap *k, const CUtensorMap *v)
{
    struct past past = {0, 0};
    for (uint32_t turn = 0;; turn ^= 1) {
        int w = atomicAdd(all.next, 1);
        barrier_wait(&r->work_empty, turn ^ 1);
        r->work = w;
        barrier_arrive(&r->work_full);
        if (w >= all.n)
            return;
        struct place at = place_of<DP>(a, all, w);
        if (at.n == 0)
            continue;
        fetch<DP>(at, past, r, q, k, v);
        past.tiles += at.n;
        past.pieces++;
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

/* o and lse of a group. */
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
        share[half] = sum == 0 ? 0 : 1.0f / sum; /* a NaN is something */
        if (threadIdx.x % 4 == 0 && row + half * 8 < at.s.nq)
            a.lse[at.h * a.lse_step + at.s.q + row + half * 8] =
                sum == 0 ? -INFINITY : c.most[half] * a.scale + logf(sum);
    }
    __syncwarp(); /* the last piece's rows have been read from there */
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

/* The first tile: weights, and nothing to add them to yet. */
template <bool BF16, int DP>
DEVICE void begin_piece(const struct attns &a, const struct place &at,
                        const struct past &past, int group, int64_t row,
                        struct room<DP> *r, struct carried<DP> &c)
{
    int now = stage_of(past.tiles);
    float shrink[2];
    barrier_wait(&r->q_full, past.pieces & 1);
    barrier_wait(&r->k_full[now], turn_of(past.tiles));
    product_fence();
    multiply_keys<BF16, DP>(shared_matrix(r->q[group], 0), r->k[now], c.s);
    product_commit();
    product_wait<0>();
    release(&r->k_empty[now]);
    if (at.n == 1)
        release(&r->q_empty);
    if (!is_whole(a, at, at.first + group * QUERIES, at.begin))
        mask_tile(a, at, row, at.begin, c.s);
    weigh_tile<DP>(a.scale * LOG2E, c, shrink);
    take_weights<BF16, DP>(c, shrink);
}

/* The last tile's weights and values. */
template <bool BF16, int DP>
DEVICE void end_piece(const struct place &at, const struct past &past,
                      struct room<DP> *r, struct carried<DP> &c)
{
    int last = stage_of(past.tiles + at.n - 1);
    int64_t real = at.s.nk - at.begin - (int64_t)(at.n - 1) * KEYS;
    barrier_wait(&r->v_full[last], turn_of(past.tiles + at.n - 1));
    if (real < KEYS) { /* what is behind the last value may be anything */
        clear_rows<DP, KEYS>(r->v[last], real, threadIdx.x - WARPGROUP, consumers<DP>);
        shared_publish();
        group_sync(TAIL, consumers<DP>);
    }
    product_fence();
    multiply_values<BF16, DP>(c.p, r->v[last], c.o);
    product_commit();
    product_wait<0>();
    release(&r->v_empty[last]);
}

template <bool BF16, int DP>
DEVICE void attend(const struct attns &a, const struct place &at,
                   const struct past &past, int group, struct room<DP> *r)
{
    int64_t first = at.first + group * QUERIES;
    int64_t row = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    uint64_t q = shared_matrix(r->q[group], 0);
    struct carried<DP> c = {
    };
    float shrink[2];
    c.most[0] = c.most[1] = -INFINITY;
    if (at.n > 0)
        begin_piece<BF16, DP>(a, at, past, group, row, r, c);
    for (int n = 1; n < at.n; n++) {
        int now = stage_of(past.tiles + n), before = stage_of(past.tiles + n - 1);
        int64_t k0 = at.begin + (int64_t)n * KEYS;
        barrier_wait(&r->k_full[now], turn_of(past.tiles + n));
        group_sync(TURN + group, 2 * WARPGROUP);
        product_fence();
        multiply_keys<BF16, DP>(q, r->k[now], c.s);
        product_commit();
        barrier_wait(&r->v_full[before], turn_of(past.tiles + n - 1));
        product_fence();
        multiply_values<BF16, DP>(c.p, r->v[before], c.o);
        product_commit();
        group_arrive(TURN + (group + 1) % groups_of<DP>, 2 * WARPGROUP);
        product_wait<1>();
        release(&r->k_empty[now]);
        if (n == at.n - 1)
            release(&r->q_empty);
        if (!is_whole(a, at, first, k0))
            mask_tile(a, at, row, k0, c.s);
        weigh_tile<DP>(a.scale * LOG2E, c, shrink);
        product_wait<0>();
        release(&r->v_empty[before]);
        take_weights<BF16, DP>(c, shrink);
    }
    if (at.n > 0)
        end_piece<BF16, DP>(at, past, r, c);
    store_group<BF16, DP>(a, at, group, row, r->o[group], c);
}

template <bool BF16, int DP>
DEVICE void consume(const struct attns &a, const struct works &all, struct room<DP> *r)
{
    int group = threadIdx.x / WARPGROUP - 1;
    struct past past = {0, 0};
    if (group == groups_of<DP> - 1)
        group_arrive(TURN, 2 * WARPGROUP); /* the first group begins */
    for (uint32_t turn = 0;; turn ^= 1) {
        barrier_wait(&r->work_full, turn);
        int w = *(volatile int *)&r->work;
        __syncwarp();
        release(&r->work_empty);
        if (w >= all.n)
            break;
        struct place at = place_of<DP>(a, all, w);
        if (at.first >= at.s.nq)
            continue;
        attend<BF16, DP>(a, at, past, group, r);
        past.tiles += at.n;
        past.pieces += at.n > 0;
    }
    if (group == 0)
        group_sync(TURN, 2 * WARPGROUP); /* the last group's last turn */
}

template <bool BF16, int DP>
__global__ void __launch_bounds__(consumers<DP> + WARPGROUP, 1)
    attn_hopper(struct attns a, struct works all, const __grid_constant__ CUtensorMap q,
                const __grid_constant__ CUtensorMap k,
                const __grid_constant__ CUtensorMap v)
{
    if constexpr (HOPPER) {
        struct room<DP> *r = (struct room<DP> *)shared_dynamic();
        if (threadIdx.x == 0) {
            map_prefetch(&q), map_prefetch(&k), map_prefetch(&v);
            barrier_init(&r->q_full, 1);
            barrier_init(&r->q_empty, consumers<DP> / 32);
            barrier_init(&r->work_full, 1);
            barrier_init(&r->work_empty, consumers<DP> / 32);
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
            registers_less<groups_of<DP> == 2 ? 40 : 32>();
            if (threadIdx.x == 0)
                produce<DP>(a, all, r, &q, &k, &v);
        } else {
            registers_more<groups_of<DP> == 2 ? 232 : 160>();
            consume<BF16, DP>(a, all, r);
        }
    }
}

template <bool BF16, int DP>
static int run(const struct attns &a, const struct nnd_launch *l)
{
    int64_t tiles = blocks_for(a.max_q, groups_of<DP> * QUERIES);
    struct works all = {(int *)l->workspace, (int)(a.batch * tiles * a.h), (int)tiles};
    CUtensorMap q, k, v;
    int units = 0;
    int r = cuda_hopper_map(&a.q, a.t, a.h, a.d, QUERIES, &q);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.k : &a.q, a.s, a.hk, a.d, KEYS, &k);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.v : &a.q, a.s, a.hk, a.d, KEYS, &v);
    if (!r)
        r = cuda_status(cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
                                               l->stream.device),
                        "units");
    if (!r)
        r = cuda_status(cudaMemsetAsync(all.next, 0, sizeof *all.next,
                                        (cudaStream_t)l->stream.native),
                        "fill");
    if (r)
        return r;
    return launch(attn_hopper<BF16, DP>, dim3((unsigned)min(all.n, units)),
                  dim3(consumers<DP> + WARPGROUP), sizeof(struct room<DP>), l, a, all,
                  q, k, v);
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
        r = cuda_hopper_lines(&p->q, "q", e);
    if (!r)
        r = cuda_hopper_lines(&p->k, "k", e);
    if (!r)
        r = cuda_hopper_lines(&p->v, "v", e);
    if (r)
        return r;
    if (p->o.dtype != p->q.dtype)
        return op_refuse(e, NND_EUNSUPPORTED, "o of type %d, wanted q's, %d",
                         p->o.dtype, p->q.dtype);
    if ((int64_t)p->batch * (p->max_q / QUERIES + 1) * p->q.dim[1] > 0x3fffffff)
        return op_refuse(e, NND_EUNSUPPORTED, "%d sequences of %d queries: too many",
                         p->batch, p->max_q);
    return cuda_attn_plain_check(p, e);
}

/* The number of the next piece of work. */
static size_t hopper_workspace(const void *)
{
    return sizeof(int);
}

extern "C" const struct op cuda_attn_hopper_ops[] = {
    {.name = "attn.fwd",
     .check = hopper_check,
     .workspace = hopper_workspace,
     .launch = hopper_launch},
    {},
};
