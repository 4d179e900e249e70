/* SPDX-License-Identifier: Apache-2.0 */
/*
 * again.h - what backward makes once more instead of reading what forward kept.
 *
 * The output of a norm, of an activation or of a dropout costs one pass over memory
 * that backward has in any case: the norm's input, what the product made before its
 * activation.  So an operator may have a rule (op.h, `again`), and backward's nodes
 * read a value made right before the first of them, that lives until the last; what
 * forward made lives within forward.  The bits are the same.
 */
#ifndef GRAPH_AGAIN_H
#define GRAPH_AGAIN_H

#include "graph/graph.h"

/* Change program `backward`, the graph's last, in this way. */
void graph_again(struct graph *g, int forward, int backward);

/* Some products of backward make, as a second result, what an activation made of the
 * values that they read, which costs less than a pass of its own.  May they do so for
 * forward's node n?  Not where all is kept, nor where n itself runs again. */
bool again_beside(const struct graph *g, const struct node *n);

#endif
