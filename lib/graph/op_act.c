/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_act.c - y = f(x) of functions of one number: GELU, by erf or its tanh form
 * (Hendrycks & Gimpel 2016), and ReLU (Nair & Hinton 2010).
 *
 * What they share is here; a row and two operators are what each has to itself.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct act_attr {
    enum act act;
};

static const struct function {
    const struct op *fwd, *bwd;
    int approx;          /* of nnd_act                                       */
    int epilogue, slope; /* of a product that ends in it, or in its gradient */
} functions[] = {
    [ACT_GELU] = {&op_gelu_fwd, &op_gelu_bwd, 0, NND_EPI_GELU, NND_EPI_DGELU},
    [ACT_GELU_TANH] = {&op_gelu_fwd, &op_gelu_bwd, 1, NND_EPI_GELU_TANH,
                       NND_EPI_DGELU_TANH},
    [ACT_RELU] = {&op_relu_fwd, &op_relu_bwd, 0, NND_EPI_RELU, NND_EPI_DRELU},
};

enum { ACT_X, ACT_DY };

static const struct function *function_of(const struct node *n)
{
    const struct act_attr *at = n->attr;
    return &functions[at->act];
}

static int act_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, ACT_X, "activation input", 0, -1, -1, e))
        return -1;
    graph_out(g, n, n->in[ACT_X]->dtype, n->in[ACT_X]->shape);
    return 0;
}

static int act_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[ACT_X]),
        .y = bind_matrix(b, n->out[0]),
        .approx = function_of(n)->approx,
    };
    return 0;
}

static void act_grad(struct graph *g, const struct node *n)
{
    const struct act_attr *at = n->attr;
    struct value *x = n->in[ACT_X];
    grad_add(g, x, op_act_slope(g, x, grad_of(g, n->out[0]), at->act));
}

/* in: x, dy; out: dx. */
static int act_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *x = n->in[ACT_X];
    if (op_want(n, ACT_DY, "activation gradient", x->dtype, shape_rows(&x->shape),
                shape_cols(&x->shape), e))
        return -1;
    graph_out(g, n, grad_dtype(g, x), x->shape);
    return 0;
}

static int act_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_act *)params = (struct nnd_act){
        .struct_size = sizeof(struct nnd_act),
        .a = bind_matrix(b, n->in[ACT_X]),
        .dy = bind_matrix(b, n->in[ACT_DY]),
        .da = bind_matrix(b, n->out[0]),
        .approx = function_of(n)->approx,
    };
    return 0;
}

const struct op op_gelu_fwd = {
    .name = "gelu",
    .attr_size = sizeof(struct act_attr),
    .shape = act_shape,
    .grad = act_grad,
    .again = again_same,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .kernel = "act.gelu.fwd",
    .params_size = sizeof(struct nnd_act),
    .bind = act_bind,
};

const struct op op_gelu_bwd = {
    .name = "gelu.bwd",
    .attr_size = sizeof(struct act_attr),
    .shape = act_bwd_shape,
    .kernel = "act.gelu.bwd",
    .params_size = sizeof(struct nnd_act),
    .bind = act_bwd_bind,
};

const struct op op_relu_fwd = {
    .name = "relu",
    .attr_size = sizeof(struct act_attr),
    .shape = act_shape,
    .grad = act_grad,
    .again = again_same,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .kernel = "act.relu.fwd",
    .params_size = sizeof(struct nnd_act),
    .bind = act_bind,
};

const struct op op_relu_bwd = {
    .name = "relu.bwd",
    .attr_size = sizeof(struct act_attr),
    .shape = act_bwd_shape,
    .kernel = "act.relu.bwd",
    .params_size = sizeof(struct nnd_act),
    .bind = act_bwd_bind,
};

struct value *op_act(struct graph *g, struct value *x, enum act act)
{
    if (!x)
        return NULL;
    struct value *in[] = {x};
    struct act_attr at = {act};
    struct node *n = graph_add(g, functions[act].fwd, &at, in, 1);
    return n ? n->out[0] : NULL;
}

struct value *op_act_slope(struct graph *g, struct value *x, struct value *dy,
                           enum act act)
{
    struct value *in[] = {x, dy};
    struct act_attr at = {act};
    struct node *d = graph_add(g, functions[act].bwd, &at, in, 2);
    return d ? d->out[0] : NULL;
}

bool op_act_again(struct value *x, enum act act, struct again *a)
{
    static const struct act_attr attr[] = {
        [ACT_GELU] = {ACT_GELU},
        [ACT_GELU_TANH] = {ACT_GELU_TANH},
        [ACT_RELU] = {ACT_RELU},
    };
    *a = (struct again){
        .op = functions[act].fwd, .attr = &attr[act], .in = {x}, .nin = 1, .nout = 1};
    return true;
}

int op_act_epilogue(enum act act, bool slope)
{
    return slope ? functions[act].slope : functions[act].epilogue;
}
