/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_swiglu.c - y = silu(a) * b (Shazeer 2020), and both gradients in one pass.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

enum { SWIGLU_A, SWIGLU_B, SWIGLU_DY };

static int swiglu_want(const struct node *n, int i, const char *what, struct err *e)
{
    const struct value *a = n->in[SWIGLU_A];
    return op_want(n, i, what, a->dtype, shape_rows(&a->shape), shape_cols(&a->shape),
                   e);
}

static int swiglu_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, SWIGLU_A, "swiglu gate", 0, -1, -1, e) ||
        swiglu_want(n, SWIGLU_B, "swiglu input", e))
        return -1;
    graph_out(g, n, n->in[SWIGLU_A]->dtype, n->in[SWIGLU_A]->shape);
    return 0;
}

static int swiglu_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[SWIGLU_A]),
        .b = bind_matrix(b, n->in[SWIGLU_B]),
        .y = bind_matrix(b, n->out[0]),
    };
    return 0;
}

/* in: a, b, dy; out: da, db. */
static int swiglu_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    if (swiglu_want(n, SWIGLU_DY, "swiglu gradient", e))
        return -1;
    for (int i = SWIGLU_A; i <= SWIGLU_B; i++)
        graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    return 0;
}

static int swiglu_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[SWIGLU_A]),
        .b = bind_matrix(b, n->in[SWIGLU_B]),
        .dy = bind_matrix(b, n->in[SWIGLU_DY]),
        .da = bind_matrix(b, n->out[0]),
        .db = bind_matrix(b, n->out[1]),
    };
    return 0;
}

const struct op op_swiglu_bwd = {
    .name = "swiglu.bwd",
    .shape = swiglu_bwd_shape,
    .kernel = "act.swiglu.bwd",
    .params_size = sizeof(struct nnd_act),
    .bind = swiglu_bwd_bind,
};

static void swiglu_grad(struct graph *g, const struct node *n)
{
    struct value *in[] = {
        [SWIGLU_A] = n->in[SWIGLU_A],
        [SWIGLU_B] = n->in[SWIGLU_B],
        [SWIGLU_DY] = grad_of(g, n->out[0]),
    };
    struct node *d = graph_add(g, &op_swiglu_bwd, NULL, in, 3);
    if (!d)
        return;
    grad_add(g, n->in[SWIGLU_A], d->out[0]);
    grad_add(g, n->in[SWIGLU_B], d->out[1]);
}

const struct op op_swiglu_fwd = {
    .name = "swiglu",
    .shape = swiglu_shape,
    .grad = swiglu_grad,
    .again = again_same,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .kernel = "act.swiglu.fwd",
    .params_size = sizeof(struct nnd_act),
    .bind = swiglu_bind,
};

struct value *op_swiglu(struct graph *g, struct value *a, struct value *b)
{
    if (!a || !b)
        return NULL;
    struct value *in[] = {a, b};
    struct node *n = graph_add(g, &op_swiglu_fwd, NULL, in, 2);
    return n ? n->out[0] : NULL;
}
