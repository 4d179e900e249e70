/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - the table of quantities, and those that follow from the loss.
 */
#include "worker/measure.h"

#include <math.h>

#include "worker/likelihood.h"
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

/* Targets per character of the whole validation part. */
static int tokens_per_character(const struct run *r, double *out, struct err *e)
{
    struct likelihood l = {0};
    int rc = likelihood_size(r->lexicon.target, &r->corpus->valid, &l, e);

    if (rc == 0 && l.characters == 0)
        rc = err_set(e, ERR_SPEC,
                     "train.best: wanted characters to validate on for bits_per_char, "
                     "found none");
    if (rc == 0)
        *out = (double)l.targets / (double)l.characters;
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

int measure_bytes(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                  int64_t *out, struct err *e)
{
    const struct measure *m = measure_of(job);

    *out = 0;
    return m && m->take == take_score ? scores_bytes(job, ks, vocab, out, e) : 0;
}
