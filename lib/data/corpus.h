/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus.h - the text of a job as token ids: a part to train on, and a part to
 * validate on.
 *
 * Reading is a function of the files' names and bytes alone, so every rank that
 * reads the same files has the same ids.  How ids become samples is order.h's
 * and batch.h's business.
 */
#ifndef DATA_CORPUS_H
#define DATA_CORPUS_H

#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "data/tokenizer.h"
#include "data/tokens.h"
#include "proto/job.pb-c.h"

/* A run of tokens.  With format stream: tokens [first, first + count), and line
 * is NULL.  With format lines: line i is tokens [line[i], line[i + 1]), its
 * newline included, for i < lines. */
struct corpus_part {
    const struct tokens *tokens;
    uint64_t first, count;
    const uint64_t *line; /* [lines + 1] */
    uint64_t lines;
};

/* Read-only outside corpus.c.  valid.count is 0 when there is no validation. */
struct corpus {
    uint32_t context;
    struct corpus_part train, valid;
    uint64_t files;       /* read for both parts                        */
    uint64_t empty_lines; /* format lines: they are no samples          */
    uint64_t long_lines;  /* format lines: cut at context               */
    struct corpus_store {
        struct tokens tokens;
        uint64_t *line;
        uint64_t lines, cap;
    } store[2]; /* of data.train, of data.valid */
};

/* The tokenizer that the job asks for.  It learns from all files of data.train,
 * before a validation part is cut from them.  The caller destroys it. */
int corpus_tokenizer(const Nnd__Data *d, struct tokenizer **out, struct err *e);

/* Read the files of data.train and data.valid and turn them into ids with `t`,
 * which is of the kind that the job asks for.
 *
 * Stream: the files' text, one after the other.  Lines: each line that is not
 * empty is a sample; it ends with a newline, which is added where the file lacks
 * it.  Without data.valid the last data.valid_fraction of the tokens (or lines)
 * is the validation part: train has floor(n * (1 - fraction)).
 *
 * ERR_SPEC, ERR_NOTFOUND, ERR_DENIED: no file, no text, not text, fewer than
 * context + 1 tokens (or no line) to train on, fewer than 2 tokens (or no line)
 * to validate on where that was asked for, a character that `t` does not have;
 * the text names file and line, or the job's key, what was wanted and found. */
int corpus_open(const Nnd__Data *d, const struct tokenizer *t, uint32_t context,
                struct corpus **out, struct err *e);
void corpus_destroy(struct corpus *c);

/* Heap bytes that the corpus holds. */
uint64_t corpus_bytes(const struct corpus *c);

/* The SHA-256 of all ids and of where parts and lines begin: equal means that
 * (seed, index) gives the same sample. */
void corpus_sha256(const struct corpus *c, char hex[SHA256_HEX]);

#endif
