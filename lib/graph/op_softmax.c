/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_softmax.c - y = softmax(scale x) over the columns of each row that count.
 *
 * The gradient is made of y; x is not kept for it.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct softmax_attr {
    double scale;
};

/* Backward: y in the place of x. */
enum { SOFTMAX_X, SOFTMAX_LEN, SOFTMAX_DY };

static int softmax_want(const struct node *n, struct err *e)
{
    const struct value *x = n->in[SOFTMAX_X], *len = n->in[SOFTMAX_LEN];
    if (!len)
        return 0;
    return op_want(n, SOFTMAX_LEN, "softmax lengths", NND_I32, 1, shape_rows(&x->shape),
                   e);
}

static int softmax_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, SOFTMAX_X, "softmax input", 0, -1, -1, e) || softmax_want(n, e))
        return -1;
    graph_out(g, n, n->in[SOFTMAX_X]->dtype, n->in[SOFTMAX_X]->shape);
    return 0;
}

static int softmax_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct softmax_attr *at = n->attr;
    *(struct nnd_softmax *)params = (struct nnd_softmax){
        .struct_size = sizeof(struct nnd_softmax),
        .x = bind_matrix(b, n->in[SOFTMAX_X]),
        .y = bind_matrix(b, n->out[0]),
        .len = bind_data(b, n->in[SOFTMAX_LEN]),
        .scale = (float)at->scale,
    };
    return 0;
}

/* in: y, len or NULL, dy; out: dx. */
static int softmax_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *y = n->in[SOFTMAX_X];
    if (op_want(n, SOFTMAX_DY, "softmax gradient", y->dtype, shape_rows(&y->shape),
                shape_cols(&y->shape), e) ||
        softmax_want(n, e))
        return -1;
    graph_out(g, n, grad_dtype(g, y), y->shape);
    return 0;
}

static int softmax_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct softmax_attr *at = n->attr;
    *(struct nnd_softmax *)params = (struct nnd_softmax){
        .struct_size = sizeof(struct nnd_softmax),
        .y = bind_matrix(b, n->in[SOFTMAX_X]),
        .dy = bind_matrix(b, n->in[SOFTMAX_DY]),
        .dx = bind_matrix(b, n->out[0]),
        .len = bind_data(b, n->in[SOFTMAX_LEN]),
        .scale = (float)at->scale,
    };
    return 0;
}

const struct op op_softmax_bwd = {
    .name = "softmax.bwd",
    .attr_size = sizeof(struct softmax_attr),
    .shape = softmax_bwd_shape,
    .kernel = "softmax.bwd",
    .params_size = sizeof(struct nnd_softmax),
    .bind = softmax_bwd_bind,
};

static void softmax_grad(struct graph *g, const struct node *n)
{
    struct value *in[] = {
        [SOFTMAX_X] = n->out[0],
        [SOFTMAX_LEN] = n->in[SOFTMAX_LEN],
        [SOFTMAX_DY] = grad_of(g, n->out[0]),
    };
    struct node *d = graph_add(g, &op_softmax_bwd, n->attr, in, 3);
    if (d)
        grad_add(g, n->in[SOFTMAX_X], d->out[0]);
}

const struct op op_softmax_fwd = {
    .name = "softmax",
    .attr_size = sizeof(struct softmax_attr),
    .shape = softmax_shape,
    .grad = softmax_grad,
    .again = again_same,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .kernel = "softmax.fwd",
    .params_size = sizeof(struct nnd_softmax),
    .bind = softmax_bind,
};

struct value *op_softmax(struct graph *g, struct value *x, struct value *len,
                         double scale)
{
    if (!x)
        return NULL;
    struct value *in[] = {x, len};
    struct softmax_attr at = {.scale = scale};
    struct node *n = graph_add(g, &op_softmax_fwd, &at, in, 2);
    return n ? n->out[0] : NULL;
}
