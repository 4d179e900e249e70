/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_grouped.h - what the operators over segments share.
 */
#ifndef GRAPH_OP_GROUPED_H
#define GRAPH_OP_GROUPED_H

#include "graph/graph.h"

/* The weight's gradient [leaves,N,K] = dy[seg]^T x[seg]. */
struct value *grouped_wgrad(struct graph *g, struct value *dy, struct value *x,
                            struct value *seg_k, int leaves);

/* y, whose users give dz W as its gradient, was made by grouped.swiglu and has no
 * other user: append the product that goes on to gradients of what the activation
 * was made of.  False when it is not so. */
bool grouped_through_swiglu(struct graph *g, struct value *y, struct value *dz,
                            struct value *w, struct value *seg_m);

#endif
