/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - greedy search.
 */
#include "decode/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_never(const struct search_rule *rule, uint32_t id)
{
    for (size_t i = 0; i < rule->nnever; i++)
        if (rule->never[i] == id)
            return true;
    return false;
}

/* The likeliest token that may be written; a NaN is an error. */
static int likeliest(const struct search_rule *rule, const float *logits, int64_t vocab,
                     uint32_t *id, struct err *e)
{
    float best = -INFINITY;
    bool any = false;

    for (int64_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]))
            return err_set(e, ERR_FAILED, "logits: wanted numbers, found a NaN at %lld",
                           (long long)i);
        if ((any && logits[i] <= best) || is_never(rule, (uint32_t)i))
            continue;
        any = true;
        best = logits[i];
        *id = (uint32_t)i;
    }
    return any ? 0 : err_set(e, ERR_FAILED, "logits: wanted a token to choose");
}

/* One more token of every row that is not done; returns how many still are not. */
static int advance(struct decoder *d, const struct search_rule *rule, int rows,
                   const struct search_texts *out, uint32_t *next, struct err *e)
{
    int open = 0, rc = decoder_step(d, next, e);

    for (int r = 0; rc == 0 && r < rows; r++) {
        uint32_t id = rule->eos;

        if (next[r] == rule->eos)
            continue;
        rc = likeliest(rule, decoder_logits(d, r), decoder_vocab(d), &id, e);
        if (rc < 0)
            break;
        next[r] = id;
        if (id == rule->eos)
            continue;
        out->id[r * rule->most + out->count[r]++] = id;
        open++;
    }
    return rc < 0 ? rc : open;
}

int search_greedy(struct decoder *d, const struct search_rule *rule, int rows,
                  const struct search_texts *out, struct err *e)
{
    uint32_t *next = calloc((size_t)rows, sizeof *next);
    int open = rows;

    if (!next)
        return err_set(e, ERR_NOMEM, "memory: %d rows", rows);
    decoder_reset(d);
    for (int r = 0; r < rows; r++) {
        next[r] = rule->bos;
        out->count[r] = 0;
    }
    for (int64_t i = 0; open > 0 && i < rule->most; i++)
        open = advance(d, rule, rows, out, next, e);
    free(next);
    return open < 0 ? open : 0;
}
