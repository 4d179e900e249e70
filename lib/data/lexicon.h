/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lexicon.h - the tokenizers of a job: one of the text that a model writes, and for
 * pairs one of the text that it reads.
 *
 * It is what a checkpoint carries besides its weights.
 */
#ifndef DATA_LEXICON_H
#define DATA_LEXICON_H

#include "data/tokenizer.h"
#include "proto/job.pb-c.h"

/* Zeros: none yet. */
struct lexicon {
    struct tokenizer *target;
    struct tokenizer *source; /* NULL: the same as target, or nothing is read */
};

/* The tokenizers that the job asks for: those of data.tokenizer_file, or they learn
 * from all files of data.train (and data.source), before a validation part is cut from
 * them. */
int lexicon_learn(const Nnd__Data *d, struct lexicon *out, struct err *e);

/* The same of a text that is no job's, though d->train has its files: errors call it
 * `key`. */
int lexicon_learn_text(const Nnd__Data *d, const char *key, struct lexicon *out,
                       struct err *e);
void lexicon_free(struct lexicon *l);

/* That of the text that a model reads. */
const struct tokenizer *lexicon_source(const struct lexicon *l);

/* Append as one line of JSON: the tokenizer, or {"source":...,"target":...}. */
int lexicon_save(const struct lexicon *l, struct buf *out, struct err *e);

/* What was saved before; `where` names the file for errors. */
int lexicon_load(const char *where, const char *json, size_t len, struct lexicon *out,
                 struct err *e);

/* Do both give the same ids?  1 or 0, or an error. */
int lexicon_same(const struct lexicon *a, const struct lexicon *b, struct err *e);

/* ERR_SPEC unless the tokenizers are what the job asks for: their kind, and one or
 * two of them. */
int lexicon_check(const struct lexicon *l, const Nnd__Data *d, struct err *e);

/* The same, and that they do what data.lower, split and unk: error ask for: those of a
 * file or of another model have keys of their own. */
int lexicon_check_keys(const struct lexicon *l, const Nnd__Data *d, struct err *e);

#endif
