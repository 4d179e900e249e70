/* SPDX-License-Identifier: Apache-2.0 */
/*
 * order.c - a permutation computed place by place.
 */
#include "data/order.h"

/* Six rounds on each half: few enough to be free beside the copying of a sample,
 * enough for domains of a few bits, where one round mixes little. */
#define ORDER_ROUNDS 12

/* What the keys are for, so that equal numbers serve no two purposes. */
enum order_use { ORDER_PLACE = 1, ORDER_PHASE };

/* The finalizer of SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t key_of(uint64_t seed, uint64_t epoch, enum order_use use)
{
    return mix(mix(mix(seed) ^ epoch) ^ use);
}

static uint32_t bits_of(uint64_t count)
{
    uint32_t bits = 0;

    while (bits < 64 && (count - 1) >> bits)
        bits++;
    return bits;
}

/* A bijection of [0, 2^bits).  The halves differ by at most one bit; since a
 * round changes one half by the other alone, it can be undone for any widths. */
static uint64_t permute(uint64_t key, uint32_t bits, uint64_t x)
{
    uint32_t low = bits / 2;
    uint64_t low_mask = ((uint64_t)1 << low) - 1;
    uint64_t high_mask = ((uint64_t)1 << (bits - low)) - 1;
    uint64_t a = x & low_mask, b = x >> low;

    for (uint64_t round = 0; round < ORDER_ROUNDS; round += 2) {
        b ^= mix(key ^ mix(a ^ round << 56)) & high_mask;
        a ^= mix(key ^ mix(b ^ (round + 1) << 56)) & low_mask;
    }
    return b << low | a;
}

uint64_t order_place(uint64_t seed, uint64_t epoch, uint64_t count, uint64_t i)
{
    uint64_t key = key_of(seed, epoch, ORDER_PLACE);
    uint32_t bits = bits_of(count);

    do
        i = permute(key, bits, i);
    while (i >= count);
    return i;
}

uint64_t order_phase(uint64_t seed, uint64_t epoch, uint64_t range)
{
    return key_of(seed, epoch, ORDER_PHASE) % range;
}
