/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_rope.c - rotary positions (Su et al. 2021).
 *
 * Rotation is orthogonal: the gradient is rotated back by the same angles.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct rope_attr {
    double theta;
    bool interleaved, inverse;
};

enum { ROPE_X, ROPE_POS };

static int rope_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, ROPE_X, "rope input", 0, -1, -1, e))
        return -1;
    const struct value *x = n->in[ROPE_X];
    if (x->shape.ndim != 3 || x->shape.dim[2] % 2)
        return err_set(e, ERR_FAILED, "%s: rope: wanted [T,H,D] with even D", n->where);
    if (op_want(n, ROPE_POS, "rope positions", NND_I32, 1, x->shape.dim[0], e))
        return -1;
    graph_out(g, n, x->dtype, x->shape);
    return 0;
}

static struct value *rotate(struct graph *g, struct value *x, struct value *pos,
                            struct rope_attr at)
{
    struct value *in[] = {x, pos};
    struct node *n = graph_add(g, &op_rope_fwd, &at, in, 2);
    return n ? n->out[0] : NULL;
}

static void rope_grad(struct graph *g, const struct node *n)
{
    struct rope_attr at = *(const struct rope_attr *)n->attr;
    at.inverse = !at.inverse;
    struct value *dy = grad_of(g, n->out[0]);
    grad_add(g, n->in[ROPE_X], rotate(g, dy, n->in[ROPE_POS], at));
}

static int rope_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct rope_attr *at = n->attr;
    *(struct nnd_rope *)params = (struct nnd_rope){
        .struct_size = sizeof(struct nnd_rope),
        .x = bind_tensor(b, n->in[ROPE_X]),
        .y = bind_tensor(b, n->out[0]),
        .pos = bind_data(b, n->in[ROPE_POS]),
        .theta = (float)at->theta,
        .interleaved = at->interleaved,
        .inverse = at->inverse,
    };
    return 0;
}

const struct op op_rope_fwd = {
    .name = "rope",
    .attr_size = sizeof(struct rope_attr),
    .shape = rope_shape,
    .grad = rope_grad,
    .again = again_same,
    .kernel = "rope",
    .params_size = sizeof(struct nnd_rope),
    .bind = rope_bind,
};

struct value *op_rope(struct graph *g, struct value *x, struct value *pos, double theta,
                      bool interleaved)
{
    if (!x || !pos)
        return NULL;
    return rotate(g, x, pos,
                  (struct rope_attr){.theta = theta, .interleaved = interleaved});
}
