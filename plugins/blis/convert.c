/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.c - see product.h; compiled once for each instruction set.
 */
#include "plugins/cpu/op.h"
#include "plugins/cpu/vec.h"
#include "product.h"

#define CONVERT ISA_NAME(convert, ISA_SUFFIX)

extern convert_f CONVERT;

void CONVERT(void *y, int y_dtype, int64_t ldy, const void *x, int x_dtype, int64_t ldx,
             int64_t rows, int64_t cols, float scale)
{
    for (int64_t r = 0; r < rows; r++) {
        const char *src = (const char *)x + r * ldx * (int64_t)dtype_size(x_dtype);
        char *dst = (char *)y + r * ldy * (int64_t)dtype_size(y_dtype);

        for (int64_t i = 0; i < cols; i += VL)
            vec_put(dst, y_dtype, i, cols - i,
                    vec_get(src, x_dtype, i, cols - i) * scale);
    }
}
