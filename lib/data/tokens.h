/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens.h - a long array of token ids, in 2 or 4 bytes each.
 *
 * A corpus is one such array; it is the only memory of lib/data that grows with
 * the text.  What the ids mean is the tokenizer's business.
 */
#ifndef DATA_TOKENS_H
#define DATA_TOKENS_H

#include <stdint.h>

#include "base/err.h"

/* Zeroed is not enough: start with tokens_init. */
struct tokens {
    void *ids; /* uint16_t or uint32_t [cap] */
    uint64_t count, cap;
    uint32_t width; /* bytes per id: 2 or 4 */
};

/* An empty array whose ids are all < vocab; 2 bytes each where they fit. */
void tokens_init(struct tokens *t, uint32_t vocab);
void tokens_free(struct tokens *t);

/* Make room for `more` ids, so that tokens_put cannot fail.  Grows by doubling;
 * ERR_NOMEM with the bytes wanted when memory is short, ERR_FAILED when no memory
 * could hold so many. */
int tokens_reserve(struct tokens *t, uint64_t more, struct err *e);

/* Give back the memory beyond count. */
void tokens_trim(struct tokens *t);

/* Heap bytes held. */
uint64_t tokens_bytes(const struct tokens *t);

/* Append one id; room must have been reserved. */
static inline void tokens_put(struct tokens *t, uint32_t id)
{
    if (t->width == 2)
        ((uint16_t *)t->ids)[t->count++] = (uint16_t)id;
    else
        ((uint32_t *)t->ids)[t->count++] = id;
}

/* The i-th id, i < count. */
static inline uint32_t tokens_get(const struct tokens *t, uint64_t i)
{
    return t->width == 2 ? ((const uint16_t *)t->ids)[i]
                         : ((const uint32_t *)t->ids)[i];
}

#endif
