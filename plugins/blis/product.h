/* SPDX-License-Identifier: Apache-2.0 */
/*
 * product.h - one tile of a matrix product, and the tiles of a call.
 *
 * The tile's sum over K runs in blocks of NND_BLOCK_ROWS, added in order, each
 * by BLIS in one thread with its small-matrix path off: measured on BLIS 0.9, a
 * row's bits then depend neither on the tile's rows and columns nor on where it
 * lies, so tiles may be cut as threads and caches like it.
 */
#ifndef BLIS_PRODUCT_H
#define BLIS_PRODUCT_H

#include "plugins/cpu/side.h"

/* Largest tile when an operand is 16 bits wide and passes through a slot. */
#define TILE_ROWS 384
#define TILE_COLS 512

/* Which operands of a call are 16 bits wide. */
enum { USES_A = 1, USES_B = 2, USES_D = 4 };

/* One worker's room, f32: for a 16-bit A, a 16-bit B, a 16-bit D. */
struct slot {
    float *a, *b, *d;
};

unsigned uses_of(const struct nnd_tensor *a, const struct nnd_tensor *b,
                 const struct nnd_tensor *d);
size_t slot_bytes(unsigned uses);
struct slot slot_at(void *room, unsigned uses);

/* d [m,n] (rows ld apart, f32) = a [m,k] b [k,n], or d += with add. */
void product(const struct side *a, const struct side *b, int64_t m, int64_t n,
             int64_t k, int add, float *d, int64_t ld, const struct slot *s);

/* See side.h; the best for this CPU. */
convert_f convert;

/* Choose, once and before any product, the code for this CPU; find out whether
 * few_f has the bits of BLIS. */
void product_init(void);

/* A matrix [m,n] cut into rows x cols tiles of m_step by n_step. */
struct grid {
    int64_t m, n, m_step, n_step;
    int rows, cols;
};

/* Cut so that `threads` have work, with `flops` multiply-adds in all; tiles stay
 * below TILE_ROWS x TILE_COLS when `bounded`. */
struct grid grid_make(int64_t m, int64_t n, double flops, int threads, int bounded);

/* Tile number i: its corner and its size. */
struct tile {
    int64_t i, j, m, n;
};
struct tile grid_tile(const struct grid *g, int i);

#endif
