/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_bwd_hopper.cu - attention backward for Hopper, for what attn_hopper.cu takes, as
 * attn_bwd_mma.cu does it: blocks of 128 keys over the queries that see them, blocks of
 * 128 queries over their keys, nothing added from several blocks.  One warp fetches
 * tiles of the others into a ring; two groups of four warps have 64 rows each and
 * multiply from shared memory and registers.  A weight is made while the product beside
 * it is in flight, and its gradient while values' sums are.
 */
#include "families.h"
#include "hopper.h"

#include "attn_grad.h"

#define ROWS      64 /* of a group, of a map's box */
#define GROUPS    2
#define THREADS   ((GROUPS + 1) * WARPGROUP)
#define CONSUMERS (GROUPS * WARPGROUP)

/* Named barriers; a group adds its number. */
enum { TAIL = 1, STORE };

/* Rows of a tile of the others, and how many tiles there is room for: sums of keys and
 * of values leave registers for tiles of 64 alone. */
template <bool KEYS> constexpr int high_of = KEYS ? 64 : 128;
template <bool KEYS> constexpr int stages_of = KEYS ? 3 : 2;

/* Shared memory: keys and values of this block and queries and gradients of others', or
 * the other way round. */
template <int DP, bool KEYS> struct room {
    uint16_t mine[2][GROUPS][ROWS * DP];
    uint16_t other[stages_of<KEYS>][2][high_of<KEYS> * DP];
    float norm[stages_of<KEYS>][ROWS], delta[stages_of<KEYS>][ROWS]; /* of queries */
    uint64_t ready, full[stages_of<KEYS>], empty[stages_of<KEYS>];
};

/* Tensors' maps: of queries and their gradients, of keys and values. */
struct maps {
    CUtensorMap q, dout, k, v;
};

/* What a block goes over: tiles from `begin` on, `per` of each of the heads
 * from `head` on, `n` in all; and how many rows there are. */
struct course {
    struct corner at;
    int64_t begin, rows;
    int head, per, n;
};

template <bool KEYS> DEVICE struct course course_of(const struct attns &a)
{
    const int high = GROUPS * ROWS, group = a.h / a.hk;
    int tiles = ((KEYS ? a.max_k : a.max_q) + high - 1) / high, b = blockIdx.x / tiles;
    int tile = blockIdx.x % tiles, head = blockIdx.y;
    /* Causal: the longest first. */
    int64_t first = (int64_t)(KEYS ? tile : tiles - 1 - tile) * high;
    struct course c = {
        corner_of(a, b, KEYS ? head : head / group, first), 0, 0, head, 0, 0};
    struct span seen;
    if (KEYS) {
        seen = seeing(a, c.at.s, first, high);
        c.head = head * group;
        c.rows = c.at.s.nq;
    } else {
        seen = visible(a, c.at.s, first);
        seen.end = visible(a, c.at.s, min(first + high, c.at.s.nq) - 1).end;
        c.rows = c.at.s.nk;
    }
    const int tall = high_of<KEYS>;
    c.begin = seen.first / tall * tall;
    c.per = seen.end > c.begin ? (int)((seen.end - c.begin + tall - 1) / tall) : 0;
    c.n = c.per * (KEYS ? group : 1);
    return c;
}

template <bool KEYS> DEVICE int64_t tile_row(const struct course &c, int n)
{
    return c.begin + (int64_t)(n % c.per) * high_of<KEYS>;
}

template <bool KEYS> DEVICE int stage_of(int n)
{
    return n % stages_of<KEYS>;
}

template <bool KEYS> DEVICE uint32_t turn_of(int n)
{
    return (uint32_t)(n / stages_of<KEYS> % 2);
}

/* A tile of the others, 64 rows at a time. */
template <int DP, bool KEYS>
DEVICE void load_other(uint16_t *to, const CUtensorMap *map, uint64_t *full, int head,
                       int64_t row)
{
#pragma unroll
    for (int c = 0; c < DP / TILE_COLUMNS; c++)
#pragma unroll
        for (int r = 0; r < high_of<KEYS>; r += ROWS)
            tile_load(to + (c * high_of<KEYS> + r) * TILE_COLUMNS, map, full,
                      c * TILE_COLUMNS, head, (int)(row + r));
}

/* One lane fetches; of other queries all lanes bring norms and deltas. */
template <int DP, bool KEYS>
DEVICE void produce(const struct attns &a, const struct course &c,
                    struct room<DP, KEYS> *r, const struct maps *m)
{
    const struct seq &s = c.at.s;
    int lane = threadIdx.x;
    if (c.n == 0)
        return;
    if (lane == 0) {
        barrier_expect(&r->ready, sizeof r->mine);
        for (int g = 0; g < GROUPS; g++) {
            int64_t row = (KEYS ? s.k : s.q) + c.at.first + g * ROWS;
            int head = KEYS ? c.at.hk : c.head;
            load_tiles<DP>(r->mine[0][g], ROWS, KEYS ? &m->k : &m->q, &r->ready, head,
                           row);
            load_tiles<DP>(r->mine[1][g], ROWS, KEYS ? &m->v : &m->dout, &r->ready,
                           head, row);
        }
    }
    for (int n = 0; n < c.n; n++) {
        int stage = stage_of<KEYS>(n), head = KEYS ? c.head + n / c.per : c.at.hk;
        int64_t first = tile_row<KEYS>(c, n), row = (KEYS ? s.q : s.k) + first;
        barrier_wait(&r->empty[stage], turn_of<KEYS>(n) ^ 1);
        if (lane == 0) {
            barrier_expect(&r->full[stage], sizeof r->other[stage]);
            load_other<DP, KEYS>(r->other[stage][0], KEYS ? &m->q : &m->k,
                                 &r->full[stage], head, row);
            load_other<DP, KEYS>(r->other[stage][1], KEYS ? &m->dout : &m->v,
                                 &r->full[stage], head, row);
        }
        for (int i = lane; KEYS && i < ROWS; i += 32) {
            r->norm[stage][i] = norm_of(a, c.at, head, first + i);
            r->delta[stage][i] = delta_of(a, c.at, head, first + i);
        }
        barrier_arrive(&r->full[stage]);
    }
}

/* s = 64 rows x HIGH of a tile, in flight. */
template <bool BF16, int DP, int HIGH>
DEVICE void multiply_rows(uint64_t mine, const uint16_t *tile, float (&s)[HIGH / 2])
{
    uint64_t other = shared_matrix(tile, 0);
#pragma unroll
    for (int i = 0; i < DP / 16; i++) {
        const uint32_t half = i / 4 * TILE_ROW, at = i % 4 * 32;
        product<BF16, false, HIGH>(s, matrix_at(mine, half * ROWS + at),
                                   matrix_at(other, half * HIGH + at), i > 0);
    }
}

/* sums += weights x a tile, in flight. */
template <bool BF16, int DP, int HIGH>
DEVICE void add_tile(const uint32_t (&p)[HIGH / 16][4], const uint16_t *tile,
                     float (&sums)[DP / 2])
{
    uint64_t other = shared_matrix(tile, HIGH * TILE_ROW);
#pragma unroll
    for (int i = 0; i < HIGH / 16; i++)
        product<BF16, true, DP>(sums, p[i], matrix_at(other, i * 16 * TILE_ROW), 1);
}

template <bool BF16, int HIGH>
DEVICE void round_sums(const float (&s)[HIGH / 2], uint32_t (&p)[HIGH / 16][4])
{
#pragma unroll
    for (int i = 0; i < HIGH / 16; i++)
        sums_operand<BF16>(s, i, p[i]);
}

/* Does every row of a group see, or is it seen by, all of a tile? */
template <bool KEYS>
DEVICE bool is_whole(const struct attns &a, const struct seq &s, int64_t mine,
                     int64_t other)
{
    int64_t i = KEYS ? other : mine, j = KEYS ? mine : other;
    int64_t last = i + (KEYS ? high_of<KEYS> : ROWS) - 1;
    int64_t end = j + (KEYS ? ROWS : high_of<KEYS>);
    return last < s.nq && end <= s.nk && visible(a, s, i).end >= end &&
           visible(a, s, last).first <= j;
}

/* A thread's two rows of products become weights.  norm: of the tile's queries, or of
 * these two rows. */
template <bool KEYS, bool WHOLE>
DEVICE void weigh(const struct attns &a, const struct corner &at, int64_t row,
                  int64_t first, const float *norm, float (&x)[high_of<KEYS> / 2])
{
    const int high = high_of<KEYS>;
    int lane = threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        struct span seen = {0, 0};
        if (!WHOLE)
            seen = KEYS ? seeing(a, at.s, row + half * 8, 1)
                        : visible(a, at.s, row + half * 8);
        int begin = (int)min(seen.first - first, (int64_t)high) - lane;
        int end = (int)min(seen.end - first, (int64_t)high) - lane;
#pragma unroll
        for (int i = 0; i < high / 4; i++) {
            int c = i / 2 * 8 + i % 2;
            float *p = &x[i / 2 * 4 + half * 2 + i % 2];
            float n = KEYS ? norm[lane + c] : norm[half];
            *p = WHOLE || (c >= begin && c < end) ? exp2_fast(*p * at.unit - n) : 0;
        }
    }
}

/* y, of the gradient and the value, becomes the product's gradient, without scale. */
template <bool KEYS>
DEVICE void slope(const float *delta, const float (&x)[high_of<KEYS> / 2],
                  float (&y)[high_of<KEYS> / 2])
{
    int lane = threadIdx.x % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; half++)
#pragma unroll
        for (int i = 0; i < high_of<KEYS> / 4; i++) {
            int at = i / 2 * 4 + half * 2 + i % 2;
            float d = KEYS ? delta[lane + i / 2 * 8 + i % 2] : delta[half];
            y[at] = x[at] != 0 ? x[at] * (y[at] - d) : 0;
        }
}

template <bool BF16, int DP, bool KEYS>
DEVICE void consume(const struct attns &a, const struct course &c,
                    struct room<DP, KEYS> *r)
{
    int group = threadIdx.x / WARPGROUP - 1;
    int64_t mine = c.at.first + group * ROWS;
    int64_t row = mine + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    uint64_t one = shared_matrix(r->mine[0][group], 0);
    uint64_t two = shared_matrix(r->mine[1][group], 0);
    constexpr int HIGH = high_of<KEYS>;
    float x[HIGH / 2], y[HIGH / 2], sums[DP / 2] = {}, values[DP / 2] = {};
    float norm[2] = {}, delta[2] = {};
    uint32_t p[HIGH / 16][4];
    for (int half = 0; !KEYS && half < 2; half++) {
        norm[half] = norm_of(a, c.at, c.head, row + half * 8);
        delta[half] = delta_of(a, c.at, c.head, row + half * 8);
    }
    if (c.n > 0)
        barrier_wait(&r->ready, 0);
    for (int n = 0; n < c.n; n++) {
        int stage = stage_of<KEYS>(n);
        int64_t first = tile_row<KEYS>(c, n);
        const float *norms = KEYS ? r->norm[stage] : norm;
        const float *deltas = KEYS ? r->delta[stage] : delta;
        uint16_t *rows = r->other[stage][0], *others = r->other[stage][1];
        barrier_wait(&r->full[stage], turn_of<KEYS>(n));
        if (c.rows - first < HIGH) { /* what is behind the last may be anything */
            int thread = threadIdx.x - WARPGROUP;
            clear_rows<DP, HIGH>(rows, c.rows - first, thread, CONSUMERS);
            clear_rows<DP, HIGH>(others, c.rows - first, thread, CONSUMERS);
            shared_publish();
            group_sync(TAIL, CONSUMERS);
        }
        product_fence();
        multiply_rows<BF16, DP, HIGH>(one, rows, x);
        product_commit();
        multiply_rows<BF16, DP, HIGH>(two, others, y);
        product_commit();
        product_wait<1>();
        if (is_whole<KEYS>(a, c.at.s, mine, first))
            weigh<KEYS, true>(a, c.at, row, first, norms, x);
        else
            weigh<KEYS, false>(a, c.at, row, first, norms, x);
        if (KEYS)
            round_sums<BF16, HIGH>(x, p);
        product_wait<0>();
        if (KEYS) {
            product_fence();
            add_tile<BF16, DP, HIGH>(p, others, values);
            product_commit();
        }
        slope<KEYS>(deltas, x, y);
        uint32_t s[HIGH / 16][4];
        round_sums<BF16, HIGH>(y, s);
        product_fence();
        add_tile<BF16, DP, HIGH>(s, rows, sums);
        product_commit();
        product_wait<0>();
        release(&r->empty[stage]);
    }
    const float scale[2] = {a.scale, a.scale}, same[2] = {1, 1};
    const struct seq &s = c.at.s;
    group_sync(STORE + group, WARPGROUP); /* nobody reads this group's rows any more */
    store_sums<BF16, DP>(KEYS ? a.dk : a.dq, KEYS ? s.k : s.q, mine,
                         KEYS ? s.room : s.nq, KEYS ? c.at.hk : c.head, a.d,
                         r->mine[0][group], sums, scale);
    if (KEYS)
        store_sums<BF16, DP>(a.dv, s.k, mine, s.room, c.at.hk, a.d, r->mine[1][group],
                             values, same);
}

template <bool BF16, int DP, bool KEYS>
__global__ void __launch_bounds__(THREADS, 1)
    attn_slopes(struct attns a, const __grid_constant__ struct maps m)
{
    if constexpr (HOPPER) {
        struct room<DP, KEYS> *r = (struct room<DP, KEYS> *)shared_dynamic();
        struct course c = course_of<KEYS>(a);
        if (c.at.first >= (KEYS ? c.at.s.room : c.at.s.nq))
            return;
        if (threadIdx.x == 0) {
            map_prefetch(&m.q), map_prefetch(&m.dout);
            map_prefetch(&m.k), map_prefetch(&m.v);
            barrier_init(&r->ready, 1);
            for (int i = 0; i < stages_of<KEYS>; i++) {
                barrier_init(&r->full[i], 1 + 32);
                barrier_init(&r->empty[i], CONSUMERS / 32);
            }
            barrier_publish();
        }
        __syncthreads();
        if (threadIdx.x < WARPGROUP) {
            registers_less<24>();
            if (threadIdx.x < 32)
                produce<DP, KEYS>(a, c, r, &m);
        } else {
            registers_more<240>();
            consume<BF16, DP, KEYS>(a, c, r);
        }
    }
}

template <bool BF16, int DP>
static int run(const struct attns &a, const struct maps &m, const struct nnd_launch *l)
{
    const int high = GROUPS * ROWS;
    int64_t keys = (int64_t)a.batch * blocks_for(a.max_k, high);
    int64_t queries = (int64_t)a.batch * blocks_for(a.max_q, high);
    int r = launch(attn_slopes<BF16, DP, true>, dim3((unsigned)keys, (unsigned)a.hk),
                   dim3(THREADS), sizeof(struct room<DP, true>), l, a, m);
    return r ? r
             : launch(attn_slopes<BF16, DP, false>,
                      dim3((unsigned)queries, (unsigned)a.h), dim3(THREADS),
                      sizeof(struct room<DP, false>), l, a, m);
}

/* Tensors without rows are not read: any address does. */
static int map_all(const struct attns &a, struct maps *m)
{
    const struct heads *any = a.t ? &a.q : &a.k;
    int r = cuda_hopper_map(a.t ? &a.q : any, a.t, a.h, a.d, ROWS, &m->q);
    if (!r)
        r = cuda_hopper_map(a.t ? &a.dout : any, a.t, a.h, a.d, ROWS, &m->dout);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.k : any, a.s, a.hk, a.d, ROWS, &m->k);
    if (!r)
        r = cuda_hopper_map(a.s ? &a.v : any, a.s, a.hk, a.d, ROWS, &m->v);
    return r;
}

static int slopes_launch(const void *params, const struct nnd_launch *l)
{
    struct attns a = attns_of((const struct nnd_attn *)params);
    struct maps m;
    a.delta = (float *)l->workspace;
    if (!a.h || !a.d || (!a.t && !a.s))
        return NND_OK;
    int r = cuda_attn_clear_slopes(&a, l);
    if (!r)
        r = cuda_attn_delta(&a, l);
    if (!r)
        r = map_all(a, &m);
    if (r)
        return r;
    if (a.q.dtype == NND_BF16)
        return a.d <= 64 ? run<true, 64>(a, m, l) : run<true, 128>(a, m, l);
    return a.d <= 64 ? run<false, 64>(a, m, l) : run<false, 128>(a, m, l);
}

static int slopes_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = (const struct nnd_attn *)params;
    const struct nnd_tensor *const read[] = {&p->q, &p->k, &p->v, &p->dout};
    const struct nnd_tensor *const made[] = {&p->dq, &p->dk, &p->dv};
    static const char *const names[] = {"q", "k", "v", "dout"};
    int r = cuda_attn_grad_check(params, e);
    if (!r)
        r = cuda_hopper_check(e);
    for (int i = 0; !r && i < 4; i++)
        r = cuda_hopper_lines(read[i], names[i], e);
    for (int i = 0; !r && i < 3; i++)
        if (made[i]->dtype != p->q.dtype)
            r = op_refuse(e, NND_EUNSUPPORTED, "gradients of type %d, wanted q's, %d",
                          made[i]->dtype, p->q.dtype);
    return r ? r : cuda_attn_plain_check(p, e);
}

extern "C" const struct op cuda_attn_bwd_hopper_ops[] = {
    {.name = "attn.bwd",
     .check = slopes_check,
     .workspace = cuda_attn_grad_workspace,
     .launch = slopes_launch},
    {},
};
