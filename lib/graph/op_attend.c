/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_attend.c - attention of a decoder's steps over an encoder's rows, by a sum
 * (Bahdanau et al. 2015) or a product (Luong et al. 2015), that keeps its weights.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct attend_attr {
    int64_t batch;
    bool add;
    double scale;
};

enum {
    ATTEND_Q,
    ATTEND_K,
    ATTEND_V,
    ATTEND_W,   /* NULL: dot      */
    ATTEND_LEN, /* NULL: all keys */
    ATTEND_WEIGHT,
    ATTEND_DOUT,
    ATTEND_INPUTS
};

static int attend_want(const struct node *n, struct err *e)
{
    const struct attend_attr *at = n->attr;
    int dtype = n->in[ATTEND_Q]->dtype;
    int64_t cols = shape_cols(&n->in[ATTEND_Q]->shape),
            queries = shape_rows(&n->in[ATTEND_Q]->shape),
            keys = shape_rows(&n->in[ATTEND_K]->shape);
    if (at->batch < 1 || queries % at->batch || keys % at->batch)
        return err_set(
            e, ERR_FAILED, "%s: %lld queries and %lld keys are not %lld sequences",
            n->where, (long long)queries, (long long)keys, (long long)at->batch);
    if (op_want(n, ATTEND_K, "attention keys", dtype, -1, cols, e) ||
        op_want(n, ATTEND_V, "attention values", dtype, keys, -1, e))
        return -1;
    if (at->add && op_want(n, ATTEND_W, "attention weights", 0, 1, cols, e))
        return -1;
    return n->in[ATTEND_LEN]
               ? op_want(n, ATTEND_LEN, "lengths", NND_I32, 1, at->batch, e)
               : 0;
}

/* out: o [B*T,N], weight wide [B*T,S]. */
static int attend_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct attend_attr *at = n->attr;
    if (attend_want(n, e))
        return -1;
    const struct value *q = n->in[ATTEND_Q];
    int64_t rows = shape_rows(&q->shape);
    graph_out(g, n, q->dtype, shape_of(2, rows, shape_cols(&n->in[ATTEND_V]->shape)));
    graph_out(g, n, g->wide,
              shape_of(2, rows, shape_rows(&n->in[ATTEND_K]->shape) / at->batch));
    return 0;
}

static int64_t attend_flops_of(const struct node *n, int64_t score, int64_t value)
{
    const struct attend_attr *at = n->attr;
    int64_t pairs = shape_rows(&n->in[ATTEND_Q]->shape) *
                    (shape_rows(&n->in[ATTEND_K]->shape) / at->batch);
    return pairs * (score * shape_cols(&n->in[ATTEND_Q]->shape) +
                    value * shape_cols(&n->in[ATTEND_V]->shape));
}

static int64_t attend_flops(const struct node *n)
{
    return attend_flops_of(n, 2, 2);
}

static int64_t attend_bwd_flops(const struct node *n)
{
    return attend_flops_of(n, 6, 4);
}

/* [B,R,N] of a value of B * R rows. */
static struct nnd_tensor by_sequence(const struct node *n, const struct bind *b,
                                     const struct value *v)
{
    const struct attend_attr *at = n->attr;
    struct nnd_tensor t = bind_matrix(b, v);
    int64_t rows = t.dim[0] / at->batch, cols = t.dim[1];
    t.ndim = 3;
    t.dim[0] = at->batch, t.dim[1] = rows, t.dim[2] = cols;
    t.stride[0] = rows * cols, t.stride[1] = cols, t.stride[2] = 1;
    return t;
}

/* What both directions have. */
static struct nnd_attend attend_params(const struct node *n, const struct bind *b,
                                       const struct value *weight)
{
    const struct attend_attr *at = n->attr;
    return (struct nnd_attend){
        .struct_size = sizeof(struct nnd_attend),
        .q = by_sequence(n, b, n->in[ATTEND_Q]),
        .k = by_sequence(n, b, n->in[ATTEND_K]),
        .v = by_sequence(n, b, n->in[ATTEND_V]),
        .w = bind_vector(b, n->in[ATTEND_W]),
        .weight = by_sequence(n, b, weight),
        .len = bind_data(b, n->in[ATTEND_LEN]),
        .scale = (float)at->scale,
    };
}

static int attend_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_attend *p = params;
    *p = attend_params(n, b, n->out[1]);
    p->o = by_sequence(n, b, n->out[0]);
    return 0;
}

/* out: dq, dk, dv, and dw of a sum. */
static int attend_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct attend_attr *at = n->attr;
    if (attend_want(n, e))
        return -1;
    for (int i = ATTEND_Q; i < ATTEND_W + at->add; i++)
        graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    return 0;
}

static int attend_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct attend_attr *at = n->attr;
    struct nnd_attend *p = params;
    *p = attend_params(n, b, n->in[ATTEND_WEIGHT]);
    p->dout = by_sequence(n, b, n->in[ATTEND_DOUT]);
    p->dq = by_sequence(n, b, n->out[0]);
    p->dk = by_sequence(n, b, n->out[1]);
    p->dv = by_sequence(n, b, n->out[2]);
    p->dw = bind_vector(b, at->add ? n->out[3] : NULL);
    return 0;
}

const struct op op_attend_add_bwd = {
    .name = "attend.add.bwd",
    .attr_size = sizeof(struct attend_attr),
    .shape = attend_bwd_shape,
    .flops = attend_bwd_flops,
    .kernel = "attn.add.bwd",
    .params_size = sizeof(struct nnd_attend),
    .bind = attend_bwd_bind,
};

const struct op op_attend_dot_bwd = {
    .name = "attend.dot.bwd",
    .attr_size = sizeof(struct attend_attr),
    .shape = attend_bwd_shape,
    .flops = attend_bwd_flops,
    .kernel = "attn.dot.bwd",
    .params_size = sizeof(struct nnd_attend),
    .bind = attend_bwd_bind,
};

static void attend_grad(struct graph *g, const struct node *n)
{
    const struct attend_attr *at = n->attr;
    if (n->out[1]->ngrads) {
        graph_fail(g,
                   "%s: the weights of attention are for looking at: a gradient "
                   "flows into them",
                   n->where);
        return;
    }
    struct value *in[] = {
        [ATTEND_Q] = n->in[ATTEND_Q],          [ATTEND_K] = n->in[ATTEND_K],
        [ATTEND_V] = n->in[ATTEND_V],          [ATTEND_W] = n->in[ATTEND_W],
        [ATTEND_LEN] = n->in[ATTEND_LEN],      [ATTEND_WEIGHT] = n->out[1],
        [ATTEND_DOUT] = grad_of(g, n->out[0]),
    };
    const struct op *twin = at->add ? &op_attend_add_bwd : &op_attend_dot_bwd;
    struct node *d = graph_add(g, twin, at, in, ATTEND_INPUTS);
    for (int i = ATTEND_Q; d && i < ATTEND_W + at->add; i++)
        grad_add(g, n->in[i], d->out[i]);
}

const struct op op_attend_add_fwd = {
    .name = "attend.add",
    .attr_size = sizeof(struct attend_attr),
    .shape = attend_shape,
    .grad = attend_grad,
    .flops = attend_flops,
    .kernel = "attn.add.fwd",
    .params_size = sizeof(struct nnd_attend),
    .bind = attend_bind,
};

const struct op op_attend_dot_fwd = {
    .name = "attend.dot",
    .attr_size = sizeof(struct attend_attr),
    .shape = attend_shape,
    .grad = attend_grad,
    .flops = attend_flops,
    .kernel = "attn.dot.fwd",
    .params_size = sizeof(struct nnd_attend),
    .bind = attend_bind,
};

static struct attend attend(struct graph *g, const struct op *op, struct attend_attr at,
                            struct value *const in[ATTEND_LEN + 1])
{
    if (!in[ATTEND_Q] || !in[ATTEND_K] || !in[ATTEND_V])
        return (struct attend){0};
    struct node *n = graph_add(g, op, &at, in, ATTEND_LEN + 1);
    return n ? (struct attend){.o = n->out[0], .weight = n->out[1]}
             : (struct attend){0};
}

struct attend op_attend_add(struct graph *g, int64_t batch, struct value *q,
                            struct value *k, struct value *v, struct value *w,
                            struct value *len)
{
    struct value *in[] = {q, k, v, w, len};
    if (!w)
        return (struct attend){0};
    struct attend_attr at = {.batch = batch, .add = true};
    return attend(g, &op_attend_add_fwd, at, in);
}

struct attend op_attend_dot(struct graph *g, int64_t batch, struct value *q,
                            struct value *k, struct value *v, double scale,
                            struct value *len)
{
    struct value *in[] = {q, k, v, NULL, len};
    struct attend_attr at = {.batch = batch, .scale = scale};
    return attend(g, &op_attend_dot_fwd, at, in);
}
