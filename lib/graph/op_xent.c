/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_xent.c - cross-entropy of each row against its target: where backward
 * begins.
 *
 * loss[t] = logsumexp(z[t]) - z[t, target[t]].  The gradient, softmax less one
 * at the target, times the seed, overwrites the logits when nobody else reads
 * them: they are the largest activation of a language model.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

/* The loss that is reported is never smoothed: it says what perplexity is. */
struct xent_attr {
    double smoothing; /* of the gradient */
};

enum { XENT_LOGITS, XENT_TARGET, XENT_SEED, XENT_LSE };

static int xent_want(const struct node *n, struct err *e)
{
    if (op_want(n, XENT_LOGITS, "logits", 0, -1, -1, e))
        return -1;
    int64_t rows = shape_rows(&n->in[XENT_LOGITS]->shape);
    if (op_want(n, XENT_TARGET, "targets", NND_I32, 1, rows, e))
        return -1;
    return op_want(n, XENT_SEED, "seed", NND_F32, 1, 1, e);
}

static int xent_shape(struct graph *g, struct node *n, struct err *e)
{
    if (xent_want(n, e))
        return -1;
    struct shape rows = shape_of(1, shape_rows(&n->in[XENT_LOGITS]->shape));
    graph_out(g, n, g->wide, rows);
    graph_out(g, n, g->wide, rows);
    return 0;
}

static int xent_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_xent *)params = (struct nnd_xent){
        .struct_size = sizeof(struct nnd_xent),
        .logits = bind_matrix(b, n->in[XENT_LOGITS]),
        .loss = bind_vector(b, n->out[0]),
        .lse = bind_vector(b, n->out[1]),
        .target = bind_data(b, n->in[XENT_TARGET]),
        .seed = bind_data(b, n->in[XENT_SEED]),
    };
    return 0;
}

struct xent_bwd_attr {
    bool in_place; /* dlogits in the memory of the logits */
    double smoothing;
};

/* in: logits, target, seed, lse; out: dlogits. */
static int xent_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct xent_bwd_attr *at = n->attr;
    if (xent_want(n, e))
        return -1;
    struct value *z = n->in[XENT_LOGITS];
    if (at->in_place)
        graph_out_view(g, n, z, 0, z->shape);
    else
        graph_out(g, n, grad_dtype(g, z), z->shape);
    return 0;
}

static int xent_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_xent *)params = (struct nnd_xent){
        .struct_size = sizeof(struct nnd_xent),
        .logits = bind_matrix(b, n->in[XENT_LOGITS]),
        .lse = bind_vector(b, n->in[XENT_LSE]),
        .target = bind_data(b, n->in[XENT_TARGET]),
        .seed = bind_data(b, n->in[XENT_SEED]),
        .smoothing = (float)((const struct xent_bwd_attr *)n->attr)->smoothing,
        .dlogits = bind_matrix(b, n->out[0]),
    };
    return 0;
}

const struct op op_xent_bwd = {
    .name = "xent.bwd",
    .attr_size = sizeof(struct xent_bwd_attr),
    .shape = xent_bwd_shape,
    .kernel = "xent.bwd",
    .params_size = sizeof(struct nnd_xent),
    .bind = xent_bwd_bind,
};

static void xent_grad(struct graph *g, const struct node *n)
{
    if (!n->in[XENT_LOGITS]->wants_grad)
        return;
    const struct xent_attr *of = n->attr;
    struct xent_bwd_attr at = {.in_place = grad_alone(g, n, n->in[XENT_LOGITS]),
                               .smoothing = of->smoothing};
    struct value *in[] = {
        [XENT_LOGITS] = n->in[XENT_LOGITS],
        [XENT_TARGET] = n->in[XENT_TARGET],
        [XENT_SEED] = n->in[XENT_SEED],
        [XENT_LSE] = n->out[1],
    };
    struct node *d = graph_add(g, &op_xent_bwd, &at, in, 4);
    if (d)
        grad_add(g, n->in[XENT_LOGITS], d->out[0]);
}

const struct op op_xent_fwd = {
    .name = "xent",
    .attr_size = sizeof(struct xent_attr),
    .shape = xent_shape,
    .grad = xent_grad,
    .terminal = true,
    .kernel = "xent.fwd",
    .params_size = sizeof(struct nnd_xent),
    .bind = xent_bind,
};

struct value *op_xent_smooth(struct graph *g, struct value *logits, double smoothing,
                             const struct chunk *c)
{
    if (!logits || !c->target || !c->seed)
        return NULL;
    struct xent_attr at = {.smoothing = smoothing};
    struct value *in[] = {logits, c->target, c->seed};
    struct node *n = graph_add(g, &op_xent_fwd, &at, in, 3);
    return n ? n->out[0] : NULL;
}

struct value *op_xent(struct graph *g, struct value *logits, const struct chunk *c)
{
    return op_xent_smooth(g, logits, 0, c);
}
