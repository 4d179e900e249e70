/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tiled.c - the same, by tiles of keys for all queries of a block at once.
 *
 * What is different, in the order of what it gains:
 *  - keys are turned, so that the scores of a query with TILE keys are sums that run
 * side by side.  The compiler may not reorder one sum, but it may keep 16 in a
 * register;
 *  - an exponential of our own, a few products without a call, side by side as well;
 *  - sums are made smaller once for a tile and not once for a key;
 *  - keys and values of a tile stay in the cache for BLOCK queries.
 * Each query still adds its keys in one order, whatever block it is in: its bits depend
 * on nobody else, and NND_K_INVARIANT stays true.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "common.h"

enum { TILE = 64 };

const char attend_name[] = "tiled";

/* Of one block, while it goes over the keys. */
struct state {
    float q[BLOCK][MOST_D]; /* times the scale */
    float turned[MOST_D][TILE];
    float score[BLOCK][TILE];
    float o[BLOCK][MOST_D];
    float most[BLOCK], sum[BLOCK];
};

/* e^x for -87 <= x <= 0, what is beyond taken for the end, a NaN for itself: 2^n times
 * a polynomial of the rest (Moshier's Cephes). */
static inline float exponential(float x)
{
    float t, up, r, p = 1.535336188e-4f;
    int32_t bits;

    t = x > -87 ? x : -87;
    t = (t <= 0 ? t : 0) * 1.44269504f;
    up = t + 0x1.8p23f; /* has n in its last bits */
    r = t - (up - 0x1.8p23f);
    p = p * r + 1.339887440e-3f;
    p = p * r + 9.618437357e-3f;
    p = p * r + 5.550332471e-2f;
    p = p * r + 2.402264791e-1f;
    p = p * r + 6.931472028e-1f;
    p = p * r + 1;
    memcpy(&bits, &p, sizeof bits);
    bits += (int32_t)(up - 0x1.8p23f) * (1 << 23);
    memcpy(&p, &bits, sizeof p);
    return x == x ? p : x;
}

static void begin(const struct block *b, struct state *s)
{
    int64_t d = b->p->q.dim[2];

    memset(s->o, 0, sizeof s->o);
    for (int64_t i = 0; i < b->count; i++) {
        const float *q = row(&b->p->q, b->q + i, b->h);

        for (int64_t n = 0; n < d; n++)
            s->q[i][n] = q[n] * b->p->scale;
        s->most[i] = -INFINITY;
        s->sum[i] = 0;
    }
}

/* Keys [first, first + count) with d numbers, a number after the other. */
static void turn(const struct block *b, int64_t first, int64_t count, struct state *s)
{
    int64_t d = b->p->q.dim[2];

    for (int64_t j = 0; j < TILE; j++) {
        const float *k = j < count ? row(&b->p->k, b->k + first + j, b->hk) : NULL;

        for (int64_t n = 0; n < d; n++)
            s->turned[n][j] = k ? k[n] : 0;
    }
}

static void scores(int64_t d, int64_t count, struct state *s)
{
    for (int64_t i = 0; i < count; i++) {
        float sum[TILE] = {0};

        for (int64_t n = 0; n < d; n++)
            for (int64_t j = 0; j < TILE; j++)
                sum[j] += s->q[i][n] * s->turned[n][j];
        memcpy(s->score[i], sum, sizeof sum);
    }
}

/* Scores of query i with the first n keys of the tile become weights, 0 behind them. */
static void weigh(struct state *s, int64_t i, int64_t n, int64_t d)
{
    float most = s->most[i], sum = 0, before;
    float *w = s->score[i];

    for (int64_t j = 0; j < n; j++)
        most = w[j] > most ? w[j] : most;
    before = exponential(s->most[i] - most);
    for (int64_t j = 0; j < TILE; j++)
        w[j] = exponential(w[j] - most);
    for (int64_t j = 0; j < n; j++)
        sum += w[j];
    for (int64_t m = 0; m < d; m++)
        s->o[i][m] *= before;
    s->sum[i] = s->sum[i] * before + sum;
    s->most[i] = most;
}

static void add_values(const struct block *b, int64_t first, int64_t n, int64_t i,
                       struct state *s)
{
    int64_t d = b->p->q.dim[2];
    float *o = s->o[i];

    for (int64_t j = 0; j < n; j++) {
        const float *v = row(&b->p->v, b->k + first + j, b->hk);
        float w = s->score[i][j];

        for (int64_t m = 0; m < d; m++)
            o[m] += w * v[m];
    }
}

static void end(const struct block *b, const struct state *s)
{
    int64_t d = b->p->q.dim[2];

    for (int64_t i = 0; i < b->count; i++) {
        float *o = row(&b->p->o, b->q + i, b->h), sum = s->sum[i];

        for (int64_t n = 0; n < d; n++)
            o[n] = sum == 0 ? 0 : s->o[i][n] / sum;
        *lse_of(b, i) = sum == 0 ? -INFINITY : s->most[i] + logf(sum);
    }
}

void attend(const struct block *b)
{
    struct state s;
    int64_t d = b->p->q.dim[2], keys = seen(b, b->count - 1);

    begin(b, &s);
    for (int64_t first = 0; first < keys; first += TILE) {
        int64_t count = keys - first < TILE ? keys - first : TILE;

        turn(b, first, count, &s);
        scores(d, b->count, &s);
        for (int64_t i = 0; i < b->count; i++) {
            int64_t n = seen(b, i) - first;

            if (n <= 0)
                continue;
            n = n < TILE ? n : TILE;
            weigh(&s, i, n, d);
            add_values(b, first, n, i, &s);
        }
    }
    end(b, &s);
}
