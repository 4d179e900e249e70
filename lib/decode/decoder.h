/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.h - a trained model at work on some rows of text, a token a step.
 *
 * Every row has a cache of keys and values, or a recurrent state; all rows go on in
 * step and hold equally many tokens.  A row's logits do not depend on the other rows,
 * nor on how many there are.  What the next token is, is the caller's choice
 * (sample.h, search.h).
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
    int sources; /* texts that are read at once; a divisor of rows; 0: as many */
    int unit;    /* rows leave in lots of so many, at best; 0: they do not     */
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

/* What a decoder would take, in bytes: all of it, and the largest of its weights alone.
 * self and threads do not matter. */
int decoder_bytes(const struct decoder_config *c, int64_t *all, int64_t *weight,
                  struct err *e);

struct exec *decoder_exec(const struct decoder *d);

int64_t decoder_vocab(const struct decoder *d);

/* Tokens that a text may have, and tokens of a source; the first INT64_MAX where no
 * token needs room, the second 0 where nothing is read. */
int64_t decoder_most(const struct decoder *d);
int64_t decoder_width(const struct decoder *d);

/* Tokens that a row holds; at most model.context where each needs room. */
int64_t decoder_length(const struct decoder *d);
bool decoder_full(const struct decoder *d);

/* Forget all tokens; what was read stays.  All rows are there again: row r has the
 * source number r / (rows / sources). */
void decoder_reset(struct decoder *d);

/* Does the model read a source?  Then give it some, and begin anew: tokens
 * id[s * model.source_context] ..., of which len[s] are real, at most source_context;
 * 0: there is none. */
bool decoder_reads(const struct decoder *d);
int decoder_read(struct decoder *d, const uint32_t *id, const uint32_t *len,
                 struct err *e);

/* How many real tokens the source of a row has. */
int64_t decoder_reach(const struct decoder *d, int row);

/* Row r becomes what row from[r] is, tokens, source and all, for every r < rows; from
 * now on rows [0, rows) go on.  A row that others are made of stays as it is. */
void decoder_arrange(struct decoder *d, const int *from, int rows);

/* Add the token id[r] to every row r.  ERR_FAILED when the caches are full. */
int decoder_step(struct decoder *d, const uint32_t *id, struct err *e);

/* What follows in a row: logits [vocab], good until the next step. */
const float *decoder_logits(const struct decoder *d, int row);

/* Where the newest token of a row looked in its source: weights out[decoder_width],
 * which sum to 1, 0 in padding; of a Transformer the mean over the heads of its last
 * layer.  Can that be said of the model? */
bool decoder_looks(const struct decoder *d);
void decoder_look(const struct decoder *d, int row, float *out);

#endif
