/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - see side.h; compiled once for each instruction set.
 */
#include "op.h"
#include "vec.h"
#include "side.h"

#define CONVERT ISA_NAME(convert, ISA_SUFFIX)

extern convert_f CONVERT;

/* Inlined with constant dtypes where it matters. */
static inline __attribute__((always_inline)) void
rows_convert(char *y, int y_dtype, int64_t ldy, const char *x, int x_dtype, int64_t ldx,
             int64_t rows, int64_t cols, float scale)
{
    int64_t y_step = ldy * (int64_t)dtype_size(y_dtype);
    int64_t x_step = ldx * (int64_t)dtype_size(x_dtype);

    for (int64_t r = 0; r < rows; r++, x += x_step, y += y_step) {
        int64_t i = 0;

        for (; i + VL <= cols; i += VL)
            vec_put(y, y_dtype, i, VL, vec_get(x, x_dtype, i, VL) * scale);
        vec_put(y, y_dtype, i, cols - i, vec_get(x, x_dtype, i, cols - i) * scale);
    }
}

void CONVERT(void *y, int y_dtype, int64_t ldy, const void *x, int x_dtype, int64_t ldx,
             int64_t rows, int64_t cols, float scale)
{
    if (x_dtype == NND_BF16 && y_dtype == NND_F32)
        rows_convert(y, NND_F32, ldy, x, NND_BF16, ldx, rows, cols, scale);
    else if (x_dtype == NND_F32 && y_dtype == NND_BF16)
        rows_convert(y, NND_BF16, ldy, x, NND_F32, ldx, rows, cols, scale);
    else
        rows_convert(y, y_dtype, ldy, x, x_dtype, ldx, rows, cols, scale);
}
