/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moe.c - the mixture of experts: route rows, sort them by expert, send them to
 * their experts' ranks, and add the answers up (Shazeer et al. 2017; Fedus et
 * al. 2021; dropless as in Gale et al. 2022).
 *
 * An expert's weights live on one rank of each expert-parallel group.  The
 * router works in the wide type.  When arrivals exceed the planned buffer they
 * come in rounds, which is the loop below; nothing is dropped.
 */
#include <stdio.h>

#include "model/block.h"

struct experts {
    int64_t total, local, rows, capacity;
    int leaves; /* (source rank, local expert) */
};

static struct experts experts_of(const struct build *b, const struct sort *s)
{
    const struct mesh *mesh = &b->g->mesh;
    const Nnd__Moe *moe = b->spec->moe;
    struct experts x = {.total = moe->experts, .local = moe->experts / mesh->ep};
    x.rows = shape_elements(&s->place->shape);
    x.leaves = (int)(mesh->ep * x.local);
    int64_t all = x.rows * mesh->ep;
    int64_t planned = (int64_t)((double)x.rows * moe->buffer);
    planned = (planned / NND_BLOCK_ROWS + 1) * NND_BLOCK_ROWS;
    x.capacity = mesh->ep == 1 || planned > all ? all : planned;
    return x;
}

static struct value *expert_weight(struct build *b, const struct experts *x,
                                   const char *name, int64_t out, int64_t in,
                                   double std)
{
    return graph_stack(b->g, name, (int)x->total, (int)(b->g->mesh.ep_rank * x->local),
                       (int)x->local, shape_of(2, out, in),
                       (struct param_init){.std = std});
}

/* What one expert does to its rows, for all experts of this rank at once; `order`
 * where rows are those of the tokens. */
static struct value *expert_rows(struct build *b, const struct experts *x,
                                 struct value *rows, const struct sort *order,
                                 struct window w)
{
    const Nnd__Model *s = b->spec;
    int64_t f = s->moe->expert_ffn, h = s->width;
    struct value *up_w =
        expert_weight(b, x, "experts.{}.up_proj.weight", f, h, s->init_std);
    struct value *a;
    if (s->activation == NND__MODEL__ACTIVATION__SWIGLU) {
        struct value *gate_w =
            expert_weight(b, x, "experts.{}.gate_proj.weight", f, h, s->init_std);
        a = op_grouped_swiglu(b->g, rows, order, gate_w, up_w, w, x->leaves);
    } else {
        a = op_act(b->g, op_grouped(b->g, rows, order, up_w, w, x->leaves),
                   block_act(b));
    }
    struct value *down_w =
        expert_weight(b, x, "experts.{}.down_proj.weight", h, f, block_residual_std(b));
    return op_grouped(b->g, a, NULL, down_w, w, x->leaves);
}

/* All experts are here: their rows need not be brought together first. */
static struct value *through_all(struct build *b, struct value *rows, struct sort *s)
{
    struct experts x = experts_of(b, s);
    struct window w = op_window(b->g, op_exchange(b->g, s->total), x.capacity);
    return expert_rows(b, &x, rows, s, w);
}

static struct value *through_ranks(struct build *b, struct value *rows, struct sort *s)
{
    struct graph *g = b->g;
    struct experts x = experts_of(b, s);
    struct value *sorted = op_permute(g, rows, s);
    struct value *counts = op_exchange(g, s->total);
    graph_loop_begin(g, counts, x.capacity, true);
    struct window w = op_window(g, counts, x.capacity);
    struct value *arrived = op_dispatch(g, sorted, counts, x.capacity);
    struct value *done = expert_rows(b, &x, arrived, NULL, w);
    struct value *back = op_collect(g, done, counts, x.capacity, x.rows);
    graph_loop_end(g);
    return back;
}

static struct value *through_experts(struct build *b, struct value *rows,
                                     struct sort *s)
{
    if (!rows || !s->place)
        return NULL;
    return b->g->mesh.ep > 1 ? through_ranks(b, rows, s) : through_all(b, rows, s);
}

static struct value *routing_bias(struct build *b, const char *scope)
{
    const Nnd__Moe *moe = b->spec->moe;
    if (moe->bias_rate <= 0)
        return NULL;
    char name[200];
    snprintf(name, sizeof(name), "%s.gate" MODEL_BIAS_SUFFIX, scope);
    return graph_state(b->g, name, NND_F32, shape_of(1, (int64_t)moe->experts));
}

static struct route route_rows(struct build *b, const char *scope, struct value *x)
{
    const Nnd__Moe *moe = b->spec->moe;
    struct graph *g = b->g;
    struct value *w =
        graph_weight(g, "gate.weight", g->wide,
                     shape_of(2, (int64_t)moe->experts, (int64_t)b->spec->width),
                     (struct param_init){.std = b->spec->init_std}, true);
    bool by_sequence = moe->aux_scope == NND__MOE__AUX_SCOPE__SEQUENCE && !b->step;
    struct route_config cfg = {
        .top_k = (int)moe->top_k,
        .score = moe->score == NND__MOE__SCORE__SIGMOID ? NND_SCORE_SIGMOID
                                                        : NND_SCORE_SOFTMAX,
        .renormalize = moe->renormalize,
        .scale = moe->scale,
        .group_rows = by_sequence ? b->chunk->context
                      : x         ? shape_rows(&x->shape)
                                  : 0,
    };
    return op_route(g, op_linear_wide(g, x, w), routing_bias(b, scope), cfg, b->chunk);
}

/* Statistics and the weights of the balancing losses of one layer. */
static void balance_layer(struct build *b, struct route *r)
{
    const Nnd__Moe *moe = b->spec->moe;
    bool concat = moe->aux_convention == NND__MOE__AUX_CONVENTION__HF_CONCAT;
    op_load(b->g, r->count, b->m->load, b->routes);
    struct tally layer = {r->count, r->psum};
    struct balance_config c = {.top_k = (int)moe->top_k,
                               .layers = 1,
                               .aux_coef = concat ? 0 : moe->aux_coef,
                               .z_coef = moe->z_coef};
    struct balance w = op_balance(b->g, c, layer, r->zsq, b->m->stats, b->m->aux_scale);
    op_route_aux(r, concat ? NULL : w.aux_weight, w.z_weight);
    if (concat)
        b->tally = op_tally(b->g, b->tally, layer);
    b->z_weight[b->routes] = w.z_weight;
    b->route[b->routes++] = *r;
}

void block_moe_finish(struct build *b)
{
    const Nnd__Moe *moe = b->spec->moe;
    if (!b->train || !b->tally.count)
        return;
    struct balance_config c = {.top_k = (int)moe->top_k,
                               .layers = b->routes,
                               .concat = true,
                               .aux_coef = moe->aux_coef};
    struct balance w =
        op_balance(b->g, c, b->tally, b->route[0].zsq, b->m->stats, b->m->aux_scale);
    for (int i = 0; i < b->routes; i++)
        op_route_aux(&b->route[i], w.aux_weight, b->z_weight[i]);
}

struct value *block_moe(struct build *b, const char *scope, struct value *x)
{
    struct graph *g = b->g;
    const Nnd__Moe *moe = b->spec->moe;
    graph_scope(g, "%s", scope);
    struct route r = route_rows(b, scope, x);
    if (b->train)
        balance_layer(b, &r);
    struct sort s = op_sort(g, r.expert, (int)moe->experts);
    struct value *back = through_experts(b, x, &s);
    struct value *y = op_unpermute(g, back, r.gate, &s);
    if (moe->shared_experts) {
        char shared[200];
        snprintf(shared, sizeof(shared), "%s.shared_experts", scope);
        y = op_add(
            g, y,
            block_mlp(b, shared, x, (int64_t)moe->shared_experts * moe->expert_ffn));
    }
    return y;
}
