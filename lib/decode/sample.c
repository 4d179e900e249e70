/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.c - order the tokens, keep the first of them, draw one.
 *
 * Weights and their sums are double, in the order of the tokens, so that the
 * borders of top_p and of the draw have one definition.
 */
#include "decode/sample.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/philox.h"

/* Philox counter word that sets sampling apart from other uses of a seed. */
#define SAMPLE_STREAM 0x53414d50u

struct sample_space {
    uint32_t vocab;
    double *weight;  /* [vocab] in the order of the tokens */
    float *logit;    /* [vocab] by id: -inf where it may not be drawn */
    uint32_t *id[2]; /* [vocab] each: sorted from one into the other */
    uint32_t *key;   /* [vocab] by id: rises as the logit falls */
};

int sample_rule_check(const struct sample_rule *r, struct err *e)
{
    if (!(r->temperature >= 0 && r->temperature <= 1e6))
        return err_set(e, ERR_USAGE, "temperature: wanted 0 to 1e6, found %g",
                       r->temperature);
    if (!(r->top_p > 0 && r->top_p <= 1))
        return err_set(e, ERR_USAGE, "top_p: wanted above 0 and at most 1, found %g",
                       r->top_p);
    return ERR_OK;
}

/* ---- memory -------------------------------------------------------------- */

static uint64_t array_bytes(uint32_t vocab)
{
    return (uint64_t)vocab * (sizeof(double) + sizeof(float) + 3 * sizeof(uint32_t));
}

uint64_t sample_space_bytes(uint32_t vocab)
{
    return sizeof(struct sample_space) + array_bytes(vocab);
}

int sample_space_create(uint32_t vocab, struct sample_space **out, struct err *e)
{
    struct sample_space *s = malloc(sizeof *s);
    double *arrays = malloc(array_bytes(vocab));

    if (!s || !arrays) {
        free(s);
        free(arrays);
        return err_set(e, ERR_NOMEM, "sampling: no memory, wanted %" PRIu64 " bytes",
                       sample_space_bytes(vocab));
    }
    s->vocab = vocab;
    s->weight = arrays;
    s->logit = (float *)(arrays + vocab);
    s->key = (uint32_t *)(s->logit + vocab);
    s->id[0] = s->key + vocab;
    s->id[1] = s->id[0] + vocab;
    *out = s;
    return ERR_OK;
}

void sample_space_destroy(struct sample_space *s)
{
    if (!s)
        return;
    free(s->weight);
    free(s);
}

/* ---- order --------------------------------------------------------------- */

/* The logits of what may be drawn. */
static int take_logits(const struct sample_rule *r, struct sample_space *s,
                       const float *logits, struct err *e)
{
    for (uint32_t i = 0; i < s->vocab; i++) {
        if (!(logits[i] < INFINITY))
            return err_set(e, ERR_FAILED, "logits: wanted numbers, found %g for id %u",
                           (double)logits[i], i);
        s->logit[i] = logits[i];
    }
    for (size_t i = 0; i < r->nnever; i++)
        s->logit[r->never[i]] = -INFINITY;
    return ERR_OK;
}

/* The place of the largest logit, the lowest one where several are equal. */
static int find_best(const struct sample_space *s, uint32_t *best, struct err *e)
{
    uint32_t b = 0;

    for (uint32_t i = 1; i < s->vocab; i++)
        if (s->logit[i] > s->logit[b])
            b = i;
    if (s->vocab == 0 || s->logit[b] == -INFINITY)
        return err_set(e, ERR_FAILED,
                       "logits: wanted a token to choose, found %u of -inf", s->vocab);
    *best = b;
    return ERR_OK;
}

/* Unsigned numbers that rise as the logits fall; -0 is 0. */
static uint32_t key_of(float logit)
{
    float x = logit + 0.0f;
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

/* Ids by (logit falling, id rising): four stable passes by a byte of the key
 * (radix sort), so that ties need no second criterion.  Ends in s->id[0]. */
static void sort_ids(struct sample_space *s)
{
    for (uint32_t i = 0; i < s->vocab; i++) {
        s->key[i] = key_of(s->logit[i]);
        s->id[0][i] = i;
    }
    for (uint32_t pass = 0; pass < 4; pass++) {
        const uint32_t *from = s->id[pass % 2];
        uint32_t *to = s->id[1 - pass % 2], shift = 8 * pass, at[257] = {0};

        for (uint32_t i = 0; i < s->vocab; i++)
            at[(s->key[i] >> shift & 0xff) + 1]++;
        for (uint32_t b = 0; b < 256; b++)
            at[b + 1] += at[b];
        for (uint32_t i = 0; i < s->vocab; i++)
            to[at[s->key[from[i]] >> shift & 0xff]++] = from[i];
    }
}

/* ---- choice -------------------------------------------------------------- */

/* 53 random bits as a number in [0, 1). */
static double uniform(uint64_t seed, uint64_t position)
{
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32),
                                 SAMPLE_STREAM, 0};
    uint32_t bits[4];

    philox4x32(seed, counter, bits);
    return (double)((uint64_t)bits[0] << 21 | bits[1] >> 11) * 0x1p-53;
}

/* Weights of the first n tokens, relative to the first one's; returns their sum. */
static double weigh(struct sample_space *s, double temperature, uint32_t n)
{
    double best = (double)s->logit[s->id[0][0]], sum = 0;

    for (uint32_t i = 0; i < n; i++) {
        s->weight[i] = exp(((double)s->logit[s->id[0][i]] - best) / temperature);
        sum += s->weight[i];
    }
    return sum;
}

/* The least number of the first n tokens whose weights reach `share` of `sum`;
 * *sum becomes theirs. */
static uint32_t nucleus(const struct sample_space *s, uint32_t n, double share,
                        double *sum)
{
    double want = share * *sum, have = 0;
    uint32_t kept = 0;

    while (kept < n && have < want)
        have += s->weight[kept++];
    *sum = have;
    return kept;
}

/* The token of the first n in whose part of [0, sum) the mark lies.  Tokens of
 * weight 0 stand last and have no part. */
static uint32_t draw(const struct sample_space *s, uint32_t n, double mark)
{
    uint32_t chosen = 0;
    double have = s->weight[0];

    while (have <= mark && chosen + 1 < n && s->weight[chosen + 1] > 0)
        have += s->weight[++chosen];
    return chosen;
}

int sample_next(const struct sample_rule *r, struct sample_space *s,
                const float *logits, uint64_t position, uint32_t *id, struct err *e)
{
    uint32_t best = 0, n = s->vocab;
    double sum;

    if (take_logits(r, s, logits, e) < 0 || find_best(s, &best, e) < 0)
        return e->code;
    if (r->temperature == 0) {
        *id = best;
        return ERR_OK;
    }
    sort_ids(s);
    if (r->top_k > 0 && r->top_k < n)
        n = r->top_k;
    sum = weigh(s, r->temperature, n);
    if (r->top_p < 1)
        n = nucleus(s, n, r->top_p, &sum);
    *id = s->id[0][draw(s, n, uniform(r->seed, position) * sum)];
    return ERR_OK;
}
