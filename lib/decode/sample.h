/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h - the next token from a row of logits.
 *
 * The choice is a function of (rule, logits, position): random bits are Philox
 * of seed and position, so it does not matter which other rows are decoded at
 * the same time, or whether the ones before were.
 */
#ifndef DECODE_SAMPLE_H
#define DECODE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* How to choose.  Tokens that may be drawn are ordered by (logit falling, id rising),
 * their weights are exp(logit / temperature); of the first top_k the least number is
 * kept whose weights reach the share top_p; one of these is drawn by its weight
 * (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration"). */
struct sample_rule {
    double temperature; /* >= 0; 0: always the first in that order (greedy) */
    uint32_t top_k;     /* 0: all                                           */
    double top_p;       /* above 0, at most 1 (all)                         */
    uint64_t seed;
    const uint32_t *never; /* ids that are not drawn, [nnever], below vocab */
    size_t nnever;
};

/* ERR_USAGE names the value that is out of its range. */
int sample_rule_check(const struct sample_rule *r, struct err *e);

/* Working memory for rows of `vocab` logits; one per thread. */
struct sample_space;

uint64_t sample_space_bytes(uint32_t vocab);
int sample_space_create(uint32_t vocab, struct sample_space **out, struct err *e);
void sample_space_destroy(struct sample_space *s);

/* Choose the token for place `position` of its sequence from logits [vocab] by a
 * checked rule.  A logit of -inf excludes a token.  ERR_FAILED where a logit is
 * NaN or +inf, naming the id, or none is left.  Allocates nothing. */
int sample_next(const struct sample_rule *r, struct sample_space *s,
                const float *logits, uint64_t position, uint32_t *id, struct err *e);

#endif
