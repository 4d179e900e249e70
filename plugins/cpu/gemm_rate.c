/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_rate.c - how long a tile of products takes.  plugin.c asks, once, whether pairs
 * of bf16 are the faster way on this processor.
 */
#include "gemm.h"

#include <time.h>

#define TURNS 64
#define RATE  ISA_NAME(tile_seconds, ISA_SUFFIX)

extern tile_seconds_f RATE;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double RATE(void)
{
    static float a[GEMM_LEFT_STEP], b[GEMM_RIGHT_STEP], d[GEMM_MR * GEMM_NR];
    struct gemm_left left = {a, GEMM_MR, 1, 0, 0};
    double least = 1;

    for (int i = 0; i < TURNS; i++) {
        struct gemm_ahead nothing[2] = {{.rows = 0}, {.rows = 0}};
        double begin = now(), s;

        gemm_multiply(&left, b, GEMM_NR, GEMM_K, 0, d, GEMM_NR, nothing);
        s = now() - begin;
        least = s < least ? s : least;
    }
    return least;
}
