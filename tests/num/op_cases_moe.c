/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases_moe.c - cases of the mixture of experts: routing, moving rows,
 * products by expert, and the whole block on one rank and on two.
 */
#include "op_cases.h"
#include "plan/rounds.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

/* ------------------------------------------------------------------------- */

struct route_arg {
    int experts, top_k, score;
    bool renormalize, bias;
    double scale;
    int groups, pad; /* of 8 rows */
    bool aux, z;     /* losses given by weights */
};

static void add_losses(struct lab *l, struct route *r, const struct route_arg *a)
{
    const double zw = 0.25;
    struct value *aux = NULL, *z_weight = NULL;
    if (a->aux) {
        aux = lab_random(l, "aux", S(2, I(a->groups), I(a->experts)));
        lab_count(l, r->psum, aux);
    }
    if (a->z) {
        z_weight = lab_reals(l, "zw", NND_F32, S(1, I(1)), &zw);
        lab_count(l, r->zsq, z_weight);
    }
    op_route_aux(r, aux, z_weight);
}

static void build_route(struct lab *l, const void *arg)
{
    const struct route_arg *a = arg;
    lab_chunk(l, 1, 8, a->pad, 5);
    struct value *x = lab_leaf(l, "x", S(2, I(8), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(a->experts), I(3)));
    struct value *bias = a->bias ? lab_random(l, "bias", S(1, I(a->experts))) : NULL;
    struct route_config cfg = {.top_k = a->top_k,
                               .score = a->score,
                               .renormalize = a->renormalize,
                               .scale = a->scale,
                               .group_rows = 8 / a->groups};
    struct route r = op_route(l->g, op_linear_wide(l->g, x, w), bias, cfg, &l->c);
    lab_dot(l, r.gate, -1);
    add_losses(l, &r, a);
}

/* The balancing losses by the operators that training uses, of two layers
 * together. */
static void build_balance(struct lab *l, const void *arg)
{
    const struct balance_config *c = arg;
    const double one = 1;
    const double coef[STATS_COUNT] = {[STATS_AUX] = c->aux_coef, [STATS_Z] = c->z_coef};
    const struct shape s = S(2, I(1), I(STATS_COUNT));
    lab_chunk(l, 1, 8, 2, 5);
    struct route_config cfg = {.top_k = c->top_k,
                               .score = NND_SCORE_SOFTMAX,
                               .renormalize = true,
                               .scale = 1,
                               .group_rows = 4};
    struct value *stats = graph_state(l->g, "stats", NND_F64, s), *zsq[2];
    struct value *scale = lab_reals(l, "scale", NND_F64, S(1, I(1)), &one);
    struct tally t = {0};
    struct route r[2];
    op_stats_begin(l->g, stats);
    for (int i = 0; i < 2; i++) {
        struct value *z = lab_leaf(l, i ? "z1" : "z0", S(2, I(8), I(4)));
        r[i] = op_route(l->g, z, NULL, cfg, &l->c);
        t = op_tally(l->g, t, (struct tally){r[i].count, r[i].psum});
        zsq[i] = r[i].zsq;
        lab_dot(l, r[i].gate, -1);
    }
    struct balance b =
        op_balance(l->g, *c, t, op_sum(l->g, zsq, 2, NND_F64), stats, scale);
    for (int i = 0; i < 2; i++)
        op_route_aux(&r[i], b.aux_weight, b.z_weight);
    lab_count(l, stats, lab_reals(l, "coef", NND_F64, s, coef));
}

/* ------------------------------------------------------------------------- */

/* 5 rows, 2 choices of 4 experts; row 2 is padding, expert 3 gets nothing. */
static struct sort sorted(struct lab *l)
{
    static const int32_t expert[] = {2, 0, 1, 2, -1, -1, 0, 2, 2, 1};
    return op_sort(l->g, lab_ints(l, "expert", S(2, I(5), I(2)), expert), 4);
}

static void build_permute(struct lab *l, const void *arg)
{
    (void)arg;
    struct sort s = sorted(l);
    struct value *x = lab_leaf(l, "x", S(2, I(5), I(3)));
    lab_dot(l, op_permute(l->g, x, &s), 8);
}

static void build_unpermute(struct lab *l, const void *arg)
{
    const bool *gated = arg;
    struct sort s = sorted(l);
    struct value *x = lab_leaf(l, "x", S(2, I(5), I(3)));
    struct value *gate = *gated ? lab_leaf(l, "gate", S(2, I(5), I(2))) : NULL;
    struct value *y = op_act(l->g, op_permute(l->g, x, &s), ACT_GELU);
    lab_dot(l, op_unpermute(l->g, y, gate, &s), -1);
}

/* All choices real: the sorted rows themselves are compared. */
static void build_unpermute_rows(struct lab *l, const void *arg)
{
    static const int32_t expert[] = {1, 0, 0, 3, 3, 1};
    (void)arg;
    struct sort s = op_sort(l->g, lab_ints(l, "expert", S(2, I(3), I(2)), expert), 4);
    struct value *x = lab_leaf(l, "x", S(2, I(6), I(5)));
    struct value *gate = lab_leaf(l, "gate", S(2, I(3), I(2)));
    lab_dot(l, op_unpermute(l->g, x, gate, &s), -1);
}

static int check_sort(struct lab_world *w, struct err *e)
{
    const struct lab *l = &w->lab[0];
    static const int32_t place[] = {4, 0, 2, 5, -1, -1, 1, 6, 7, 3};
    static const int32_t source[] = {1, 6, 2, 9, 0, 3, 7, 8, -1, -1};
    static const int32_t total[] = {2, 2, 4, 0};
    const struct node *n = l->g->node[0];
    const int32_t *want[] = {place, source, total};
    for (int k = 0; k < 3; k++) {
        const int32_t *found = exec_data(l->x, n->out[k]);
        for (int64_t i = 0; i < shape_elements(&n->out[k]->shape); i++)
            if (found[i] != want[k][i])
                return err_set(e, ERR_FAILED, "output %d [%d]: wanted %d, found %d", k,
                               (int)i, want[k][i], found[i]);
    }
    return 0;
}

static void build_sort(struct lab *l, const void *arg)
{
    (void)arg;
    sorted(l);
}

/* ------------------------------------------------------------------------- */

struct grouped_arg {
    int rows, in, out, experts, nseg;
    struct nnd_segment seg[6];
};

static void build_grouped(struct lab *l, const void *arg)
{
    const struct grouped_arg *a = arg;
    struct shape s = S(2, I(a->nseg), I(4));
    struct value *seg = lab_ints(l, "seg", s, (const int32_t *)a->seg);
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(a->in)));
    struct value *w = lab_stack(l, "w{}", a->experts, S(2, I(a->out), I(a->in)));
    lab_dot(l, op_grouped(l->g, x, NULL, w, (struct window){seg, seg}, a->experts), -1);
}

/* Its result read once more besides: backward takes the activation by itself. */
static void build_grouped_swiglu(struct lab *l, const void *arg)
{
    const struct grouped_arg *a = arg;
    struct value *seg =
        lab_ints(l, "seg", S(2, I(a->nseg), I(4)), (const int32_t *)a->seg);
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(a->in)));
    struct value *gate = lab_stack(l, "g{}", a->experts, S(2, I(a->out), I(a->in)));
    struct value *up = lab_stack(l, "u{}", a->experts, S(2, I(a->out), I(a->in)));
    struct value *down = lab_stack(l, "d{}", a->experts, S(2, I(a->in), I(a->out)));
    struct window w = {seg, seg};
    struct value *y = op_grouped_swiglu(l->g, x, NULL, gate, up, w, a->experts);
    lab_dot(l, op_grouped(l->g, y, NULL, down, w, a->experts), -1);
    lab_dot(l, y, -1);
}

static const struct grouped_arg grouped_empty = {
    7, 3, 5, 4, 4, {{0, 2, 0, 0}, {2, 0, 1, 0}, {2, 5, 2, 0}, {7, 0, 3, 0}}};
static const struct grouped_arg grouped_shuffled = {
    6, 1, 3, 3, 4, {{4, 2, 1, 0}, {0, 1, 0, 0}, {3, 1, 2, 0}, {1, 2, 1, 1}}};
static const struct grouped_arg grouped_long = {
    600, 2, 3, 2, 2, {{0, 590, 1, 0}, {590, 10, 0, 0}}};

/* ------------------------------------------------------------------------- */

struct block_arg {
    int rows, pad, width, hidden, experts, top_k;
    int capacity; /* 0: all arrivals in one round */
};

/* Gate, up and down of a SwiGLU by expert. */
static struct value *experts(struct lab *l, const struct block_arg *a, struct value *x,
                             const struct sort *order, struct window w)
{
    struct shape in = S(2, I(a->hidden), I(a->width));
    struct shape out = S(2, I(a->width), I(a->hidden));
    int leaves = a->experts;
    struct value *w1 = lab_stack(l, "w1.{}", a->experts, in);
    struct value *w3 = lab_stack(l, "w3.{}", a->experts, in);
    struct value *w2 = lab_stack(l, "w2.{}", a->experts, out);
    struct value *y = op_grouped_swiglu(l->g, x, order, w1, w3, w, leaves);
    return op_grouped(l->g, y, NULL, w2, w, leaves);
}

static void build_block(struct lab *l, const void *arg)
{
    const struct block_arg *a = arg;
    int64_t rows = (int64_t)a->rows * a->top_k;
    int64_t capacity = a->capacity ? a->capacity : rows * l->g->mesh.ep;
    lab_chunk(l, 1, a->rows, a->pad, 5);
    struct route_config cfg = {.top_k = a->top_k,
                               .score = NND_SCORE_SOFTMAX,
                               .renormalize = true,
                               .scale = 1,
                               .group_rows = a->rows};
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(a->width)));
    struct value *wr = lab_leaf(l, "router", S(2, I(a->experts), I(a->width)));
    struct route r = op_route(l->g, op_linear_wide(l->g, x, wr), NULL, cfg, &l->c);
    struct sort s = op_sort(l->g, r.expert, a->experts);
    bool sent = a->capacity || l->g->mesh.ep > 1;
    struct value *xs = sent ? op_permute(l->g, x, &s) : x;
    struct value *counts = op_exchange(l->g, s.total);
    if (!counts)
        return;
    graph_loop_begin(l->g, counts, capacity, true);
    struct window w = op_window(l->g, counts, capacity);
    struct value *y = sent ? op_dispatch(l->g, xs, counts, capacity) : xs;
    y = experts(l, a, y, sent ? NULL : &s, w);
    y = op_collect(l->g, y, counts, capacity, rows);
    graph_loop_end(l->g);
    lab_dot(l, op_unpermute(l->g, y, r.gate, &s), -1);
}

/* The rows really went in several rounds, as a block of one sender's did when
 * `cut`. */
static int rounds_of(struct lab_world *w, bool cut, struct err *e)
{
    const struct lab *l = &w->lab[0];
    const struct value *counts = l->g->loop[1].counts;
    struct rounds r = {.counts = exec_data(l->x, counts),
                       .ranks = w->ranks,
                       .experts = (int)shape_cols(&counts->shape),
                       .capacity = l->g->loop[1].capacity,
                       .block = NND_BLOCK_ROWS};
    bool any = false;
    for (int i = 0; i < r.ranks * r.experts; i++)
        any |= r.counts[i] > NND_BLOCK_ROWS;
    if (rounds_count(&r) < 3 || any != cut)
        return err_set(e, ERR_FAILED, "%d rounds, rows %scut", rounds_count(&r),
                       any ? "" : "not ");
    return 0;
}

static int probe_rounds(struct lab_world *w, struct err *e)
{
    return rounds_of(w, false, e);
}

static int probe_cut(struct lab_world *w, struct err *e)
{
    return rounds_of(w, true, e);
}

/* ------------------------------------------------------------------------- */

enum { SOFT = NND_SCORE_SOFTMAX, SIGM = NND_SCORE_SIGMOID };

const struct op_case op_cases_moe[] = {
    {"route: softmax, renormalised", &op_route_fwd, build_route,
     .arg = &(struct route_arg){5, 2, SOFT, true, false, 1, 1, 0, false, false}},
    {"route: softmax, renormalised, all losses", &op_route_fwd, build_route,
     .arg = &(struct route_arg){5, 2, SOFT, true, false, 1, 1, 2, true, true}},
    {"route: softmax, one choice, losses alone", &op_route_fwd, build_route,
     .arg = &(struct route_arg){4, 1, SOFT, true, false, 1, 1, 0, true, true}},
    {"route: softmax, as it is", &op_route_fwd, build_route,
     .arg = &(struct route_arg){5, 3, SOFT, false, false, 1, 2, 1, true, true}},
    {"route: softmax, one choice, as it is", &op_route_fwd, build_route,
     .arg = &(struct route_arg){4, 1, SOFT, false, false, 1, 1, 0, false, false}},
    {"route: softmax, all experts", &op_route_fwd, build_route,
     .arg = &(struct route_arg){4, 4, SOFT, true, false, 1, 4, 1, true, false}},
    {"route: sigmoid, bias, scaled", &op_route_fwd, build_route,
     .arg = &(struct route_arg){6, 3, SIGM, true, true, 2.5, 1, 1, false, false}},
    {"route: sigmoid, bias, all losses", &op_route_fwd, build_route,
     .arg = &(struct route_arg){6, 3, SIGM, true, true, 2.5, 2, 1, true, true}},
    {"route: sigmoid, as it is", &op_route_fwd, build_route,
     .arg = &(struct route_arg){5, 2, SIGM, false, true, 1, 1, 0, false, true}},
    {"route: sigmoid, all experts", &op_route_fwd, build_route,
     .arg = &(struct route_arg){3, 3, SIGM, true, false, 1, 1, 0, true, false}},
    {"route: a single expert", &op_route_fwd, build_route,
     .arg = &(struct route_arg){1, 1, SIGM, false, false, 1, 1, 3, false, true}},
    {"balance: two layers", &op_route_fwd, build_balance,
     .arg = &(struct balance_config){2, 2, false, 0.7, 0.3}},
    {"balance: two layers, concatenated", &op_route_fwd, build_balance,
     .arg = &(struct balance_config){3, 2, true, 0.7, 0.3}},
    {"sort: padding, an empty expert", &op_sort_fwd, build_sort, .check = check_sort},
    {"permute: padding, an empty expert", &op_permute_fwd, build_permute, .arg = NULL},
    {"unpermute: gates", &op_unpermute_fwd, build_unpermute, .arg = &(bool){true}},
    {"unpermute: no padding", &op_unpermute_fwd, build_unpermute_rows, .arg = NULL},
    {"unpermute: plain", &op_unpermute_fwd, build_unpermute, .arg = &(bool){false}},
    {"grouped: empty experts", &op_grouped_fwd, build_grouped, .arg = &grouped_empty},
    {"grouped: out of order, two parts", &op_grouped_fwd, build_grouped,
     .arg = &grouped_shuffled},
    {"grouped: more rows than a block", &op_grouped_fwd, build_grouped,
     .arg = &grouped_long, .most = 40},
    {"grouped swiglu: two users", &op_grouped_swiglu_fwd, build_grouped_swiglu,
     .arg = &grouped_empty},
    {"experts: one rank", &op_grouped_dswiglu, build_block,
     .arg = &(struct block_arg){7, 2, 3, 4, 4, 2, 0}},
    {"experts: all of them", &op_grouped_two, build_block,
     .arg = &(struct block_arg){5, 0, 2, 3, 3, 3, 0}},
    {"experts: sent between two ranks", &op_moe_dispatch, build_block,
     .arg = &(struct block_arg){7, 2, 3, 4, 4, 2, 0}, .ranks = 2},
    {"experts: back from two ranks", &op_moe_collect, build_block,
     .arg = &(struct block_arg){5, 0, 2, 3, 2, 1, 0}, .ranks = 2},
    {"experts: in several rounds", &op_moe_dispatch, build_block,
     .arg = &(struct block_arg){300, 3, 2, 2, 4, 2, 256}, .ranks = 2, .most = 24,
     .probe = probe_rounds},
    {"experts: more rows than a block from one rank", &op_moe_collect, build_block,
     .arg = &(struct block_arg){600, 0, 2, 2, 2, 1, 256}, .ranks = 2, .most = 24,
     .probe = probe_cut},
    {0},
};
