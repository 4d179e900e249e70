/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bpe_json.h - what bpe_file.c, bpe_json.c and bpe_json_chars.c share; nobody else's.
 */
#ifndef DATA_BPE_JSON_H
#define DATA_BPE_JSON_H

#include <jansson.h>

#include "data/bpe_file.h"

/* What stands at an id; text NULL: nothing. */
struct bpe_row {
    const char *text;
    bool added;
    enum bpe_place place; /* of an added one */
};

/* Rows [from, n) as the pieces from 0 on. */
int bpe_read_pieces(struct bpe *b, const struct bpe_row *rows, uint32_t from,
                    uint32_t n, struct err *e);

/* A merge of two pieces; or as a line of merges.txt without its end. */
int bpe_read_merge(struct bpe *b, const char *left, size_t nleft, const char *right,
                   size_t nright, struct err *e);
int bpe_read_line(struct bpe *b, const char *line, size_t len, struct err *e);

/* The pieces of a vocab.json. */
int bpe_json_vocab(struct bpe *b, const struct bpe_text *file, struct err *e);

/* ---- over characters ("byte_fallback") ------------------------------------- */

/* How spaces are written, of a tokenizer.json whose model, normalizer, pre-tokenizer
 * and decoder are understood. */
int bpe_json_chars(const json_t *root, enum bpe_spaces *spaces, struct err *e);

/* The unknown piece among the rows, where the model names one. */
int bpe_json_unknown(struct bpe *b, const json_t *model, const struct bpe_row *rows,
                     uint32_t n, struct err *e);

/* May an added piece stand in no vocabulary?  `part` names it for errors; normal: it is
 * found in a text as it is written. */
int bpe_json_new(enum bpe_spaces spaces, const char *part, const char *text,
                 bool normal, struct err *e);

/* The same parts of a root that is to be written. */
void bpe_json_chars_write(const struct bpe *b, json_t *root);

#endif
