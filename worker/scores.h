/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scores.h - how good the texts are that a model writes while it is trained: it writes
 * one for each source that it is validated on, and they are scored.
 *
 * Rank 0 writes, with a decoder of its own that is given the trainer's weights each
 * time; so it takes memory for the whole model besides.  The likeliest token is written
 * each time.  What a text ought to be is the target as the tokenizer writes it: what
 * its vocabulary lacks counts as one word on both sides.
 */
#ifndef WORKER_SCORES_H
#define WORKER_SCORES_H

#include "metric/metric.h"
#include "worker/run.h"

struct scores;

/* Collective: the score, 0 to 100, of the weights as they are; at most
 * train.valid_batches batches of texts, if that is set.  Every rank gets the same. */
int scores_take(struct run *r, enum metric m, double *out, struct err *e);

/* What that takes on rank 0, in bytes: the decoder, a weight on its way, the texts.
 * The job is resolved, its vocabularies known. */
int scores_bytes(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                 int64_t *out, struct err *e);

void scores_destroy(struct scores *s);

#endif
