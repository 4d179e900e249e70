/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.h - samples of a corpus as the arrays that a model takes.
 *
 * A sample has `context` rows.  What a step's batch holds is a pure function of
 * (corpus, seed, step): any rank computes any part of it, in any order.
 *
 * Stream: a sample is a window of context + 1 tokens; windows follow each other
 * at a stride of context, from a place that changes with the epoch.  Lines: a
 * sample is a line; its tokens are the inputs, each one's target is the next
 * token, the last one's the newline; a line of more than context tokens is cut.
 * Validation takes the windows from the first token (the last window may be
 * short) or the lines, in order.
 *
 * Stream, sequential: the text is cut into as many streams as a batch has samples,
 * from a place that changes with the epoch; sample k of a step is the next window of
 * stream k, so that a state can go on from step to step.  What does not fill a window
 * of every stream is left out of the epoch; validation has a last, short window.
 *
 * Pairs: a sample is a target, given <bos> and asked for what follows up to <eos>,
 * and beside it its source, of at most source_context tokens.
 *
 * Pairs, packed: a chunk holds as many of them as its rows take, one behind the other
 * (packs.h), and a step as many such packs as it has chunks.
 *
 * Rows without a token come after the sample's last token: id 0, target -1, pos
 * -1.
 */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "data/packs.h"

/* Where batches come from; a value, filled by one of the two functions below. */
struct batch_source {
    const struct corpus_part *part;
    uint64_t seed;
    uint64_t samples; /* training: in an epoch; validation: in all */
    uint32_t context, source_context, batch;
    uint64_t stream;     /* sequential: tokens of one stream; else 0 */
    struct packs *packs; /* packed; else NULL                        */
    uint32_t rows;       /* packed: of a chunk, on either side       */
    uint32_t samples_chunk;
    bool train;
};

/* Fewer tokens than this do not give every stream of a sequential corpus a window. */
uint64_t batch_least(const struct corpus *c, uint32_t batch);

/* ... and fewer to validate on no target. */
uint64_t batch_least_valid(const struct corpus *c, uint32_t batch);

/* Endless batches of `batch` samples from the training part; step s takes the
 * samples [s * batch, (s + 1) * batch) of the run.  The corpus must live on. */
void batch_source_train(const struct corpus *c, uint64_t seed, uint32_t batch,
                        struct batch_source *out);

/* Every validation sample once, `batch` at a time; at most `limit` batches when
 * limit > 0.  Samples beyond the last are padding. */
void batch_source_valid(const struct corpus *c, uint32_t batch, uint32_t limit,
                        struct batch_source *out);

/* Is this step the first of an epoch, at which sequential streams begin anew? */
bool batch_is_first(const struct batch_source *b, uint64_t step);

/* The same samples, packed: of every step's `rows` rows on either side, and at most
 * `batch` samples, each of `chunks` chunks has an equal part.  So `limit` batches of a
 * validation are that many times `batch` samples, in more steps where rows are few.
 * The source owns memory then. */
int batch_source_pack(struct batch_source *b, uint32_t rows, uint32_t chunks,
                      struct err *e);
void batch_source_free(struct batch_source *b);

/* How many batches hold a sample: of validation in all, of training per epoch
 * (rounded up). */
uint64_t batch_steps(const struct batch_source *b);

/* Samples per chunk when a batch is cut into `chunks`: rounded up, so that the
 * last chunks may hold padding alone.  Chunk k has samples [k * n, (k + 1) * n). */
uint32_t batch_chunk_samples(const struct batch_source *b, uint32_t chunks);

/* Arrays of T = n * context rows, the caller's. */
struct batch_rows {
    int32_t *id;     /* token                                          */
    int32_t *target; /* the token that follows; -1: no target          */
    int32_t *pos;    /* place within the sample, from 0; -1: padding   */
    int32_t *sample; /* number of the sample within the step's batch   */

    /* Of the sources: n * source_context rows, and lengths [n]; or NULL. */
    int32_t *source_id, *source_pos, *source_sample, *source_len;

    /* Packed: rows are as many as batch_source_pack gave a chunk; sample i of the chunk
     * has the rows [cu[i], cu[i + 1]), i < n, [n + 1] numbers. */
    int32_t *cu, *source_cu;
};

/* Fill the rows of the samples [first, first + n) of a step's batch; packed: they are
 * the samples of one chunk. */
void batch_fill(const struct batch_source *b, uint64_t step, uint32_t first, uint32_t n,
                const struct batch_rows *out);

/* The number of targets in these samples, without filling anything. */
uint64_t batch_targets(const struct batch_source *b, uint64_t step, uint32_t first,
                       uint32_t n);

/* The number of targets of each chunk of a step: out[chunks]. */
void batch_counts(const struct batch_source *b, uint64_t step, uint32_t chunks,
                  uint64_t *out);

#endif
