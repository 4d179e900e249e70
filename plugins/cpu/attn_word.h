/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn_word.h - attention's products of tiles, over words.
 *
 * A word is what one step of a product takes from a row: one f32, multiplied and
 * added, or where ATTN_PAIRS is on two bf16, whose products AVX512_BF16 adds to an
 * f32 in one instruction.  The code is the same; rows are half as many words long.
 *
 * Products of 64 x 64 tiles through BLIS spend about half their time entering
 * and packing (28-55 % of peak, measured); these run at 96 % from the first level
 * of cache.  An element adds up its words one after the other, in order, so it
 * depends neither on the tile's other rows nor on where blocks of rows begin.
 */
#ifndef CPU_ATTN_WORD_H
#define CPU_ATTN_WORD_H

#include "philox.h"
#include "vmath.h"

#ifdef __AVX512BF16__
#define ATTN_PAIRS 1
#else
#define ATTN_PAIRS 0
#endif

#if ATTN_PAIRS
#define PER_WORD 2
#else
#define PER_WORD 1
#endif

#define TILE  64 /* rows, lanes and columns of a tile of scores */
#define GROUP 4  /* rows that a product holds at once */

/* Vectors of columns that it holds at once. */
#if VL == 16
#define WIDE 4
#else
#define WIDE 2
#endif

typedef float word; /* or the bits of a pair */

/* Columns of a tile in memory come in whole cache lines of f32. */
static inline int64_t padded(int64_t d)
{
    return (d + 15) / 16 * 16;
}

static inline int64_t group_up(int64_t rows)
{
    return (rows + GROUP - 1) / GROUP * GROUP;
}

static inline vf word_dot(vf a, vf b, vf sum)
{
#if ATTN_PAIRS
    return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    return vec_fma(a, b, sum);
#endif
}

static inline __attribute__((always_inline)) vf word_load(const word *p)
{
    vf x;

    memcpy(&x, p, sizeof x);
    return x;
}

/* The word at p in all lanes; as an integer, since a pair may look like a NaN. */
static inline __attribute__((always_inline)) vf word_all(const word *p)
{
    int32_t bits;

    memcpy(&bits, p, sizeof bits);
    return (vf)((vi){0} + bits);
}

/* ---- what comes next ---- */

static inline void *head_row(const struct nnd_tensor *t, int64_t row, int64_t head)
{
    return (char *)t->data +
           (row * t->stride[0] + head * t->stride[1]) * (int64_t)dtype_size(t->dtype);
}

static inline void rows_near(const struct nnd_tensor *t, int64_t row, int64_t head,
                             int64_t rows)
{
    int64_t size = t->dim[2] * (int64_t)dtype_size(t->dtype);

    for (int64_t i = 0; i < rows; i++) {
        const char *p = head_row(t, row + i, head);

        for (int64_t b = 0; b < size; b += 64)
            __builtin_prefetch(p + b, 0, 2);
    }
}

/* Rows that will be read or written soon, too far apart for the processor to guess:
 * products bring some near with each of their groups. */
struct ahead {
    const struct nnd_tensor *t; /* NULL: nothing */
    int64_t row, head, rows;
};

static inline void ahead_bring(const struct ahead *a, int64_t r)
{
    if (a->t && r < a->rows)
        rows_near(a->t, a->row + r, a->head, a->rows - r < GROUP ? a->rows - r : GROUP);
}

/* ---- products ---- */

/* A side of a product: element (row, k) is at w[row * by_row + k * by_k]. */
struct weights {
    const word *w;
    int64_t by_row, by_k;
};

/* y [GROUP, wide * VL] = (add ? y : 0) + sum over k < n of w(row,k) x[k,...]. */
static inline __attribute__((always_inline)) void
group_product(int wide, int add, float *y, int64_t ldy, struct weights w, const word *x,
              int64_t ldx, int64_t n)
{
    vf acc[GROUP][WIDE];

#pragma GCC unroll 4
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            acc[r][v] = add ? word_load(y + r * ldy + v * VL) : vec_all(0);
    for (int64_t k = 0; k < n; k++) {
        vf b[WIDE];

#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            b[v] = word_load(x + k * ldx + v * VL);
#pragma GCC unroll 4
        for (int r = 0; r < GROUP; r++) {
            vf a = word_all(w.w + r * w.by_row + k * w.by_k);

#pragma GCC unroll 4
            for (int v = 0; v < wide; v++)
                acc[r][v] = word_dot(a, b[v], acc[r][v]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < GROUP; r++)
#pragma GCC unroll 4
        for (int v = 0; v < wide; v++)
            memcpy(y + r * ldy + v * VL, &acc[r][v], sizeof(vf));
}

/* GROUP rows and `cols` columns, a multiple of VL. */
static inline __attribute__((always_inline)) void
group_columns(int add, float *y, int64_t ldy, int64_t cols, struct weights w,
              const word *x, int64_t ldx, int64_t n)
{
    int64_t c = 0;

    for (; c + WIDE * VL <= cols; c += WIDE * VL)
        group_product(WIDE, add, y + c, ldy, w, x + c, ldx, n);
#if WIDE == 4
    if (c + 3 * VL <= cols) {
        group_product(3, add, y + c, ldy, w, x + c, ldx, n);
        c += 3 * VL;
    }
    if (c + 2 * VL <= cols) {
        group_product(2, add, y + c, ldy, w, x + c, ldx, n);
        c += 2 * VL;
    }
#endif
    for (; c < cols; c += VL)
        group_product(1, add, y + c, ldy, w, x + c, ldx, n);
}

/* What a tile of scores shows: rows [lo, hi) of lane i; spans of whole vectors of
 * lanes, in whole groups of rows; and whether it hides nothing at all. */
struct seen {
    int32_t lo[TILE], hi[TILE];
    int32_t first[TILE / VL], end[TILE / VL];
    int vectors, whole;
};

/* s [row, lane] = row `row` of a times lane `lane` of side [depth, TILE], where
 * anything of a vector's group is seen. */
static inline void tile_scores(float *s, const word *a, int64_t lda, const word *side,
                               int64_t depth, int64_t rows, const struct seen *seen,
                               struct ahead next)
{
    for (int64_t r = 0; r < rows; r += GROUP) {
        struct weights w = {a + r * lda, lda, 1};
        int v = 0, end = seen->vectors;

        ahead_bring(&next, r);
        while (v < end && (r < seen->first[v] || r >= seen->end[v]))
            v++;
        while (end > v && (r < seen->first[end - 1] || r >= seen->end[end - 1]))
            end--;
        if (v < end)
            group_columns(0, s + r * TILE + v * VL, TILE, (end - v) * VL, w,
                          side + v * VL, TILE, depth);
    }
}

/* The steps, in words, that the group's lanes (or rows) [r, r + GROUP) take. */
static inline void group_span(const struct seen *seen, int64_t r, int64_t *lo,
                              int64_t *n)
{
    int32_t first = TILE, end = 0;

    for (int64_t i = r; i < r + GROUP; i++)
        if (seen->lo[i] < seen->hi[i]) {
            first = seen->lo[i] < first ? seen->lo[i] : first;
            end = seen->hi[i] > end ? seen->hi[i] : end;
        }
    *lo = first / PER_WORD;
    *n = first < end ? (end + PER_WORD - 1) / PER_WORD - *lo : 0;
}

/* y [lane, cols] += sum over rows of p(row, lane) x[row, cols], rows in order;
 * p [rows in words, TILE], x [rows in words, ldx]. */
static inline void tile_by_lanes(float *y, int64_t cols, const word *p, const word *x,
                                 int64_t ldx, int64_t lanes, const struct seen *seen,
                                 struct ahead next)
{
    for (int64_t r = 0; r < lanes; r += GROUP) {
        struct weights w = {p + r, 1, TILE};
        int64_t lo, n;

        ahead_bring(&next, r);
        group_span(seen, r, &lo, &n);
        w.w += lo * TILE;
        if (n > 0)
            group_columns(1, y + r * cols, cols, cols, w, x + lo * ldx, ldx, n);
    }
}

/* y [row, cols] += sum over lanes of p(row, lane) x[lane, cols], lanes in order;
 * p [rows, TILE / PER_WORD].  `seen` has the tile's sides exchanged. */
static inline void tile_by_rows(float *y, int64_t cols, const word *p, const word *x,
                                int64_t ldx, int64_t rows, const struct seen *seen,
                                struct ahead next)
{
    for (int64_t r = 0; r < rows; r += GROUP) {
        struct weights w = {p + r * (TILE / PER_WORD), TILE / PER_WORD, 1};
        int64_t lo, n;

        ahead_bring(&next, r);
        group_span(seen, r, &lo, &n);
        w.w += lo;
        if (n > 0)
            group_columns(1, y + r * cols, cols, cols, w, x + lo * ldx, ldx, n);
    }
}

/* ---- words from memory ---- */

/* Rows of a head as words, padded with zeros to whole groups and cache lines:
 * where they lie, or in a room of TILE rows. */
struct rows {
    const word *x;
    int64_t ld; /* words */
};

static inline struct rows rows_load(word *room, const struct nnd_tensor *t, int64_t row,
                                    int64_t head, int64_t rows)
{
    int64_t d = t->dim[2], ld = padded(d) / PER_WORD;
    int dtype = PER_WORD == 1 ? NND_F32 : NND_BF16;
    struct rows here = {head_row(t, row, head), t->stride[0] / PER_WORD};
    struct rows copy = {room, ld};

    if (t->dtype == dtype && rows % GROUP == 0 && d == padded(d) &&
        t->stride[0] % PER_WORD == 0)
        return here;
    for (int64_t i = 0; i < rows; i++) {
        const void *src = head_row(t, row + i, head);

        for (int64_t c = 0; c < padded(d); c += VL)
            vec_put(room + i * ld, dtype, c, VL, vec_get(src, t->dtype, c, d - c));
    }
    for (int64_t i = rows; i % GROUP; i++)
        memset(room + i * ld, 0, (size_t)ld * sizeof *room);
    return copy;
}

/* side [words, TILE] = the rows as lanes; lanes behind the rows, up to whole
 * vectors, are 0. */
static inline void rows_turn(word *side, const struct rows *t, int64_t rows, int64_t d)
{
    int64_t there = group_up(rows), lanes = padded(rows), depth = padded(d) / PER_WORD;

    for (int64_t c = 0; c < depth; c += 4) {
        int64_t j = 0;

#if VL == 16
        if (c % VL == 0 && c + VL <= depth)
            for (int64_t b = 0; b + VL <= there; b += VL)
                turn_block(side + c * TILE + b, TILE, t->x + b * t->ld + c, t->ld);
        if (c / VL * VL + VL <= depth)
            j = there / VL * VL;
#endif
        for (; j < there; j += 4)
            turn_square(side + c * TILE + j, TILE, t->x + j * t->ld + c, t->ld);
        for (int64_t i = c; i < c + 4 && there < lanes; i++)
            memset(side + i * TILE + there, 0, (size_t)(lanes - there) * sizeof *side);
    }
}

/* The rows as steps of a product, [rows in words, d]: themselves, or two by two
 * in the room. */
static inline struct rows rows_steps(word *room, const struct rows *t, int64_t rows,
                                     int64_t d)
{
#if ATTN_PAIRS
    struct rows steps = {room, padded(d)};

    for (int64_t i = 0; i < group_up(rows); i += 2) {
        const uint16_t *even = (const uint16_t *)(t->x + i * t->ld);
        const uint16_t *odd = (const uint16_t *)(t->x + (i + 1) * t->ld);

        for (int64_t c = 0; c < padded(d); c += VL) {
            __m256i a = _mm256_loadu_si256((const void *)(even + c));
            __m256i b = _mm256_loadu_si256((const void *)(odd + c));
            __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16);

            _mm512_storeu_si512(room + i / 2 * padded(d) + c,
                                _mm512_or_si512(high, _mm512_cvtepu16_epi32(a)));
        }
    }
    return steps;
#else
    (void)room, (void)rows, (void)d;
    return *t;
#endif
}

/* Rows r and r + 1 of weights, lanes [c, c + VL), to p [rows in words, TILE]. */
static inline void weights_put(word *p, int64_t r, int64_t c, vf even, vf odd)
{
#if ATTN_PAIRS
    const vi low = (vi)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    const vi high = (vi)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    vi both = low | high << 16;

    memcpy(p + r / 2 * TILE + c, &both, sizeof both);
#else
    memcpy(p + r * TILE + c, &even, sizeof even);
    memcpy(p + (r + 1) * TILE + c, &odd, sizeof odd);
#endif
}

/* The same, to p [rows, TILE / PER_WORD]. */
static inline void weights_put_rows(word *p, int64_t r, int64_t c, vf even, vf odd)
{
#if ATTN_PAIRS
    __m256i low = (__m256i)_mm512_cvtneps_pbh((__m512)even);
    __m256i high = (__m256i)_mm512_cvtneps_pbh((__m512)odd);

    _mm256_storeu_si256((void *)(p + (r * TILE + c) / 2), low);
    _mm256_storeu_si256((void *)(p + ((r + 1) * TILE + c) / 2), high);
#else
    weights_put(p, r, c, even, odd);
#endif
}

/* ---- results ---- */

/* x [padded(d)], times `scale`, to row `row` of a head. */
static inline void row_store(const struct nnd_tensor *t, int64_t row, int64_t head,
                             const float *x, float scale)
{
    int64_t d = t->dim[2];
    void *dst = head_row(t, row, head);

    for (int64_t c = 0; c < d; c += VL)
        vec_put(dst, t->dtype, c, d - c, word_load(x + c) * scale);
}

/* Rows of x [rows, padded(d)], times `scale`, to a head's. */
static inline void rows_store(const struct nnd_tensor *t, int64_t row, int64_t head,
                              int64_t rows, const float *x, float scale)
{
    for (int64_t i = 0; i < rows; i++)
        row_store(t, row + i, head, x + i * padded(t->dim[2]), scale);
}

#endif
