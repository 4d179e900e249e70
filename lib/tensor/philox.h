/* SPDX-License-Identifier: Apache-2.0 */
/*
 * philox.h - Philox4x32-10: random bits as a pure function of key and counter
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11).
 *
 * Nothing has a generator state: a number is named by what it is for.  Keys of
 * dropout come from nnd_rng_key() in <nnd/plugin.h>.
 */
#ifndef TENSOR_PHILOX_H
#define TENSOR_PHILOX_H

#include <stdint.h>

/* out[4] = Philox(counter[4]); the low half of key is the first key word.
 * counter and out may be the same array. */
void philox4x32(uint64_t key, const uint32_t counter[4], uint32_t out[4]);

#endif
