/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vec.h - vectors of the width that this compilation has, and how they meet
 * f32, bf16 and f16 memory.
 *
 * Two rules make results independent of the width, of the place of an element
 * and of its neighbours: an element-wise function does the same operations in
 * every lane, contraction to fused multiply-add is off, and tails go through the
 * same code with missing lanes filled; and a sum runs over LANES interleaved
 * partial sums whatever the width, which lanes_sum() adds as a tree.
 */
#ifndef CPU_VEC_H
#define CPU_VEC_H

#include <stdint.h>
#include <string.h>

#include <nnd/plugin.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#if defined(__AVX512F__)
#define VEC_BYTES 64
#elif defined(__AVX2__)
#define VEC_BYTES 32
#else
#define VEC_BYTES 16
#endif

#define VL    (VEC_BYTES / 4) /* floats in a vector */
#define LANES 16              /* partial sums of every sum along a row */
#define PER   (LANES / VL)    /* vectors that hold them */

typedef float vf __attribute__((vector_size(VEC_BYTES)));
typedef int32_t vi __attribute__((vector_size(VEC_BYTES)));
typedef uint32_t vu __attribute__((vector_size(VEC_BYTES)));
typedef double vd __attribute__((vector_size(VEC_BYTES)));
typedef int64_t vl __attribute__((vector_size(VEC_BYTES)));
typedef float vfhalf __attribute__((vector_size(VEC_BYTES / 2)));
typedef uint16_t vh __attribute__((vector_size(VEC_BYTES / 2)));

static inline vf vec_all(float x)
{
    return x - (vf){0};
}

/* Lane by lane: m ? a : b.  m is a comparison's result, all ones or zero. */
static inline vf vec_pick(vi m, vf a, vf b)
{
    return (vf)((m & (vi)a) | (~m & (vi)b));
}

/* A NaN in a loses to b: padding with -inf and a first operand of -inf work. */
static inline vf vec_max(vf a, vf b)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
    return vec_pick(a > b, a, b);
#endif
}

static inline vf vec_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

/* |x| with the sign of s. */
static inline vf vec_sign(vf x, vf s)
{
    return (vf)(((vi)x & 0x7fffffff) | ((vi)s & (int32_t)0x80000000));
}

static inline vf vec_sqrt(vf x)
{
#if defined(__AVX512F__)
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < VL; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}

/* a * b + c; rounded once where the instruction set can, and only there. */
static inline vf vec_fma(vf a, vf b, vf c)
{
#if defined(__AVX512F__)
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

static inline vd vec_to_f64(vfhalf x)
{
#if defined(__AVX512F__)
    return (vd)_mm512_cvtps_pd((__m256)x);
#else
    return __builtin_convertvector(x, vd);
#endif
}

/* ---- 16-bit floats ---- */

static inline vf vec_from_bf16(vh h)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/* To nearest, ties to even; a NaN stays one, made quiet. */
static inline vh vec_to_bf16(vf x)
{
    vu u = (vu)x;
    vu nearest = (u + 0x7fff + ((u >> 16) & 1)) >> 16;
    vu quiet = (u >> 16) | 0x40;
    vu nan = (vu)((u & 0x7fffffff) > 0x7f800000u);

    return __builtin_convertvector((nan & quiet) | (~nan & nearest), vh);
}

static inline vf vec_from_f16(vh h)
{
#if defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps((__m256i)h);
#elif defined(__AVX2__) && defined(__F16C__)
    return (vf)_mm256_cvtph_ps((__m128i)h);
#else
    vu u = __builtin_convertvector(h, vu);
    vu body = (u & 0x7fff) << 13;
    vf small = (vf)body * 0x1p112f; /* exact, subnormals included */
    vu huge = (vu)(body >= 0x0f800000u);
    vu nan = (vu)(body > 0x0f800000u) & 0x00400000u;
    vu top = (body + 0x70000000u) | nan;

    return (vf)((huge & top) | (~huge & (vu)small) | (u & 0x8000) << 16);
#endif
}

static inline vh vec_to_f16(vf x)
{
#if defined(__AVX512F__)
    return (vh)_mm512_cvtps_ph((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__) && defined(__F16C__)
    return (vh)_mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT);
#else
    vu u = (vu)x & 0x7fffffffu;
    vu sign = ((vu)x >> 16) & 0x8000;
    vu normal = (u - 0x38000000u + 0xfff + ((u >> 13) & 1)) >> 13;
    vu small = (vu)((vf)u + 0.5f) - 0x3f000000u; /* the adder rounds subnormals */
    vu is_small = (vu)(u < 0x38800000u);
    vu is_huge = (vu)(u >= 0x477ff000u); /* rounds to 65536 */
    vu is_nan = (vu)(u > 0x7f800000u);
    vu huge = 0x7c00 | (is_nan & (0x200 | ((u >> 13) & 0x3ff)));
    vu r = (is_small & small) | (~is_small & normal);

    r = (is_huge & huge) | (~is_huge & r);
    return __builtin_convertvector(r | sign, vh);
#endif
}

/* ---- memory ---- */

static inline size_t dtype_size(int dtype)
{
    return dtype == NND_F64 || dtype == NND_I64    ? 8
           : dtype == NND_F32 || dtype == NND_I32  ? 4
           : dtype == NND_BF16 || dtype == NND_F16 ? 2
                                                   : 1;
}

static inline vf vec_widen(vh h, int dtype)
{
    return dtype == NND_BF16 ? vec_from_bf16(h) : vec_from_f16(h);
}

static inline vh vec_narrow(vf x, int dtype)
{
    return dtype == NND_BF16 ? vec_to_bf16(x) : vec_to_f16(x);
}

static inline const void *element_of(const void *p, int dtype, int64_t i)
{
    return (const char *)p + i * (int64_t)(dtype == NND_F32 ? 4 : 2);
}

#if defined(__AVX512F__)

/* Tails are masks: rows of a few vectors cost little more than whole ones. */
static inline __mmask16 vec_there(int64_t left)
{
    return left >= VL ? 0xffff : left > 0 ? (__mmask16)((1u << left) - 1) : 0;
}

static inline __attribute__((always_inline)) vf vec_get_tail(const void *p, int dtype,
                                                             int64_t left, float fill)
{
    __mmask16 there = vec_there(left);
    vf x = vec_all(fill);

    if (dtype == NND_F32)
        return (vf)_mm512_mask_loadu_ps((__m512)x, there, p);
    return (vf)_mm512_mask_mov_ps(
        (__m512)x, there,
        (__m512)vec_widen((vh)_mm256_maskz_loadu_epi16(there, p), dtype));
}

static inline __attribute__((always_inline)) void vec_put_tail(void *p, int dtype,
                                                               int64_t left, vf x)
{
    if (dtype == NND_F32)
        _mm512_mask_storeu_ps(p, vec_there(left), (__m512)x);
    else
        _mm256_mask_storeu_epi16(p, vec_there(left), (__m256i)vec_narrow(x, dtype));
}

#else

/* Tails are functions by themselves, so that a loop's vectors, whose addresses
 * nobody takes, stay in registers. */
static __attribute__((noinline, unused)) vf vec_get_tail(const void *p, int dtype,
                                                         int64_t left, float fill)
{
    vf x = vec_all(fill);
    size_t n = left > 0 ? (size_t)left : 0;

    if (dtype == NND_F32) {
        memcpy(&x, p, n * sizeof(float));
    } else if (n > 0) {
        vh h = {0};

        memcpy(&h, p, n * sizeof(uint16_t));
        x = vec_widen(h, dtype);
        for (size_t k = n; k < VL; k++)
            x[k] = fill;
    }
    return x;
}

static __attribute__((noinline, unused)) void vec_put_tail(void *p, int dtype,
                                                           int64_t left, vf x)
{
    size_t n = left > 0 ? (size_t)left : 0;

    if (dtype == NND_F32) {
        memcpy(p, &x, n * sizeof(float));
    } else {
        vh h = vec_narrow(x, dtype);

        memcpy(p, &h, n * sizeof(uint16_t));
    }
}

#endif

/* The VL elements at index i of p, of which `left` exist; the others read `fill`
 * and are not touched. */
static inline __attribute__((always_inline)) vf
vec_get_or(const void *p, int dtype, int64_t i, int64_t left, float fill)
{
    const void *at = element_of(p, dtype, i);
    vf x;
    vh h;

    if (__builtin_expect(left < VL, 0))
        return vec_get_tail(at, dtype, left, fill);
    if (dtype == NND_F32) {
        memcpy(&x, at, sizeof x);
        return x;
    }
    memcpy(&h, at, sizeof h);
    return vec_widen(h, dtype);
}

static inline __attribute__((always_inline)) vf vec_get(const void *p, int dtype,
                                                        int64_t i, int64_t left)
{
    return vec_get_or(p, dtype, i, left, 0);
}

static inline __attribute__((always_inline)) void vec_put(void *p, int dtype, int64_t i,
                                                          int64_t left, vf x)
{
    void *at = (char *)p + ((const char *)element_of(p, dtype, i) - (const char *)p);

    if (__builtin_expect(left < VL, 0)) {
        vec_put_tail(at, dtype, left, x);
    } else if (dtype == NND_F32) {
        memcpy(at, &x, sizeof x);
    } else {
        vh h = vec_narrow(x, dtype);

        memcpy(at, &h, sizeof h);
    }
}

/* t [4,4] = the transpose of x [4,4]; rows ldt and ldx apart. */
static inline void turn_square(float *t, int64_t ldt, const float *x, int64_t ldx)
{
    typedef float quad __attribute__((vector_size(16)));
    typedef int32_t index __attribute__((vector_size(16)));
    const index low = {0, 4, 1, 5}, high = {2, 6, 3, 7};
    const index first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
    quad q[4], ab[2], cd[2];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        memcpy(&q[i], x + i * ldx, sizeof *q);
    ab[0] = __builtin_shuffle(q[0], q[1], low);
    ab[1] = __builtin_shuffle(q[0], q[1], high);
    cd[0] = __builtin_shuffle(q[2], q[3], low);
    cd[1] = __builtin_shuffle(q[2], q[3], high);
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        q[2 * i] = __builtin_shuffle(ab[i], cd[i], first);
        q[2 * i + 1] = __builtin_shuffle(ab[i], cd[i], second);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        memcpy(t + i * ldt, &q[i], sizeof *q);
}

#if VL == 16
/* t [16,16] = the transpose of x [16,16]: four rows of each quarter meet in a vector.
 */
static inline void turn_block(float *t, int64_t ldt, const float *x, int64_t ldx)
{
    for (int c = 0; c < VL; c += 4) {
        __m512 q[4], ab[2], cd[2];

#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            const float *p = x + i * ldx + c;

            q[i] = _mm512_castps128_ps512(_mm_loadu_ps(p));
            q[i] = _mm512_mask_broadcast_f32x4(q[i], 0x00f0, _mm_loadu_ps(p + 4 * ldx));
            q[i] = _mm512_mask_broadcast_f32x4(q[i], 0x0f00, _mm_loadu_ps(p + 8 * ldx));
            q[i] =
                _mm512_mask_broadcast_f32x4(q[i], 0xf000, _mm_loadu_ps(p + 12 * ldx));
        }
        ab[0] = _mm512_unpacklo_ps(q[0], q[1]);
        ab[1] = _mm512_unpackhi_ps(q[0], q[1]);
        cd[0] = _mm512_unpacklo_ps(q[2], q[3]);
        cd[1] = _mm512_unpackhi_ps(q[2], q[3]);
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            __m512d a = _mm512_castps_pd(ab[i]), b = _mm512_castps_pd(cd[i]);

            _mm512_storeu_pd(t + (c + 2 * i) * ldt, _mm512_unpacklo_pd(a, b));
            _mm512_storeu_pd(t + (c + 2 * i + 1) * ldt, _mm512_unpackhi_pd(a, b));
        }
    }
}
#endif

/* Row r of a tensor whose first axis is rows. */
static inline void *row_of(const struct nnd_tensor *t, int64_t r)
{
    return (char *)t->data + r * t->stride[0] * (int64_t)dtype_size(t->dtype);
}

/* ---- sums along a row ---- */

struct lanes {
    vf v[PER];
};

typedef float quad __attribute__((vector_size(16)));

/* A tree: lanes a half, a quarter, an eighth of all apart. */
static inline float lanes_sum(const struct lanes *s)
{
    quad q[4];

    memcpy(q, s, sizeof q);
    q[0] = (q[0] + q[2]) + (q[1] + q[3]);
    return (q[0][0] + q[0][2]) + (q[0][1] + q[0][3]);
}

static inline float lanes_max(const struct lanes *s)
{
    float a[LANES];

    memcpy(a, s, sizeof a);
#pragma GCC unroll 4
    for (int w = LANES / 2; w > 0; w /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < w; i++)
            a[i] = a[i] > a[i + w] ? a[i] : a[i + w];
    return a[0];
}

#endif
