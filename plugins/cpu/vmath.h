/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmath.h - exp, log, tanh, the normal distribution, sine and cosine by vectors.
 *
 * Our own, because the C library's choose their code by CPU and so their bits.  These
 * have the same bits on all processors with fused multiply-adds, in single precision.
 * Errors below are against libm in double over all floats of the range; a test
 * holds them.  Polynomials: Moshier's Cephes (single), fdlibm (double).
 */
#ifndef CPU_VMATH_H
#define CPU_VMATH_H

#include "vec.h"

/* a * b + c with one rounding where there is an instruction for it. */
static inline vf mad(vf a, vf b, float c)
{
    return vec_fma(a, b, vec_all(c));
}

/* 2^n for -126 <= n <= 127. */
static inline vf vec_pow2(vi n)
{
    return (vf)((n + 127) << 23);
}

/* x 2^n for whole n, when that is no number below the normal ones. */
static inline vf vec_scale(vf x, vf n)
{
#if defined(__AVX512F__)
    return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
    const float magic = 0x1.8p23f;
    vi k = (vi)(n + magic) - (vi)vec_all(magic), half = k >> 1;

    return x * vec_pow2(half) * vec_pow2(k - half);
#endif
}

/* e^x; 1 ulp; inf and NaN as they should be; 0 where e^x < 2^-125.9: results below
 * the normal numbers cost a hundred times as much as others, and softmax makes
 * plenty of them. */
static inline vf vec_exp(vf x)
{
    const float magic = 0x1.8p23f;
    vi zero = x < -87.3f;
    vf c = vec_pick(x > 89.0f, vec_all(89.0f), vec_pick(zero, vec_all(0), x));
    vf n = vec_fma(c, vec_all(1.44269504088896341f), vec_all(magic)) - magic;
    vf r = vec_fma(n, vec_all(-0.693359375f), c);
    vf p;

    r = vec_fma(n, vec_all(2.12194440e-4f), r);
    p = mad(r, vec_all(1.9875691500e-4f), 1.3981999507e-3f);
    p = mad(p, r, 8.3334519073e-3f);
    p = mad(p, r, 4.1665795894e-2f);
    p = mad(p, r, 1.6666665459e-1f);
    p = mad(p, r, 5.0000001201e-1f);
    p = vec_fma(p, r * r, r) + 1.0f;
    return vec_pick(zero, vec_all(0), vec_scale(p, n));
}

/* ln x; 2 ulp; -inf at 0, NaN below. */
static inline vf vec_log(vf x)
{
    vi tiny = x < 0x1p-126f;
    vf s = vec_pick(tiny, x * 0x1p24f, x);
    vi bits = (vi)s;
    vi e = ((bits >> 23) & 255) - 126;
    vf m = (vf)((bits & 0x007fffff) | 0x3f000000); /* [0.5, 1) */
    vi low = m < 0.707106781186547524f;
    vf n, f, z, p;

    e = e + low - (tiny & 24); /* low is -1 where true */
    f = vec_pick(low, m + m, m) - 1.0f;
    n = __builtin_convertvector(e, vf);
    z = f * f;
    p = mad(f, vec_all(7.0376836292e-2f), -1.1514610310e-1f);
    p = mad(p, f, 1.1676998740e-1f);
    p = mad(p, f, -1.2420140846e-1f);
    p = mad(p, f, 1.4249322787e-1f);
    p = mad(p, f, -1.6668057665e-1f);
    p = mad(p, f, 2.0000714765e-1f);
    p = mad(p, f, -2.4999993993e-1f);
    p = mad(p, f, 3.3333331174e-1f);
    p = p * f * z + n * -2.12194440e-4f - 0.5f * z;
    p = f + p + n * 0.693359375f;
    p = vec_pick(x == 0.0f, vec_all(-__builtin_inff()), p);
    p = vec_pick(x == __builtin_inff(), x, p);
    return vec_pick(x >= 0.0f, p, vec_all(__builtin_nanf("")));
}

static inline float log_one(float x)
{
    return vec_log(vec_all(x))[0];
}

/* tanh x; 2 ulp. */
static inline vf vec_tanh(vf x)
{
    vf a = vec_abs(x);
    vf z = x * x;
    vf big = 1.0f - 2.0f / (vec_exp(a + a) + 1.0f);
    vf p;

    p = mad(z, vec_all(-5.70498872745e-3f), 2.06390887954e-2f);
    p = mad(p, z, -5.37397155531e-2f);
    p = mad(p, z, 1.33314422036e-1f);
    p = mad(p, z, -3.33332819422e-1f);
    p = vec_fma(p * z, x, x);
    return vec_pick(a < 0.625f, p, vec_sign(big, x));
}

/* 1 / (1 + e^-x). */
static inline vf vec_sigmoid(vf x)
{
    return 1.0f / (1.0f + vec_exp(-x));
}

/* The standard normal distribution, P(X <= x), small tails included, and *bell =
 * e^(-x^2/2).  With z = |x| / sqrt(2), e^(z^2) erfc z is a polynomial in z / (2 + z) to
 * 3e-8 (fitted for the least relative error on [0, 9.4], exact at 0). */
static inline vf vec_phi_bell(vf x, vf *bell)
{
    vf a = vec_abs(x), half = a * 0.353553390593273762f;
    vf e = vec_exp(-0.5f * (a * a));
    vf u = vec_pick(half > 4.6f, vec_all(0.82f), half / (1.0f + half)); /* e = 0 */
    vf p, tail;

    p = mad(u, vec_all(5.2983343601e-2f), -2.2339181602e-1f);
    p = mad(p, u, 2.9847857356e-1f);
    p = mad(p, u, -9.1705285013e-2f);
    p = mad(p, u, 7.7882833779e-2f);
    p = mad(p, u, -3.2819879055e-1f);
    p = mad(p, u, -2.7238005400e-1f);
    p = mad(p, u, 1.7430764437f);
    p = mad(p, u, -2.2567543983f);
    p = mad(p, u, 1.0f);
    tail = 0.5f * (p * e);
    *bell = e;
    return vec_pick(x < 0.0f, tail, 1.0f - tail);
}

static inline vf vec_phi(vf x)
{
    vf bell;

    return vec_phi_bell(x, &bell);
}

/* 2^x for x <= 0, to 3e-6; 0 below 2^-125. */
static inline vf vec_exp2_short(vf x)
{
    const float magic = 0x1.8p23f;
    vi zero = x < -125.0f;
    vf c = vec_pick(zero, vec_all(0), x);
    vf n = (c + magic) - magic, r = c - n, p;

    p = mad(r, vec_all(9.681910013e-3f), 5.591968941e-2f);
    p = mad(p, r, 2.402202096e-1f);
    p = mad(p, r, 6.931215289e-1f);
    p = mad(p, r, 1.0f);
    return vec_pick(zero, vec_all(0), (vf)((vi)p + ((vi)(c + magic) << 23)));
}

/* vec_phi for results of 16 bits, at half the price: the logarithm of the tail to base
 * two is a polynomial in |x|, fitted on [0, 10].  The tail is off by at most 3e-5 of
 * itself to |x| = 3, 1.5e-4 to 5, 7e-4 to 8; 0 is exactly a half. */
static inline vf vec_phi_short(vf x)
{
    vf a = vec_abs(x), p, tail;

    p = mad(a, vec_all(-1.128720658e-6f), 4.541998634e-5f);
    p = mad(p, a, -7.872361148e-4f);
    p = mad(p, a, 7.890299805e-3f);
    p = mad(p, a, -5.262284779e-2f);
    p = mad(p, a, -4.598000423e-1f);
    p = mad(p, a, -1.150793529f);
    p = mad(p, a, -1.0f);
    tail = vec_exp2_short(p);
    return vec_pick(x < 0.0f, tail, 1.0f - tail);
}

/* sin x and cos x in double for |x| < 10^6, to 1e-15. */
static inline void vec_sincos(vd x, vd *sine, vd *cosine)
{
    const double magic = 0x1.8p52;
    vd t = x * 6.36619772367581382433e-01 + magic;
    vd n = t - magic;
    vl quadrant = (vl)t;
    vd r = x - n * 1.57079632673412561417e+00;
    vd z, s, c;
    vl swap, neg_s, neg_c;

    r = r - n * 6.07710050630396597660e-11;
    r = r - n * 2.02226624879595063154e-21;
    z = r * r;
    s = z * 1.58969099521155010221e-10 - 2.50507602534068634195e-08;
    s = s * z + 2.75573137070700676789e-06;
    s = s * z - 1.98412698298579493134e-04;
    s = s * z + 8.33333333332248946124e-03;
    s = s * z - 1.66666666666666324348e-01;
    s = s * z * r + r;
    c = z * -1.13596475577881948265e-11 + 2.08757232129817482790e-09;
    c = c * z - 2.75573143513906633035e-07;
    c = c * z + 2.48015872894767294178e-05;
    c = c * z - 1.38888888888741095749e-03;
    c = c * z + 4.16666666666666019037e-02;
    c = c * z * z - 0.5 * z + 1.0;
    swap = -(quadrant & 1);
    neg_s = (quadrant & 2) << 62;
    neg_c = ((quadrant + 1) & 2) << 62;
    *sine = (vd)(((swap & (vl)c) | (~swap & (vl)s)) ^ neg_s);
    *cosine = (vd)(((swap & (vl)s) | (~swap & (vl)c)) ^ neg_c);
}

#endif
