/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_pad.c - sequences one behind the other (packed) as sequences of equally many rows
 * (padded), for operators that go step by step, and back: rows by number, zeros where
 * there is none.  Backward is the same with the numbers of the other direction.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

enum { MOVE_X, MOVE_PLACE, MOVE_BACK };

static struct value *move(struct graph *g, struct value *x, struct value *place,
                          struct value *back)
{
    struct value *in[] = {x, place, back};
    struct node *n = x && place ? graph_add(g, &op_pad_fwd, NULL, in, 3) : NULL;
    return n ? n->out[0] : NULL;
}

/* in: x [R,N], place [M,1], back [R,1]; out: [M,N]. */
static int pad_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, MOVE_BACK, "row numbers back", NND_I32, -1, 1, e) ||
        op_want(n, MOVE_PLACE, "row numbers", NND_I32, -1, 1, e) ||
        op_want(n, MOVE_X, "rows", 0, shape_rows(&n->in[MOVE_BACK]->shape), -1, e))
        return -1;
    const struct value *x = n->in[MOVE_X];
    int64_t rows = shape_rows(&n->in[MOVE_PLACE]->shape);
    graph_out(g, n, x->dtype, shape_of(2, rows, shape_cols(&x->shape)));
    return 0;
}

static void pad_grad(struct graph *g, const struct node *n)
{
    grad_add(g, n->in[MOVE_X],
             move(g, grad_of(g, n->out[0]), n->in[MOVE_BACK], n->in[MOVE_PLACE]));
}

/* One choice for each row, without a weight: what has none is a sum of nothing. */
static int pad_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_permute *)params = (struct nnd_permute){
        .struct_size = sizeof(struct nnd_permute),
        .x = bind_matrix(b, n->in[MOVE_X]),
        .y = bind_matrix(b, n->out[0]),
        .place = bind_matrix(b, n->in[MOVE_PLACE]),
        .top_k = 1,
    };
    return 0;
}

const struct op op_pad_fwd = {
    .name = "pad",
    .shape = pad_shape,
    .grad = pad_grad,
    .again = again_same,
    .kernel = "moe.unpermute",
    .params_size = sizeof(struct nnd_permute),
    .bind = pad_bind,
};

struct value *op_pad(struct graph *g, struct value *x, const struct pad *p)
{
    return move(g, x, p->from, p->to);
}

struct value *op_unpad(struct graph *g, struct value *x, const struct pad *p)
{
    return move(g, x, p->to, p->from);
}
