/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_grouped.h - what the operators over segments share.
 */
#ifndef GRAPH_OP_GROUPED_H
#define GRAPH_OP_GROUPED_H

#include "graph/op.h"
#include "graph/ops.h"

/* How many rows x has for segments: its own, or those that `source` names. */
int64_t grouped_rows(const struct value *x, const struct value *source);

/* Have a call take its rows by `source`; NULL leaves it as it is. */
void grouped_bind_rows(struct nnd_grouped_gemm *p, const struct bind *b,
                       const struct value *place, const struct value *source);

/* The weight's gradient [leaves,N,K] = dy[seg]^T x[seg], x by `order` or NULL. */
struct value *grouped_wgrad(struct graph *g, struct value *dy, struct value *x,
                            struct value *seg_k, int leaves, const struct sort *order);

/* The gradient of sorted rows goes to x, whose rows may not be. */
void grouped_flow(struct graph *g, struct value *x, struct value *dx,
                  struct sort *order);

/* Was y made by grouped.swiglu, and has no more than one user?  If so, may backward of
 * n, that user, make it once more beside its gradient? */
bool grouped_swiglu_behind(const struct graph *g, const struct value *y);
bool grouped_swiglu_again(const struct graph *g, const struct node *n,
                          const struct value *y);

/* Such a y, whose user gives dz W as its gradient: append the product that goes on to
 * gradients of what the activation was made of.  Returns y, as the weight's gradient
 * reads it: with `again` as that product has made it once more. */
struct value *grouped_through_swiglu(struct graph *g, struct value *y, struct value *dz,
                                     struct value *w, struct value *seg_m, bool again);

#endif
