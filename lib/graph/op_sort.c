/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_sort.c - the order in which choices are sent to experts: by expert, then
 * by row, so that it depends on the choices alone.  Integers; no gradient.
 */
#include "graph/op_list.h"
#include "graph/ops.h"

struct sort_attr {
    int experts;
};

static int sort_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct sort_attr *at = n->attr;
    if (op_want(n, 0, "choices", NND_I32, -1, -1, e))
        return -1;
    const struct shape *s = &n->in[0]->shape;
    graph_out(g, n, NND_I32, *s);
    graph_out(g, n, NND_I32, shape_of(1, shape_elements(s)));
    graph_out(g, n, NND_I32, shape_of(1, (int64_t)at->experts));
    return 0;
}

static int sort_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_sort *)params = (struct nnd_sort){
        .struct_size = sizeof(struct nnd_sort),
        .expert = bind_matrix(b, n->in[0]),
        .place = bind_matrix(b, n->out[0]),
        .source = bind_vector(b, n->out[1]),
        .total = bind_vector(b, n->out[2]),
    };
    return 0;
}

const struct op op_sort_fwd = {
    .name = "sort",
    .attr_size = sizeof(struct sort_attr),
    .shape = sort_shape,
    .kernel = "moe.sort",
    .params_size = sizeof(struct nnd_sort),
    .bind = sort_bind,
};

struct sort op_sort(struct graph *g, struct value *expert, int experts)
{
    if (!expert)
        return (struct sort){0};
    struct sort_attr at = {.experts = experts};
    struct node *n = graph_add(g, &op_sort_fwd, &at, &expert, 1);
    if (!n)
        return (struct sort){0};
    return (struct sort){.place = n->out[0], .source = n->out[1], .total = n->out[2]};
}
