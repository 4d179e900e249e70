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

/* Of hopper.cu. */

/* NND_OK, or a refusal: the device that this thread's calls go to is no Hopper, or its
 * driver makes no maps. */
int cuda_hopper_check(struct nnd_error *e);

/* Tensors that are given must have rows and heads 16 bytes apart. */
int cuda_hopper_rows(const struct nnd_tensor *t, const char *name, struct nnd_error *e);

/* A map of x [rows,heads,d] whose tiles have `high` rows of one head. */
int cuda_hopper_map(const struct heads *x, int64_t rows, int heads, int d, int high,
                    CUtensorMap *map);

#endif
