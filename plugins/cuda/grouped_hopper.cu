/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped_hopper.cu - gemm.grouped for Hopper, where both sides have one 16-bit type
 * and their rows begin at multiples of 16 bytes: four warps fetch steps of 64 into a
 * ring of stages, two groups of four warps multiply 64 rows each of a tile, and blocks
 * stay and take one tile after another, so that a tile's results are stored while the
 * next one's steps arrive.
 *
 * Mode M: tiles of 128 rows and 256 columns, or of 128 columns of both products of a
 * pair; mode K: tiles of 128 x 128 with two sums, of a block of NND_BLOCK_ROWS and of
 * all of them.  The memory unit fetches what it can; rows that are gathered, and in
 * mode K those behind which a segment ends, the four warps copy themselves.  A sum runs
 * over k in order whatever the tile and the block that has it.
 */
#include "act.h"
#include "families.h"
#include "grouped.h"
#include "hopper_tile.h"

#define LAG  2  /* steps of copies in flight behind the one that is begun */
#define BAND 16 /* tiles below each other whose columns are taken together */

typedef struct ring<6, 1> narrow_ring; /* mode K; mode M has wide ones */
static_assert(LAG <= wide_ring::STAGES - 2 && LAG <= narrow_ring::STAGES - 2,
              "who multiplies must not wait for a step that waits for it");

/* Shared memory of mode M; out: of a warp, on its way to rows. */
struct room {
    wide_ring ring;
    alignas(16) uint16_t out[CONSUMERS / 32][16 * HALF];
};

struct maps {
    CUtensorMap a, b, a2, b2;
};

/* ---- who fetches ---- */

/* Steps that were begun, and of these how many who multiplies was given. */
struct past {
    int begun, given;
};

/* The next step's stage, when nobody reads it any more. */
template <class RING> DEVICE int begin_step(RING *r, const struct past &past)
{
    return await_empty(r, past.begun);
}

template <class RING> DEVICE void give(RING *r, struct past &past, int end)
{
    shared_publish();
    __syncwarp();
    for (; past.given < end; past.given++)
        release(&r->full[past.given % RING::STAGES]);
}

/* A step has been begun; copied: it has copies of this thread's. */
template <class RING> DEVICE void end_step(RING *r, struct past &past, bool copied)
{
    past.begun++;
    if (copied) {
        copy_commit();
        copy_wait<LAG>();
    } else {
        copy_wait<0>();
    }
    give(r, past, past.begun - (copied ? LAG : 0));
}

template <class RING> DEVICE void end_steps(RING *r, struct past &past)
{
    copy_wait<0>();
    give(r, past, past.begun);
}

/* ---- mode M ---- */

/* A tile: rows of a segment, columns of its matrix. */
struct place {
    struct nnd_segment s;
    int m0, n0;
};

DEVICE int wide_of(const struct groups &g)
{
    return g.epilogue == NND_EPI_SWIGLU ? HALF : 2 * HALF;
}

/* Tile w: bands of tiles below each other, column by column. */
DEVICE struct place place_of(const struct groups &g, int w)
{
    int across = (int)g.across, band = w / (BAND * across), rest = w % (BAND * across);
    int high = min(BAND, g.map[g.tiles].x - band * BAND);
    int2 at = g.map[band * BAND + rest % high];
    return {g.segments[at.x], at.y, rest / high * wide_of(g)};
}

/* By one thread: the tiles of a step from k0 on; second: of a2 and b2. */
template <bool TURNED>
DEVICE void load_step(const struct groups &g, const struct place &at, wide_ring *r,
                      const struct maps *m, int stage, bool second, int k0)
{
    uint64_t *full = &r->full[stage];
    bool pair = g.epilogue == NND_EPI_SWIGLU, copied = g.a.gather != NULL;
    barrier_expect(full, sizeof r->b[stage] + (copied ? 0 : sizeof r->a[stage]));
    if (!copied)
        load_tiles<DEPTH>(r->a[stage], HIGH, second ? &m->a2 : &m->a, full, 0,
                          at.s.row + at.m0, k0);
    for (int h = 0; h < 2; h++) {
        const CUtensorMap *b = second || (pair && h) ? &m->b2 : &m->b;
        int n = at.n0 + (pair ? 0 : h * HALF);
        if (TURNED)
            load_tiles<HALF>(r->b[stage][h], DEPTH, b, full, at.s.index, k0, n);
        else
            load_tiles<DEPTH>(r->b[stage][h], HALF, b, full, at.s.index, n, k0);
    }
}

DEVICE int steps_of(const struct groups &g)
{
    return (int)((g.k + DEPTH - 1) / DEPTH);
}

template <bool TURNED>
DEVICE void produce_rows(const struct groups &g, int tiles, wide_ring *r,
                         const struct maps *m)
{
    struct past past = {0, 0};
    bool copied = g.a.gather != NULL;
    int each = steps_of(g), steps = g.a2.data ? 2 * each : each;
    for (int w = blockIdx.x; w < tiles; w += gridDim.x) {
        struct place at = place_of(g, w);
        for (int s = 0; s < steps; s++) {
            bool second = s >= each;
            int k0 = (second ? s - each : s) * DEPTH;
            int stage = begin_step(r, past);
            if (threadIdx.x == 0)
                load_step<TURNED>(g, at, r, m, stage, second, k0);
            if (copied)
                copy_rows<DEPTH / 8>(r->a[stage], second ? g.a2 : g.a, at.s, at.m0, k0,
                                     g.k);
            end_step(r, past, copied);
        }
    }
    end_steps(r, past);
}

/* A warp's rows out of its room, where chunk c of row r is at c ^ r % 8. */
DEVICE void store_rows(const struct mat &to, const struct part &at,
                       const uint16_t *room)
{
    for (int e = threadIdx.x % 32; e < 16 * HALF / 8; e += 32) {
        int r = e / (HALF / 8), c = e % (HALF / 8);
        const uint16_t *from = room + r * HALF + (c ^ (r & 7)) * 8;
        int left = at.cols - c * 8;
        if (r >= at.rows || left <= 0)
            continue;
        uint16_t *p = (uint16_t *)at_part(to, at, r, c * 8);
        if (to.wide && left >= 8)
            *(uint4 *)p = *(const uint4 *)from;
        else
            for (int i = 0; i < 8 && i < left; i++)
                p[i] = from[i];
    }
}

/* value(i, row, column, left, v): this thread's pair i, of which `left` are there. */
template <bool BF16, class F>
DEVICE void put_half(const struct mat &to, const struct part &at, uint16_t *room,
                     F value)
{
    __syncwarp(); /* the last half's rows have been read from there */
#pragma unroll
    for (int i = 0; i < HALF / 4; i++) {
        int r = threadIdx.x % 32 / 4 + i % 2 * 8, c = pair_column(i);
        int left = r < at.rows ? at.cols - c : 0;
        float v[2] = {0, 0};
        if (left > 0)
            value(i, r, c, left, v);
        if (to.dtype == NND_F32)
            put2((float *)at_part(to, at, r, c), to.wide, left, v[0], v[1]);
        else
            *(uint32_t *)(room + r * HALF + (c / 8 ^ (r & 7)) * 8 + c % 8) =
                half_pack<BF16>(v[0], v[1]);
    }
    __syncwarp();
    if (to.dtype != NND_F32)
        store_rows(to, at, room);
}

/* Both products of a pair, which may be kept, to D. */
template <bool BF16>
DEVICE void put_pair(const struct groups &g, const struct part &at, uint16_t *room,
                     half_sums (&x)[2], const float (&scale)[2])
{
    const struct mat *const pre[2] = {&g.pre, &g.pre2};
#pragma unroll
    for (int h = 0; h < 2; h++)
        if (pre[h]->data)
            put_half<BF16>(*pre[h], at, room, [&](int i, int, int, int, float(&v)[2]) {
                for (int j = 0; j < 2; j++) {
                    v[j] = x[h][2 * i + j];
                    x[h][2 * i + j] = rounded(pre[h]->dtype, v[j]);
                }
            });
    put_half<BF16>(g.d, at, room, [&](int i, int, int, int, float(&v)[2]) {
        for (int j = 0; j < 2; j++)
            v[j] = silu_of(x[0][2 * i + j]) * x[1][2 * i + j] * scale[i % 2];
    });
}

/* What a pair kept of its products, at two columns. */
DEVICE void get_pair(const struct groups &g, const struct part &at, int r, int c,
                     int left, float (&a)[2], float (&b)[2])
{
    get2(g.pre.dtype, at_part(g.pre, at, r, c), g.pre.wide, left, a);
    get2(g.pre2.dtype, at_part(g.pre2, at, r, c), g.pre2.wide, left, b);
}

/* Of DSWIGLU: d2, the activation, and x becomes what D is without scale.  The
 * activation may lie where its input does, which is read before that. */
template <bool BF16>
DEVICE void put_slopes(const struct groups &g, const struct part &at, uint16_t *room,
                       half_sums &x, const float (&scale)[2])
{
    put_half<BF16>(g.d2, at, room, [&](int i, int r, int c, int left, float(&v)[2]) {
        float a[2], b[2];
        get_pair(g, at, r, c, left, a, b);
        for (int j = 0; j < 2; j++) {
            v[j] = x[2 * i + j] * scale[i % 2] * silu_of(a[j]);
            x[2 * i + j] *= silu_slope(a[j]) * b[j];
        }
    });
    if (g.act.data)
        put_half<BF16>(g.act, at, room, [&](int, int r, int c, int left, float(&v)[2]) {
            float a[2], b[2];
            get_pair(g, at, r, c, left, a, b);
            for (int j = 0; j < 2; j++)
                v[j] = silu_of(a[j]) * b[j];
        });
}

/* A half to D, and what else there is of it. */
template <bool BF16>
DEVICE void put_one(const struct groups &g, const struct part &at, uint16_t *room,
                    half_sums &x, const float (&scale)[2])
{
    if (g.epilogue == NND_EPI_DSWIGLU)
        put_slopes<BF16>(g, at, room, x, scale);
    put_half<BF16>(g.d, at, room, [&](int i, int, int, int, float(&v)[2]) {
        for (int j = 0; j < 2; j++)
            v[j] = x[2 * i + j] * scale[i % 2];
    });
}

/* What a warp has of a tile. */
template <bool BF16>
DEVICE void put_rows(const struct groups &g, const struct place &at, uint16_t *room,
                     half_sums (&x)[2])
{
    int first = at.m0 + ((int)threadIdx.x / 32 - WARPGROUP / 32) * 16;
    struct part part = {(int64_t)at.s.row + first, at.n0, min(at.s.rows - first, 16),
                        (int)g.n - at.n0};
    float scale[2] = {1, 1};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int r = threadIdx.x % 32 / 4 + i * 8;
        if (g.scale && r < part.rows)
            scale[i] = g.scale[part.row + r];
    }
    if (g.epilogue == NND_EPI_SWIGLU) {
        put_pair<BF16>(g, part, room, x, scale);
        return;
    }
    put_one<BF16>(g, part, room, x[0], scale);
    part.col += HALF, part.cols -= HALF;
    if (part.cols > 0)
        put_one<BF16>(g, part, room, x[1], scale);
}

template <bool BF16, bool TURNED>
DEVICE void consume_rows(const struct groups &g, int tiles, struct room *r)
{
    int group = threadIdx.x / WARPGROUP - 1, n = 0;
    int steps = steps_of(g) * (g.a2.data ? 2 : 1);
    for (int w = blockIdx.x; w < tiles; w += gridDim.x) {
        half_sums x[2];
        multiply_tile<BF16, TURNED, false>(&r->ring, group, n, steps, x);
        n += steps;
        put_rows<BF16>(g, place_of(g, w), r->out[threadIdx.x / 32 - WARPGROUP / 32], x);
    }
}

template <bool BF16, bool TURNED>
__global__ void __launch_bounds__(THREADS, 1)
    grouped_rows(struct groups g, const __grid_constant__ struct maps m)
{
    if constexpr (HOPPER) {
        struct room *r = (struct room *)shared_dynamic();
        int tiles = g.map[g.tiles].x * (int)g.across;
        begin_ring(&r->ring, WARPGROUP / 32 + 1);
        if (threadIdx.x < WARPGROUP) {
            registers_less<40>();
            produce_rows<TURNED>(g, tiles, &r->ring, &m);
        } else {
            registers_more<232>();
            consume_rows<BF16, TURNED>(g, tiles, r);
        }
    }
}

/* ---- mode K ---- */

/* A tile of a matrix. */
struct spot {
    int index, m0, n0;
};

DEVICE struct spot spot_of(const struct groups &g, int w)
{
    int across = (int)g.across, high = ((int)g.m + HIGH - 1) / HIGH;
    int rest = w % (high * across);
    return {w / (high * across), rest % high * HIGH, rest / high * HALF};
}

/* The first segment of that matrix, from `from` on; or their number.  By whole
 * warps. */
DEVICE int next_segment(const struct groups &g, int index, int from)
{
    for (int first = from; first < g.nsegments; first += 32) {
        int i = first + threadIdx.x % 32;
        unsigned mine =
            __ballot_sync(0xffffffffu, i < g.nsegments && g.segments[i].index == index);
        if (mine)
            return first + __ffs((int)mine) - 1;
    }
    return g.nsegments;
}

/* By one thread: a step's tiles, or only its barrier's arrival. */
DEVICE void load_sums(const struct spot &at, const struct nnd_segment &s, int r0,
                      narrow_ring *r, const struct maps *m, int stage, bool copied)
{
    uint64_t *full = &r->full[stage];
    if (copied) {
        barrier_arrive(full);
        return;
    }
    barrier_expect(full, sizeof r->a[stage] + sizeof r->b[stage]);
    load_tiles<HIGH>(r->a[stage], DEPTH, &m->a, full, 0, s.row + r0, at.m0);
    load_tiles<HALF>(r->b[stage][0], DEPTH, &m->b, full, 0, s.row + r0, at.n0);
}

DEVICE void produce_sums(const struct groups &g, int tiles, narrow_ring *r,
                         const struct maps *m)
{
    struct past past = {0, 0};
    for (int w = blockIdx.x; w < tiles; w += gridDim.x) {
        struct spot at = spot_of(g, w);
        for (int i = next_segment(g, at.index, 0); i < g.nsegments;
             i = next_segment(g, at.index, i + 1)) {
            struct nnd_segment s = g.segments[i];
            for (int r0 = 0; r0 < s.rows; r0 += DEPTH) {
                bool copied = g.b.gather != NULL || s.rows - r0 < DEPTH;
                int stage = begin_step(r, past);
                if (threadIdx.x == 0)
                    load_sums(at, s, r0, r, m, stage, copied);
                if (copied) {
                    copy_rows<HIGH / 8>(r->a[stage], g.a, s, r0, at.m0, g.m);
                    copy_rows<HALF / 8>(r->b[stage][0], g.b, s, r0, at.n0, g.n);
                }
                end_step(r, past, copied);
            }
        }
    }
    end_steps(r, past);
}

/* total += a segment's products, blocks of NND_BLOCK_ROWS one after another.  n: the
 * segment's first step. */
template <bool BF16>
DEVICE void add_segment(narrow_ring *r, int group, int n, int steps, half_sums &total)
{
    half_sums part[1];
    for (int first = 0; first < steps; first += NND_BLOCK_ROWS / DEPTH) {
        int here = min(steps - first, NND_BLOCK_ROWS / DEPTH);
        multiply_tile<BF16, true, true>(r, group, n, here, part);
        n += here;
#pragma unroll
        for (int i = 0; i < HALF / 2; i++)
            total[i] += part[0][i];
    }
}

/* total = D, where it is added to, or zeros. */
DEVICE void begin_total(const struct mat &d, const struct part &at, bool add,
                        half_sums &total)
{
#pragma unroll
    for (int i = 0; i < HALF / 4; i++) {
        int r = pair_row(i), c = pair_column(i);
        float v[2];
        get2(NND_F32, at_part(d, at, r, c), d.wide,
             add && r < at.rows ? at.cols - c : 0, v);
        total[2 * i] = v[0], total[2 * i + 1] = v[1];
    }
}

DEVICE void put_total(const struct mat &d, const struct part &at,
                      const half_sums &total)
{
#pragma unroll
    for (int i = 0; i < HALF / 4; i++) {
        int r = pair_row(i), c = pair_column(i);
        put2((float *)at_part(d, at, r, c), d.wide, r < at.rows ? at.cols - c : 0,
             total[2 * i], total[2 * i + 1]);
    }
}

template <bool BF16>
DEVICE void consume_sums(const struct groups &g, int tiles, narrow_ring *r)
{
    int group = threadIdx.x / WARPGROUP - 1, n = 0;
    for (int w = blockIdx.x; w < tiles; w += gridDim.x) {
        struct spot at = spot_of(g, w);
        int row = at.m0 + group * ROWS;
        struct part part = {row, at.n0, (int)g.m - row, (int)g.n - at.n0};
        struct mat d = g.d;
        half_sums total;
        bool touched = false;
        d.data += at.index * g.b_step;
        for (int i = next_segment(g, at.index, 0); i < g.nsegments;
             i = next_segment(g, at.index, i + 1)) {
            struct nnd_segment s = g.segments[i];
            int steps = (s.rows + DEPTH - 1) / DEPTH;
            if (!touched || !s.accumulate)
                begin_total(d, part, s.accumulate, total);
            touched = true;
            add_segment<BF16>(r, group, n, steps, total);
            n += steps;
        }
        if (touched)
            put_total(d, part, total);
    }
}

template <bool BF16>
__global__ void __launch_bounds__(THREADS, 1)
    grouped_sums(struct groups g, int tiles, const __grid_constant__ struct maps m)
{
    if constexpr (HOPPER) {
        narrow_ring *r = (narrow_ring *)shared_dynamic();
        begin_ring(r, WARPGROUP / 32 + 1);
        if (threadIdx.x < WARPGROUP) {
            registers_less<40>();
            produce_sums(g, tiles, r, &m);
        } else {
            registers_more<232>();
            consume_sums<BF16>(g, tiles, r);
        }
    }
}

/* ---- the host's side ---- */

static int map_all(const struct nnd_grouped_gemm *p, struct maps *m)
{
    bool by_rows = p->mode == NND_GROUP_M;
    int a = by_rows ? HIGH : DEPTH, b = by_rows && p->trans_b ? HALF : DEPTH;
    int r = cuda_hopper_matrix(&p->a, a, &m->a);
    if (!r)
        r = cuda_hopper_matrix(&p->b, b, &m->b);
    if (!r)
        r = cuda_hopper_matrix(p->a2.ndim ? &p->a2 : &p->a, a, &m->a2);
    return r ? r : cuda_hopper_matrix(p->b2.ndim ? &p->b2 : &p->b, b, &m->b2);
}

template <bool BF16>
static int run_rows(const struct nnd_grouped_gemm *p, struct groups g,
                    const struct maps &m, int units, const struct nnd_launch *l)
{
    g.n = p->d.dim[1], g.k = p->a.dim[1];
    g.across = blocks_for(g.n, g.epilogue == NND_EPI_SWIGLU ? HALF : 2 * HALF);
    g.map = (int2 *)l->workspace;
    g.tiles = grouped_tiles(p, HIGH);
    int r = cuda_grouped_map(&g, HIGH, l);
    dim3 grid((unsigned)min(g.tiles * g.across, (int64_t)units));
    if (r)
        return r;
    return p->trans_b ? launch(grouped_rows<BF16, false>, grid, dim3(THREADS),
                               sizeof(struct room), l, g, m)
                      : launch(grouped_rows<BF16, true>, grid, dim3(THREADS),
                               sizeof(struct room), l, g, m);
}

template <bool BF16>
static int run_sums(const struct nnd_grouped_gemm *p, struct groups g,
                    const struct maps &m, int units, const struct nnd_launch *l)
{
    g.m = p->d.dim[1], g.n = p->d.dim[2];
    g.b_step = p->d.stride[0] * (int64_t)sizeof(float);
    g.d.step = p->d.stride[1] * (int64_t)sizeof(float);
    g.d.wide =
        (uintptr_t)g.d.data % 16 == 0 && g.d.step % 16 == 0 && g.b_step % 16 == 0;
    g.across = blocks_for(g.n, HALF);
    int tiles = (int)(p->d.dim[0] * blocks_for(g.m, HIGH) * g.across);
    return launch(grouped_sums<BF16>, dim3((unsigned)min(tiles, units)), dim3(THREADS),
                  sizeof(narrow_ring), l, g, tiles, m);
}

static int hopper_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    struct groups g = cuda_groups_of(p);
    struct maps m;
    int units = 0;
    int r = map_all(p, &m);
    if (!r)
        r = cuda_status(cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
                                               l->stream.device),
                        "units");
    if (r)
        return r;
    if (p->mode == NND_GROUP_K)
        return p->a.dtype == NND_BF16 ? run_sums<true>(p, g, m, units, l)
                                      : run_sums<false>(p, g, m, units, l);
    return p->a.dtype == NND_BF16 ? run_rows<true>(p, g, m, units, l)
                                  : run_rows<false>(p, g, m, units, l);
}

static size_t hopper_workspace(const void *params)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    return p->mode == NND_GROUP_M ? (size_t)(grouped_tiles(p, HIGH) + 1) * sizeof(int2)
                                  : 0;
}

/* One of the results, or what they are made with. */
static int check_result(const struct nnd_tensor *t, int dtype, const char *name,
                        struct nnd_error *e)
{
    if (!t->ndim || t->dtype == NND_F32 || t->dtype == dtype)
        return NND_OK;
    return op_refuse(e, NND_EUNSUPPORTED, "%s: of type %d, wanted f32 or a's, %d", name,
                     t->dtype, dtype);
}

static int64_t tiles_of(const struct nnd_grouped_gemm *p)
{
    bool by_rows = p->mode == NND_GROUP_M;
    int64_t n = blocks_for(p->d.dim[p->d.ndim - 1], HALF);
    return n * (by_rows ? grouped_tiles(p, HIGH)
                        : p->d.dim[0] * blocks_for(p->d.dim[1], HIGH));
}

static int hopper_check(const void *params, struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    const struct nnd_tensor *const read[] = {&p->a, &p->b, &p->a2, &p->b2};
    const struct nnd_tensor *const made[] = {&p->d, &p->d2, &p->pre, &p->pre2, &p->act};
    static const char *const names[] = {"a", "b", "a2", "b2"};
    static const char *const results[] = {"d", "d2", "pre", "pre2", "act"};
    int r = cuda_grouped_check(params, e);
    if (!r)
        r = cuda_hopper_check(e);
    for (int i = 0; !r && i < 4; i++)
        if (read[i]->ndim)
            r = cuda_hopper_side(read[i], p->a.dtype, names[i], e);
    if (!r && tiles_of(p) > 0x3fffffff)
        r = op_refuse(e, NND_EUNSUPPORTED, "%lld tiles: too many",
                      (long long)tiles_of(p));
    for (int i = 0; !r && i < 5; i++)
        r = check_result(made[i], p->a.dtype, results[i], e);
    return r;
}

extern "C" const struct op cuda_grouped_hopper_ops[] = {
    {.name = "gemm.grouped",
     .params_size = sizeof(struct nnd_grouped_gemm),
     .args = {GROUPED_ARGS},
     .check = hopper_check,
     .workspace = hopper_workspace,
     .launch = hopper_launch},
    {},
};
