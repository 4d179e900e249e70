/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_linear.c - y = x W^T + b, and its two products backward.
 *
 * Backward: dx = dy W; dW = dy^T x (a sum over rows, in the wide type);
 * db = the column sums of dy.  All three products are the kernel "gemm".
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct linear_attr {
    bool trans_a, trans_b;
    int dtype;        /* of the result */
    struct shape out; /* of the result */
};

/* in: a, b, bias or NULL; the result's shape stands in the attributes. */
static int linear_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct linear_attr *at = n->attr;
    const struct shape *a = &n->in[0]->shape, *b = &n->in[1]->shape;
    int64_t ka = at->trans_a ? shape_rows(a) : shape_cols(a);
    int64_t kb = at->trans_b ? shape_cols(b) : shape_rows(b);
    if (ka != kb)
        return err_set(e, ERR_FAILED, "%s: linear: inner sizes differ: %lld and %lld",
                       n->where, (long long)ka, (long long)kb);
    graph_out(g, n, at->dtype, at->out);
    return 0;
}

static struct value *gemm(struct graph *g, struct value *a, struct value *b,
                          struct value *bias, struct linear_attr at)
{
    struct value *in[] = {a, b, bias};
    struct node *n = graph_add(g, &op_gemm, &at, in, 3);
    return n ? n->out[0] : NULL;
}

struct value *op_linear_wgrad(struct graph *g, struct value *dy, struct value *x,
                              struct value *w)
{
    struct linear_attr at = {
        .trans_a = true, .dtype = grad_dtype(g, w), .out = w->shape};
    return gemm(g, dy, x, NULL, at);
}

static void linear_grad(struct graph *g, const struct node *n)
{
    struct value *x = n->in[0], *w = n->in[1], *bias = n->in[2];
    struct value *dy = grad_of(g, n->out[0]);
    if (w->wants_grad)
        grad_add(g, w, op_linear_wgrad(g, dy, x, w));
    if (bias && bias->wants_grad)
        grad_add(g, bias, op_rows_sum(g, dy));
    if (x->wants_grad)
        grad_add(
            g, x,
            gemm(g, dy, w, NULL,
                 (struct linear_attr){.dtype = grad_dtype(g, x), .out = x->shape}));
}

static int64_t linear_flops(const struct node *n)
{
    const struct linear_attr *at = n->attr;
    const struct shape *a = &n->in[0]->shape;
    int64_t k = at->trans_a ? shape_rows(a) : shape_cols(a);
    return 2 * shape_elements(&n->out[0]->shape) * k;
}

static int linear_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct linear_attr *at = n->attr;
    *(struct nnd_gemm *)params = (struct nnd_gemm){
        .struct_size = sizeof(struct nnd_gemm),
        .a = bind_matrix(b, n->in[0]),
        .b = bind_matrix(b, n->in[1]),
        .d = bind_matrix(b, n->out[0]),
        .bias = bind_tensor(b, n->in[2]),
        .trans_a = at->trans_a,
        .trans_b = at->trans_b,
    };
    return 0;
}

const struct op op_gemm = {
    .name = "linear",
    .attr_size = sizeof(struct linear_attr),
    .shape = linear_shape,
    .grad = linear_grad,
    .flops = linear_flops,
    .kernel = "gemm",
    .params_size = sizeof(struct nnd_gemm),
    .bind = linear_bind,
};

static struct value *linear(struct graph *g, struct value *x, struct value *w,
                            struct value *b, int dtype)
{
    if (!x || !w)
        return NULL;
    struct linear_attr at = {.trans_b = true, .dtype = dtype, .out = x->shape};
    at.out.dim[at.out.ndim - 1] = shape_rows(&w->shape);
    return gemm(g, x, w, b, at);
}

struct value *op_linear(struct graph *g, struct value *x, struct value *w,
                        struct value *b)
{
    return linear(g, x, w, b, g->act);
}

struct value *op_linear_wide(struct graph *g, struct value *x, struct value *w)
{
    return linear(g, x, w, NULL, g->wide);
}
