/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - the table of quantities, and those that follow from the loss.
 */
#include "worker/measure.h"

#include <math.h>
#include <stdlib.h>

#include "worker/scores.h"

static int take_loss(struct run *r, const struct measure *m, double loss, double *out,
                     struct err *e)
{
    (void)r, (void)m, (void)e;
    *out = loss;
    return 0;
}

static int take_perplexity(struct run *r, const struct measure *m, double loss,
                           double *out, struct err *e)
{
    (void)r, (void)m, (void)e;
    *out = exp(loss);
    return 0;
}

/* --- bits per character --------------------------------------------------- */

/* UTF-8 characters: bytes that do not go on with one. */
static uint64_t count_characters(const struct buf *text)
{
    uint64_t n = 0;

    for (size_t i = 0; i < text->len; i++)
        n += ((unsigned char)text->data[i] & 0xc0) != 0x80;
    return n;
}

/* Add the characters and targets of tokens [first, first + n), of which the first is
 * given.  The end of a sentence, which has no text of its own, counts as one. */
static int add_run(const struct run *r, const struct tokens *tokens, uint64_t first,
                   uint64_t n, uint64_t *characters, uint64_t *targets, struct err *e)
{
    const struct tokenizer *t = r->lexicon.target;
    struct buf text = {0};
    uint32_t *id = n > 1 ? calloc(n, sizeof *id) : NULL;
    int rc = 0;

    if (n < 2)
        return 0;
    if (!id)
        return err_set(e, ERR_NOMEM, "memory: %llu tokens", (unsigned long long)n);
    for (uint64_t i = 1; i < n; i++)
        id[i - 1] = tokens_get(tokens, first + i);
    rc = tokenizer_decode(t, id, n - 1, &text, e);
    *characters += count_characters(&text);
    *characters += tokenizer_marks(t) && id[n - 2] == TOKEN_EOS;
    *targets += n - 1;
    buf_free(&text);
    free(id);
    return rc;
}

/* Targets per character of the whole validation part. */
static int tokens_per_character(const struct run *r, double *out, struct err *e)
{
    const struct corpus_part *p = &r->corpus->valid;
    uint64_t characters = 0, targets = 0;
    int rc = 0;

    if (!p->line)
        rc = add_run(r, p->tokens, p->first, p->count, &characters, &targets, e);
    for (uint64_t i = 0; rc == 0 && p->line && i < p->lines; i++)
        rc = add_run(r, p->tokens, p->line[i], p->line[i + 1] - p->line[i], &characters,
                     &targets, e);
    if (rc == 0 && characters == 0)
        rc = err_set(e, ERR_SPEC,
                     "train.best: wanted characters to validate on for bits_per_char, "
                     "found none");
    if (rc == 0)
        *out = (double)targets / (double)characters;
    return rc;
}

static int take_bits(struct run *r, const struct measure *m, double loss, double *out,
                     struct err *e)
{
    (void)m;
    if (r->density == 0 && tokens_per_character(r, &r->density, e) < 0)
        return e->code;
    *out = loss / log(2) * r->density;
    return 0;
}

/* ------------------------------------------------------------------------- */

static int take_score(struct run *r, const struct measure *m, double loss, double *out,
                      struct err *e)
{
    (void)loss;
    return scores_take(r, m->score, out, e);
}

static const struct measure measures[] = {
    [NND__TRAIN__BEST__LOSS] = {"loss", false, take_loss, 0},
    [NND__TRAIN__BEST__PERPLEXITY] = {"perplexity", false, take_perplexity, 0},
    [NND__TRAIN__BEST__BITS_PER_CHAR] = {"bits_per_char", false, take_bits, 0},
    [NND__TRAIN__BEST__BLEU] = {"bleu", true, take_score, METRIC_BLEU},
    [NND__TRAIN__BEST__CHRF] = {"chrf", true, take_score, METRIC_CHRF},
    [NND__TRAIN__BEST__ROUGE_1] = {"rouge_1", true, take_score, METRIC_ROUGE_1},
    [NND__TRAIN__BEST__ROUGE_2] = {"rouge_2", true, take_score, METRIC_ROUGE_2},
    [NND__TRAIN__BEST__ROUGE_L] = {"rouge_l", true, take_score, METRIC_ROUGE_L},
};

const struct measure *measure_of(const Nnd__Job *job)
{
    Nnd__Train__Best best = job->train->best;

    return best == NND__TRAIN__BEST__NONE ? NULL : &measures[best];
}
