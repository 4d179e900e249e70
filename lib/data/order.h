/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.h - which sample comes when: arithmetic, without tables or state.
 *
 * Sample number `index` of a run belongs to epoch index / count and has its
 * place given by a keyed bijection of [0, count): every place comes once in an
 * epoch, in another order in each.  A run is resumed, or shared among any number
 * of ranks, by knowing the index.
 */
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include <stdint.h>

/* The place in [0, count) that comes i-th (i < count) in the epoch: a Feistel
 * network on the least power of two >= count, walked until inside (Black and
 * Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). */
uint64_t order_place(uint64_t seed, uint64_t epoch, uint64_t count, uint64_t i);

/* A number in [0, range) for the epoch, independent of order_place; range > 0. */
uint64_t order_phase(uint64_t seed, uint64_t epoch, uint64_t range);

#endif
