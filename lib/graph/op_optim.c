/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_optim.c - one update of a run of weights: AdamW (Loshchilov & Hutter 2019),
 * Adam, SGD with momentum; and what it is given of the gradients' norm, where the host
 * does not wait to see that.
 *
 * Weights and moments are written where they lie, so the node has no outputs.
 */
#include <string.h>

#include "graph/op_list.h"
#include "graph/ops.h"

enum {
    OPTIM_GRAD,
    OPTIM_W,
    OPTIM_M,
    OPTIM_V, /* NULL: SGD */
    OPTIM_HYPER,
    OPTIM_OUT, /* the rounded weight; NULL: w is the weight */
    OPTIM_SKIP /* not 0: nothing is done; or NULL */
};

static int optim_shape(struct graph *g, struct node *n, struct err *e)
{
    bool sgd = strcmp(n->op->kernel, "opt.sgd") == 0;
    if (op_want(n, OPTIM_GRAD, "gradient", g->wide, -1, -1, e))
        return -1;
    for (int i = OPTIM_GRAD; i <= OPTIM_OUT; i++) {
        const struct value *v = n->in[i];
        bool optional = i == OPTIM_OUT || (i == OPTIM_V && sgd);
        if (i == OPTIM_HYPER || (optional && !v))
            continue;
        if (!v || shape_elements(&v->shape) != shape_elements(&n->in[0]->shape))
            return err_set(e, ERR_FAILED,
                           "%s: optimizer: gradient, weights and moments differ in "
                           "size, or one is missing",
                           n->where);
        if (i != OPTIM_OUT && v->dtype != g->wide)
            return err_set(e, ERR_FAILED, "%s: optimizer: operand %d is not wide",
                           n->where, i);
    }
    return op_want(n, OPTIM_HYPER, "rates", NND_F32, 1, NND_HYPER_COUNT, e);
}

static int optim_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct optim_config *cfg = n->attr;
    *(struct nnd_optim *)params = (struct nnd_optim){
        .struct_size = sizeof(struct nnd_optim),
        .grad = bind_vector(b, n->in[OPTIM_GRAD]),
        .w = bind_vector(b, n->in[OPTIM_W]),
        .m = bind_vector(b, n->in[OPTIM_M]),
        .v = bind_vector(b, n->in[OPTIM_V]),
        .out = bind_vector(b, n->in[OPTIM_OUT]),
        .hyper = bind_data(b, n->in[OPTIM_HYPER]),
        .beta1 = (float)cfg->beta1,
        .beta2 = (float)cfg->beta2,
        .eps = (float)cfg->eps,
        .decay = (float)cfg->decay,
        .skip = bind_vector(b, n->nin > OPTIM_SKIP ? n->in[OPTIM_SKIP] : NULL),
    };
    return 0;
}

const struct op op_opt_adamw = {
    .name = "opt.adamw",
    .attr_size = sizeof(struct optim_config),
    .shape = optim_shape,
    .kernel = "opt.adamw",
    .params_size = sizeof(struct nnd_optim),
    .bind = optim_bind,
};

const struct op op_opt_adam = {
    .name = "opt.adam",
    .attr_size = sizeof(struct optim_config),
    .shape = optim_shape,
    .kernel = "opt.adam",
    .params_size = sizeof(struct nnd_optim),
    .bind = optim_bind,
};

const struct op op_opt_sgd = {
    .name = "opt.sgd",
    .attr_size = sizeof(struct optim_config),
    .shape = optim_shape,
    .kernel = "opt.sgd",
    .params_size = sizeof(struct nnd_optim),
    .bind = optim_bind,
};

void op_optim(struct graph *g, struct optim_config cfg, struct value *grad,
              struct value *w, struct value *m, struct value *v, struct value *out,
              struct value *hyper, struct value *skip)
{
    static const struct op *const kinds[] = {&op_opt_adamw, &op_opt_adam, &op_opt_sgd};
    if (!grad || !w || !m || !hyper)
        return;
    struct value *in[] = {grad, w, m, v, hyper, out, skip};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(cfg.kind, kinds[i]->name) == 0) {
            graph_add(g, kinds[i], &cfg, in, skip ? OPTIM_SKIP + 1 : OPTIM_SKIP);
            return;
        }
    graph_fail(g, "optimizer: unknown kind %s", cfg.kind);
}

/* ------------------------------------------------------------------------- */

enum { HYPER_GIVEN, HYPER_NORM, HYPER_STATS, HYPER_SKIP };

static int hyper_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, HYPER_GIVEN, "rates", NND_F64, 1, NND_HYPER_COUNT, e) ||
        op_want(n, HYPER_NORM, "norm", NND_F64, 1, 1, e) ||
        op_want(n, HYPER_STATS, "statistics", NND_F64, -1, -1, e) ||
        op_want(n, HYPER_SKIP, "a flag", NND_I32, 1, 1, e))
        return -1;
    graph_out(g, n, NND_F32, shape_of(1, (int64_t)NND_HYPER_COUNT));
    return 0;
}

static int hyper_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_hyper *)params = (struct nnd_hyper){
        .struct_size = sizeof(struct nnd_hyper),
        .given = bind_vector(b, n->in[HYPER_GIVEN]),
        .norm = bind_vector(b, n->in[HYPER_NORM]),
        .stats = bind_matrix(b, n->in[HYPER_STATS]),
        .hyper = bind_vector(b, n->out[0]),
        .skip = bind_vector(b, n->in[HYPER_SKIP]),
    };
    return 0;
}

const struct op op_opt_hyper = {
    .name = "opt.hyper",
    .shape = hyper_shape,
    .kernel = "opt.hyper",
    .params_size = sizeof(struct nnd_hyper),
    .bind = hyper_bind,
};

struct value *op_hyper(struct graph *g, struct value *given, struct value *norm,
                       struct value *stats, struct value *skip)
{
    struct value *in[] = {given, norm, stats, skip};
    if (!given || !norm || !stats || !skip)
        return NULL;
    struct node *n = graph_add(g, &op_opt_hyper, NULL, in, 4);
    return n ? n->out[0] : NULL;
}
