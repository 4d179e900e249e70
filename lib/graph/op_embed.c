/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_embed.c - rows of a table by number, scaled; backward adds rows into the table,
 * or, where a table has a gradient already that is nobody else's, into that: the
 * gradient of an output's matrix that is the table as well.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct embed_attr {
    double scale;
};

enum { EMBED_TABLE, EMBED_ID, EMBED_DY, EMBED_ONTO };

static int embed_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, EMBED_TABLE, "embedding table", 0, -1, -1, e) ||
        op_want(n, EMBED_ID, "embedding ids", NND_I32, 1, -1, e))
        return -1;
    const struct value *table = n->in[EMBED_TABLE], *id = n->in[EMBED_ID];
    graph_out(g, n, table->dtype,
              shape_of(2, shape_cols(&id->shape), shape_cols(&table->shape)));
    return 0;
}

static int embed_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct embed_attr *at = n->attr;
    *(struct nnd_embed *)params = (struct nnd_embed){
        .struct_size = sizeof(struct nnd_embed),
        .scale = (float)at->scale,
        .table = bind_matrix(b, n->in[EMBED_TABLE]),
        .y = bind_matrix(b, n->out[0]),
        .id = bind_data(b, n->in[EMBED_ID]),
    };
    return 0;
}

/* in: table (its shape alone), id, dy, what is added to or NULL; out: dtable. */
static int embed_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *table = n->in[EMBED_TABLE], *id = n->in[EMBED_ID];
    if (op_want(n, EMBED_DY, "embedding gradient", table->dtype, shape_cols(&id->shape),
                shape_cols(&table->shape), e))
        return -1;
    if (n->in[EMBED_ONTO])
        graph_out_view(g, n, n->in[EMBED_ONTO], 0, table->shape);
    else
        graph_out(g, n, grad_dtype(g, table), table->shape);
    return 0;
}

static int embed_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct embed_attr *at = n->attr;
    *(struct nnd_embed *)params = (struct nnd_embed){
        .struct_size = sizeof(struct nnd_embed),
        .scale = (float)at->scale,
        .id = bind_data(b, n->in[EMBED_ID]),
        .dy = bind_matrix(b, n->in[EMBED_DY]),
        .dtable = bind_matrix(b, n->out[0]),
        .accumulate = n->in[EMBED_ONTO] != NULL,
    };
    return 0;
}

const struct op op_embed_bwd = {
    .name = "embed.bwd",
    .attr_size = sizeof(struct embed_attr),
    .shape = embed_bwd_shape,
    .kernel = "embed.bwd",
    .params_size = sizeof(struct nnd_embed),
    .bind = embed_bwd_bind,
};

static void embed_grad(struct graph *g, const struct node *n)
{
    struct value *table = n->in[EMBED_TABLE];
    struct value *in[] = {
        [EMBED_TABLE] = table,
        [EMBED_ID] = n->in[EMBED_ID],
        [EMBED_DY] = grad_of(g, n->out[0]),
        [EMBED_ONTO] = grad_place(g, table),
    };
    struct node *d = graph_add(g, &op_embed_bwd, n->attr, in, 4);
    if (d && in[EMBED_ONTO])
        grad_added(g, table);
    else if (d)
        grad_add(g, table, d->out[0]);
}

const struct op op_embed_fwd = {
    .name = "embed",
    .attr_size = sizeof(struct embed_attr),
    .shape = embed_shape,
    .grad = embed_grad,
    .again = again_same,
    .kernel = "embed.fwd",
    .params_size = sizeof(struct nnd_embed),
    .bind = embed_bind,
};

struct value *op_embed_scaled(struct graph *g, struct value *table, struct value *id,
                              double scale)
{
    if (!table || !id)
        return NULL;
    struct embed_attr at = {.scale = scale};
    struct value *in[] = {table, id};
    struct node *n = graph_add(g, &op_embed_fwd, &at, in, 2);
    return n ? n->out[0] : NULL;
}

struct value *op_embed(struct graph *g, struct value *table, struct value *id)
{
    return op_embed_scaled(g, table, id, 1);
}
