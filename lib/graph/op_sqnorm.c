/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_sqnorm.c - sums of squares of a gradient, one per NND_BLOCK_ELEMS elements,
 * written among those of other weights; op_norm adds them up.
 */
#include "graph/op_list.h"
#include "graph/ops.h"

struct sqnorm_attr {
    int64_t first; /* of the gradient's blocks */
};

enum { SQNORM_GRAD, SQNORM_BLOCKS };

static int64_t block_count(const struct node *n)
{
    int64_t elements = shape_elements(&n->in[SQNORM_GRAD]->shape);
    return (elements + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS;
}

/* out: the gradient's part of the blocks. */
static int sqnorm_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct sqnorm_attr *at = n->attr;
    if (op_want(n, SQNORM_GRAD, "gradient", g->wide, -1, -1, e) ||
        op_want(n, SQNORM_BLOCKS, "blocks", NND_F64, 1, -1, e))
        return -1;
    struct value *blocks = n->in[SQNORM_BLOCKS];
    int64_t count = block_count(n), room = shape_elements(&blocks->shape);
    if (at->first < 0 || at->first + count > room)
        return err_set(e, ERR_FAILED, "%s: blocks %lld to %lld of %lld", n->where,
                       (long long)at->first, (long long)(at->first + count),
                       (long long)room);
    graph_out_view(g, n, blocks, at->first, shape_of(1, count));
    return 0;
}

static int sqnorm_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_sqnorm *)params = (struct nnd_sqnorm){
        .struct_size = sizeof(struct nnd_sqnorm),
        .x = bind_vector(b, n->in[SQNORM_GRAD]),
        .y = bind_vector(b, n->out[0]),
    };
    return 0;
}

const struct op op_sqnorm_fwd = {
    .name = "sqnorm",
    .attr_size = sizeof(struct sqnorm_attr),
    .shape = sqnorm_shape,
    .kernel = "sqnorm",
    .params_size = sizeof(struct nnd_sqnorm),
    .bind = sqnorm_bind,
};

void op_sqnorm(struct graph *g, struct value *grad, struct value *blocks, int64_t first)
{
    struct value *in[] = {grad, blocks};
    struct sqnorm_attr at = {.first = first};
    if (grad && blocks)
        graph_add(g, &op_sqnorm_fwd, &at, in, 2);
}
