/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tile.h - a tile of a product, for gemm.cu, grouped.cu and xent_linear.cu: 64 x 64
 * sums over k.
 *
 * Two cores with one interface: `mma` where both sides have one 16-bit type, by the
 * tensor cores, three steps of 32 in flight; `simt` for all else, in f32.  A sum runs
 * over k in order whatever the tile, in blocks of NND_BLOCK_ROWS where it is asked
 * for, so a row's bits depend on nothing but k.
 */
#ifndef CUDA_TILE_H
#define CUDA_TILE_H

#include "kern.h"

#define TILE 64

/* One side of a product: lines in memory, which run along k (kmajor) or across it.
 * Lines can be gathered; a line that stands for nothing is zeros. */
struct side {
    const char *data;
    int64_t step;                 /* bytes from line to line            */
    int64_t first;                /* the line that index 0 is           */
    const int32_t *gather, *mask; /* mask < 0: the line counts nowhere */
    int32_t div, dtype, wide, kmajor;
};

/* t [lines, columns]; kmajor: its columns run along k. */
static inline struct side side_of(const struct nnd_tensor *t, int kmajor)
{
    struct mat m = mat_of(t);
    return {m.data, m.step, 0, NULL, NULL, 0, m.dtype, m.wide, kmajor};
}

/* Where line i begins, or NULL. */
DEVICE const char *line_of(const struct side &s, int64_t i)
{
    int64_t r = s.first + i;
    if (s.mask && s.mask[r] < 0)
        return NULL;
    if (s.gather) {
        r = s.gather[r];
        r = r < 0 ? -1 : r / s.div;
    }
    return r < 0 ? NULL : s.data + r * s.step;
}

/* How far a product goes: rows and columns of the whole, its depth. */
struct reach {
    int64_t m, n, k;
};

/* ---- f32 by the ordinary units ---- */

struct simt {
    static constexpr int THREADS = 256, DEPTH = 16, SHARED = 2 * DEPTH * (TILE + 4) * 4;
    struct sums {
        float v[4][4];
    };

    /* to[k][i] = the side at index i0 + i, depth k0 + k. */
    static __device__ __forceinline__ void load(const struct side &s, float *to,
                                                int64_t i0, int64_t ends, int64_t k0,
                                                int64_t depth)
    {
        for (int e = threadIdx.x; e < TILE * DEPTH; e += THREADS) {
            int i = s.kmajor ? e / DEPTH : e % TILE,
                k = s.kmajor ? e % DEPTH : e / TILE;
            float v = 0;
            if (i0 + i < ends && k0 + k < depth) {
                const char *line = line_of(s, s.kmajor ? i0 + i : k0 + k);
                if (line)
                    v = get_at(s.dtype, line, s.kmajor ? k0 + k : i0 + i);
            }
            to[k * (TILE + 4) + i] = v;
        }
    }

    /* total += the tile at (m0, n0); blocked: in blocks of rows. */
    static __device__ __forceinline__ void run(const struct side &a,
                                               const struct side &b, int64_t m0,
                                               int64_t n0, const struct reach &r,
                                               bool blocked, struct sums &total)
    {
        float *sa = (float *)shared_dynamic(), *sb = sa + DEPTH * (TILE + 4);
        int row = threadIdx.x / 16 * 4, col = threadIdx.x % 16 * 4;
        float part[4][4] = {};
        for (int64_t k0 = 0; k0 < r.k; k0 += DEPTH) {
            __syncthreads();
            load(a, sa, m0, r.m, k0, r.k);
            load(b, sb, n0, r.n, k0, r.k);
            __syncthreads();
#pragma unroll
            for (int k = 0; k < DEPTH; k++)
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++)
                        part[i][j] +=
                            sa[k * (TILE + 4) + row + i] * sb[k * (TILE + 4) + col + j];
            if ((blocked && (k0 + DEPTH) % NND_BLOCK_ROWS == 0) || k0 + DEPTH >= r.k)
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        total.v[i][j] += part[i][j];
                        part[i][j] = 0;
                    }
        }
    }

    /* f(row, column, sum) for this thread's part of the tile. */
    template <class F>
    static __device__ __forceinline__ void each(struct sums &total, F f)
    {
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
                f(threadIdx.x / 16 * 4 + i, threadIdx.x % 16 * 4 + j, total.v[i][j]);
    }

    /* The same part as ROWS rows of COLS columns: where they stand, and which of the
     * SHARE threads with these rows this is. */
    static constexpr int ROWS = 4, COLS = 4, SHARE = TILE / COLS;

    static __device__ __forceinline__ int row(int i)
    {
        return threadIdx.x / 16 * 4 + i;
    }
    static __device__ __forceinline__ int col(int j)
    {
        return threadIdx.x % 16 * 4 + j;
    }
    static __device__ __forceinline__ int share()
    {
        return threadIdx.x % 16;
    }
    static __device__ __forceinline__ float sum(const struct sums &total, int i, int j)
    {
        return total.v[i][j];
    }
};

/* ---- 16-bit numbers by the tensor cores ---- */

template <bool BF16> struct mma {
    static constexpr int THREADS = 128, DEPTH = 32, STAGES = 3;
    static constexpr int ALONG = DEPTH + 8, ACROSS = TILE + 8; /* of a line, padded */
    static constexpr int PART = TILE * ALONG;                  /* the larger of two */
    static constexpr int SHARED = STAGES * 2 * PART * 2;
    struct sums {
        float v[2][4][4];
    };

    /* One side of one step into shared memory, lines as they are. */
    static __device__ __forceinline__ void load(const struct side &s, uint16_t *to,
                                                int64_t i0, int64_t ends, int64_t k0,
                                                int64_t depth)
    {
        const int groups = s.kmajor ? DEPTH / 8 : TILE / 8;
        const int room = s.kmajor ? ALONG : ACROSS;
#pragma unroll
        for (int u = 0; u < TILE * DEPTH / 8 / THREADS; u++) {
            int e = threadIdx.x + u * THREADS, at = e / groups, c = e % groups * 8;
            int64_t line = (s.kmajor ? i0 : k0) + at, col = (s.kmajor ? k0 : i0) + c;
            int64_t left = (s.kmajor ? depth : ends) - col;
            const char *from =
                line < (s.kmajor ? ends : depth) && left > 0 ? line_of(s, line) : NULL;
            uint16_t *p = to + at * room + c;
            if (!from || (s.wide && left >= 8)) {
                copy_async(p, from ? from + col * 2 : aligned(s.data), from != NULL);
                continue;
            }
#pragma unroll
            for (int i = 0; i < 8; i++)
                p[i] = i < left ? ((const uint16_t *)from)[col + i] : 0;
        }
    }

    /* Four words of a side's 16 x 16 corner at (i, k): halves along i in words 0 and
     * 1 for A, along k for B (half). */
    static __device__ __forceinline__ void fragment(const uint16_t *from, bool kmajor,
                                                    int i, int k, bool half,
                                                    uint32_t (&w)[4])
    {
        int lane = threadIdx.x % 32, j = lane / 8;
        int di = half ? j / 2 : j % 2, dk = half ? j % 2 : j / 2;
        if (kmajor)
            load_matrices<false>(w,
                                 from + (i + di * 8 + lane % 8) * ALONG + k + dk * 8);
        else
            load_matrices<true>(w,
                                from + (k + dk * 8 + lane % 8) * ACROSS + i + di * 8);
    }

    static __device__ __forceinline__ void multiply(const uint16_t *sa,
                                                    const uint16_t *sb, bool ka,
                                                    bool kb, float (&part)[2][4][4])
    {
        int warp = threadIdx.x / 32, row = warp / 2 * 32, col = warp % 2 * 32;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 16) {
            uint32_t a[2][4], b[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                fragment(sa, ka, row + i * 16, k, false, a[i]);
                fragment(sb, kb, col + i * 16, k, true, b[i]);
            }
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const uint32_t two[2] = {b[j / 2][j % 2 * 2],
                                             b[j / 2][j % 2 * 2 + 1]};
                    mma_16816<BF16>(part[i][j], a[i], two);
                }
        }
    }

    static __device__ __forceinline__ void run(const struct side &a,
                                               const struct side &b, int64_t m0,
                                               int64_t n0, const struct reach &r,
                                               bool blocked, struct sums &total)
    {
        uint16_t *room = (uint16_t *)shared_dynamic();
        int64_t steps = (r.k + DEPTH - 1) / DEPTH;
        float part[2][4][4] = {};
        auto fetch = [&](int64_t step) {
            uint16_t *to = room + step % STAGES * 2 * PART;
            if (step < steps) {
                load(a, to, m0, r.m, step * DEPTH, r.k);
                load(b, to + PART, n0, r.n, step * DEPTH, r.k);
            }
            copy_commit();
        };
        __syncthreads(); /* the room may still be read from before */
        for (int s = 0; s < STAGES - 1; s++)
            fetch(s);
        for (int64_t step = 0; step < steps; step++) {
            copy_wait<STAGES - 2>();
            __syncthreads();
            fetch(step + STAGES - 1);
            const uint16_t *now = room + step % STAGES * 2 * PART;
            multiply(now, now + PART, a.kmajor, b.kmajor, part);
            if ((blocked && (step + 1) * DEPTH % NND_BLOCK_ROWS == 0) ||
                step + 1 == steps)
#pragma unroll
                for (int i = 0; i < 32; i++) {
                    float *from = &part[i / 16][i / 4 % 4][i % 4];
                    total.v[i / 16][i / 4 % 4][i % 4] += *from;
                    *from = 0;
                }
        }
        copy_wait<0>();
    }

    template <class F>
    static __device__ __forceinline__ void each(struct sums &total, F f)
    {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
        for (int i = 0; i < 32; i++) {
            int row = warp / 2 * 32 + i / 16 * 16 + i % 4 / 2 * 8 + lane / 4;
            int col = warp % 2 * 32 + i / 4 % 4 * 8 + lane % 4 * 2 + i % 2;
            f(row, col, total.v[i / 16][i / 4 % 4][i % 4]);
        }
    }

    static constexpr int ROWS = 4, COLS = 8, SHARE = TILE / COLS;

    static __device__ __forceinline__ int row(int i)
    {
        return threadIdx.x / 64 * 32 + i / 2 * 16 + i % 2 * 8 + threadIdx.x % 32 / 4;
    }
    static __device__ __forceinline__ int col(int j)
    {
        return threadIdx.x / 32 % 2 * 32 + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2;
    }
    static __device__ __forceinline__ int share()
    {
        return threadIdx.x / 32 % 2 * 4 + threadIdx.x % 4;
    }
    static __device__ __forceinline__ float sum(const struct sums &total, int i, int j)
    {
        return total.v[i / 2][j / 2][i % 2 * 2 + j % 2];
    }
};

/* Which core two sides want. */
enum core { CORE_SIMT, CORE_BF16, CORE_F16 };

static inline enum core core_of(int a, int b)
{
    if (a != b || (a != NND_BF16 && a != NND_F16))
        return CORE_SIMT;
    return a == NND_BF16 ? CORE_BF16 : CORE_F16;
}

#endif
