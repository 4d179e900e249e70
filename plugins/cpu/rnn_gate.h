/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn_gate.h - the logistic function and tanh of several gates at once.
 *
 * A step of a small layer spends more time here than in its product.  Divisions
 * are the dear part: s = 1 / D with D = 1 + e^-x, and several quotients share one,
 * 1 / (D1 D2) times D2 being 1 / D1.  Errors are a few units of the last place of
 * 1; arguments below -25 count as -25, where s is 1e-11.
 */
#ifndef CPU_RNN_GATE_H
#define CPU_RNN_GATE_H

#include "vmath.h"

/* e^x for -87 <= x <= 87 (Moshier's Cephes, fused where the processor can). */
static inline vf gate_exp(vf x)
{
    const vf magic = vec_all(0x1.8p23f);
    vf t = vec_fma(x, vec_all(1.44269504088896341f), magic), n = t - magic, r, p;

    r = vec_fma(n, vec_all(-0.693359375f), x);
    r = vec_fma(n, vec_all(2.12194440e-4f), r);
    p = vec_fma(r, vec_all(1.9875691500e-4f), vec_all(1.3981999507e-3f));
    p = vec_fma(p, r, vec_all(8.3334519073e-3f));
    p = vec_fma(p, r, vec_all(4.1665795894e-2f));
    p = vec_fma(p, r, vec_all(1.6666665459e-1f));
    p = vec_fma(p, r, vec_all(5.0000001201e-1f));
    p = vec_fma(p * r, r, r) + 1.0f;
    return (vf)((vi)p + (((vi)t - (vi)magic) << 23));
}

/* D of s(x). */
static inline vf gate_below(vf x)
{
    x = vec_pick(x < -25.0f, vec_all(-25.0f), x);
    x = vec_pick(x > 80.0f, vec_all(80.0f), x);
    return gate_exp(-x) + 1.0f;
}

/* tanh x = sign (1 - e) / (1 + e), e = e^-2|x|; near 0 a polynomial. */
static inline vf gate_tanh_e(vf x)
{
    vf a = vec_abs(x);

    a = vec_pick(a > 40.0f, vec_all(40.0f), a);
    return gate_exp(-(a + a));
}

/* From q = (1 - e) / (1 + e). */
static inline vf gate_tanh_of(vf x, vf q)
{
    vf z = x * x, p;

    p = vec_fma(z, vec_all(-5.70498872745e-3f), vec_all(2.06390887954e-2f));
    p = vec_fma(p, z, vec_all(-5.37397155531e-2f));
    p = vec_fma(p, z, vec_all(1.33314422036e-1f));
    p = vec_fma(p, z, vec_all(-3.33332819422e-1f));
    p = vec_fma(p * z, x, x);
    return vec_pick(vec_abs(x) < 0.625f, p, vec_sign(q, x));
}

static inline vf gate_tanh(vf x)
{
    vf e = gate_tanh_e(x);

    return gate_tanh_of(x, (1.0f - e) / (1.0f + e));
}

/* *r = s(a), *z = s(b). */
static inline void gate_two(vf a, vf b, vf *r, vf *z)
{
    vf da = gate_below(a), db = gate_below(b), inverse = 1.0f / (da * db);

    *r = inverse * db;
    *z = inverse * da;
}

/* x[0], x[1], x[3]: their s; x[2]: its tanh. */
static inline void gate_four(vf x[4])
{
    vf i = gate_below(x[0]), f = gate_below(x[1]), o = gate_below(x[3]);
    vf e = gate_tanh_e(x[2]), g = 1.0f + e, two = i * f, others = o * g;
    vf inverse = 1.0f / (two * others), left = inverse * others, right = inverse * two;

    x[0] = left * f;
    x[1] = left * i;
    x[2] = gate_tanh_of(x[2], right * o * (1.0f - e));
    x[3] = right * g;
}

#endif
