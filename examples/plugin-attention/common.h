/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common.h - what the two steps of the example share: everything but the arithmetic.
 */
#ifndef COMMON_H
#define COMMON_H

#include <nnd/plugin.h>

enum { BLOCK = 16, MOST_D = 256 };

/* One head and up to BLOCK queries of one sequence: query i of them, row q + i, sees
 * keys [0, seen(i)) of rows k and on. */
struct block {
    const struct nnd_attn *p;
    int64_t h, hk;    /* heads of queries, of keys          */
    int64_t q, count; /* first row, how many                */
    int64_t k, nk;    /* first key's row, keys              */
    int64_t shift;    /* with `causal`: query 0 sees so many */
};

/* Of NAME.c: the plugin's name and the work. */
extern const char attend_name[];
void attend(const struct block *b);

static inline int64_t seen(const struct block *b, int64_t i)
{
    int64_t n = b->p->causal ? b->shift + i : b->nk;

    return n < 0 ? 0 : n > b->nk ? b->nk : n;
}

/* Row i, head h. */
static inline float *row(const struct nnd_tensor *t, int64_t i, int64_t h)
{
    return (float *)t->data + i * t->stride[0] + h * t->stride[1];
}

static inline float *lse_of(const struct block *b, int64_t i)
{
    const struct nnd_tensor *t = &b->p->lse;

    return (float *)t->data + b->h * t->stride[0] + (b->q + i) * t->stride[1];
}

#endif
