/* SPDX-License-Identifier: Apache-2.0 */
/*
 * naive.c - attention as its definition has it, one query and one key at a time.  The
 * softmax is made on the way (Milakov & Gimelshein 2018): no row of scores is stored.
 */
#include <math.h>
#include <string.h>

#include "common.h"

const char attend_name[] = "naive";

void attend(const struct block *b)
{
    int64_t d = b->p->q.dim[2];

    for (int64_t i = 0; i < b->count; i++) {
        const float *q = row(&b->p->q, b->q + i, b->h);
        float *o = row(&b->p->o, b->q + i, b->h), most = -INFINITY, sum = 0;

        memset(o, 0, (size_t)d * sizeof *o);
        for (int64_t j = 0; j < seen(b, i); j++) {
            const float *k = row(&b->p->k, b->k + j, b->hk);
            const float *v = row(&b->p->v, b->k + j, b->hk);
            float score = 0, before = most, weight;

            for (int64_t n = 0; n < d; n++)
                score += q[n] * k[n];
            score *= b->p->scale;
            most = fmaxf(most, score);
            weight = expf(score - most);
            before = expf(before - most); /* what the sums so far are worth now */
            sum = sum * before + weight;
            for (int64_t n = 0; n < d; n++)
                o[n] = o[n] * before + weight * v[n];
        }
        for (int64_t n = 0; n < d && sum > 0; n++)
            o[n] /= sum;
        *lse_of(b, i) = sum == 0 ? -INFINITY : most + logf(sum); /* NaN: NaN */
    }
}
