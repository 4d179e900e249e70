/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent_linear_hopper.cu - xent.linear for Hopper, where x and w have one 16-bit type
 * and their rows begin at multiples of 16 bytes: the logits, of forward and of
 * backward, by wgmma.  How backward goes over the vocabulary is xent_linear.cu's, its
 * other products are gemm_hopper.cu's.
 *
 * One thread has the memory unit fetch the steps of tiles of 128 x 256.  Blocks stay
 * and take one piece of work after another: forward the tiles of a part of the
 * vocabulary, whose logits go on from tile to tile in registers, backward a tile, whose
 * logits become their gradients there.
 */
#include "families.h"
#include "hopper_tile.h"
#include "xent_linear.h"

static_assert(PART_COLS % WIDE == 0, "a part is whole tiles");

struct room {
    wide_ring ring;
    uint16_t out[GROUPS][ROWS * HALF]; /* backward: gradients on their way */
};

struct maps {
    CUtensorMap x, w;
};

/* A piece of work: rows from m0 on, classes [n0, n1). */
struct sweep {
    int m0, n0, n1;
};

/* SLOPES: backward.  Rows first, so that blocks share classes. */
template <bool SLOPES> DEVICE struct sweep sweep_of(const struct linears &m, int i)
{
    const int each = SLOPES ? WIDE : PART_COLS;
    int high = ((int)m.reach.m + HIGH - 1) / HIGH, n0 = i / high * each;
    return {i % high * HIGH, n0, min(n0 + each, (int)m.reach.n)};
}

DEVICE int steps_of(const struct linears &m)
{
    return ((int)m.reach.k + DEPTH - 1) / DEPTH;
}

/* By one thread. */
template <bool SLOPES>
DEVICE void produce(const struct linears &m, int works, wide_ring *r,
                    const struct maps *map)
{
    int n = 0, steps = steps_of(m);
    for (int i = blockIdx.x; i < works; i += gridDim.x) {
        struct sweep at = sweep_of<SLOPES>(m, i);
        for (int n0 = at.n0; n0 < at.n1; n0 += WIDE)
            for (int s = 0; s < steps; s++, n++) {
                int stage = await_empty(r, n), k0 = s * DEPTH;
                uint64_t *full = &r->full[stage];
                barrier_expect(full, sizeof r->a[0] + sizeof r->b[0]);
                load_tiles<DEPTH>(r->a[stage], HIGH, &map->x, full, 0, at.m0, k0);
                for (int h = 0; h < 2; h++)
                    load_tiles<DEPTH>(r->b[stage][h], HALF, &map->w, full, 0,
                                      n0 + h * HALF, k0);
            }
    }
}

/* f(value, column) for all logits of a half that a thread has of its row i. */
template <class F> DEVICE void each_of(half_sums &x, int i, F f)
{
#pragma unroll
    for (int j = 0; j < HALF / 4; j++)
        f(x[j / 2 * 4 + i * 2 + j % 2], j / 2 * 8 + (int)threadIdx.x % 4 * 2 + j % 2);
}

/* A row's part goes on with a half, of which `left` columns are there; target: the
 * column of its class, if it is one. */
DEVICE void go_on(half_sums &x, int i, int left, int target, float4 &part)
{
    float most = part.x;
    each_of(x, i, [&](float v, int c) { most = c < left ? fmaxf(most, v) : most; });
    part.y *= exp_of(part.x, most);
    part.x = most;
    each_of(x, i, [&](float v, int c) {
        if (c >= left)
            return;
        part.y += exp_of(v, most);
        part.z += v;
        part.w = c == target ? v : part.w;
    });
}

/* Four threads have a row's columns. */
DEVICE float4 of_row(float4 part)
{
#pragma unroll
    for (int bits = 1; bits < 4; bits *= 2) {
        float4 other = make_float4(__shfl_xor_sync(0xffffffffu, part.x, bits),
                                   __shfl_xor_sync(0xffffffffu, part.y, bits),
                                   __shfl_xor_sync(0xffffffffu, part.z, bits),
                                   __shfl_xor_sync(0xffffffffu, part.w, bits));
        part = joined(part, other);
    }
    return part;
}

/* A thread's two rows, and what is known of them. */
struct lines {
    int64_t row[2];
    int target[2]; /* below 0: none */
    float lse[2];  /* backward      */
};

template <bool SLOPES>
DEVICE struct lines lines_of(const struct linears &m, int64_t first)
{
    struct lines t;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int64_t r = first + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + i * 8;
        t.row[i] = r;
        t.target[i] = r < m.reach.m ? m.target[r] : -1;
        t.lse[i] = SLOPES && r < m.reach.m ? m.lse[r] : 0;
    }
    return t;
}

/* Gradients of a half's logits, in their place, to rows of dz. */
template <bool BF16>
DEVICE void put_slopes(const struct linears &m, const struct lines &t, int64_t first,
                       int n0, uint16_t *room, half_sums &x)
{
    const float one[2] = {1, 1}, seed = *m.seed;
    int left = (int)m.reach.n - n0;
    struct heads dz = {m.dz.data + n0 * (int)sizeof(uint16_t), m.dz.step, 0, m.dz.dtype,
                       m.dz.wide};
    if (left <= 0)
        return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        int target = t.target[i] - (int)m.first - n0;
        bool counts = t.target[i] >= 0;
        float lse = t.lse[i];
        each_of(x, i, [&](float &v, int c) {
            v = counts ? seed * slope_of(m, v, lse, c == target) : 0;
        });
    }
    __syncwarp(); /* the last half's rows have been read from there */
    store_sums<BF16, HALF>(dz, 0, first, m.reach.m, 0, min(left, HALF), room, x, one);
}

DEVICE void put_parts(const struct linears &m, const struct lines &t, int number,
                      float4 (&part)[2])
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float4 all = of_row(part[i]);
        if (threadIdx.x % 4 == 0 && t.row[i] < m.reach.m)
            m.parts[t.row[i] * m.nparts + number] = all;
    }
}

template <bool BF16, bool SLOPES>
DEVICE void consume(const struct linears &m, int works, struct room *r)
{
    int group = threadIdx.x / WARPGROUP - 1, n = 0, steps = steps_of(m);
    for (int i = blockIdx.x; i < works; i += gridDim.x) {
        struct sweep at = sweep_of<SLOPES>(m, i);
        int64_t first = at.m0 + group * ROWS;
        struct lines t = lines_of<SLOPES>(m, first);
        float4 part[2] = {NOTHING, NOTHING};
        for (int n0 = at.n0; n0 < at.n1; n0 += WIDE, n += steps) {
            half_sums x[2];
            multiply_tile<BF16, false, false>(&r->ring, group, n, steps, x);
#pragma unroll
            for (int h = 0; h < 2; h++) {
                int column = n0 + h * HALF;
                if constexpr (SLOPES) {
                    put_slopes<BF16>(m, t, first, column, r->out[group], x[h]);
                } else {
                    go_on(x[h], 0, at.n1 - column, t.target[0] - column, part[0]);
                    go_on(x[h], 1, at.n1 - column, t.target[1] - column, part[1]);
                }
            }
        }
        if constexpr (!SLOPES)
            put_parts(m, t, at.n0 / PART_COLS, part);
    }
}

template <bool BF16, bool SLOPES>
__global__ void __launch_bounds__(THREADS, 1)
    linear_logits(struct linears m, int works, const __grid_constant__ struct maps map)
{
    if constexpr (HOPPER) {
        struct room *r = (struct room *)shared_dynamic();
        begin_ring(&r->ring, 1);
        if (threadIdx.x < WARPGROUP) {
            registers_less<40>();
            if (threadIdx.x == 0)
                produce<SLOPES>(m, works, &r->ring, &map);
        } else {
            registers_more<232>();
            consume<BF16, SLOPES>(m, works, r);
        }
    }
}

/* ---- the host's side ---- */

template <bool SLOPES>
static int logits(const struct nnd_tensor *x, const struct nnd_tensor *w,
                  const struct linears *m, const struct nnd_launch *l)
{
    const int64_t works = blocks_for(m->reach.m, HIGH) *
                          blocks_for(m->reach.n, SLOPES ? WIDE : PART_COLS);
    struct maps map;
    int units = 0;
    int r = cuda_hopper_matrix(x, HIGH, &map.x);
    if (!r)
        r = cuda_hopper_matrix(w, HALF, &map.w);
    if (!r)
        r = cuda_status(cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
                                               l->stream.device),
                        "units");
    if (r)
        return r;
    dim3 grid((unsigned)min(works, (int64_t)units));
    return x->dtype == NND_BF16
               ? launch(linear_logits<true, SLOPES>, grid, dim3(THREADS),
                        sizeof(struct room), l, *m, (int)works, map)
               : launch(linear_logits<false, SLOPES>, grid, dim3(THREADS),
                        sizeof(struct room), l, *m, (int)works, map);
}

static int hopper_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent_linear *p = (const struct nnd_xent_linear *)params;
    struct linears m = cuda_linears_of(p);
    m.parts = (float4 *)l->workspace;
    int r = logits<false>(&p->x, &p->w, &m, l);
    return r ? r : cuda_linear_losses(&m, l);
}

static int slopes(const struct nnd_xent_linear *p, const struct linears *m,
                  const struct nnd_tensor *w, const struct nnd_launch *l)
{
    return logits<true>(&p->x, w, m, l);
}

static int hopper_bwd(const void *params, const struct nnd_launch *l)
{
    static const struct linear_way way = {slopes, cuda_hopper_product};
    return cuda_linear_back((const struct nnd_xent_linear *)params, l, &way);
}

static int hopper_check(const void *params, struct nnd_error *e)
{
    const struct nnd_xent_linear *p = (const struct nnd_xent_linear *)params;
    int r = cuda_linear_check(params, e);
    if (!r)
        r = cuda_hopper_check(e);
    if (!r)
        r = cuda_hopper_side(&p->x, p->x.dtype, "x", e);
    if (!r)
        r = cuda_hopper_side(&p->w, p->x.dtype, "w", e);
    int64_t works = r ? 0 : blocks_for(p->x.dim[0], HIGH) * blocks_for(p->w.dim[0], 1);
    return r || works <= 0x3fffffff
               ? r
               : op_refuse(e, NND_EUNSUPPORTED, "%lld rows of %lld classes: too many",
                           (long long)p->x.dim[0], (long long)p->w.dim[0]);
}

extern "C" const struct op cuda_xent_linear_hopper_ops[] = {
    {.name = "xent.linear.fwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {LINEAR_BOTH, ARG(nnd_xent_linear, loss, "T", IN_F32, 0)},
     .check = hopper_check,
     .workspace = cuda_linear_forward_workspace,
     .launch = hopper_fwd},
    {.name = "xent.linear.bwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {LINEAR_BOTH, ARG(nnd_xent_linear, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_xent_linear, dw, "VN", IN_F32, 0)},
     .check = hopper_check,
     .workspace = cuda_linear_backward_workspace,
     .launch = hopper_bwd},
    {},
};
