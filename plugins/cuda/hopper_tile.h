/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper_tile.h - tiles of products of 16-bit matrices on Hopper, for
 * grouped_hopper.cu, gemm_hopper.cu and xent_linear_hopper.cu: a ring of stages in
 * shared memory that four warps fill with steps of 64, and two groups of four warps
 * that multiply 64 rows each of 128 rows and one or two halves of 128 columns.  A sum
 * runs over k in order whatever the tile and the block that has it.
 */
#ifndef CUDA_HOPPER_TILE_H
#define CUDA_HOPPER_TILE_H

#include "hopper.h"
#include "tile.h"

#define HIGH      128 /* rows of a tile */
#define HALF      128 /* columns of a half of it */
#define WIDE      (2 * HALF)
#define DEPTH     64 /* of a step */
#define GROUPS    2
#define CONSUMERS (GROUPS * WARPGROUP)
#define THREADS   (CONSUMERS + WARPGROUP)
#define ROWS      (HIGH / GROUPS) /* of a group */
#define LINES     8               /* that a thread copies of a side in a step */

/* Step n of a block is in stage n % COUNT. */
template <int COUNT, int HALVES> struct ring {
    static constexpr int STAGES = COUNT;
    uint16_t a[COUNT][HIGH * DEPTH];
    uint16_t b[COUNT][HALVES][HALF * DEPTH];
    uint64_t full[COUNT], empty[COUNT];
};

typedef struct ring<4, 2> wide_ring;

/* By all threads; fillers: arrivals that fill a stage, besides its bytes. */
template <class RING> DEVICE void begin_ring(RING *r, int fillers)
{
    if (threadIdx.x == 0) {
        for (int i = 0; i < RING::STAGES; i++) {
            barrier_init(&r->full[i], (uint32_t)fillers);
            barrier_init(&r->empty[i], CONSUMERS / 32);
        }
        barrier_publish();
    }
    __syncthreads();
}

template <class RING> DEVICE uint32_t turn_of(int n)
{
    return (uint32_t)(n / RING::STAGES) & 1;
}

/* Step n's stage, when nobody reads it any more. */
template <class RING> DEVICE int await_empty(RING *r, int n)
{
    int stage = n % RING::STAGES;
    barrier_wait(&r->empty[stage], turn_of<RING>(n) ^ 1);
    return stage;
}

/* ---- who fills by hand ---- */

/* Which line of a side row r of the packed ones is, as line_of has it in 64 bits; below
 * 0: none. */
DEVICE int line_number(const struct side &side, int r)
{
    if (side.mask && side.mask[r] < 0)
        return -1;
    if (!side.gather)
        return r;
    int from = side.gather[r];
    return from < 0 ? -1 : from / side.div;
}

/* One line's chunk, of which `left` columns are there, or zeros. */
DEVICE void copy_chunk(uint16_t *to, const char *from, bool there, int left)
{
    if (!there || left >= 8)
        copy_async(to, from, there);
    else
#pragma unroll 1
        for (int i = 0; i < 8; i++)
            to[i] = i < left ? ((const uint16_t *)from)[i] : 0;
}

/* A side's part of a step, rows from r0 of a segment on, of CHUNKS chunks each; columns
 * before `end`.  A thread has the same chunk of all its rows. */
template <int CHUNKS>
DEVICE void copy_rows(uint16_t *to, const struct side &side,
                      const struct nnd_segment &s, int r0, int column, int64_t end)
{
    constexpr int EACH = WARPGROUP / CHUNKS; /* from one of its rows to the next */
    static_assert(EACH % 8 == 0, "rows whose chunks are swizzled alike");
    int first = threadIdx.x / CHUNKS, c = threadIdx.x % CHUNKS;
    int left = (int)end - column - c * 8;
    uint16_t *p = chunk_at(to + c / 8 * LINES * EACH * TILE_COLUMNS, first, c % 8);
    const char *from = side.data + (left > 0 ? column + c * 8 : 0) * (int)sizeof *p;
#pragma unroll 4
    for (int i = 0; i < LINES; i++) {
        int r = r0 + first + i * EACH;
        int line = r < s.rows ? line_number(side, s.row + r) : -1;
        copy_chunk(p + i * EACH * TILE_COLUMNS, from + max(line, 0) * side.step,
                   left > 0 && line >= 0, left);
    }
}

/* ---- who multiplies ---- */

/* Sums of a half that a thread has: rows lane / 4 and lane / 4 + 8 of its warp's 16. */
typedef float half_sums[HALF / 2];

/* sums (+)= a b of a step, in flight.  a: of this group; TURNED: its columns, and b's,
 * run across k. */
template <bool BF16, bool TURNED, bool A_TURNED>
DEVICE void multiply_step(const uint16_t *a, const uint16_t *b, half_sums &sums,
                          bool add)
{
    uint64_t left = shared_matrix(a, A_TURNED ? DEPTH * TILE_ROW : 0);
    uint64_t right = shared_matrix(b, TURNED ? DEPTH * TILE_ROW : 0);
    const uint32_t across = 16 * TILE_ROW, along = 16 * sizeof(uint16_t);
#pragma unroll
    for (int i = 0; i < DEPTH / 16; i++)
        product<BF16, TURNED, HALF, A_TURNED>(
            sums, matrix_at(left, i * (A_TURNED ? across : along)),
            matrix_at(right, i * (TURNED ? across : along)), add || i > 0);
}

/* x = a b, or a^T b, of a tile of `steps` steps, of which n is the first; A_TURNED and
 * TURNED as above. */
template <bool BF16, bool TURNED, bool A_TURNED, class RING, int HALVES>
DEVICE void multiply_tile(RING *r, int group, int n, int steps, half_sums (&x)[HALVES])
{
    const int first = group * (A_TURNED ? DEPTH : ROWS) * TILE_COLUMNS;
    for (int s = 0; s < steps; s++, n++) {
        int stage = n % RING::STAGES;
        barrier_wait(&r->full[stage], turn_of<RING>(n));
        product_fence();
#pragma unroll
        for (int h = 0; h < HALVES; h++)
            multiply_step<BF16, TURNED, A_TURNED>(r->a[stage] + first, r->b[stage][h],
                                                  x[h], s > 0);
        product_commit();
        product_wait<1>();
        if (s > 0)
            release(&r->empty[(n - 1) % RING::STAGES]);
    }
    product_wait<0>();
    release(&r->empty[(n - 1) % RING::STAGES]);
}

/* ---- where sums go ---- */

/* Where a thread's pair i of sums stands within a group's half. */
DEVICE int pair_row(int i)
{
    return threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4 + i % 2 * 8;
}

DEVICE int pair_column(int i)
{
    return i / 2 * 8 + threadIdx.x % 4 * 2;
}

/* Rows and columns of a half that a warp, or a group, has. */
struct part {
    int64_t row, col; /* the first, of D      */
    int rows, cols;   /* how many there are   */
};

DEVICE char *at_part(const struct mat &m, const struct part &at, int row, int column)
{
    return m.data + (at.row + row) * m.step + (at.col + column) * bytes_of(m.dtype);
}

#endif
