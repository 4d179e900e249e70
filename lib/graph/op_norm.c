/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_norm.c - root-mean-square norm (Zhang & Sennrich 2019) and layer norm (Ba
 * et al. 2016) over the last axis.
 *
 * Forward keeps one or two statistics per row in the wide type; backward makes
 * dx, dw and db in one pass over x.  A residual is added on the way in: the sum is an
 * output of its own, and its gradient joins dx in the same pass.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct norm_attr {
    double eps;
    bool layer; /* has a mean, and may have a bias */
};

enum { NORM_X, NORM_W, NORM_B, NORM_ADD, NORM_INPUTS };
enum { NORM_RSTD = NORM_ADD, NORM_MEAN, NORM_DY, NORM_DSUM, NORM_BWD_INPUTS };

static int norm_want(const struct node *n, struct err *e)
{
    if (op_want(n, NORM_X, "norm input", 0, -1, -1, e))
        return -1;
    int64_t cols = shape_cols(&n->in[NORM_X]->shape);
    int dtype = n->in[NORM_X]->dtype;
    if (op_want(n, NORM_W, "norm weight", dtype, 1, cols, e))
        return -1;
    return n->in[NORM_B] ? op_want(n, NORM_B, "norm bias", dtype, 1, cols, e) : 0;
}

static int norm_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct norm_attr *at = n->attr;
    if (norm_want(n, e))
        return -1;
    const struct value *x = n->in[NORM_X];
    struct shape rows = shape_of(1, shape_rows(&x->shape));
    if (n->in[NORM_ADD] && op_want(n, NORM_ADD, "residual", x->dtype,
                                   shape_rows(&x->shape), shape_cols(&x->shape), e))
        return -1;
    graph_out(g, n, x->dtype, x->shape);
    graph_out(g, n, g->wide, rows);
    if (at->layer)
        graph_out(g, n, g->wide, rows);
    if (n->in[NORM_ADD])
        graph_out(g, n, x->dtype, x->shape);
    return 0;
}

/* Forward's sum of x and the residual, or NULL. */
static struct value *norm_sum(const struct node *n)
{
    const struct norm_attr *at = n->attr;
    return n->in[NORM_ADD] ? n->out[at->layer ? 3 : 2] : NULL;
}

static int norm_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct norm_attr *at = n->attr;
    *(struct nnd_norm *)params = (struct nnd_norm){
        .struct_size = sizeof(struct nnd_norm),
        .x = bind_matrix(b, n->in[NORM_X]),
        .w = bind_vector(b, n->in[NORM_W]),
        .b = bind_vector(b, n->in[NORM_B]),
        .y = bind_matrix(b, n->out[0]),
        .rstd = bind_vector(b, n->out[1]),
        .mean = bind_vector(b, at->layer ? n->out[2] : NULL),
        .eps = (float)at->eps,
        .add = bind_matrix(b, n->in[NORM_ADD]),
        .sum = bind_matrix(b, norm_sum(n)),
    };
    return 0;
}

/* in: x, w, b, rstd, mean, dy, dsum; out: dx, dw, db. */
static int norm_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    if (norm_want(n, e))
        return -1;
    const struct value *x = n->in[NORM_X], *w = n->in[NORM_W], *b = n->in[NORM_B];
    int64_t rows = shape_rows(&x->shape), cols = shape_cols(&x->shape);
    if (op_want(n, NORM_DY, "norm gradient", x->dtype, rows, cols, e))
        return -1;
    if (n->in[NORM_DSUM] &&
        op_want(n, NORM_DSUM, "residual gradient", x->dtype, rows, cols, e))
        return -1;
    graph_out(g, n, grad_dtype(g, x), x->shape);
    graph_out(g, n, grad_dtype(g, w), w->shape);
    if (b)
        graph_out(g, n, grad_dtype(g, b), b->shape);
    return 0;
}

static int norm_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct norm_attr *at = n->attr;
    *(struct nnd_norm *)params = (struct nnd_norm){
        .struct_size = sizeof(struct nnd_norm),
        .x = bind_matrix(b, n->in[NORM_X]),
        .w = bind_vector(b, n->in[NORM_W]),
        .b = bind_vector(b, n->in[NORM_B]),
        .rstd = bind_vector(b, n->in[NORM_RSTD]),
        .mean = bind_vector(b, n->in[NORM_MEAN]),
        .dy = bind_matrix(b, n->in[NORM_DY]),
        .dx = bind_matrix(b, n->out[0]),
        .dw = bind_vector(b, n->out[1]),
        .db = bind_vector(b, n->in[NORM_B] ? n->out[2] : NULL),
        .eps = (float)at->eps,
        .dsum = bind_matrix(b, n->in[NORM_DSUM]),
    };
    return 0;
}

const struct op op_norm_rms_bwd = {
    .name = "norm.rms.bwd",
    .attr_size = sizeof(struct norm_attr),
    .shape = norm_bwd_shape,
    .kernel = "norm.rms.bwd",
    .params_size = sizeof(struct nnd_norm),
    .bind = norm_bwd_bind,
};

const struct op op_norm_layer_bwd = {
    .name = "norm.layer.bwd",
    .attr_size = sizeof(struct norm_attr),
    .shape = norm_bwd_shape,
    .kernel = "norm.layer.bwd",
    .params_size = sizeof(struct nnd_norm),
    .bind = norm_bwd_bind,
};

static void norm_grad(struct graph *g, const struct node *n)
{
    const struct norm_attr *at = n->attr;
    struct value *sum = norm_sum(n);
    struct value *in[] = {
        [NORM_X] = sum ? sum : n->in[NORM_X],
        [NORM_W] = n->in[NORM_W],
        [NORM_B] = n->in[NORM_B],
        [NORM_RSTD] = n->out[1],
        [NORM_MEAN] = at->layer ? n->out[2] : NULL,
        [NORM_DY] = grad_of(g, n->out[0]),
        [NORM_DSUM] = sum ? grad_of(g, sum) : NULL,
    };
    const struct op *twin = at->layer ? &op_norm_layer_bwd : &op_norm_rms_bwd;
    struct node *d = graph_add(g, twin, at, in, NORM_BWD_INPUTS);
    if (!d)
        return;
    grad_add(g, n->in[NORM_X], d->out[0]);
    if (sum)
        grad_add(g, n->in[NORM_ADD], d->out[0]);
    grad_add(g, n->in[NORM_W], d->out[1]);
    if (n->in[NORM_B])
        grad_add(g, n->in[NORM_B], d->out[2]);
}

/* Of the sum, where there was one: what was added need not be there. */
static bool norm_again(const struct node *n, struct again *a)
{
    struct value *sum = norm_sum(n);
    again_same(n, a);
    if (!sum)
        return true;
    a->in[NORM_X] = sum;
    a->in[NORM_ADD] = NULL;
    a->nout--;
    return true;
}

const struct op op_norm_rms_fwd = {
    .name = "norm.rms",
    .attr_size = sizeof(struct norm_attr),
    .shape = norm_shape,
    .grad = norm_grad,
    .again = norm_again,
    .kernel = "norm.rms.fwd",
    .params_size = sizeof(struct nnd_norm),
    .bind = norm_bind,
};

const struct op op_norm_layer_fwd = {
    .name = "norm.layer",
    .attr_size = sizeof(struct norm_attr),
    .shape = norm_shape,
    .grad = norm_grad,
    .again = norm_again,
    .kernel = "norm.layer.fwd",
    .params_size = sizeof(struct nnd_norm),
    .bind = norm_bind,
};

/* *x becomes x + add when there is something to add. */
static struct value *norm(struct graph *g, const struct norm_attr *at, struct value **x,
                          struct value *add, struct value *w, struct value *b)
{
    if (!*x || !w)
        return NULL;
    struct value *in[] = {*x, w, b, add};
    const struct op *op = at->layer ? &op_norm_layer_fwd : &op_norm_rms_fwd;
    struct node *n = graph_add(g, op, at, in, NORM_INPUTS);
    if (n && add)
        *x = norm_sum(n);
    return n ? n->out[0] : NULL;
}

struct value *op_norm_rms(struct graph *g, struct value *x, struct value *w, double eps)
{
    return norm(g, &(struct norm_attr){.eps = eps}, &x, NULL, w, NULL);
}

struct value *op_norm_layer(struct graph *g, struct value *x, struct value *w,
                            struct value *b, double eps)
{
    return norm(g, &(struct norm_attr){.eps = eps, .layer = true}, &x, NULL, w, b);
}

struct value *op_norm_rms_add(struct graph *g, struct value **x, struct value *add,
                              struct value *w, double eps)
{
    return norm(g, &(struct norm_attr){.eps = eps}, x, add, w, NULL);
}

struct value *op_norm_layer_add(struct graph *g, struct value **x, struct value *add,
                                struct value *w, struct value *b, double eps)
{
    return norm(g, &(struct norm_attr){.eps = eps, .layer = true}, x, add, w, b);
}
