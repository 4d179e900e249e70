/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.h - adding chunk gradients in one order, whatever the layout.
 *
 * The sum over `leaves` chunks is a perfect binary tree over chunk numbers.  A
 * rank meets its chunks in some order; each arrival is written to a free
 * buffer and combined with every finished neighbour at once.  Which buffer,
 * and which additions, is computed here before anything runs.
 */
#ifndef PLAN_TREE_H
#define PLAN_TREE_H

#include "base/arena.h"
#include "base/err.h"

/* With its leaf a step adds as many as one call of "sum" takes (nnd/ops.h). */
#define TREE_CHAIN_MAX 15

/* What to do when one leaf has been written to buffer `leaf`:
 * buffer[into] = ((buffer[leaf] + buffer[with[0]]) + buffer[with[1]]) + ...;
 * n == 0: nothing to add yet, and into == leaf. */
struct tree_step {
    int leaf, into, n;
    int with[TREE_CHAIN_MAX];
};

struct tree {
    int arrivals, buffers;  /* buffers needed at most */
    struct tree_step *step; /* [arrivals]             */
};

/* order[i] = the leaf that arrives i-th, a permutation of 0..n-1, n a power of
 * two, order[0] = 0.  The finished sum is in buffer 0. */
int tree_make(struct arena *a, const int *order, int n, struct tree *out,
              struct err *e);

#endif
