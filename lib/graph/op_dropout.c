/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_dropout.c - y = x * keep / (1 - p); its gradient is the same with the same
 * bits, which are a function of (seed, step, op number, sample, place, column).
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct dropout_attr {
    double p;
    uint32_t number;
};

enum { DROPOUT_X, DROPOUT_RNG, DROPOUT_SAMPLE, DROPOUT_POS };

struct nnd_dropout bind_dropout(const struct bind *b, double p, uint32_t number,
                                struct value *const in[3])
{
    if (p == 0)
        return (struct nnd_dropout){.p = 0};
    return (struct nnd_dropout){
        .p = (float)p,
        .op = number,
        .state = bind_data(b, in[0]),
        .sample = bind_data(b, in[1]),
        .pos = bind_data(b, in[2]),
    };
}

static int dropout_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct dropout_attr *at = n->attr;
    if (op_want(n, DROPOUT_X, "dropout input", 0, -1, -1, e))
        return -1;
    if (!(at->p > 0 && at->p < 1))
        return err_set(e, ERR_FAILED, "%s: dropout: wanted 0 <= p < 1, found %g",
                       n->where, at->p);
    const struct value *x = n->in[DROPOUT_X];
    int64_t rows = shape_rows(&x->shape);
    if (op_want(n, DROPOUT_RNG, "dropout seed and step", NND_I64, 1, 2, e) ||
        op_want(n, DROPOUT_SAMPLE, "dropout samples", NND_I32, 1, rows, e) ||
        op_want(n, DROPOUT_POS, "dropout positions", NND_I32, 1, rows, e))
        return -1;
    graph_out(g, n, x->dtype, x->shape);
    return 0;
}

static struct value *drop(struct graph *g, struct value *x, struct value *const rng[3],
                          const struct dropout_attr *at)
{
    struct value *in[] = {x, rng[0], rng[1], rng[2]};
    struct node *n = graph_add(g, &op_dropout_fwd, at, in, 4);
    return n ? n->out[0] : NULL;
}

static void dropout_grad(struct graph *g, const struct node *n)
{
    struct value *dy = grad_of(g, n->out[0]);
    grad_add(g, n->in[DROPOUT_X], drop(g, dy, n->in + DROPOUT_RNG, n->attr));
}

static int dropout_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct dropout_attr *at = n->attr;
    *(struct nnd_drop *)params = (struct nnd_drop){
        .struct_size = sizeof(struct nnd_drop),
        .x = bind_matrix(b, n->in[DROPOUT_X]),
        .y = bind_matrix(b, n->out[0]),
        .dropout = bind_dropout(b, at->p, at->number, n->in + DROPOUT_RNG),
    };
    return 0;
}

const struct op op_dropout_fwd = {
    .name = "dropout",
    .attr_size = sizeof(struct dropout_attr),
    .shape = dropout_shape,
    .grad = dropout_grad,
    .again = again_same,
    .kernel = "dropout",
    .params_size = sizeof(struct nnd_drop),
    .bind = dropout_bind,
};

struct value *op_dropout(struct graph *g, struct value *x, double p,
                         const struct chunk *c)
{
    if (!x || p == 0)
        return x;
    struct value *rng[] = {c->rng, c->sample, c->pos};
    struct dropout_attr at = {.p = p, .number = g->next_rng++};
    return drop(g, x, rng, &at);
}
