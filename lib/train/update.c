/* SPDX-License-Identifier: Apache-2.0 */
/*
 * update.c - cutting the optimizer's work into pieces, one per weight and owner.
 */
#include "train/update.h"

#include <stdio.h>

#include "tensor/dtype.h"

static bool has_second_moment(const Nnd__Job *job)
{
    return job->train->optimizer != NND__TRAIN__OPTIMIZER__SGD;
}

static int replicas_of(const struct graph *g, int plane)
{
    return g->plane[plane].group == PARAM_EXPERT ? g->mesh.edp : g->mesh.dp;
}

/* Which replica of a plane's weights `rank` is. */
static int replica_of(const struct graph *g, int plane, int rank)
{
    return g->plane[plane].group == PARAM_EXPERT ? rank / g->mesh.ep : rank;
}

static struct shard_tensor tensor_of(const struct param *p)
{
    int64_t n = shape_elements(&p->value->shape);
    int logical = p->stack ? p->stack : 1;
    return (struct shard_tensor){
        .offset = p->offset, .each = n / logical, .logical = logical};
}

static int shard_plane(struct graph *g, int plane, struct shard *out, struct err *e)
{
    struct shard_tensor *t = arena_calloc(g->mem, (size_t)g->nparam + 1, sizeof(*t));
    size_t n = 0;
    for (int i = 0; i < g->nparam; i++)
        if (g->param[i]->plane == plane)
            t[n++] = tensor_of(g->param[i]);
    return shard_make(g->mem, t, n, replicas_of(g, plane), out, e);
}

/* ------------------------------------------------------------------------- */

static struct value *piece_state(struct graph *g, const char *kind,
                                 const struct piece *p)
{
    char name[300];
    snprintf(name, sizeof(name), "%s.%s", kind, p->param->name);
    return graph_state(g, name, NND_F32, shape_of(1, p->hi - p->lo));
}

static void add_piece(struct graph *g, const Nnd__Job *job, struct update *u,
                      struct param *param)
{
    struct shard_tensor t = tensor_of(param);
    const struct shard *s = &u->shard[param->plane];
    struct piece *p = &u->piece[u->npieces];
    p->param = param;
    shard_piece(s, &t, replica_of(g, param->plane, g->mesh.rank), &p->lo, &p->hi);
    if (p->lo == p->hi)
        return;
    bool copies = param->value->dtype != NND_F32;
    p->m = piece_state(g, "m", p);
    if (has_second_moment(job))
        p->v = piece_state(g, "v", p);
    p->master =
        copies ? piece_state(g, "master", p) : op_param_piece(g, param, p->lo, p->hi);
    if (job->train->ema > 0) {
        p->average = piece_state(g, "ema", p);
        p->aside = copies ? NULL : piece_state(g, "aside", p);
    }
    u->npieces++;
}

struct value *update_state(const struct update *u, const struct piece *p, int kind)
{
    const char *name = u->kind[kind];
    return name[0] == 'm' ? p->m : name[0] == 'v' ? p->v : p->average;
}

/* Weights in the order of their planes, so that a piece's blocks lie together. */
static int make_pieces(struct graph *g, const Nnd__Job *job, struct update *u,
                       struct err *e)
{
    u->kind[u->kinds++] = "m";
    if (has_second_moment(job))
        u->kind[u->kinds++] = "v";
    if (job->train->ema > 0)
        u->kind[u->kinds++] = "ema";
    u->piece = arena_calloc(g->mem, (size_t)g->nparam + 1, sizeof(*u->piece));
    for (int plane = 0; plane < g->nplane; plane++) {
        if (shard_plane(g, plane, &u->shard[plane], e))
            return e->code;
        for (int i = 0; i < g->nparam; i++)
            if (g->param[i]->plane == plane)
                add_piece(g, job, u, g->param[i]);
    }
    return graph_status(g, e);
}

/* ------------------------------------------------------------------------- */
/* The order in which partial sums of squares are added: weights in the order of
 * the graph, experts by number, blocks - whoever owns them.                   */

struct block_walk {
    struct graph *g;
    const struct update *u;
    int64_t *canonical; /* [nparam]: number of a weight's first block */
    int64_t *order, count;
};

static int64_t first_blocks(struct graph *g, int64_t *canonical)
{
    int64_t n = 0;
    for (int i = 0; i < g->nparam; i++) {
        const struct param *p = g->param[i];
        struct shard_tensor t = tensor_of(p);
        int64_t stacks = p->stack ? p->total / p->stack : 1;
        canonical[i] = n;
        n += shard_blocks(&t) * stacks;
    }
    return n;
}

/* Append the canonical numbers of rank r's blocks of weight i. */
static void walk_piece(struct block_walk *w, int i, int r)
{
    struct graph *g = w->g;
    const struct param *p = g->param[i];
    const struct shard *s = &w->u->shard[p->plane];
    struct shard_tensor t = tensor_of(p);
    int64_t lo, hi, per = shard_blocks(&t) / t.logical;
    shard_piece(s, &t, replica_of(g, p->plane, r), &lo, &hi);
    int64_t first = p->stack ? (int64_t)(r % g->mesh.ep) * p->stack * per : 0;
    int64_t before = shard_blocks_in(&t, 0, lo), n = shard_blocks_in(&t, lo, hi);
    for (int64_t k = 0; k < n; k++)
        w->order[w->count++] = w->canonical[i] + first + before + k;
}

static struct norm_layout norm_layout(struct graph *g, const struct update *u)
{
    struct block_walk w = {.g = g, .u = u};
    w.canonical = arena_calloc(g->mem, (size_t)g->nparam + 1, sizeof(int64_t));
    int64_t total = first_blocks(g, w.canonical);
    int64_t *first = arena_calloc(g->mem, (size_t)g->mesh.dp + 1, sizeof(*first));
    int64_t *blocks = arena_calloc(g->mem, (size_t)g->mesh.dp + 1, sizeof(*blocks));
    w.order = arena_calloc(g->mem, (size_t)total + 1, sizeof(*w.order));
    for (int r = 0; r < g->mesh.dp; r++) {
        first[r] = w.count;
        for (int plane = 0; plane < g->nplane; plane++)
            for (int i = 0; i < g->nparam; i++)
                if (g->param[i]->plane == plane)
                    walk_piece(&w, i, r);
        blocks[r] = w.count - first[r];
    }
    return (struct norm_layout){
        .first = first, .blocks = blocks, .order = w.order, .total = total};
}

/* ------------------------------------------------------------------------- */

/* Part [lo, hi) of a piece's finished gradient. */
static struct value *part_grad(struct graph *g, const struct piece *p, int64_t lo,
                               int64_t hi)
{
    graph_scope(g, "%s", p->param->name);
    return op_grad_piece(g, p->param, lo, hi);
}

/* Partial sums of squares of a piece, at block `at`; returns the next one.  Blocks
 * start anew with each logical tensor, so experts of an odd size go one by one. */
static int64_t piece_sqnorm(struct graph *g, const struct piece *p,
                            struct value *blocks, int64_t at)
{
    struct shard_tensor t = tensor_of(p->param);
    int64_t step = t.each % SHARD_BLOCK ? t.each : p->hi;
    for (int64_t lo = p->lo, hi; lo < p->hi; lo = hi) {
        hi = step == p->hi ? p->hi : (lo / step + 1) * step;
        hi = hi < p->hi ? hi : p->hi;
        op_sqnorm(g, part_grad(g, p, lo, hi), blocks, at);
        at += shard_blocks_in(&t, lo, hi);
    }
    return at;
}

static void build_reduce(struct graph *g, struct update *u)
{
    struct norm_layout l = norm_layout(g, u);
    u->reduce = graph_program(g, "reduce");
    struct value *blocks = graph_state(g, "norm.blocks", NND_F64, shape_of(1, l.total));
    graph_scope(g, "update");
    for (int i = 0; i < g->nplane; i++)
        op_reduce(g, i, &u->shard[i]);
    int64_t at = l.first[g->mesh.rank];
    for (int i = 0; i < u->npieces; i++)
        at = piece_sqnorm(g, &u->piece[i], blocks, at);
    graph_scope(g, "update");
    op_norm(g, l, blocks, u->norm);
}

static void gather_weights(struct graph *g, const struct update *u)
{
    graph_scope(g, "update");
    for (int i = 0; i < g->nplane; i++)
        op_gather(g, i, &u->shard[i]);
}

/* average = ema average + (1 - ema) weight: the momentum of an update without a step,
 * whose gradient is the weight.  What it steps on is not the weight itself, which may
 * be on its way to the others by now. */
static void add_average(struct graph *g, const Nnd__Job *job, struct update *u,
                        const struct piece *p)
{
    struct optim_config c = {.kind = "opt.sgd", .beta1 = job->train->ema};
    op_optim(g, c, p->master, p->aside ? p->aside : p->master, p->average, NULL, NULL,
             u->hyper_average, u->skip);
}

/* The rates: an input, or made of what the gradients' norm is. */
static struct value *rates(struct graph *g, struct update *u, struct value *stats)
{
    graph_scope(g, "update");
    if (!g->apart)
        return u->hyper = graph_input(g, "hyper", NND_F32,
                                      shape_of(1, (int64_t)NND_HYPER_COUNT));
    u->given = graph_input(g, "given", NND_F64, shape_of(1, (int64_t)NND_HYPER_COUNT));
    u->skip = graph_state(g, "update.skip", NND_I32, shape_of(1, (int64_t)1));
    return op_hyper(g, u->given, u->norm, stats, u->skip);
}

static void build_apply(struct graph *g, const Nnd__Job *job, struct value *stats,
                        struct update *u)
{
    static const char *const kind[] = {
        [NND__TRAIN__OPTIMIZER__ADAMW] = "opt.adamw",
        [NND__TRAIN__OPTIMIZER__ADAM] = "opt.adam",
        [NND__TRAIN__OPTIMIZER__SGD] = "opt.sgd",
    };
    const Nnd__Train *tr = job->train;
    bool sgd = tr->optimizer == NND__TRAIN__OPTIMIZER__SGD;
    struct value *hyper = rates(g, u, stats);
    if (tr->ema > 0)
        u->hyper_average =
            graph_input(g, "hyper.ema", NND_F32, shape_of(1, (int64_t)NND_HYPER_COUNT));
    for (int i = 0; i < u->npieces; i++) {
        struct piece *p = &u->piece[i];
        bool copies = p->param->value->dtype != NND_F32;
        struct optim_config c = {.kind = kind[tr->optimizer],
                                 .beta1 = sgd ? tr->momentum : tr->beta1,
                                 .beta2 = tr->beta2,
                                 .eps = tr->eps,
                                 .decay = p->param->decay ? tr->weight_decay : 0};
        struct value *grad = part_grad(g, p, p->lo, p->hi);
        struct value *out = copies ? op_param_piece(g, p->param, p->lo, p->hi) : NULL;
        op_optim(g, c, grad, p->master, p->m, p->v, out, hyper, u->skip);
        if (p->average)
            add_average(g, job, u, p);
    }
    gather_weights(g, u);
}

/* Weights out of the masters, where they are not the same. */
static void build_spread(struct graph *g, struct update *u)
{
    u->spread = graph_program(g, "spread");
    for (int i = 0; i < u->npieces; i++) {
        struct piece *p = &u->piece[i];
        graph_scope(g, "%s", p->param->name);
        if (p->param->value->dtype != NND_F32)
            op_copy(g, p->master, op_param_piece(g, p->param, p->lo, p->hi));
    }
    gather_weights(g, u);
}

/* A program that makes the weights anew out of a state of each piece. */
static int build_take(struct graph *g, const struct update *u, const char *name,
                      struct value *(*from)(const struct piece *p))
{
    int program = graph_program(g, name);
    for (int i = 0; i < u->npieces; i++) {
        const struct piece *p = &u->piece[i];
        graph_scope(g, "%s", p->param->name);
        op_copy(g, from(p), op_param_piece(g, p->param, p->lo, p->hi));
    }
    gather_weights(g, u);
    return program;
}

static struct value *average_of(const struct piece *p)
{
    return p->average;
}

static struct value *kept_of(const struct piece *p)
{
    return p->aside ? p->aside : p->master;
}

/* In a program of its own: weights are only read in it. */
static int build_keep(struct graph *g, const struct update *u)
{
    int program = graph_program(g, "average.keep");
    for (int i = 0; i < u->npieces; i++) {
        const struct piece *p = &u->piece[i];
        graph_scope(g, "%s", p->param->name);
        if (p->aside)
            op_copy(g, p->master, p->aside);
    }
    return program;
}

static void build_average(struct graph *g, const Nnd__Job *job, struct update *u)
{
    u->keep = u->average = u->restore = -1;
    if (job->train->ema <= 0)
        return;
    u->keep = build_keep(g, u);
    u->average = build_take(g, u, "average", average_of);
    u->restore = build_take(g, u, "average.restore", kept_of);
}

int update_build(struct graph *g, const Nnd__Job *job, struct value *stats,
                 struct update *out, struct err *e)
{
    *out = (struct update){0};
    out->apply = graph_program(g, "apply");
    if (make_pieces(g, job, out, e))
        return e->code;
    out->norm = graph_state(g, "norm.value", NND_F64, shape_of(1, (int64_t)1));
    build_apply(g, job, stats, out);
    build_reduce(g, out);
    build_spread(g, out);
    build_average(g, job, out);
    return graph_status(g, e);
}
