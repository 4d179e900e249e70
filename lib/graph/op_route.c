/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_route.c - which experts a row goes to, and with what weight.
 *
 * Forward also counts choices and sums probabilities per balancing group.  What
 * a balancing loss makes of them is decided outside, between forward and
 * backward: its derivative comes back as aux_weight and z_weight, and backward
 * adds it to that of the gates.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct route_attr {
    struct route_config cfg;
    struct value *aux_weight, *z_weight; /* or NULL: op_route_aux */
};

enum {
    ROUTE_Z,
    ROUTE_BIAS, /* or NULL */
    ROUTE_POS,
    ROUTE_EXPERT, /* backward */
    ROUTE_GATE,
    ROUTE_DGATE,
    ROUTE_AUX_WEIGHT, /* or NULL, as the next */
    ROUTE_Z_WEIGHT
};

enum {
    ROUTE_OUT_EXPERT,
    ROUTE_OUT_GATE,
    ROUTE_OUT_COUNT,
    ROUTE_OUT_PSUM,
    ROUTE_OUT_ZSQ
};

static int route_want(const struct graph *g, const struct node *n, struct err *e)
{
    const struct route_config *cfg = &((const struct route_attr *)n->attr)->cfg;
    if (op_want(n, ROUTE_Z, "router logits", g->wide, -1, -1, e))
        return -1;
    const struct shape *z = &n->in[ROUTE_Z]->shape;
    int64_t rows = shape_rows(z), experts = shape_cols(z);
    if (cfg->top_k < 1 || cfg->top_k > experts)
        return err_set(e, ERR_FAILED, "%s: router: wanted 1 to %lld choices, found %d",
                       n->where, (long long)experts, cfg->top_k);
    if (cfg->group_rows < 1 || rows % cfg->group_rows)
        return err_set(e, ERR_FAILED,
                       "%s: router: %lld rows are not whole groups of %lld", n->where,
                       (long long)rows, (long long)cfg->group_rows);
    if (n->in[ROUTE_BIAS] &&
        op_want(n, ROUTE_BIAS, "router bias", g->wide, 1, experts, e))
        return -1;
    return op_want(n, ROUTE_POS, "router positions", NND_I32, 1, rows, e);
}

static int route_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct route_config *cfg = &((const struct route_attr *)n->attr)->cfg;
    if (route_want(g, n, e))
        return -1;
    const struct shape *z = &n->in[ROUTE_Z]->shape;
    struct shape choices = shape_of(2, shape_rows(z), (int64_t)cfg->top_k);
    struct shape groups = shape_of(2, shape_rows(z) / cfg->group_rows, shape_cols(z));
    graph_out(g, n, NND_I32, choices);
    graph_out(g, n, g->wide, choices);
    graph_out(g, n, NND_I32, groups);
    graph_out(g, n, NND_F64, groups);
    graph_out(g, n, NND_F64, shape_of(1, (int64_t)1));
    return 0;
}

/* What both directions read. */
static struct nnd_route route_params(const struct node *n, const struct bind *b)
{
    const struct route_config *cfg = &((const struct route_attr *)n->attr)->cfg;
    return (struct nnd_route){
        .struct_size = sizeof(struct nnd_route),
        .z = bind_matrix(b, n->in[ROUTE_Z]),
        .bias = bind_vector(b, n->in[ROUTE_BIAS]),
        .pos = bind_data(b, n->in[ROUTE_POS]),
        .score = cfg->score,
        .renormalize = cfg->renormalize,
        .top_k = cfg->top_k,
        .group_rows = (int32_t)cfg->group_rows,
        .scale = (float)cfg->scale,
    };
}

static int route_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_route *p = params;
    *p = route_params(n, b);
    p->expert = bind_matrix(b, n->out[ROUTE_OUT_EXPERT]);
    p->gate = bind_matrix(b, n->out[ROUTE_OUT_GATE]);
    p->count = bind_matrix(b, n->out[ROUTE_OUT_COUNT]);
    p->psum = bind_matrix(b, n->out[ROUTE_OUT_PSUM]);
    p->zsq = bind_vector(b, n->out[ROUTE_OUT_ZSQ]);
    return 0;
}

/* out: dz. */
static int route_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct route_config *cfg = &((const struct route_attr *)n->attr)->cfg;
    if (route_want(g, n, e))
        return -1;
    struct value *z = n->in[ROUTE_Z];
    int64_t rows = shape_rows(&z->shape), experts = shape_cols(&z->shape);
    if (op_want(n, ROUTE_DGATE, "gate gradient", g->wide, rows, cfg->top_k, e))
        return -1;
    if (n->in[ROUTE_AUX_WEIGHT] && op_want(n, ROUTE_AUX_WEIGHT, "balancing weights",
                                           g->wide, rows / cfg->group_rows, experts, e))
        return -1;
    if (n->in[ROUTE_Z_WEIGHT] &&
        op_want(n, ROUTE_Z_WEIGHT, "z-loss weight", NND_F32, 1, 1, e))
        return -1;
    graph_out(g, n, grad_dtype(g, z), z->shape);
    return 0;
}

static int route_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_route *p = params;
    *p = route_params(n, b);
    p->expert = bind_matrix(b, n->in[ROUTE_EXPERT]);
    p->gate = bind_matrix(b, n->in[ROUTE_GATE]);
    p->dgate = bind_matrix(b, n->in[ROUTE_DGATE]);
    p->aux_weight = bind_matrix(b, n->in[ROUTE_AUX_WEIGHT]);
    p->z_weight = bind_data(b, n->in[ROUTE_Z_WEIGHT]);
    p->dz = bind_matrix(b, n->out[0]);
    return 0;
}

const struct op op_route_bwd = {
    .name = "route.bwd",
    .attr_size = sizeof(struct route_attr),
    .shape = route_bwd_shape,
    .kernel = "moe.route.bwd",
    .params_size = sizeof(struct nnd_route),
    .bind = route_bwd_bind,
};

static void route_grad(struct graph *g, const struct node *n)
{
    const struct route_attr *at = n->attr;
    struct value *in[] = {
        [ROUTE_Z] = n->in[ROUTE_Z],
        [ROUTE_BIAS] = n->in[ROUTE_BIAS],
        [ROUTE_POS] = n->in[ROUTE_POS],
        [ROUTE_EXPERT] = n->out[ROUTE_OUT_EXPERT],
        [ROUTE_GATE] = n->out[ROUTE_OUT_GATE],
        [ROUTE_DGATE] = grad_of(g, n->out[ROUTE_OUT_GATE]),
        [ROUTE_AUX_WEIGHT] = at->aux_weight,
        [ROUTE_Z_WEIGHT] = at->z_weight,
    };
    if (!n->in[ROUTE_Z]->wants_grad)
        return;
    if (!in[ROUTE_DGATE]) {
        graph_fail(g, "%s: no gradient reaches the gates", n->where);
        return;
    }
    struct node *d = graph_add(g, &op_route_bwd, at, in, ROUTE_Z_WEIGHT + 1);
    if (d)
        grad_add(g, n->in[ROUTE_Z], d->out[0]);
}

const struct op op_route_fwd = {
    .name = "route",
    .attr_size = sizeof(struct route_attr),
    .shape = route_shape,
    .grad = route_grad,
    .terminal = true,
    .kernel = "moe.route.fwd",
    .params_size = sizeof(struct nnd_route),
    .bind = route_bind,
};

struct route op_route(struct graph *g, struct value *z, struct value *bias,
                      struct route_config cfg, const struct chunk *c)
{
    if (!z || !c->pos)
        return (struct route){0};
    struct route_attr at = {.cfg = cfg};
    struct value *in[] = {z, bias, c->pos};
    struct node *n = graph_add(g, &op_route_fwd, &at, in, 3);
    if (!n)
        return (struct route){0};
    return (struct route){
        .node = n,
        .expert = n->out[ROUTE_OUT_EXPERT],
        .gate = n->out[ROUTE_OUT_GATE],
        .count = n->out[ROUTE_OUT_COUNT],
        .psum = n->out[ROUTE_OUT_PSUM],
        .zsq = n->out[ROUTE_OUT_ZSQ],
    };
}

void op_route_aux(struct route *r, struct value *aux_weight, struct value *z_weight)
{
    if (!r->node)
        return;
    struct route_attr *at = r->node->attr;
    at->aux_weight = aux_weight;
    at->z_weight = z_weight;
}
