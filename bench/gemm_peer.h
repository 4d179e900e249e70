/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_peer.h - what bench/gemm compares with: the peaks of the registers, and
 * oneDNN 2, when built with it.
 */
#ifndef BENCH_GEMM_PEER_H
#define BENCH_GEMM_PEER_H

#include <nnd/plugin.h>

#include "base/pool.h"

/* GFLOP/s of multiply-adds that touch registers alone, on all threads of the pool:
 * f32 with the widest vectors, or pairs of bf16; 0 where the processor has none. */
double peak_rate(struct pool *pool, int bf16);

struct peer;
struct peer_product;

/* NULL without oneDNN; all of the following take NULL and give NULL.  Each of the
 * library's threads calls stay(NULL, its number). */
typedef void stay_f(void *arg, int index);
struct peer *peer_create(int threads, stay_f *stay);
void peer_destroy(struct peer *p);
const char *peer_version(const struct peer *p); /* "none" */

/* d [m,n] f32 = op(a) op(b) of dtype f32 or bf16, row-major; `packed`: b is in a
 * layout of the library's choice, made beforehand. */
struct peer_product *peer_product(struct peer *p, int64_t m, int64_t n, int64_t k,
                                  int trans_a, int trans_b, int dtype, int packed,
                                  void *a, void *b, float *d);
void peer_product_free(struct peer_product *q);
void peer_run(struct peer_product *q);

#endif
