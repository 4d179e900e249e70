/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokens.c - growing and trimming the array of ids.
 */
#include "data/tokens.h"

#include <inttypes.h>
#include <stdlib.h>

#define TOKENS_FIRST 64u

void tokens_init(struct tokens *t, uint32_t vocab)
{
    *t = (struct tokens){.width = vocab <= 65536 ? 2 : 4};
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    free(t->ids);
    t->ids = NULL;
    t->count = t->cap = 0;
}

int tokens_reserve(struct tokens *t, uint64_t more, struct err *e)
{
    uint64_t cap = t->cap ? t->cap : TOKENS_FIRST;
    void *ids;

    if (more <= t->cap - t->count)
        return ERR_OK;
    if (more > SIZE_MAX / 4 / t->width - t->count)
        return err_set(e, ERR_FAILED,
                       "tokens: %" PRIu64 " more ids do not fit in memory", more);
    while (cap - t->count < more)
        cap *= 2;
    ids = realloc(t->ids, cap * t->width);
    if (!ids)
        return err_set(e, ERR_NOMEM,
                       "tokens: no memory for %" PRIu64 " ids, wanted %" PRIu64
                       " bytes",
                       cap, cap * t->width);
    t->ids = ids;
    t->cap = cap;
    return ERR_OK;
}

void tokens_trim(struct tokens *t)
{
    void *ids;

    if (!t->count || t->count == t->cap)
        return;
    ids = realloc(t->ids, t->count * t->width);
    if (!ids)
        return; /* the larger block is still good */
    t->ids = ids;
    t->cap = t->count;
}

uint64_t tokens_bytes(const struct tokens *t)
{
    return t->cap * t->width;
}
