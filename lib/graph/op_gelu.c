/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_gelu.c - y = gelu(x) (Hendrycks & Gimpel 2016), by erf or its tanh form.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct gelu_attr {
    bool approx; /* the tanh form */
};

enum { GELU_X, GELU_DY };

static int gelu_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, GELU_X, "gelu input", 0, -1, -1, e))
        return -1;
    graph_out(g, n, n->in[GELU_X]->dtype, n->in[GELU_X]->shape);
    return 0;
}

static int gelu_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct gelu_attr *at = n->attr;
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[GELU_X]),
        .y = bind_matrix(b, n->out[0]),
        .approx = at->approx,
    };
    return 0;
}

/* in: x, dy; out: dx. */
static int gelu_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *x = n->in[GELU_X];
    if (op_want(n, GELU_DY, "gelu gradient", x->dtype, shape_rows(&x->shape),
                shape_cols(&x->shape), e))
        return -1;
    graph_out(g, n, grad_dtype(g, x), x->shape);
    return 0;
}

static int gelu_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct gelu_attr *at = n->attr;
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[GELU_X]),
        .dy = bind_matrix(b, n->in[GELU_DY]),
        .da = bind_matrix(b, n->out[0]),
        .approx = at->approx,
    };
    return 0;
}

const struct op op_gelu_bwd = {
    .name = "gelu.bwd",
    .attr_size = sizeof(struct gelu_attr),
    .shape = gelu_bwd_shape,
    .kernel = "act.gelu.bwd",
    .params_size = sizeof(struct nnd_act),
    .bind = gelu_bwd_bind,
};

struct value *op_gelu_slope(struct graph *g, struct value *x, struct value *dy,
                            bool approx)
{
    struct value *in[] = {x, dy};
    struct gelu_attr at = {.approx = approx};
    struct node *d = graph_add(g, &op_gelu_bwd, &at, in, 2);
    return d ? d->out[0] : NULL;
}

bool op_gelu_again(struct value *x, bool approx, struct again *a)
{
    static const struct gelu_attr attr[] = {{false}, {true}};
    *a = (struct again){
        .op = &op_gelu_fwd, .attr = &attr[approx], .in = {x}, .nin = 1, .nout = 1};
    return true;
}

static void gelu_grad(struct graph *g, const struct node *n)
{
    const struct gelu_attr *at = n->attr;
    struct value *x = n->in[GELU_X];
    grad_add(g, x, op_gelu_slope(g, x, grad_of(g, n->out[0]), at->approx));
}

const struct op op_gelu_fwd = {
    .name = "gelu",
    .attr_size = sizeof(struct gelu_attr),
    .shape = gelu_shape,
    .grad = gelu_grad,
    .again = again_same,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .kernel = "act.gelu.fwd",
    .params_size = sizeof(struct nnd_act),
    .bind = gelu_bind,
};

struct value *op_gelu(struct graph *g, struct value *x, bool approx)
{
    if (!x)
        return NULL;
    struct value *in[] = {x};
    struct gelu_attr at = {.approx = approx};
    struct node *n = graph_add(g, &op_gelu_fwd, &at, in, 1);
    return n ? n->out[0] : NULL;
}
