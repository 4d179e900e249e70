/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_kind.h - what a kind of tokenizer provides; for the files
 * tokenizer*.c alone.
 */
#ifndef DATA_TOKENIZER_KIND_H
#define DATA_TOKENIZER_KIND_H

#include <jansson.h>

#include "data/tokenizer.h"

/* `self` is what create returned; NULL for a kind without data.  Arguments and
 * errors as in tokenizer.h. */
struct tokenizer_kind {
    const char *name;
    void *(*create)(void); /* NULL: no data of its own */
    void (*destroy)(void *self);
    /* NULL: the kind knows its vocabulary before it sees any text. */
    void (*learn)(void *self, const char *text, size_t len);
    int (*seal)(void *self, struct err *e);
    uint32_t (*vocab)(const void *self);
    int (*encode)(const void *self, const char *text, size_t len, struct tokens *out,
                  struct err *e);
    /* The id is below vocab. */
    void (*decode)(const void *self, uint32_t id, struct buf *out);
    /* Members of the JSON object beside "kind"; NULL: none. */
    int (*save)(const void *self, json_t *object, struct err *e);
    int (*load)(void *self, const json_t *object, struct err *e);
    size_t members; /* how many save writes, load reads */
};

extern const struct tokenizer_kind tokenizer_byte, tokenizer_char;

#endif
