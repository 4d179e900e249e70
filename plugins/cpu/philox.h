/* SPDX-License-Identifier: Apache-2.0 */
/*
 * philox.h - dropout's random words (Philox4x32-10, Salmon et al. 2011), as
 * plugin.h numbers them, many counters at a time.
 */
#ifndef CPU_PHILOX_H
#define CPU_PHILOX_H

#include "vec.h"

/* A dropout made ready: element kept when its word >= threshold. */
struct drop {
    uint64_t key;
    uint32_t threshold;
    float scale;
};

static inline struct drop drop_make(const struct nnd_dropout *d)
{
    struct drop r = {0, 0, 1};

    if (d->p > 0) {
        r.key = nnd_rng_key(d->state, d->op);
        r.threshold = (uint32_t)__builtin_ceil((double)d->p * 0x1p32);
        r.scale = 1.0f / (1.0f - d->p);
    }
    return r;
}

typedef uint64_t vul __attribute__((vector_size(VEC_BYTES)));

/* Products of the even lanes of a and b, 64 bits each. */
static inline vul vec_mul_even(vu a, vu b)
{
#if defined(__AVX512F__)
    return (vul)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vul)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (vul)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return ((vul)a & 0xffffffffu) * ((vul)b & 0xffffffffu);
#endif
}

/* Low and high halves of a * m, lane by lane (little endian). */
static inline vu vec_mul_wide(vu a, uint32_t m, vu *high)
{
    vu b = (vu){0} + m;
    vul even = vec_mul_even(a, b);
    vul odd = vec_mul_even((vu)((vul)a >> 32), b);

    *high = (vu)((even >> 32) | (odd & 0xffffffff00000000u));
    return (vu)((even & 0xffffffffu) | (odd << 32));
}

/* Words of columns [first, first + n) of one row, first a multiple of 4;
 * out has room for n rounded up to 4 * VL. */
static inline void drop_words(uint64_t key, int32_t sample, uint32_t head, int32_t pos,
                              int64_t first, int64_t n, uint32_t *out)
{
    vu step;

    for (int i = 0; i < VL; i++)
        step[i] = (uint32_t)i;
    for (int64_t j = 0; j < n; j += 4 * VL) {
        vu c[4] = {(vu){0} + (uint32_t)sample, (vu){0} + head, (vu){0} + (uint32_t)pos,
                   step + (uint32_t)((first + j) / 4)};
        uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

        for (int round = 0; round < 10; round++) {
            vu hi0, hi1;
            vu lo0 = vec_mul_wide(c[0], 0xd2511f53u, &hi0);
            vu lo1 = vec_mul_wide(c[2], 0xcd9e8d57u, &hi1);

            c[0] = hi1 ^ c[1] ^ k0;
            c[1] = lo1;
            c[2] = hi0 ^ c[3] ^ k1;
            c[3] = lo0;
            k0 += 0x9e3779b9u;
            k1 += 0xbb67ae85u;
        }
        for (int i = 0; i < VL; i++)
            for (int w = 0; w < 4; w++)
                out[j + 4 * i + w] = c[w][i];
    }
}

/* What to multiply VL elements by: scale where kept, else 0. */
static inline vf drop_factor(const struct drop *d, const uint32_t *words)
{
    vu w;

    memcpy(&w, words, sizeof w);
    return vec_pick((vi)(w >= d->threshold), vec_all(d->scale), vec_all(0));
}

#endif
