/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_permute.c - rows into the order of op_sort, and back with weights.
 *
 * With P the 0/1 matrix of places: permute is P x, unpermute is P^T x with a
 * gate per choice.  Each is the other's backward; the gate's gradient is a dot
 * product per choice.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

enum {
    PERMUTE_X,
    PERMUTE_GATE, /* or NULL */
    PERMUTE_PLACE,
    PERMUTE_SOURCE
};

/* Rows of x: T when `packed` is false, else T * top_k. */
static int permute_want(const struct graph *g, const struct node *n, bool packed,
                        struct err *e)
{
    if (op_want(n, PERMUTE_PLACE, "places", NND_I32, -1, -1, e))
        return -1;
    const struct shape *s = &n->in[PERMUTE_PLACE]->shape;
    int64_t rows = shape_rows(s), top_k = shape_cols(s);
    if (op_want(n, PERMUTE_SOURCE, "sources", NND_I32, 1, rows * top_k, e))
        return -1;
    if (n->in[PERMUTE_GATE] &&
        op_want(n, PERMUTE_GATE, "gates", g->wide, rows, top_k, e))
        return -1;
    return op_want(n, PERMUTE_X, packed ? "sorted rows" : "rows", 0,
                   packed ? rows * top_k : rows, -1, e);
}

static int permute_shape(struct graph *g, struct node *n, struct err *e)
{
    if (permute_want(g, n, false, e))
        return -1;
    const struct value *x = n->in[PERMUTE_X];
    int64_t rows = shape_elements(&n->in[PERMUTE_PLACE]->shape);
    graph_out(g, n, x->dtype, shape_of(2, rows, shape_cols(&x->shape)));
    return 0;
}

static int unpermute_shape(struct graph *g, struct node *n, struct err *e)
{
    if (permute_want(g, n, true, e))
        return -1;
    const struct value *x = n->in[PERMUTE_X];
    int64_t rows = shape_rows(&n->in[PERMUTE_PLACE]->shape);
    graph_out(g, n, x->dtype, shape_of(2, rows, shape_cols(&x->shape)));
    return 0;
}

static int permute_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_permute *)params = (struct nnd_permute){
        .struct_size = sizeof(struct nnd_permute),
        .x = bind_matrix(b, n->in[PERMUTE_X]),
        .y = bind_matrix(b, n->out[0]),
        .place = bind_matrix(b, n->in[PERMUTE_PLACE]),
        .source = bind_vector(b, n->in[PERMUTE_SOURCE]),
        .gate = bind_matrix(b, n->in[PERMUTE_GATE]),
        .top_k = (int32_t)shape_cols(&n->in[PERMUTE_PLACE]->shape),
    };
    return 0;
}

/* in: dy, x, place; out: dgate. */
enum { DGATE_DY, DGATE_X, DGATE_PLACE };

static int dgate_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *x = n->in[DGATE_X];
    const struct shape *s = &n->in[DGATE_PLACE]->shape;
    if (op_want(n, DGATE_DY, "unpermute gradient", x->dtype, shape_rows(s),
                shape_cols(&x->shape), e))
        return -1;
    graph_out(g, n, g->wide, *s);
    return 0;
}

static int dgate_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_permute *)params = (struct nnd_permute){
        .struct_size = sizeof(struct nnd_permute),
        .x = bind_matrix(b, n->in[DGATE_X]),
        .place = bind_matrix(b, n->in[DGATE_PLACE]),
        .dy = bind_matrix(b, n->in[DGATE_DY]),
        .dgate = bind_matrix(b, n->out[0]),
        .top_k = (int32_t)shape_cols(&n->in[DGATE_PLACE]->shape),
    };
    return 0;
}

const struct op op_unpermute_dgate = {
    .name = "unpermute.dgate",
    .shape = dgate_shape,
    .kernel = "moe.dgate",
    .params_size = sizeof(struct nnd_permute),
    .bind = dgate_bind,
};

static struct value *move(struct graph *g, const struct op *op, struct value *x,
                          struct value *gate, struct value *place, struct value *source)
{
    struct value *in[] = {x, gate, place, source};
    struct node *n = graph_add(g, op, NULL, in, 4);
    return n ? n->out[0] : NULL;
}

/* Of op_permute, which has no gate. */
static void permute_grad(struct graph *g, const struct node *n)
{
    struct value *dy = grad_of(g, n->out[0]);
    grad_add(g, n->in[PERMUTE_X],
             move(g, &op_unpermute_fwd, dy, NULL, n->in[PERMUTE_PLACE],
                  n->in[PERMUTE_SOURCE]));
}

static void unpermute_grad(struct graph *g, const struct node *n)
{
    struct value *x = n->in[PERMUTE_X], *gate = n->in[PERMUTE_GATE];
    struct value *place = n->in[PERMUTE_PLACE];
    struct value *dy = grad_of(g, n->out[0]);
    if (gate && gate->wants_grad) {
        struct value *in[] = {dy, x, place};
        struct node *d = graph_add(g, &op_unpermute_dgate, NULL, in, 3);
        grad_add(g, gate, d ? d->out[0] : NULL);
    }
    if (x->wants_grad)
        grad_add(g, x,
                 move(g, &op_permute_fwd, dy, gate, place, n->in[PERMUTE_SOURCE]));
}

const struct op op_permute_fwd = {
    .name = "permute",
    .shape = permute_shape,
    .grad = permute_grad,
    .again = again_same,
    .kernel = "moe.permute",
    .params_size = sizeof(struct nnd_permute),
    .bind = permute_bind,
};

const struct op op_unpermute_fwd = {
    .name = "unpermute",
    .shape = unpermute_shape,
    .grad = unpermute_grad,
    .kernel = "moe.unpermute",
    .params_size = sizeof(struct nnd_permute),
    .bind = permute_bind,
};

struct value *op_permute(struct graph *g, struct value *x, struct sort *s)
{
    if (!x || !s->place)
        return NULL;
    return move(g, &op_permute_fwd, x, NULL, s->place, s->source);
}

struct value *op_unpermute(struct graph *g, struct value *x, struct value *gate,
                           struct sort *s)
{
    if (!x || !s->place)
        return NULL;
    return move(g, &op_unpermute_fwd, x, gate, s->place, s->source);
}
