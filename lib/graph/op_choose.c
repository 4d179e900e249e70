/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_choose.c - which column of each row: the largest, a drawn one, a named one.
 * For decoding and for inputs that a model makes itself; none has a gradient.
 */
#include "graph/op_list.h"
#include "graph/ops.h"

struct choose_attr {
    int64_t k;
    struct sample_config c;
};

enum { CHOOSE_X, CHOOSE_SEED, CHOOSE_POS };

/* out: index i32 [R,K], value wide [R,K]. */
static int choose_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct choose_attr *at = n->attr;
    const struct value *x = n->in[CHOOSE_X];
    int64_t rows = shape_rows(&x->shape), cols = shape_cols(&x->shape);
    if (at->k < 1 || at->k > cols)
        return err_set(e, ERR_FAILED, "%s: wanted 1 to %lld columns, found %lld",
                       n->where, (long long)cols, (long long)at->k);
    graph_out(g, n, NND_I32, shape_of(2, rows, at->k));
    graph_out(g, n, g->wide, shape_of(2, rows, at->k));
    return 0;
}

static int sample_shape(struct graph *g, struct node *n, struct err *e)
{
    int64_t rows = shape_rows(&n->in[CHOOSE_X]->shape);
    if (op_want(n, CHOOSE_SEED, "seeds", NND_I64, 1, rows, e) ||
        op_want(n, CHOOSE_POS, "positions", NND_I32, 1, rows, e))
        return -1;
    return choose_shape(g, n, e);
}

static int choose_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct choose_attr *at = n->attr;
    *(struct nnd_choose *)params = (struct nnd_choose){
        .struct_size = sizeof(struct nnd_choose),
        .x = bind_matrix(b, n->in[CHOOSE_X]),
        .index = bind_tensor(b, n->out[0]),
        .value = bind_tensor(b, n->out[1]),
        .temperature = (float)at->c.temperature,
        .top_p = (float)at->c.top_p,
        .top_k = at->c.top_k,
    };
    return 0;
}

static int sample_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_choose *p = params;
    choose_bind(n, b, params);
    p->seed = bind_data(b, n->in[CHOOSE_SEED]);
    p->pos = bind_data(b, n->in[CHOOSE_POS]);
    return 0;
}

const struct op op_argmax_fwd = {
    .name = "argmax",
    .attr_size = sizeof(struct choose_attr),
    .shape = choose_shape,
    .kernel = "argmax",
    .params_size = sizeof(struct nnd_choose),
    .bind = choose_bind,
};

const struct op op_sample_fwd = {
    .name = "sample",
    .attr_size = sizeof(struct choose_attr),
    .shape = sample_shape,
    .kernel = "sample",
    .params_size = sizeof(struct nnd_choose),
    .bind = sample_bind,
};

static struct choice choose(struct graph *g, const struct op *op, struct choose_attr at,
                            struct value *const *in, int nin)
{
    struct node *n = graph_add(g, op, &at, in, nin);
    return n ? (struct choice){.index = n->out[0], .value = n->out[1]}
             : (struct choice){0};
}

struct choice op_argmax(struct graph *g, struct value *x, int64_t k)
{
    if (!x)
        return (struct choice){0};
    return choose(g, &op_argmax_fwd, (struct choose_attr){.k = k}, &x, 1);
}

struct choice op_sample(struct graph *g, struct value *x, struct sample_config c,
                        struct value *seed, struct value *pos)
{
    struct value *in[] = {x, seed, pos};
    if (!x || !seed || !pos)
        return (struct choice){0};
    return choose(g, &op_sample_fwd, (struct choose_attr){.k = 1, .c = c}, in, 3);
}

/* in: x [R,V], index i32 [R,K]; out: [R,K]. */
static int select_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, 1, "column numbers", NND_I32, shape_rows(&n->in[0]->shape), -1, e))
        return -1;
    graph_out(g, n, n->in[0]->dtype, n->in[1]->shape);
    return 0;
}

static int select_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_select *)params = (struct nnd_select){
        .struct_size = sizeof(struct nnd_select),
        .x = bind_matrix(b, n->in[0]),
        .index = bind_matrix(b, n->in[1]),
        .y = bind_matrix(b, n->out[0]),
    };
    return 0;
}

const struct op op_select_fwd = {
    .name = "select",
    .shape = select_shape,
    .kernel = "select",
    .params_size = sizeof(struct nnd_select),
    .bind = select_bind,
};

struct value *op_select(struct graph *g, struct value *x, struct value *index)
{
    struct value *in[] = {x, index};
    struct node *n = x && index ? graph_add(g, &op_select_fwd, NULL, in, 2) : NULL;
    return n ? n->out[0] : NULL;
}
