/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_fp16.h - IEEE's 16-bit numbers as CUDA has them, as far as plugins/cuda uses
 * them: rounding to nearest, even; a NaN becomes 0x7fff.
 */
#ifndef EMU_CUDA_FP16_H
#define EMU_CUDA_FP16_H

#include "cuda_runtime.h"

struct __half {
    uint16_t bits;
};

static inline float __half2float(__half h)
{
    int exponent = h.bits >> 10 & 31, fraction = h.bits & 1023;
    float x = exponent == 0    ? ldexpf((float)fraction, -24)
              : exponent == 31 ? (fraction ? NAN : INFINITY)
                               : ldexpf((float)(fraction + 1024), exponent - 25);
    return h.bits & 0x8000 ? -x : x;
}

static inline __half __float2half_rn(float x)
{
    unsigned sign = __float_as_uint(x) >> 16 & 0x8000;
    float a = fabsf(x);
    if (x != x)
        return {0x7fff};
    if (a >= 65520.0f)
        return {(uint16_t)(sign | 0x7c00)};
    int e = 0;
    if (a > 0)
        e = ilogbf(a) < -14 ? -14 : ilogbf(a);
    unsigned n = (unsigned)nearbyintf(ldexpf(a, 10 - e));
    unsigned bits = a > 0 ? ((unsigned)(e + 14) << 10) + n : 0;
    return {(uint16_t)(sign | bits)};
}

#endif
