/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_tile.h - attention by tiles of 64 rows in shared memory, for blocks of four
 * warps and mma.sync: a warp has 16 rows of one tile and multiplies them with all of
 * another.
 */
#ifndef CUDA_ATTN_TILE_H
#define CUDA_ATTN_TILE_H

#include "attn.h"

#define TILE  64
#define WARPS 4

/* Elements of a tile with heads of up to DP: rows are 16 bytes apart from being on the
 * same banks. */
template <int DP> constexpr int tile_room = TILE *(DP + 8);

/* Rows [first, first + 64) of a head; zeros from row `end` and column d on. */
template <int DP>
DEVICE void load_tile(const struct heads &x, uint16_t *to, int64_t first, int64_t end,
                      int64_t head, int d)
{
#pragma unroll
    for (int u = 0; u < TILE * DP / 8 / (WARPS * 32); u++) {
        int e = threadIdx.x + u * WARPS * 32, r = e / (DP / 8), c = e % (DP / 8) * 8;
        bool real = first + r < end && c < d;
        const uint16_t *from =
            (const uint16_t *)(real ? row_at(x, first + r, head) : x.data);
        uint16_t *p = to + r * (DP + 8) + c;
        if (!real || (x.wide && c + 8 <= d)) {
            copy_async(p, real ? from + c : aligned(from), real);
            continue;
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            p[i] = c + i < d ? from[c + i] : 0;
    }
}

/* Columns 16 k and on of this warp's 16 rows, as the first operand. */
template <int DP>
DEVICE void tile_fragment(const uint16_t *tile, int k, uint32_t (&a)[4])
{
    int lane = threadIdx.x % 32;
    load_matrices<false>(a, tile + (threadIdx.x / 32 * 16 + lane % 16) * (DP + 8) +
                                k * 16 + lane / 16 * 8);
}

/* s[n] += products of 16 rows, whose operand f(k, a) gives, and rows 8 n .. 8 n + 7 of
 * a tile. */
template <bool BF16, int DP, int N, class F>
DEVICE void tile_products(F f, const uint16_t *rows, float (&s)[N][4])
{
    int lane = threadIdx.x % 32, j = lane / 8;
#pragma unroll
    for (int k = 0; k < DP / 16; k++) {
        uint32_t a[4];
        f(k, a);
#pragma unroll
        for (int n = 0; n < N / 2; n++) {
            uint32_t b[4];
            load_matrices<false>(b, rows + (n * 16 + j / 2 * 8 + lane % 8) * (DP + 8) +
                                        k * 16 + j % 2 * 8);
            const uint32_t one[2] = {b[0], b[1]}, two[2] = {b[2], b[3]};
            mma_16816<BF16>(s[2 * n], a, one);
            mma_16816<BF16>(s[2 * n + 1], a, two);
        }
    }
}

/* o += weights of 16 rows, rounded, x 8 N rows of a tile. */
template <bool BF16, int DP, int N>
DEVICE void tile_sums(const float (&s)[N][4], const uint16_t *rows,
                      float (&o)[DP / 8][4])
{
    int lane = threadIdx.x % 32, j = lane / 8;
#pragma unroll
    for (int k = 0; k < N / 2; k++) {
        const uint32_t a[4] = {half_pack<BF16>(s[2 * k][0], s[2 * k][1]),
                               half_pack<BF16>(s[2 * k][2], s[2 * k][3]),
                               half_pack<BF16>(s[2 * k + 1][0], s[2 * k + 1][1]),
                               half_pack<BF16>(s[2 * k + 1][2], s[2 * k + 1][3])};
#pragma unroll
        for (int n = 0; n < DP / 16; n++) {
            uint32_t b[4];
            load_matrices<true>(b, rows + (k * 16 + j % 2 * 8 + lane % 8) * (DP + 8) +
                                       n * 16 + j / 2 * 8);
            const uint32_t one[2] = {b[0], b[1]}, two[2] = {b[2], b[3]};
            mma_16816<BF16>(o[2 * n], a, one);
            mma_16816<BF16>(o[2 * n + 1], a, two);
        }
    }
}

#endif
