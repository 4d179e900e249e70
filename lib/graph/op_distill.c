/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_distill.c - the loss of a student beside its teacher (Hinton et al. 2015):
 *
 *   loss[t] = (1 - a) nll(z[t], target[t]) + a T^2 KL(p(y[t] / T) || p(z[t] / T))
 *
 * z the student's logits, y the teacher's, p softmax.  Rows without a target have none.
 * As with cross-entropy, the gradient overwrites the logits when nobody else reads
 * them; the teacher's get none.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct distill_attr {
    double alpha, temperature;
    bool in_place; /* of the gradient: dlogits in the memory of the logits */
};

/* The last three are backward's alone, and forward's outputs but its first. */
enum {
    DISTILL_LOGITS,
    DISTILL_TEACHER,
    DISTILL_TARGET,
    DISTILL_SEED,
    DISTILL_LSE,
    DISTILL_LSE_SOFT,
    DISTILL_LSE_TEACHER,
    DISTILL_IN
};

static int distill_want(const struct node *n, struct err *e)
{
    const struct value *z = n->in[DISTILL_LOGITS];
    if (op_want(n, DISTILL_LOGITS, "logits", 0, -1, -1, e))
        return -1;
    int64_t rows = shape_rows(&z->shape);
    if (op_want(n, DISTILL_TEACHER, "the teacher's logits", 0, rows,
                shape_cols(&z->shape), e) ||
        op_want(n, DISTILL_TARGET, "targets", NND_I32, 1, rows, e))
        return -1;
    return op_want(n, DISTILL_SEED, "seed", NND_F32, 1, 1, e);
}

static int distill_shape(struct graph *g, struct node *n, struct err *e)
{
    if (distill_want(n, e))
        return -1;
    struct shape rows = shape_of(1, shape_rows(&n->in[DISTILL_LOGITS]->shape));
    for (int i = 0; i < 4; i++)
        graph_out(g, n, g->wide, rows);
    return 0;
}

static struct nnd_distill distill_params(const struct node *n, const struct bind *b)
{
    const struct distill_attr *at = n->attr;
    return (struct nnd_distill){
        .struct_size = sizeof(struct nnd_distill),
        .logits = bind_matrix(b, n->in[DISTILL_LOGITS]),
        .teacher = bind_matrix(b, n->in[DISTILL_TEACHER]),
        .target = bind_data(b, n->in[DISTILL_TARGET]),
        .seed = bind_data(b, n->in[DISTILL_SEED]),
        .alpha = (float)at->alpha,
        .temperature = (float)at->temperature,
    };
}

static int distill_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_distill *p = params;
    *p = distill_params(n, b);
    p->loss = bind_vector(b, n->out[0]);
    p->lse = bind_vector(b, n->out[1]);
    p->lse_soft = bind_vector(b, n->out[2]);
    p->lse_teacher = bind_vector(b, n->out[3]);
    return 0;
}

static int distill_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct distill_attr *at = n->attr;
    struct value *z = n->in[DISTILL_LOGITS];
    if (distill_want(n, e))
        return -1;
    if (at->in_place)
        graph_out_view(g, n, z, 0, z->shape);
    else
        graph_out(g, n, grad_dtype(g, z), z->shape);
    return 0;
}

static int distill_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_distill *p = params;
    *p = distill_params(n, b);
    p->lse = bind_vector(b, n->in[DISTILL_LSE]);
    p->lse_soft = bind_vector(b, n->in[DISTILL_LSE_SOFT]);
    p->lse_teacher = bind_vector(b, n->in[DISTILL_LSE_TEACHER]);
    p->dlogits = bind_matrix(b, n->out[0]);
    return 0;
}

const struct op op_distill_bwd = {
    .name = "distill.bwd",
    .attr_size = sizeof(struct distill_attr),
    .shape = distill_bwd_shape,
    .kernel = "distill.bwd",
    .params_size = sizeof(struct nnd_distill),
    .bind = distill_bwd_bind,
};

static void distill_grad(struct graph *g, const struct node *n)
{
    struct value *z = n->in[DISTILL_LOGITS];
    if (!z->wants_grad)
        return;
    struct distill_attr at = *(const struct distill_attr *)n->attr;
    at.in_place = grad_alone(g, n, z);
    struct value *in[DISTILL_IN] = {
        z,
        n->in[DISTILL_TEACHER],
        n->in[DISTILL_TARGET],
        n->in[DISTILL_SEED],
        n->out[1],
        n->out[2],
        n->out[3],
    };
    struct node *d = graph_add(g, &op_distill_bwd, &at, in, DISTILL_IN);
    if (d)
        grad_add(g, z, d->out[0]);
}

const struct op op_distill_fwd = {
    .name = "distill",
    .attr_size = sizeof(struct distill_attr),
    .shape = distill_shape,
    .grad = distill_grad,
    .terminal = true,
    .kernel = "distill.fwd",
    .params_size = sizeof(struct nnd_distill),
    .bind = distill_bind,
};

struct value *op_distill(struct graph *g, struct value *logits, struct value *teacher,
                         double alpha, double temperature, const struct chunk *c)
{
    if (!logits || !teacher || !c->target || !c->seed)
        return NULL;
    struct distill_attr at = {.alpha = alpha, .temperature = temperature};
    struct value *in[] = {logits, teacher, c->target, c->seed};
    struct node *n = graph_add(g, &op_distill_fwd, &at, in, 4);
    return n ? n->out[0] : NULL;
}
