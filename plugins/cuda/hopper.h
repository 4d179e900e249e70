/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper.h - what kernels for Hopper share: tiles of 64 columns of 16 bits in shared
 * memory, swizzled by 128 bytes, as the memory unit writes and wgmma reads them; maps
 * of [rows,heads,columns] to fetch them; and whether this device can.
 */
#ifndef CUDA_HOPPER_H
#define CUDA_HOPPER_H

#include "attn.h"
#include "hopper_layer.h"

#define TILE_COLUMNS 64
#define TILE_ROW     128 /* bytes */
#define WARPGROUP    128 /* threads */

/* The descriptor of a matrix whose rows of 64 are those of a tile: rows that are
 * summed over when turned, rows of the result otherwise.  next: bytes to the next 64
 * columns, where the result has more than 64. */
DEVICE uint64_t shared_matrix(const void *tile, uint32_t next)
{
    const uint64_t eight_rows = 8 * TILE_ROW, swizzle_128 = 1;
    return (uint64_t)(shared_address(tile) >> 4) | (uint64_t)(next >> 4) << 16 |
           eight_rows >> 4 << 32 | swizzle_128 << 62;
}

/* The same matrix, so many bytes further. */
DEVICE uint64_t matrix_at(uint64_t matrix, uint32_t bytes)
{
    return matrix + (bytes >> 4);
}

/* Where sums f32 [64,2N] of a product lie, as the next one's first operand: columns
 * 16 k and on, rounded to 16 bits. */
template <bool BF16> DEVICE void sums_operand(const float *s, int k, uint32_t (&a)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = half_pack<BF16>(s[8 * k + 2 * i], s[8 * k + 2 * i + 1]);
}

/* This warp has read a stage. */
DEVICE void release(uint64_t *empty)
{
    if (threadIdx.x % 32 == 0)
        barrier_arrive(empty);
}

/* `high` rows of a head, from `row` on: tiles of 64 of its columns from `column` on,
 * one after another. */
template <int DP>
DEVICE void load_tiles(uint16_t *to, int high, const CUtensorMap *map, uint64_t *full,
                       int head, int64_t row, int64_t column = 0)
{
#pragma unroll
    for (int c = 0; c < DP / TILE_COLUMNS; c++)
        tile_load(to + c * high * TILE_COLUMNS, map, full,
                  (int)column + c * TILE_COLUMNS, head, (int)row);
}

/* Chunk c, 8 columns, of a tile's row, for who fills or reads a tile by hand. */
DEVICE uint16_t *chunk_at(uint16_t *tile, int row, int c)
{
    return tile + row * TILE_COLUMNS + (c ^ (row & 7)) * 8;
}

/* Zeros in the rows of tiles from `rows` on, by so many threads. */
template <int DP, int HIGH>
DEVICE void clear_rows(uint16_t *tiles, int64_t rows, int thread, int threads)
{
    for (int e = thread; e < HIGH * DP / 8; e += threads)
        if (e / 8 % HIGH >= rows)
            *(uint4 *)(tiles + e * 8) = make_uint4(0, 0, 0, 0);
}

/* Sums of four warps, 64 rows of which `first` is the first, times factor, to rows
 * before `end` of a head of x; by way of room, [64 * DP], that nobody reads. */
template <bool BF16, int DP>
DEVICE void store_sums(const struct heads &x, int64_t base, int64_t first, int64_t end,
                       int head, int d, uint16_t *room, const float (&v)[DP / 2],
                       const float (&factor)[2])
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    uint16_t *mine = room + warp * 16 * DP; /* [16,DP], chunks of 8 xored by rows */
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int r = lane / 4 + half * 8;
#pragma unroll
        for (int n = 0; n < DP / 8; n++) {
            const float *p = &v[n * 4 + half * 2];
            *(uint32_t *)(mine + r * DP + (n ^ (r & 7)) * 8 + lane % 4 * 2) =
                half_pack<BF16>(p[0] * factor[half], p[1] * factor[half]);
        }
    }
    __syncwarp();
    for (int e = lane; e < 16 * DP / 8; e += 32) {
        int r = e / (DP / 8), n = e % (DP / 8);
        int64_t row = first + warp * 16 + r;
        const uint16_t *from = mine + r * DP + (n ^ (r & 7)) * 8;
        if (row >= end || n * 8 >= d)
            continue;
        uint16_t *to = (uint16_t *)row_at(x, base + row, head) + n * 8;
        if (x.wide && n * 8 + 8 <= d)
            *(uint4 *)to = *(const uint4 *)from;
        else
            for (int i = 0; i < 8 && n * 8 + i < d; i++)
                to[i] = from[i];
    }
}

/* Of hopper.cu. */

/* NND_OK, or a refusal: the device that this thread's calls go to is no Hopper, or its
 * driver makes no maps. */
int cuda_hopper_check(struct nnd_error *e);

/* NND_OK, or a refusal: the driver's maps cannot say where the tensor's lines are. */
int cuda_hopper_lines(const struct nnd_tensor *t, const char *name,
                      struct nnd_error *e);

/* The same of a side of a product, which has something in it and is of that type, one
 * of 16 bits. */
int cuda_hopper_side(const struct nnd_tensor *t, int dtype, const char *name,
                     struct nnd_error *e);

/* Of attn_hopper.cu: scores that are products times a scale, and nothing else. */
int cuda_attn_plain_check(const struct nnd_attn *p, struct nnd_error *e);

/* A map of x [rows,heads,d] whose tiles have `high` rows of one head. */
int cuda_hopper_map(const struct heads *x, int64_t rows, int heads, int d, int high,
                    CUtensorMap *map);

/* A map of t [rows,columns], or [matrices,rows,columns], as [rows,matrices,columns]. */
int cuda_hopper_matrix(const struct nnd_tensor *t, int high, CUtensorMap *map);

/* Of gemm_hopper.cu: D = C + op(A) B, or D = op(A) B where C has no axes; A and B of
 * one 16-bit type, B not turned, C f32, no epilogue.  mask [k], or NULL: rows of B that
 * count nowhere, whatever is there, are below 0; A is zero there. */
int cuda_hopper_product(const struct nnd_gemm *p, const int32_t *mask,
                        const struct nnd_launch *l);

#endif
