/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.h - activation functions and their slopes, for act.cu and for products that
 * end in one.
 */
#ifndef CUDA_ACT_H
#define CUDA_ACT_H

#include "kern.h"

#define ROOT_2_PI  0.797884560802865356f /* sqrt(2 / pi) */
#define ROOT_1_2PI 0.398942280401432678f /* 1 / sqrt(2 pi) */

/* The tanh form is x * sigmoid(2 u): no cancellation for negative x. */
DEVICE float gelu_of(float x, bool approx)
{
    float u = ROOT_2_PI * (x + 0.044715f * (x * x * x));
    return approx ? x * sigmoid_of(u + u)
                  : x * (0.5f * erfcf(-x * 0.707106781186547524f));
}

DEVICE float gelu_slope(float x, bool approx)
{
    float z = x * x;
    if (!approx)
        return 0.5f * erfcf(-x * 0.707106781186547524f) +
               x * (ROOT_1_2PI * expf(-0.5f * z));
    float s = sigmoid_of(2.0f * (ROOT_2_PI * (x + 0.044715f * (z * x))));
    float du = ROOT_2_PI * (1.0f + 3.0f * 0.044715f * z);
    return s + 2.0f * (x * (s * (1.0f - s)) * du);
}

DEVICE float silu_of(float x)
{
    return x * sigmoid_of(x);
}

DEVICE float silu_slope(float x)
{
    float s = sigmoid_of(x);
    return s * (1.0f + x * (1.0f - s));
}

/* A NaN is not below 0. */
DEVICE float relu_of(float x)
{
    return x <= 0.0f ? 0.0f : x;
}

/* dy times the slope at x: chosen, so that an infinite dy leaves no NaN. */
DEVICE float relu_back(float dy, float x)
{
    return x > 0.0f ? dy : relu_of(x);
}

/* Epilogues of one number: all but those of pairs. */
DEVICE float epilogue_of(int kind, float x, float pre)
{
    switch (kind) {
    case NND_EPI_GELU:
    case NND_EPI_GELU_TANH:
        return gelu_of(x, kind == NND_EPI_GELU_TANH);
    case NND_EPI_SILU:
        return silu_of(x);
    case NND_EPI_DGELU:
    case NND_EPI_DGELU_TANH:
        return x * gelu_slope(pre, kind == NND_EPI_DGELU_TANH);
    case NND_EPI_DSILU:
        return x * silu_slope(pre);
    case NND_EPI_RELU:
        return relu_of(x);
    case NND_EPI_DRELU:
        return relu_back(x, pre);
    default:
        return x;
    }
}

#endif
