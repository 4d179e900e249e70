/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_hopper.cu - one product of 16-bit matrices on Hopper, for ops that need one on
 * their way: dx and dw of xent.linear.  A model's own products are lt.cu's.
 *
 * Tiles of 128 x 256, whose blocks stay and take one after another.  The memory unit
 * fetches all but rows of B of which some count nowhere: what is there may be no
 * number, so four warps copy these themselves, with zeros in place of it.
 */
#include "families.h"
#include "hopper_tile.h"

struct dense {
    struct mat c, d; /* c: f32, or no data */
    struct side b;
    struct reach reach;
    int64_t high; /* tiles below each other */
};

struct maps {
    CUtensorMap a, b;
};

/* A tile. */
struct spot {
    int m0, n0;
};

/* Rows first, so that blocks share columns of B. */
DEVICE struct spot spot_of(const struct dense &g, int w)
{
    int high = (int)g.high;
    return {w % high * HIGH, w / high * WIDE};
}

/* ---- who fetches ---- */

/* Are there rows of a step that count nowhere?  By whole warps. */
DEVICE bool has_none(const struct dense &g, int k0)
{
    bool none = false;
    if (!g.b.mask)
        return false;
#pragma unroll
    for (int i = 0; i < DEPTH; i += 32) {
        int k = k0 + i + threadIdx.x % 32;
        none = none || (k < g.reach.k && g.b.mask[k] < 0);
    }
    return __ballot_sync(0xffffffffu, none) != 0;
}

/* By one thread: what the memory unit fetches of a step. */
template <bool TURNED>
DEVICE void load_step(const struct spot &at, wide_ring *r, const struct maps *m,
                      int stage, int k0, bool copied)
{
    uint64_t *full = &r->full[stage];
    barrier_expect(full, sizeof r->a[stage] + (copied ? 0 : sizeof r->b[stage]));
    if (TURNED)
        load_tiles<HIGH>(r->a[stage], DEPTH, &m->a, full, 0, k0, at.m0);
    else
        load_tiles<DEPTH>(r->a[stage], HIGH, &m->a, full, 0, at.m0, k0);
    for (int h = 0; !copied && h < 2; h++)
        load_tiles<HALF>(r->b[stage][h], DEPTH, &m->b, full, 0, k0, at.n0 + h * HALF);
}

/* B's part of a step, by all of the four warps. */
DEVICE void copy_step(const struct dense &g, const struct spot &at, wide_ring *r,
                      int stage, int k0)
{
    struct nnd_segment all = {};
    all.rows = (int32_t)g.reach.k;
    for (int h = 0; h < 2; h++)
        copy_rows<HALF / 8>(r->b[stage][h], g.b, all, k0, at.n0 + h * HALF, g.reach.n);
    copy_commit();
    copy_wait<0>();
    shared_publish();
    __syncwarp();
}

template <bool TURNED>
DEVICE void produce(const struct dense &g, int tiles, wide_ring *r,
                    const struct maps *m)
{
    int n = 0;
    for (int w = blockIdx.x; w < tiles; w += gridDim.x) {
        struct spot at = spot_of(g, w);
        for (int k0 = 0; k0 < g.reach.k; k0 += DEPTH, n++) {
            bool copied = has_none(g, k0);
            int stage = await_empty(r, n);
            if (threadIdx.x == 0)
                load_step<TURNED>(at, r, m, stage, k0, copied);
            if (copied)
                copy_step(g, at, r, stage, k0);
            release(&r->full[stage]);
        }
    }
}

/* ---- who multiplies ---- */

DEVICE void put_pair(const struct mat &d, char *p, int left, const float (&v)[2])
{
    if (d.dtype == NND_F32) {
        put2((float *)p, d.wide, left, v[0], v[1]);
        return;
    }
    for (int i = 0; i < 2 && i < left; i++)
        put_at(d.dtype, p, i, v[i]);
}

DEVICE void put_half(const struct dense &g, const struct part &at, const half_sums &x)
{
#pragma unroll
    for (int i = 0; i < HALF / 4; i++) {
        int r = pair_row(i), c = pair_column(i), left = r < at.rows ? at.cols - c : 0;
        float v[2] = {0, 0};
        if (left <= 0)
            continue;
        if (g.c.data)
            get2(NND_F32, at_part(g.c, at, r, c), g.c.wide, left, v);
        v[0] += x[2 * i], v[1] += x[2 * i + 1];
        put_pair(g.d, at_part(g.d, at, r, c), left, v);
    }
}

template <bool BF16, bool TURNED>
DEVICE void consume(const struct dense &g, int tiles, wide_ring *r)
{
    int group = threadIdx.x / WARPGROUP - 1, n = 0;
    int steps = (int)((g.reach.k + DEPTH - 1) / DEPTH);
    for (int w = blockIdx.x; w < tiles; w += gridDim.x, n += steps) {
        struct spot at = spot_of(g, w);
        int row = at.m0 + group * ROWS;
        half_sums x[2];
        multiply_tile<BF16, true, TURNED>(r, group, n, steps, x);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            int column = at.n0 + h * HALF;
            struct part part = {row, column, (int)g.reach.m - row,
                                (int)g.reach.n - column};
            put_half(g, part, x[h]);
        }
    }
}

template <bool BF16, bool TURNED>
__global__ void __launch_bounds__(THREADS, 1)
    hopper_product(struct dense g, int tiles, const __grid_constant__ struct maps m)
{
    if constexpr (HOPPER) {
        wide_ring *r = (wide_ring *)shared_dynamic();
        begin_ring(r, WARPGROUP / 32 + 1); /* and who awaits bytes */
        if (threadIdx.x < WARPGROUP) {
            registers_less<40>();
            produce<TURNED>(g, tiles, r, &m);
        } else {
            registers_more<232>();
            consume<BF16, TURNED>(g, tiles, r);
        }
    }
}

/* ---- the host's side ---- */

template <bool BF16, bool TURNED>
static int run(const struct dense &g, int tiles, const struct maps &m,
               const struct nnd_launch *l)
{
    int units = 0;
    int r = cuda_status(cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
                                               l->stream.device),
                        "units");
    return r ? r
             : launch(hopper_product<BF16, TURNED>, dim3((unsigned)min(tiles, units)),
                      dim3(THREADS), sizeof(wide_ring), l, g, tiles, m);
}

int cuda_hopper_product(const struct nnd_gemm *p, const int32_t *mask,
                        const struct nnd_launch *l)
{
    bool turned = p->trans_a, bf16 = p->a.dtype == NND_BF16;
    struct dense g = {};
    struct maps m;
    g.d = mat_of(&p->d);
    if (p->c.ndim)
        g.c = mat_of(&p->c);
    g.b = side_of(&p->b, 0);
    g.b.mask = mask;
    g.reach = {p->d.dim[0], p->d.dim[1], p->b.dim[0]};
    g.high = blocks_for(g.reach.m, HIGH);
    int r = cuda_hopper_matrix(&p->a, turned ? DEPTH : HIGH, &m.a);
    if (!r)
        r = cuda_hopper_matrix(&p->b, DEPTH, &m.b);
    if (r)
        return r;
    int tiles = (int)(g.high * blocks_for(g.reach.n, WIDE));
    if (bf16)
        return turned ? run<true, true>(g, tiles, m, l)
                      : run<true, false>(g, tiles, m, l);
    return turned ? run<false, true>(g, tiles, m, l)
                  : run<false, false>(g, tiles, m, l);
}
