/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.c - normal numbers, two from each Philox word pair.
 */
#include "train/init.h"

#include <math.h>
#include <string.h>

#include "tensor/philox.h"

#define TWO_PI 6.28318530717958647692

/* FNV-1a, 64 bits (Fowler, Noll & Vo). */
static uint64_t hash_name(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

/* In (0, 1): the middle of one of 2^32 intervals. */
static double uniform(uint32_t word)
{
    return ((double)word + 0.5) / 4294967296.0;
}

/* The normal number of element i. */
static double normal(uint64_t key, int64_t i)
{
    uint64_t block = (uint64_t)i / 4;
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0}, w[4];
    philox4x32(key, counter, w);
    const uint32_t *pair = w + i % 4 / 2 * 2;
    double r = sqrt(-2 * log(uniform(pair[0]))), a = TWO_PI * uniform(pair[1]);
    return r * (i % 2 ? sin(a) : cos(a));
}

void init_weight(const struct param *p, uint64_t seed, int64_t lo, int64_t hi,
                 float *out)
{
    int64_t each = shape_elements(&p->value->shape) / (p->stack ? p->stack : 1);
    uint64_t key = 0;
    int current = -1;
    for (int64_t i = lo; i < hi; i++) {
        int which = (int)(i / each);
        if (which != current) {
            char name[256];
            param_name(p, which, name, sizeof(name));
            key = nnd_rng_mix(seed) ^ hash_name(name);
            current = which;
        }
        double x = p->init.std > 0 ? p->init.std * normal(key, i % each) : p->init.fill;
        out[i - lo] = (float)x;
    }
}
