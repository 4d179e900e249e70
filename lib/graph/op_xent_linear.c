/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_xent_linear.c - cross-entropy of x w^T against each row's target, without the
 * logits: where backward begins.
 *
 * op_linear and op_xent keep [T,V] numbers from forward to backward; this keeps
 * one per row, and multiplies x by w once more.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

enum { XL_X, XL_W, XL_TARGET, XL_SEED, XL_LSE };

static int want(const struct node *n, struct err *e)
{
    if (op_want(n, XL_X, "rows", 0, -1, -1, e))
        return -1;
    const struct shape *x = &n->in[XL_X]->shape;
    if (op_want(n, XL_W, "weight", n->in[XL_X]->dtype, -1, shape_cols(x), e) ||
        op_want(n, XL_TARGET, "targets", NND_I32, 1, shape_rows(x), e))
        return -1;
    return op_want(n, XL_SEED, "seed", NND_F32, 1, 1, e);
}

static int xl_shape(struct graph *g, struct node *n, struct err *e)
{
    if (want(n, e))
        return -1;
    struct shape rows = shape_of(1, shape_rows(&n->in[XL_X]->shape));
    graph_out(g, n, g->wide, rows);
    graph_out(g, n, g->wide, rows);
    return 0;
}

static int64_t flops_of(const struct node *n, int products)
{
    return 2 * products * shape_elements(&n->in[XL_X]->shape) *
           shape_rows(&n->in[XL_W]->shape);
}

static int64_t xl_flops(const struct node *n)
{
    return flops_of(n, 1);
}

/* What both directions read. */
static struct nnd_xent_linear params_of(const struct node *n, const struct bind *b)
{
    return (struct nnd_xent_linear){
        .struct_size = sizeof(struct nnd_xent_linear),
        .x = bind_matrix(b, n->in[XL_X]),
        .w = bind_matrix(b, n->in[XL_W]),
        .target = bind_data(b, n->in[XL_TARGET]),
        .seed = bind_data(b, n->in[XL_SEED]),
    };
}

static int xl_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_xent_linear *p = params;
    *p = params_of(n, b);
    p->loss = bind_vector(b, n->out[0]);
    p->lse = bind_vector(b, n->out[1]);
    return 0;
}

/* in: x, w, target, seed, lse; out: dx, dw. */
static int xl_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    if (want(n, e))
        return -1;
    for (int i = XL_X; i <= XL_W; i++)
        graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    return 0;
}

/* The logits again, then both gradients. */
static int64_t xl_bwd_flops(const struct node *n)
{
    return flops_of(n, 3);
}

static int xl_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_xent_linear *p = params;
    *p = params_of(n, b);
    p->lse = bind_vector(b, n->in[XL_LSE]);
    p->dx = bind_matrix(b, n->out[0]);
    p->dw = bind_matrix(b, n->out[1]);
    return 0;
}

const struct op op_xent_linear_bwd = {
    .name = "xent.linear.bwd",
    .shape = xl_bwd_shape,
    .flops = xl_bwd_flops,
    .kernel = "xent.linear.bwd",
    .params_size = sizeof(struct nnd_xent_linear),
    .bind = xl_bwd_bind,
};

static void xl_grad(struct graph *g, const struct node *n)
{
    struct value *in[] = {
        [XL_X] = n->in[XL_X],           [XL_W] = n->in[XL_W],
        [XL_TARGET] = n->in[XL_TARGET], [XL_SEED] = n->in[XL_SEED],
        [XL_LSE] = n->out[1],
    };
    struct node *d = graph_add(g, &op_xent_linear_bwd, NULL, in, XL_LSE + 1);
    for (int i = XL_X; d && i <= XL_W; i++)
        grad_add(g, n->in[i], d->out[i]);
}

const struct op op_xent_linear_fwd = {
    .name = "xent.linear",
    .shape = xl_shape,
    .grad = xl_grad,
    .terminal = true,
    .flops = xl_flops,
    .kernel = "xent.linear.fwd",
    .params_size = sizeof(struct nnd_xent_linear),
    .bind = xl_bind,
};

struct value *op_xent_linear(struct graph *g, struct value *x, struct value *w,
                             const struct chunk *c)
{
    if (!x || !w || !c->target || !c->seed)
        return NULL;
    struct value *in[] = {x, w, c->target, c->seed};
    struct node *n = graph_add(g, &op_xent_linear_fwd, NULL, in, 4);
    return n ? n->out[0] : NULL;
}
