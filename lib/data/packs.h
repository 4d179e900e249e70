/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packs.h - pairs put side by side until a chunk is full of tokens.
 *
 * An epoch's pairs, in the order of order.h, are taken a pool at a time, sorted by
 * length within it, and put into packs: as many as fit into the rows of a chunk on
 * both sides.  The packs of an epoch come in an order of their own.  Which pairs make
 * up pack number i of the endless run is a function of (text, limits, seed, i).
 */
#ifndef DATA_PACKS_H
#define DATA_PACKS_H

#include "data/corpus.h"

struct packs;

/* Which pairs are taken, and what fits into a pack; every pair does. */
struct packs_limit {
    uint64_t lines;             /* of the part, from its first  */
    uint64_t rows, source_rows; /* tokens of targets, of sources */
    uint64_t samples;
    uint64_t pool; /* pairs that are sorted together */
};

/* train: epochs without end; else the lines once, in their order but for the pools.
 * The part must live on. */
int packs_create(const struct corpus_part *p, uint64_t seed,
                 const struct packs_limit *limit, bool train, struct packs **out,
                 struct err *e);
void packs_destroy(struct packs *p);

/* How many an epoch has: of validation all; of training its first epoch. */
uint64_t packs_count(struct packs *p);

/* How many epochs were put into packs so far: all that an access may cost.  One of
 * those near the last costs one, one far back as many as there are before it. */
uint64_t packs_made(const struct packs *p);

/* The lines of pack number i: returns how many, 0 behind the end of validation.  Good
 * until the next call. */
uint64_t packs_at(struct packs *p, uint64_t i, const uint64_t **lines);

#endif
