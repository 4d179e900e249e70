/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_pack.c - blocks of operands as tiles read them, converted on the way.
 */
#include "gemm.h"

/* vec_get() whose tails cost no more than the rest. */
static inline __attribute__((always_inline)) vf load_some(const void *p, int dtype,
                                                          int64_t i, int64_t left)
{
#if VL == 16
    __mmask16 there = left >= 16 ? 0xffff
                      : left > 0 ? (__mmask16)((1u << left) - 1)
                                 : 0;

    if (dtype == NND_F32)
        return (vf)_mm512_maskz_loadu_ps(there, (const float *)p + i);
    return vec_widen((vh)_mm256_maskz_loadu_epi16(there, (const uint16_t *)p + i),
                     dtype);
#else
    return vec_get(p, dtype, i, left);
#endif
}

/* VL words along K, of which those with `left` elements of K exist; from memory in
 * which K runs. */
static inline __attribute__((always_inline)) vf words_along(const void *p, int dtype,
                                                            int64_t k, int64_t left)
{
#if GEMM_WORD == 2
    (void)dtype;
    __mmask32 there = left >= 32 ? 0xffffffffu : (1u << left) - 1;

    return (vf)_mm512_maskz_loadu_epi16(there, (const uint16_t *)p + k);
#else
    return load_some(p, dtype, k, left);
#endif
}

/* The words of VL neighbours, of which `left` exist: row holds them at K, and at
 * the next place of K in `next` (NULL: 0).  A row of zeros is NULL as well. */
static inline __attribute__((always_inline)) vf
words_across(const void *row, const void *next, int dtype, int64_t j, int64_t left)
{
#if GEMM_WORD == 2
    (void)dtype;
    __mmask16 there = left >= 16 ? 0xffff
                      : left > 0 ? (__mmask16)((1u << left) - 1)
                                 : 0;
    __m512i low = _mm512_setzero_si512(), high = low;

    if (row)
        low = _mm512_cvtepu16_epi32(
            _mm256_maskz_loadu_epi16(there, (const uint16_t *)row + j));
    if (next)
        high = _mm512_cvtepu16_epi32(
            _mm256_maskz_loadu_epi16(there, (const uint16_t *)next + j));
    return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
#else
    (void)next;
    return row ? load_some(row, dtype, j, left) : vec_all(0);
#endif
}

/* x [VL,VL] turned: columns whose number has a bit set change places with the
 * rows that have it, bit by bit. */
static inline __attribute__((always_inline)) void turn(vf *x)
{
#pragma GCC unroll 4
    for (int bit = 1; bit < VL; bit *= 2) {
        vi low, high;

#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) {
            low[i] = i & bit ? VL + i - bit : i;
            high[i] = i & bit ? VL + i : i + bit;
        }
#pragma GCC unroll 16
        for (int r = 0; r < VL; r++)
            if (!(r & bit)) {
                vf up = __builtin_shuffle(x[r], x[r + bit], low);

                x[r + bit] = __builtin_shuffle(x[r], x[r + bit], high);
                x[r] = up;
            }
    }
}

/* ---- left ---- */

static inline __attribute__((always_inline)) void
left_by_rows(const struct side *a, int dtype, int64_t m, int64_t k, float *out)
{
    for (int64_t i = 0; i < m; i++, out += GEMM_ROW_STEP) {
        const void *row = side_row(a, i);
        float *to = out;

        for (int64_t at = 0; at < k; at += VL * GEMM_WORD, to += VL) {
            vf x = row ? words_along(row, dtype, at, k - at) : vec_all(0);

            memcpy(to, &x, sizeof x);
        }
    }
}

/* Panels may be a row lower than GEMM_MR: a vector writes further than its panel
 * goes, and the next word's, or panel's, comes over it. */
static inline __attribute__((always_inline)) void
left_by_words(const struct side *a, int dtype, int64_t m, int64_t k, int64_t panels,
              float *out)
{
    int64_t first[GEMM_GROUP_PANELS + 1];

    for (int64_t q = 0; q <= panels; q++)
        first[q] = m * q / panels;
    for (int64_t at = 0; at < k; at += GEMM_WORD, out += GEMM_MR) {
        const char *row = (const char *)a->p + at * a->cs * side_size(a);
        const char *next = at + 1 < k ? row + a->cs * side_size(a) : NULL;

        for (int64_t q = 0; q < panels; q++) {
            float *to = out + q * GEMM_LEFT_STEP;

            for (int64_t i = first[q]; i < first[q + 1]; i += VL, to += VL) {
                vf x = words_across(row, next, dtype, i, m - i);

                memcpy(to, &x, sizeof x);
            }
        }
    }
}

/* Rows in memory are words that tiles can read: f32, or pairs of bf16, of which the
 * last is whole. */
static int are_words(const struct side *a, int64_t k)
{
    if (GEMM_WORD == 1)
        return a->dtype == NND_F32;
    return a->dtype == NND_BF16 && k % 2 == 0 && a->rs % 2 == 0 &&
           (uintptr_t)a->p % sizeof(float) == 0;
}

/* They are not so far apart, either, that they all fall into one set of the first-level
 * cache. */
static int is_fit(const struct side *a, int64_t k)
{
    return a->cs == 1 && !a->index && are_words(a, k) &&
           a->rs * side_size(a) % 4096 != 0;
}

/* Columns in memory that tiles can read there, because they are so short that a block
 * of them stays in the cache.  A step of 0, which the only column may have, is packed:
 * in gemm_left it has a meaning of its own. */
#define SHORT_COLUMN 512
static int is_short(const struct side *a)
{
    return GEMM_WORD == 1 && a->rs == 1 && a->dtype == NND_F32 && !a->index &&
           a->cs > 0 && a->cs * 4 <= SHORT_COLUMN;
}

void gemm_pack_left(const struct side *a, int64_t m, int64_t k, float *room,
                    struct gemm_left *out)
{
    int64_t panels = (m + GEMM_MR - 1) / GEMM_MR;

    *out = (struct gemm_left){room, m, panels, a->cs == 1 ? GEMM_ROW_STEP : 0, 0};
    if (is_fit(a, k)) {
        out->p = a->p;
        out->row_step = a->rs / GEMM_WORD;
    } else if (is_short(a)) {
        out->p = a->p;
        out->word_step = a->cs;
    } else if (a->cs == 1 && a->dtype == NND_BF16) {
        left_by_rows(a, NND_BF16, m, k, room);
    } else if (a->cs == 1 && a->dtype == NND_F32) {
        left_by_rows(a, NND_F32, m, k, room);
    } else if (a->cs == 1) {
        left_by_rows(a, NND_F16, m, k, room);
    } else if (a->dtype == NND_BF16) {
        left_by_words(a, NND_BF16, m, k, panels, room);
    } else if (a->dtype == NND_F32) {
        left_by_words(a, NND_F32, m, k, panels, room);
    } else {
        left_by_words(a, NND_F16, m, k, panels, room);
    }
}

/* ---- right ---- */

/* Where vector number v of the columns lies; with `pair` only every second place
 * is b's. */
static inline int64_t vector_place(int64_t v, int pair)
{
    int64_t at = pair ? 2 * v : v;

    return at / 2 * GEMM_RIGHT_STEP + at % 2 * VL;
}

/* Rows of b are rows in memory. */
static inline __attribute__((always_inline)) void right_by_rows(const struct side *b,
                                                                int dtype, int64_t k,
                                                                int64_t n, int pair,
                                                                float *out)
{
    for (int64_t at = 0; at < k; at += GEMM_WORD, out += GEMM_NR) {
        const void *row = side_row(b, at);
        const void *next = at + 1 < k && GEMM_WORD > 1 ? side_row(b, at + 1) : NULL;

        float *to = out;
        int64_t j = 0;

        for (; !pair && j + GEMM_NR <= n; j += GEMM_NR, to += GEMM_RIGHT_STEP) {
            vf x = words_across(row, next, dtype, j, VL);
            vf y = words_across(row, next, dtype, j + VL, VL);

            memcpy(to, &x, sizeof x);
            memcpy(to + VL, &y, sizeof y);
        }
        for (; j < n; j += VL) {
            vf x = words_across(row, next, dtype, j, n - j);

            memcpy(out + vector_place(j / VL, pair), &x, sizeof x);
        }
    }
}

/* Columns of b are rows in memory. */
static inline __attribute__((always_inline)) void right_by_columns(const struct side *b,
                                                                   int dtype, int64_t k,
                                                                   int64_t n, int pair,
                                                                   float *out)
{
    int64_t words = (k + GEMM_WORD - 1) / GEMM_WORD;

    for (int64_t j = 0; j < n; j += VL) {
        float *to = out + vector_place(j / VL, pair);
        const char *column = (const char *)b->p + j * b->cs * side_size(b);

        for (int64_t at = 0; at < words; at += VL, to += VL * GEMM_NR) {
            vf x[VL];

#pragma GCC unroll 16
            for (int64_t r = 0; r < VL; r++)
                x[r] = j + r < n ? words_along(column + r * b->cs * side_size(b), dtype,
                                               at * GEMM_WORD, k - at * GEMM_WORD)
                                 : vec_all(0);
            turn(x);
#pragma GCC unroll 16
            for (int64_t r = 0; r < VL; r++)
                memcpy(to + r * GEMM_NR, &x[r], sizeof x[r]);
        }
    }
}

#if GEMM_WORD == 1

/* 2 * VL numbers of bf16, of which `left` exist, as VL pairs. */
static inline vu load_pairs(const void *p, int64_t left)
{
    vu x = {0};

    if (left >= 2 * VL)
        memcpy(&x, p, sizeof x);
    else if (left > 0)
        memcpy(&x, p, (size_t)left * 2);
    return x;
}

/* Columns of b are rows of bf16 in memory: turned as pairs, which takes half the
 * shuffles, and then taken apart. */
static void right_by_pairs(const struct side *b, int64_t k, int64_t n, int pair,
                           float *out)
{
    for (int64_t j = 0; j < n; j += VL) {
        float *to = out + vector_place(j / VL, pair);
        const uint16_t *column = (const uint16_t *)b->p + j * b->cs;

        for (int64_t at = 0; at < k; at += 2 * VL, to += 2 * VL * GEMM_NR) {
            vf x[VL];

#pragma GCC unroll 16
            for (int64_t r = 0; r < VL; r++)
                x[r] = (vf)load_pairs(column + r * b->cs + at, j + r < n ? k - at : 0);
            turn(x);
#pragma GCC unroll 16
            for (int64_t r = 0; r < VL; r++) {
                vu even = (vu)x[r] << 16, odd = (vu)x[r] & 0xffff0000u;

                memcpy(to + 2 * r * GEMM_NR, &even, sizeof even);
                memcpy(to + (2 * r + 1) * GEMM_NR, &odd, sizeof odd);
            }
        }
    }
}

#endif

static void pack_columns(const struct side *b, int64_t k, int64_t n, int pair,
                         float *out)
{
    if (b->cs == 1 && b->dtype == NND_BF16)
        right_by_rows(b, NND_BF16, k, n, pair, out);
    else if (b->cs == 1 && b->dtype == NND_F32)
        right_by_rows(b, NND_F32, k, n, pair, out);
    else if (b->cs == 1)
        right_by_rows(b, NND_F16, k, n, pair, out);
    else if (b->dtype == NND_BF16)
#if GEMM_WORD == 1
        right_by_pairs(b, k, n, pair, out);
#else
        right_by_columns(b, NND_BF16, k, n, pair, out);
#endif
    else if (b->dtype == NND_F32)
        right_by_columns(b, NND_F32, k, n, pair, out);
    else
        right_by_columns(b, NND_F16, k, n, pair, out);
}

void gemm_pack_right(const struct side *b, const struct side *b2, int64_t k, int64_t n,
                     float *room)
{
    pack_columns(b, k, n, b2 != NULL, room);
    if (b2)
        pack_columns(b2, k, n, 1, room + VL);
}
