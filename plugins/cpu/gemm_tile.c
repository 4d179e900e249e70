/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_tile.c - tiles of accumulators, and packed blocks multiplied with them.
 *
 * 14 x 32 with 32 vector registers: 28 accumulators, two vectors of B, one
 * broadcast of A; 6 x 16 or 6 x 8 with 16.  A block's rows are cut into panels of
 * even height, so that 64 rows make five panels of 13 and not four and a half.
 */
#include "gemm.h"

/* Words between two lines that are brought near. */
#define STRETCH (GEMM_WORDS / GEMM_PIECE)

/* acc + y * x, a word of K; one rounding, or what the processor does to pairs. */
static inline vf mul_add(vf y, vf x, vf acc)
{
#if GEMM_WORD == 2
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)y, (__m512bh)x);
#else
    return vec_fma(y, x, acc);
#endif
}

/* Memory to bring near: GEMM_PIECE lines, `step` bytes apart. */
struct piece {
    const char *p;
    int64_t step;
};

/* What a tile reads: a panel of A and one of B, `words` of K, and what is to be brought
 * near meanwhile.  row_step, word_step: of gemm_left. */
struct source {
    const float *a, *b;
    int64_t words, row_step, word_step;
    struct piece next[2];
};

/* Bring row number `row` of d near.  One with each stretch: all at once would keep the
 * tile's first words of A and B waiting. */
static inline __attribute__((always_inline)) void
bring_row(int row, int rows, int vectors, const float *d, int64_t ld)
{
    if (row >= rows)
        return;
    __builtin_prefetch(d + row * ld, 1);
    if (vectors > 1)
        __builtin_prefetch(d + row * ld + VL, 1);
}

/* d [rows, vectors * VL] = or += the product; rows and vectors are constants where this
 * is inlined, and so are A's steps when it is not by rows.  Three rows share a register
 * for their address. */
static inline __attribute__((always_inline)) void tile(int rows, int vectors,
                                                       int64_t a_row, int64_t a_word,
                                                       const struct source *s, int add,
                                                       float *d, int64_t ld)
{
    const float *a[(GEMM_MR + 2) / 3], *b = s->b;
    struct piece next = s->next[0], next2 = s->next[1];
    int row = 0;

    vf acc[GEMM_MR][2];

#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            acc[r][v] = vec_all(0);
#pragma GCC unroll 5
    for (int r = 0; r < rows; r += 3)
        a[r / 3] = s->a + r * a_row;
    for (int64_t left = s->words; left > 0; left -= STRETCH) {
        bring_row(row++, rows, vectors, d, ld);
        __builtin_prefetch(next.p, 0, 2);
        __builtin_prefetch(next2.p, 0, 2);
        next.p += next.step;
        next2.p += next2.step;
        for (int64_t k = left < STRETCH ? left : STRETCH; k > 0; k--, b += GEMM_NR) {
            vf x[2];

#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                memcpy(&x[v], b + v * VL, sizeof x[v]);
#pragma GCC unroll 16
            for (int r = 0; r < rows; r++) {
                vf y = vec_all(a[r / 3][r % 3 * a_row]);

#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++)
                    acc[r][v] = mul_add(y, x[v], acc[r][v]);
            }
#pragma GCC unroll 5
            for (int r = 0; r < rows; r += 3)
                a[r / 3] += a_word;
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            vf y = acc[r][v], old;

            if (add) {
                memcpy(&old, d + r * ld + v * VL, sizeof old);
                y = old + y;
            }
            memcpy(d + r * ld + v * VL, &y, sizeof y);
        }
}

/* A tile of any height, of a left side by rows or by words, packed or not. */
static inline __attribute__((always_inline)) void
tile_of(int rows, int vectors, const struct source *s, int add, float *d, int64_t ld)
{
    if (s->row_step)
        tile(rows, vectors, s->row_step, 1, s, add, d, ld);
    else if (s->word_step)
        tile(rows, vectors, 1, s->word_step, s, add, d, ld);
    else
        tile(rows, vectors, 1, GEMM_MR, s, add, d, ld);
}

static inline __attribute__((always_inline)) void
tile_high(int rows, int vectors, const struct source *s, int add, float *d, int64_t ld)
{
    switch (rows) {
    case 1:
        tile_of(1, vectors, s, add, d, ld);
        break;
    case 2:
        tile_of(2, vectors, s, add, d, ld);
        break;
    case 3:
        tile_of(3, vectors, s, add, d, ld);
        break;
    case 4:
        tile_of(4, vectors, s, add, d, ld);
        break;
    case 5:
        tile_of(5, vectors, s, add, d, ld);
        break;
    case 6:
        tile_of(6, vectors, s, add, d, ld);
        break;
#if GEMM_MR > 6
    case 7:
        tile_of(7, vectors, s, add, d, ld);
        break;
    case 8:
        tile_of(8, vectors, s, add, d, ld);
        break;
    case 9:
        tile_of(9, vectors, s, add, d, ld);
        break;
    case 10:
        tile_of(10, vectors, s, add, d, ld);
        break;
    case 11:
        tile_of(11, vectors, s, add, d, ld);
        break;
    case 12:
        tile_of(12, vectors, s, add, d, ld);
        break;
    case 13:
        tile_of(13, vectors, s, add, d, ld);
        break;
    case 14:
        tile_of(14, vectors, s, add, d, ld);
        break;
#endif
    default:
        break;
    }
}

static __attribute__((noinline)) void tile_wide(int rows, const struct source *s,
                                                int add, float *d, int64_t ld)
{
    tile_high(rows, 2, s, add, d, ld);
}

static __attribute__((noinline)) void tile_narrow(int rows, const struct source *s,
                                                  int add, float *d, int64_t ld)
{
    tile_high(rows, 1, s, add, d, ld);
}

/* The last columns, fewer than a tile has. */
static void tile_edge(int rows, int64_t cols, const struct source *s, int add, float *d,
                      int64_t ld)
{
    float x[GEMM_MR * GEMM_NR];

    if (cols == VL) {
        tile_narrow(rows, s, add, d, ld);
        return;
    }
    if (cols < VL)
        tile_narrow(rows, s, 0, x, GEMM_NR);
    else
        tile_wide(rows, s, 0, x, GEMM_NR);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < cols; j++) {
            float y = x[r * GEMM_NR + j];

            d[r * ld + j] = add ? d[r * ld + j] + y : y;
        }
}

/* Go on by one piece. */
static void step_on(struct gemm_ahead *w)
{
    if (w->side.index) {
        w->at += GEMM_PIECE * GEMM_LINE;
        if (w->at < w->bytes)
            return;
        w->at = 0;
        w->row++;
        return;
    }
    w->row += GEMM_PIECE;
    if (w->row < w->rows)
        return;
    w->row = 0;
    w->at += GEMM_LINE;
    if (w->at >= w->bytes + GEMM_LINE - 1) /* rows begin anywhere in a line */
        w->rows = 0;
}

/* The next piece to bring near; `instead` when there is none. */
static struct piece piece_of(struct gemm_ahead *w, const void *instead)
{
    const char *row = w->row < w->rows ? side_row(&w->side, w->row) : NULL;
    int64_t step = w->side.index ? GEMM_LINE : w->side.rs * side_size(&w->side);
    struct piece next = {instead, 0};

    if (row)
        next = (struct piece){row + w->at, step};
    step_on(w);
    return next;
}

void gemm_multiply(const struct gemm_left *a, const float *b, int64_t n, int64_t k,
                   int add, float *d, int64_t ld, struct gemm_ahead *ahead)
{
    struct source s = {.words = (k + GEMM_WORD - 1) / GEMM_WORD,
                       .row_step = a->row_step,
                       .word_step = a->word_step};

    for (int64_t q = 0; q < a->panels; q++) {
        int64_t first = a->rows * q / a->panels;
        int rows = (int)(a->rows * (q + 1) / a->panels - first);
        float *at = d + first * ld;

        s.a = a->p + (a->row_step    ? first * a->row_step
                      : a->word_step ? first
                                     : q * GEMM_LEFT_STEP);
        s.b = b;
        for (int64_t j = 0; j < n; j += GEMM_NR, s.b += GEMM_RIGHT_STEP) {
            s.next[0] = piece_of(&ahead[0], s.a);
            s.next[1] = piece_of(&ahead[1], s.a);
            if (n - j >= GEMM_NR)
                tile_wide(rows, &s, add, at + j, ld);
            else
                tile_edge(rows, n - j, &s, add, at + j, ld);
        }
    }
}
