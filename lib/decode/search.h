/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.h - the whole text that a model writes, where it decides itself when it is
 * done: the rows of a decoder, each until its own end.
 *
 * A search is a function of this file: search_greedy takes the likeliest token each
 * time.  Whoever wants texts calls one and need not know which.
 */
#ifndef DECODE_SEARCH_H
#define DECODE_SEARCH_H

#include "decode/decoder.h"

/* What ends a text, and what is never in one. */
struct search_rule {
    uint32_t bos, eos;     /* what a text begins and ends with */
    const uint32_t *never; /* ids that are not written, [nnever] */
    size_t nnever;
    int64_t most; /* tokens of a text, its end included; at most model.context */
};

/* Texts: row r has count[r] tokens at id[r * most], without bos and eos. */
struct search_texts {
    uint32_t *id;
    int64_t *count;
};

/* Write `rows` texts of a decoder that has as many rows and has read its sources.
 * Ties go to the lower id.  The rows that are done wait for the others. */
int search_greedy(struct decoder *d, const struct search_rule *rule, int rows,
                  const struct search_texts *out, struct err *e);

#endif
