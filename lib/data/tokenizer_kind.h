/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_kind.h - what a kind of tokenizer provides; for the files
 * tokenizer*.c alone.
 */
#ifndef DATA_TOKENIZER_KIND_H
#define DATA_TOKENIZER_KIND_H

#include <jansson.h>

#include "data/bpe.h"
#include "data/tokenizer.h"

/* Where encode puts its ids. */
struct tokenizer_ids {
    struct tokens *tokens; /* with room for as many ids as the text has bytes */
    uint32_t first;        /* number of the kind's id 0                       */
    bool unknown;          /* what is not in the vocabulary becomes TOKEN_UNK */
    bool strict;           /* ... or is an error, also where the kind has its own */
    bool more;             /* the text goes on with one before                */
};

static inline void tokenizer_put(const struct tokenizer_ids *out, uint32_t id)
{
    tokens_put(out->tokens, out->first + id);
}

/* `self` is what create returned; NULL for a kind without data.  Ids count from 0:
 * the marks are tokenizer.c's.  Arguments and errors as in tokenizer.h. */
struct tokenizer_kind {
    const char *name;
    void *(*create)(const struct tokenizer_config *c); /* NULL: no data of its own */
    void (*destroy)(void *self);
    /* NULL: the kind knows its vocabulary before it sees any text. */
    void (*learn)(void *self, const char *text, size_t len);
    int (*seal)(void *self, struct err *e);
    uint32_t (*vocab)(const void *self);
    bool any; /* any bytes have ids; else encode gets UTF-8 alone */
    /* Give each id to tokenizer_put, and where unknown is set TOKEN_UNK to tokens_put.
     */
    int (*encode)(const void *self, const char *text, size_t len,
                  const struct tokenizer_ids *out, struct err *e);
    /* Can a text hold what has no id, and is no error by itself?  NULL: no. */
    bool (*lacks)(const void *self, bool marks);
    /* Bytes at the end of a text that wait for what follows; NULL: none. */
    size_t (*open)(const void *self, const char *text, size_t len);
    /* The id is below vocab. */
    void (*decode)(const void *self, uint32_t id, struct buf *out);
    /* The text of ids[n] as a whole, UINT32_MAX being TOKEN_UNK; NULL: that of one
     * after the other. */
    int (*decode_all)(const void *self, const uint32_t *ids, size_t n, struct buf *out,
                      struct err *e);
    /* Is there a space between these two?  NULL: never. */
    bool (*spaced)(const void *self, const char *before, const char *after);
    /* Members of the JSON object beside the configuration; NULL: none. */
    int (*save)(const void *self, json_t *object, struct err *e);
    int (*load)(void *self, const json_t *object, struct err *e);
    size_t members;              /* how many save writes, load reads        */
    const char *const *may_have; /* besides, where there is something to say; ends with
                                  * NULL.  NULL: none                       */
    /* The same as BPE, to be destroyed by the caller; NULL: there is no such form. */
    struct bpe *(*as_bpe)(const void *self);
    /* The bytes of a model that others read; NULL: there is none. */
    const struct buf *(*as_model)(const void *self);
};

extern const struct tokenizer_kind tokenizer_bpe, tokenizer_byte, tokenizer_char,
    tokenizer_sentencepiece, tokenizer_word;

/* A tokenizer of c's kind around `self`, which it owns from then on. */
int tokenizer_wrap(const struct tokenizer_config *c, void *self, struct tokenizer **out,
                   struct err *e);

/* A kind bpe's self, around a BPE that it owns from then on. */
void *tokenizer_bpe_self(struct bpe *b);

/* A kind sentencepiece's self, out of the bytes of a model. */
int tokenizer_sentencepiece_self(const void *model, size_t len, void **out,
                                 struct err *e);

#endif
