/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.h - activation functions and their slopes by vectors, for the operators of
 * act.c and for products that end in one.
 */
#ifndef CPU_ACT_H
#define CPU_ACT_H

#include "vmath.h"

#define ROOT_2_PI  0.797884560802865356f /* sqrt(2 / pi) */
#define ROOT_1_2PI 0.398942280401432678f /* 1 / sqrt(2 pi) */

/* The tanh form is x * sigmoid(2 u): no cancellation for negative x. */
static inline vf act_gelu(vf x, int approx)
{
    vf u = ROOT_2_PI * (x + 0.044715f * (x * x * x));

    return approx ? x * vec_sigmoid(u + u) : x * vec_phi(x);
}

static inline vf act_gelu_slope(vf x, int approx)
{
    vf z = x * x;
    vf s, du, bell;

    if (!approx) {
        s = vec_phi_bell(x, &bell);
        return s + x * (ROOT_1_2PI * bell);
    }
    s = vec_sigmoid(2.0f * (ROOT_2_PI * (x + 0.044715f * (z * x))));
    du = ROOT_2_PI * (1.0f + 3.0f * 0.044715f * z);
    return s + 2.0f * (x * (s * (1.0f - s)) * du);
}

/* The form by erf for x and results of 16 bits. */
static inline vf act_gelu_short(vf x)
{
    return x * vec_phi_short(x);
}

static inline vf act_gelu_slope_short(vf x)
{
    vf bell = vec_exp2_short(-0.721347520444481704f * (x * x)); /* log2(e) / 2 */

    return vec_phi_short(x) + x * (ROOT_1_2PI * bell);
}

static inline vf act_silu(vf x)
{
    return x * vec_sigmoid(x);
}

static inline vf act_silu_slope(vf x)
{
    vf s = vec_sigmoid(x);

    return s * (1.0f + x * (1.0f - s));
}

/* A NaN is not below 0. */
static inline vf act_relu(vf x)
{
    return vec_pick(x <= 0.0f, vec_all(0), x);
}

/* dy times the slope at x: chosen, so that an infinite dy leaves no NaN. */
static inline vf act_relu_back(vf dy, vf x)
{
    return vec_pick(x > 0.0f, dy, act_relu(x));
}

#endif
