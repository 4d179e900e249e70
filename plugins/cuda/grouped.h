/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.h - products of experts as their kernels see them (grouped.cu,
 * grouped_hopper.cu).
 */
#ifndef CUDA_GROUPED_H
#define CUDA_GROUPED_H

#include "tile.h"

struct groups {
    struct side a, b, a2, b2;
    struct mat d, d2, pre, pre2, act;
    const float *scale;
    const struct nnd_segment *segments;
    int32_t nsegments, epilogue;
    int64_t m, n, k, b_step, b2_step; /* steps: bytes from matrix to matrix */
    int64_t across;                   /* tiles beside each other            */
    int64_t tiles;                    /* of the map, at most                */
    int2 *map;                        /* see cuda_grouped_map               */
};

/* Of grouped.cu. */

struct groups cuda_groups_of(const struct nnd_grouped_gemm *p);

/* The tensors of a call whose shapes the table tells; the others are checked there. */
#define GROUPED_ARGS                                                                   \
    ARG(nnd_grouped_gemm, a, "**", IN_FLOATS, 0),                                      \
        ARG(nnd_grouped_gemm, a2, "**", IN_FLOATS, ARG_OPTIONAL),                      \
        ARG(nnd_grouped_gemm, d2, "TN", IN_FLOATS, ARG_OPTIONAL),                      \
        ARG(nnd_grouped_gemm, pre, "TN", IN_FLOATS, ARG_OPTIONAL),                     \
        ARG(nnd_grouped_gemm, pre2, "TN", IN_FLOATS, ARG_OPTIONAL),                    \
        ARG(nnd_grouped_gemm, act, "TN", IN_FLOATS, ARG_OPTIONAL),                     \
        ARG(nnd_grouped_gemm, scale, "T", IN_F32, ARG_OPTIONAL)

/* What calls must be, besides. */
int cuda_grouped_check(const void *params, struct nnd_error *e);

/* Tiles of `high` rows that mode M can have at most. */
static inline int64_t grouped_tiles(const struct nnd_grouped_gemm *p, int high)
{
    return p->d.dim[0] / high + p->nsegments;
}

/* g.map[tile] = {segment, first row within it} of tiles of `high` rows, {-1, 0} behind
 * the last; g.map[g.tiles] = {how many there are, 0}. */
int cuda_grouped_map(const struct groups *g, int high, const struct nnd_launch *l);

#endif
