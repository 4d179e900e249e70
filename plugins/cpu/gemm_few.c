/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_few.c - products with few rows, as decoding makes them: BLIS would pack all of
 * B to use it once.  Elements sum as BLIS's own kernels do, one fused multiply-add
 * after the other in one accumulator, so the bits are the same; product.c
 * compares before it relies on that.  Compiled once for each instruction set.
 */
#include "op.h"
#include "vec.h"
#include "side.h"

#define FEW ISA_NAME(few_rows, ISA_SUFFIX)

extern few_f FEW;

#ifdef __FMA__

#define STRIP (4 * VL) /* columns at once           */
#define GROUP 4        /* rows of A at once         */
#define PATCH 16       /* side of what turns at once */

/* The strip [k, cols] of op(B), its rows in memory order: as it is or turned. */
struct strip {
    const void *p;
    int dtype;
    int64_t ld, cols;
};

/* d [rows, cols] = or += a [rows, k] times the strip. */
static inline __attribute__((always_inline)) void
strip_product(int rows, const struct side *a, const struct strip *b, int64_t k, int add,
              float *d, int64_t ld)
{
    const float *w = a->p;
    vf acc[GROUP][4];

#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++)
            acc[r][v] = vec_all(0);
    for (int64_t i = 0; i < k; i++, w += a->cs) {
        vf x[4];

#pragma GCC unroll 4
        for (int v = 0; v < 4; v++)
            x[v] = vec_get(b->p, b->dtype, i * b->ld + v * VL, b->cols - v * VL);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            vf y = vec_all(w[r * a->rs]);

#pragma GCC unroll 4
            for (int v = 0; v < 4; v++)
                acc[r][v] = vec_fma(y, x[v], acc[r][v]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < 4; v++) {
            int64_t left = b->cols - v * VL;
            vf y = acc[r][v];

            if (add)
                y = vec_get(d + r * ld, NND_F32, v * VL, left) + y;
            vec_put(d + r * ld, NND_F32, v * VL, left, y);
        }
}

/* t [k,STRIP] = a strip whose columns lie in memory order. */
static void turn(float *t, const struct side *b, int64_t cols, int64_t k)
{
    float x[PATCH * PATCH];

    for (int64_t i = 0; i < k; i += PATCH)
        for (int64_t j = 0; j < cols; j += PATCH) {
            struct side at = side_at(b, i, j);

            for (int64_t r = 0; r < PATCH; r++)
                for (int64_t c = 0; c < PATCH; c += VL)
                    vec_put(x + r * PATCH, NND_F32, c, VL,
                            vec_get(at.p, at.dtype, r * at.cs + c,
                                    j + r < cols ? k - i - c : 0));
            for (int64_t r = 0; r < PATCH; r += 4)
                for (int64_t c = 0; c < PATCH; c += 4)
                    turn_square(t + (i + c) * STRIP + j + r, STRIP, x + r * PATCH + c,
                                PATCH);
        }
}

int FEW(const struct side *a, const struct side *b, int64_t m, int64_t n, int64_t k,
        int add, float *d, int64_t ld)
{
    float turned[NND_BLOCK_ROWS * STRIP];

    for (int64_t j = 0; j < n; j += STRIP) {
        struct side at = side_at(b, 0, j);
        struct strip s = {at.p, at.dtype, at.rs, n - j < STRIP ? n - j : STRIP};
        int64_t i = 0;

        if (b->cs != 1) {
            turn(turned, &at, s.cols, k);
            s = (struct strip){turned, NND_F32, STRIP, s.cols};
        }
        for (; i + GROUP <= m; i += GROUP) {
            struct side rows = side_at(a, i, 0);

            strip_product(GROUP, &rows, &s, k, add, d + i * ld + j, ld);
        }
        for (; i < m; i++) {
            struct side row = side_at(a, i, 0);

            strip_product(1, &row, &s, k, add, d + i * ld + j, ld);
        }
    }
    return 1;
}

#else

int FEW(const struct side *a, const struct side *b, int64_t m, int64_t n, int64_t k,
        int add, float *d, int64_t ld)
{
    (void)a, (void)b, (void)m, (void)n, (void)k, (void)add, (void)d, (void)ld;
    return 0;
}

#endif
