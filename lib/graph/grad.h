/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad.h - the backward of a program, node by node, from the ops' rules
 * (reverse-mode differentiation).
 */
#ifndef GRAPH_GRAD_H
#define GRAPH_GRAD_H

#include "graph/graph.h"

/* Append program `name`: the gradients of every terminal node of `forward` with
 * respect to every weight it used.  It has to run right behind `forward`. */
int graph_backward(struct graph *g, int forward, const char *name);

/* For gradient rules: the gradient of a value (contributions summed), NULL when
 * nothing has flowed into it; and a further contribution to one. */
struct value *grad_of(struct graph *g, struct value *v);
void grad_add(struct graph *g, struct value *v, struct value *dv);

/* For rules whose kernel adds to what is there: a contribution to weight v that nobody
 * else knows, or NULL.  What has been added to it is told by grad_added. */
struct value *grad_place(const struct graph *g, const struct value *v);
void grad_added(struct graph *g, struct value *v);

/* How many nodes of v's program that have gradients read it, or a view of it. */
int grad_users(const struct graph *g, const struct value *v);

/* Does nobody but node n read v, or a view of it, now or in backward?  Then n's
 * gradient may take v's memory. */
bool grad_alone(const struct graph *g, const struct node *n, const struct value *v);

/* The dtype that the gradient of v is made in: wide for weights, v's else. */
int grad_dtype(const struct graph *g, const struct value *v);

#endif
