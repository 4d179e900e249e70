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
#include "data/lexicon.h"
#include "data/tokens.h"
#include "proto/job.pb-c.h"

/* A run of tokens.  With format stream: tokens [first, first + count), and line
 * is NULL.  With format lines: line i is tokens [line[i], line[i + 1]), its
 * newline included, for i < lines.  With format pairs: the same of the targets, each
 * with <bos> in front and <eos> behind, and of the sources, each with <eos> behind. */
struct corpus_part {
    const struct tokens *tokens;
    uint64_t first, count;
    const uint64_t *line; /* [lines + 1] */
    uint64_t lines;
    const struct tokens *source; /* pairs; else NULL */
    const uint64_t *source_line; /* [lines + 1]      */
};

/* Read-only outside corpus.c.  valid.count is 0 when there is no validation. */
struct corpus {
    uint32_t context, source_context;
    bool sequential; /* data.sampling: windows one after the other */
    struct corpus_part train, valid;
    uint64_t files;      /* read for both parts, unless pairs          */
    uint64_t long_lines; /* longer than the context: cut, or left out  */
    struct corpus_store {
        struct tokens tokens;
        uint64_t *line;
        uint64_t lines, cap;
        uint64_t read, empty, skipped; /* lines, or pairs, and those left out */
    } store[2], source[2];             /* of data.train, of data.valid */
};

/* Read the files of data.train and data.valid and turn them into ids with `l`,
 * which is what the job asks for (lexicon_check_keys).
 *
 * Stream: the files' text, one after the other.  Lines: each line that is not
 * empty is a sample; it ends with a newline, which is added where the file lacks
 * it.  Pairs: as in pairs.h.  A line that does not fit into the context (of pairs,
 * the source into source_context) is treated as data.too_long says; a side of a pair
 * that is cut keeps its <eos>.  Without data.valid the last data.valid_fraction of the
 * tokens (or lines) is the validation part: train has floor(n * (1 - fraction)).
 *
 * ERR_SPEC, ERR_NOTFOUND, ERR_DENIED: no file, no text, not text, fewer than
 * context + 1 tokens (or no line) to train on, fewer than 2 tokens (or no line)
 * to validate on where that was asked for, what `l` has no token for;
 * the text names file and line, or the job's key, what was wanted and found. */
int corpus_open(const Nnd__Data *d, const struct lexicon *l, uint32_t context,
                uint32_t source_context, struct corpus **out, struct err *e);

/* The same of a text that is no job's, though d->train has its files: errors call it
 * `key`, and `l` does what it does. */
int corpus_open_text(const Nnd__Data *d, const struct lexicon *l, const char *key,
                     uint32_t context, struct corpus **out, struct err *e);
void corpus_destroy(struct corpus *c);

/* Heap bytes that the corpus holds. */
uint64_t corpus_bytes(const struct corpus *c);

/* The SHA-256 of all ids and of where parts and lines begin: equal means that
 * (seed, index) gives the same sample. */
void corpus_sha256(const struct corpus *c, char hex[SHA256_HEX]);

#endif
