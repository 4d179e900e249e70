/* SPDX-License-Identifier: Apache-2.0 */
/*
 * likelihood.h - how likely a text is to a model, and how much text that was.
 */
#ifndef WORKER_LIKELIHOOD_H
#define WORKER_LIKELIHOOD_H

#include <jansson.h>

#include "data/corpus.h"
#include "worker/trained.h"

/* Sums; zeros: of nothing yet.  The end of a sentence counts as a character. */
struct likelihood {
    double nats;
    uint64_t targets, unknown, characters; /* tokens, those that were TOKEN_UNK */
};

/* Add the tokens and characters of a part, as the tokenizer writes them; of each line,
 * or of the whole where it has none, the first token is given and does not count. */
int likelihood_size(const struct tokenizer *t, const struct corpus_part *p,
                    struct likelihood *l, struct err *e);

/* Characters of a text in UTF-8. */
uint64_t likelihood_characters(const char *text, size_t len);

/* The logarithm of a token's probability, when these are the logits [vocab]. */
double likelihood_token(const float *logits, int64_t vocab, uint32_t id);

/* Of a file, or all files of a folder, for a model that reads no source.  t is open,
 * its engine not yet.  Text is read as in training: a line as a sample, or windows of
 * model.context that follow each other; a model with a state reads it as `rows`
 * streams, each from beginning to end.  ERR_SPEC as corpus_open, ERR_USAGE: the model
 * reads. */
int likelihood_of_text(struct trained *t, const struct trained_options *o,
                       const char *path, int64_t rows, struct likelihood *out,
                       struct err *e);

/* Print the figures, or add them to a JSON object. */
void likelihood_print(const struct likelihood *l);
void likelihood_json(const struct likelihood *l, json_t *out);

#endif
