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

#include <nnd/plugin.h>

/* Largest tile when an operand is 16 bits wide and passes through a slot. */
#define TILE_ROWS 384
#define TILE_COLS 512

/* op(A) or op(B) from the tile's corner on: element (i, j) is i * rs + j * cs
 * elements behind p; one of the strides is 1. */
struct side {
    const void *p;
    int32_t dtype;
    int64_t rs, cs;
};

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

/* The tile's element (i, j) onwards. */
struct side side_at(const struct side *s, int64_t i, int64_t j);
/* A 2-D tensor as op(X). */
struct side side_of(const struct nnd_tensor *t, int trans);

/* d [m,n] (rows ld apart, f32) = a [m,k] b [k,n], or d += with add. */
void product(const struct side *a, const struct side *b, int64_t m, int64_t n,
             int64_t k, int add, float *d, int64_t ld, const struct slot *s);

/* y [rows,cols] = x * scale, between dtypes; ldy and ldx are row strides.  The
 * bits are the same in every instruction set, so the fastest is just taken. */
typedef void convert_f(void *y, int y_dtype, int64_t ldy, const void *x, int x_dtype,
                       int64_t ldx, int64_t rows, int64_t cols, float scale);
convert_f convert;

/* product() of one block k <= NND_BLOCK_ROWS, for m <= FEW_ROWS; a is f32, b of any
 * type.  Returns 0 where the instruction set has no fused multiply-add. */
#define FEW_ROWS 8
typedef int few_f(const struct side *a, const struct side *b, int64_t m, int64_t n,
                  int64_t k, int add, float *d, int64_t ld);

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
