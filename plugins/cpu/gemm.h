/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.h - one task of a matrix product: pack blocks of both operands, multiply
 * them tile by tile.  Compiled once for each instruction set.
 *
 * A tile is GEMM_MR rows by GEMM_NR columns of accumulators.  The left operand is
 * broadcast, the right one read by vectors.  Packed operands consist of words: a
 * float, or, where the processor multiplies pairs of bf16, such a pair.
 *
 * The sum over K runs in blocks of GEMM_K, word after word in one accumulator,
 * each block added to D.  An element's bits depend on nothing else: neither on the
 * tile it falls into nor on how the call is cut into tasks.
 */
#ifndef CPU_GEMM_H
#define CPU_GEMM_H

#include "op.h"
#include "side.h"
#include "vec.h"

#if VL == 16
#define GEMM_MR 14
#else
#define GEMM_MR 6
#endif
#define GEMM_NR (2 * VL)
#define GEMM_K  NND_BLOCK_ROWS

/* Elements of K in a word. */
#ifdef __AVX512BF16__
#define GEMM_WORD 2
#else
#define GEMM_WORD 1
#endif
#define GEMM_WORDS (GEMM_K / GEMM_WORD)

/* Rows of A that are packed at once: four panels.  Most columns of a task, and most
 * rows of one whose D goes through a room. */
#define GEMM_GROUP_PANELS 4
#define GEMM_GROUP_ROWS   (GEMM_GROUP_PANELS * GEMM_MR)
#define GEMM_COLS         512
#define GEMM_ROOM_ROWS    512
#define GEMM_ROOM_D       ((size_t)GEMM_ROOM_ROWS * GEMM_COLS)

/* Distances within packed blocks, in words; the odd 16 keep rows and panels that
 * are written by turns out of one another's cache sets. */
#define GEMM_ROW_STEP   (GEMM_WORDS + 16)
#define GEMM_LEFT_STEP  (GEMM_MR * GEMM_WORDS + 16)
#define GEMM_RIGHT_STEP (GEMM_NR * GEMM_WORDS + 16)

/* A worker's room: a block of A, a block of B, and D in f32 where it does not
 * serve itself. */
struct gemm_room {
    float *a, *b, *d;
};

/* A group of A as tiles read it.  By rows: row i is at p + i * row_step.  By words
 * where A is (word_step): row i is at p + i, a word of K every word_step.  Else (both
 * 0) panel q, of rows [rows * q / panels, rows * (q + 1) / panels), is at p + q *
 * GEMM_LEFT_STEP, and a word of K after the other with GEMM_MR places each. */
struct gemm_left {
    const float *p;
    int64_t rows, panels, row_step, word_step;
};

/* Memory that will be read next, to be brought near while tiles are computed, a piece
 * of GEMM_PIECE lines with each: `rows` rows of `bytes` each.  A piece is the same line
 * of neighbouring rows, or, where those lie anywhere (side.index), one row's lines.
 * row, at: how far we are. */
#define GEMM_LINE  64
#define GEMM_PIECE 16
struct gemm_ahead {
    struct side side;
    int64_t rows, bytes, row, at;
};

/* What the sources export, by instruction set. */
#define gemm_pack_left  ISA_NAME(gemm_pack_left, ISA_SUFFIX)
#define gemm_pack_right ISA_NAME(gemm_pack_right, ISA_SUFFIX)
#define gemm_multiply   ISA_NAME(gemm_multiply, ISA_SUFFIX)
#define gemm_product    ISA_NAME(gemm_product, ISA_SUFFIX)
#define gemm_end        ISA_NAME(gemm_end, ISA_SUFFIX)
#define gemm_cut        ISA_NAME(gemm_cut, ISA_SUFFIX)
#define gemm_tile_at    ISA_NAME(gemm_tile_at, ISA_SUFFIX)
#define gemm_room_bytes ISA_NAME(gemm_room_bytes, ISA_SUFFIX)
#define gemm_room_at    ISA_NAME(gemm_room_at, ISA_SUFFIX)
#define gemm_convert    ISA_NAME(convert, ISA_SUFFIX)
#define gemm_few        ISA_NAME(few_rows, ISA_SUFFIX)

/* a [m,k], m <= GEMM_GROUP_ROWS, k <= GEMM_K, in `room`, or where it is when tiles can
 * read it there. */
void gemm_pack_left(const struct side *a, int64_t m, int64_t k, float *room,
                    struct gemm_left *out);

/* b [k,n], k <= GEMM_K, into panels of GEMM_NR columns, GEMM_RIGHT_STEP words
 * apart; missing columns are zeros.  With b2 [k,n], panels have VL columns of b and
 * then the same VL of b2. */
void gemm_pack_right(const struct side *b, const struct side *b2, int64_t k, int64_t n,
                     float *room);

/* d [a->rows,n] (rows ld apart) = or += the product of packed blocks; brings what
 * `ahead`, two of them, say. */
void gemm_multiply(const struct gemm_left *a, const float *b, int64_t n, int64_t k,
                   int add, float *d, int64_t ld, struct gemm_ahead *ahead);

/* What becomes of a task's sums x (rows ld apart): rows [i, i + m) and columns
 * [j, j + n) of D and its like; absent tensors have ndim 0.  x may be d. */
struct gemm_finish {
    int epilogue; /* enum nnd_epilogue */
    struct nnd_tensor bias, d, d2, pre, pre2, scale, act;
};
void gemm_end(const struct gemm_finish *f, int64_t i, int64_t j, int64_t m, int64_t n,
              const float *x, int64_t ld);

/* d [m,n] = a [m,k] b [k,n], or d += with add; n <= GEMM_COLS.
 * With `pair` the columns of b and b2 alternate in d, VL by VL, n counts the places of
 * both and is a multiple of GEMM_NR; `cols` are the columns that each has, else n.
 * sums, when given: [m], the sums over K of a, whose rows then lie along memory.  end,
 * when given: what becomes of d, which is rows from i and columns from j on there; it
 * comes group by group, while rows are in the cache. */
struct gemm_task {
    struct side a, b, b2;
    int pair, add;
    int64_t m, n, k, cols;
    float *d;
    int64_t ld;
    float *sums;
    const struct gemm_finish *end;
    int64_t i, j;
};
void gemm_product(const struct gemm_task *t, const struct gemm_room *room);

/* D [m,n] cut into rows x cols tasks of m_step by n_step. */
struct gemm_grid {
    int64_t m, n, m_step, n_step;
    int rows, cols;
};
/* Cut for `threads`, into tasks of at most most_rows x most_cols. */
struct gemm_grid gemm_cut(int64_t m, int64_t n, int64_t k, int threads,
                          int64_t most_rows, int64_t most_cols);
/* Task number i: its corner and size. */
struct gemm_tile {
    int64_t i, j, m, n;
};
struct gemm_tile gemm_tile_at(const struct gemm_grid *g, int i);

/* Bytes of a worker's room, with one for `d` numbers of D, which are GEMM_ROOM_D for
 * any task; and where its parts lie. */
size_t gemm_room_bytes(size_t d);
struct gemm_room gemm_room_at(void *p);

extern convert_f gemm_convert;
extern few_f gemm_few;

#endif
