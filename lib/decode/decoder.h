/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.h - a trained model at work on some rows of text, a token a step.
 *
 * Every row has a cache of keys and values; all rows go on in step and hold
 * equally many tokens.  A row's logits do not depend on the other rows.  What the
 * next token is, is the caller's choice (sample.h).
 */
#ifndef DECODE_DECODER_H
#define DECODE_DECODER_H

#include <stdbool.h>

#include "graph/exec.h"
#include "proto/job.pb-c.h"

struct decoder;

struct decoder_config {
    const Nnd__Job *job; /* resolved */
    int64_t vocab;
    int rows;
    const struct kernels *kernels;
    const char *const *rules; /* for kernels (kernel.h), instead of the job's;
                                 decoder_create needs them, no one later    */
    size_t nrules;
    struct comm *self; /* a world of one */
    int threads;
};

/* Build and allocate; the weights are whatever they are until they are loaded into
 * decoder_exec.  The job must outlive the decoder. */
int decoder_create(const struct decoder_config *c, struct decoder **out, struct err *e);
void decoder_destroy(struct decoder *d);

struct exec *decoder_exec(const struct decoder *d);

int64_t decoder_vocab(const struct decoder *d);

/* Tokens that a row holds; at most model.context where each needs room. */
int64_t decoder_length(const struct decoder *d);
bool decoder_full(const struct decoder *d);

/* Forget all tokens; what was read stays. */
void decoder_reset(struct decoder *d);

/* Does the model read a source?  Then give one to every row, and begin anew: tokens
 * id[r * model.source_context] ..., of which len[r] are real, at most source_context;
 * 0: the row has none. */
bool decoder_reads(const struct decoder *d);
int decoder_read(struct decoder *d, const uint32_t *id, const uint32_t *len,
                 struct err *e);

/* Add the token id[r] to every row r.  ERR_FAILED when the caches are full. */
int decoder_step(struct decoder *d, const uint32_t *id, struct err *e);

/* What follows in a row: logits [vocab], good until the next step. */
const float *decoder_logits(const struct decoder *d, int row);

#endif
