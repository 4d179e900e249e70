/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.h - models that write whole texts: how they search, and how several write
 * together.
 *
 * What translate, summarize, generate and eval have in common once a model is open.
 */
#ifndef WORKER_WRITER_H
#define WORKER_WRITER_H

#include <jansson.h>

#include "decode/search.h"
#include "worker/trained.h"

/* How to search, as the command line has it. */
struct writer_options {
    int64_t beam, best, least, ngram;
    double alpha, coverage;
    const char *penalty, *prefix;
    struct arg_list with;
};
extern const struct arg_row writer_args[];

struct writer {
    struct trained *first;
    struct trained *other; /* those of --with */
    size_t others;
    struct decoder **decoder; /* [others + 1] */
    struct search_rule rule;
    int64_t texts;    /* at a time                                   */
    uint32_t *prefix; /* of every text: bos or the first token, and more */
    int64_t prefixed;
    int64_t width;               /* of a source */
    uint32_t *source;            /* [texts * width] */
    uint32_t *source_len;        /* [texts]         */
    struct search_prefix *begin; /* [texts] */
    struct search_text *text;    /* [texts * rule.best] */
};

/* Open the other models, make decoders for `texts` texts at a time of at most `most`
 * tokens each; `look`: keep where tokens looked.  `t` is open, its engine not yet.
 * Whatever it returns, writer_close takes it away. */
int writer_open(struct writer *w, struct trained *t, const struct trained_options *o,
                const struct writer_options *how, int64_t texts, int64_t most,
                bool look, struct err *e);
void writer_close(struct writer *w);

/* The tokens that a text begins with, t->begins before them; of one without any what
 * stands before every text: <bos>, or a newline where there is none.  ERR_USAGE,
 * ERR_SPEC name the option. */
int writer_begin(const struct trained *t, const char *text, const char *option,
                 struct tokens *out, struct err *e);

/* Append a source's tokens with <eos> behind; more than the model reads at once are cut
 * as in training, and *cut counts that, or refused, as data.too_long says. */
int writer_read(const struct trained *t, const char *text, size_t len,
                struct tokens *out, uint64_t *cut, struct err *e);

/* Warn that so many of `all` sources of a file were cut; 0: say nothing. */
void writer_warn_cut(const struct trained *t, const char *file, uint64_t cut,
                     uint64_t all);

/* Number i of the sources to read next: its tokens; then read them, and write texts for
 * the first n: w->text[i * w->rule.best + k], in `mem`. */
void writer_give(struct writer *w, int64_t i, const struct tokens *ids, uint64_t first,
                 uint64_t count);
int writer_write(struct writer *w, int64_t n, struct arena *mem, struct err *e);

/* Append what a text says, as a part of a line (utf8_line). */
int writer_text(const struct writer *w, const struct search_text *t, struct buf *out,
                struct err *e);

/* A text as JSON.  One of bytes may end inside a character: a question mark there. */
json_t *writer_json(const struct buf *b);

#endif
