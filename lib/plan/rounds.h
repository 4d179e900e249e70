/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rounds.h - sending rows to experts through a buffer of fixed size.
 *
 * Within an expert-parallel group, counts[s][e] rows go from rank s to expert
 * e.  A rank keeps at most `capacity` arrivals at once; what does not fit goes
 * in further rounds.  Rows travel in blocks of `block` (a block is never cut,
 * so that sums over blocks do not depend on the layout), in the order source,
 * expert, block.  Everybody computes the same from the same counts.
 */
#ifndef PLAN_ROUNDS_H
#define PLAN_ROUNDS_H

#include <stdint.h>

struct rounds {
    const int32_t *counts; /* [ranks][experts]                     */
    int ranks, experts;    /* experts in all; experts % ranks == 0 */
    int64_t capacity;      /* rows, >= block, or >= all arrivals   */
    int block;
};

/* Rounds that the group needs: the largest over its ranks, at least 1. */
int rounds_count(const struct rounds *r);

/* Rows [*first, *first + *rows) of the (source, expert) segment - counted from
 * its start - that travel in `round`. */
void rounds_segment(const struct rounds *r, int round, int source, int expert,
                    int64_t *first, int64_t *rows);

/* Rows from source to all experts of rank `dest` in `round`; and where they
 * start in source's rows for dest (they are contiguous there). */
int64_t rounds_rows(const struct rounds *r, int round, int source, int dest,
                    int64_t *start);

#endif
