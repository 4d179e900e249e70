/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_view.c - memory seen otherwise: another shape, or a piece of a weight.
 * Nothing runs.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct view_attr {
    struct shape shape;
    int64_t offset; /* elements */
};

static int view_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct view_attr *at = n->attr;
    const struct value *x = n->in[0];
    int64_t have = shape_elements(&x->shape), want = shape_elements(&at->shape);
    if (at->offset < 0 || at->offset + want > have)
        return err_set(e, ERR_FAILED, "%s: view of %lld elements at %lld in %lld",
                       n->where, (long long)want, (long long)at->offset,
                       (long long)have);
    graph_out_view(g, n, n->in[0], at->offset, at->shape);
    return 0;
}

static struct value *view(struct graph *g, const struct op *op, struct value *x,
                          struct view_attr at)
{
    struct node *n = x ? graph_add(g, op, &at, &x, 1) : NULL;
    return n ? n->out[0] : NULL;
}

static void reshape_grad(struct graph *g, const struct node *n)
{
    struct value *x = n->in[0];
    grad_add(g, x, op_view(g, grad_of(g, n->out[0]), x->shape));
}

const struct op op_reshape = {
    .name = "view",
    .attr_size = sizeof(struct view_attr),
    .shape = view_shape,
    .grad = reshape_grad,
};

const struct op op_piece = {
    .name = "piece",
    .attr_size = sizeof(struct view_attr),
    .shape = view_shape,
};

struct value *op_view(struct graph *g, struct value *x, struct shape s)
{
    if (x && shape_elements(&x->shape) != shape_elements(&s))
        return graph_fail(g, "%s: view: %lld elements as %lld", x->name,
                          (long long)shape_elements(&x->shape),
                          (long long)shape_elements(&s));
    return view(g, &op_reshape, x, (struct view_attr){.shape = s});
}

struct value *op_part(struct graph *g, struct value *x, int64_t offset, struct shape s)
{
    return view(g, &op_piece, x, (struct view_attr){.shape = s, .offset = offset});
}

struct value *op_head(struct graph *g, struct value *x, int64_t n)
{
    if (!x || x->shape.dim[0] == n)
        return x;
    struct shape s = x->shape;
    s.dim[0] = n;
    return view(g, &op_piece, x, (struct view_attr){.shape = s});
}

struct value *op_param_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi)
{
    return view(g, &op_piece, p->value,
                (struct view_attr){.shape = shape_of(1, hi - lo), .offset = lo});
}

struct value *op_grad_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi)
{
    return view(g, &op_piece, graph_grad(g, p),
                (struct view_attr){.shape = shape_of(1, hi - lo), .offset = lo});
}
