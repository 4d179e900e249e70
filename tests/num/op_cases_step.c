/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases_step.c - cases of what has no gradient: decoding, optimizers, and the
 * end of a step.  Results are compared with the formula, written out here.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "op_cases.h"
#include "plan/shard.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

static const double *found(const struct lab *l, const char *name)
{
    return exec_data(l->x, graph_find(l->g, name));
}

/* ------------------------------------------------------------------------- */

static const int32_t gathered[] = {4, 0, 4};
static const int32_t scattered[] = {5, -1, 0};

static void build_gather(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_random(l, "x", S(3, I(5), I(2), I(3)));
    struct value *index = lab_ints(l, "index", S(1, I(3)), gathered);
    struct value *y = op_rows_gather(l->g, x, index);
    op_copy(l->g, y, lab_state(l, "y", NND_F64, S(3, I(3), I(2), I(3)), NULL));
}

static int check_gather(struct lab_world *w, struct err *e)
{
    const double *y = found(&w->lab[0], "y");
    for (int i = 0; i < 18; i++)
        if (lab_expect("y", i, lab_number("x", 0, gathered[i / 6] * 6 + i % 6), y[i],
                       e))
            return e->code;
    return 0;
}

/* Rows of 6 into a cache of 2 sequences of 4 rows. */
static void build_scatter(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_random(l, "x", S(3, I(3), I(2), I(3)));
    struct value *index = lab_ints(l, "index", S(1, I(3)), scattered);
    struct value *y = lab_state(l, "y", NND_F64, S(4, I(2), I(4), I(2), I(3)), NULL);
    op_rows_scatter(l->g, x, index, y);
}

static int check_scatter(struct lab_world *w, struct err *e)
{
    const double *y = found(&w->lab[0], "y");
    double want[48];
    for (int i = 0; i < 48; i++)
        want[i] = lab_number("y", 0, i);
    for (int i = 0; i < 18; i++)
        if (scattered[i / 6] >= 0)
            want[scattered[i / 6] * 6 + i % 6] = lab_number("x", 0, i);
    for (int i = 0; i < 48; i++)
        if (lab_expect("y", i, want[i], y[i], e))
            return e->code;
    return 0;
}

static void build_copy(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_random(l, "x", S(2, I(3), I(5)));
    op_copy(l->g, x, lab_state(l, "y", NND_F32, S(1, I(15)), NULL));
}

static int check_copy(struct lab_world *w, struct err *e)
{
    const float *y = (const float *)found(&w->lab[0], "y");
    for (int i = 0; i < 15; i++)
        if (lab_expect("y", i, (double)(float)lab_number("x", 0, i), (double)y[i], e))
            return e->code;
    return 0;
}

/* ------------------------------------------------------------------------- */

enum { B = 3, KEYS = 5, H = 4, HK = 2, D = 6 };
static const int32_t lengths[B] = {1, 5, 3};

static void build_cached(struct lab *l, const void *arg)
{
    (void)arg;
    struct shape cache = S(4, I(B), I(KEYS), I(HK), I(D)),
                 rows = S(3, I(B), I(H), I(D));
    struct value *o = op_attention_cached(l->g, lab_random(l, "q", rows),
                                          lab_state(l, "k", NND_F64, cache, NULL),
                                          lab_state(l, "v", NND_F64, cache, NULL),
                                          lab_ints(l, "len", S(1, I(B)), lengths));
    op_copy(l->g, o, lab_state(l, "o", NND_F64, rows, NULL));
}

/* One row of one head. */
static void attend(int b, int h, double out[D])
{
    double weight[KEYS], sum = 0;
    memset(out, 0, D * sizeof(*out));
    for (int j = 0; j < lengths[b]; j++) {
        int key = ((b * KEYS + j) * HK + h * HK / H) * D;
        double dot = 0;
        for (int d = 0; d < D; d++)
            dot +=
                lab_number("q", 0, (b * H + h) * D + d) * lab_number("k", 0, key + d);
        weight[j] = exp(dot * (double)(float)(1 / sqrt(D)));
        sum += weight[j];
        for (int d = 0; d < D; d++)
            out[d] += weight[j] * lab_number("v", 0, key + d);
    }
    for (int d = 0; d < D; d++)
        out[d] /= sum;
}

static int check_cached(struct lab_world *w, struct err *e)
{
    const double *o = found(&w->lab[0], "o");
    for (int row = 0; row < B * H; row++) {
        double want[D];
        attend(row / H, row % H, want);
        for (int d = 0; d < D; d++)
            if (lab_expect("o", row * D + d, want[d], o[row * D + d], e))
                return e->code;
    }
    return 0;
}

/* ------------------------------------------------------------------------- */

enum { N = 9 };
static const double hyper[NND_HYPER_COUNT] = {
    [NND_HYPER_LR] = 0.125,
    [NND_HYPER_GRAD_SCALE] = 0.5,
    [NND_HYPER_BIAS1] = 1.25,
    [NND_HYPER_BIAS2] = 2,
};

struct optim_arg {
    struct optim_config cfg;
    bool rounded; /* the weight is a rounded copy */
};

static void build_optim(struct lab *l, const void *arg)
{
    const struct optim_arg *a = arg;
    bool sgd = strcmp(a->cfg.kind, "opt.sgd") == 0;
    struct shape s = S(1, I(N));
    double second[N];
    for (int i = 0; i < N; i++)
        second[i] = 0.25 * (i + 1);
    op_optim(l->g, a->cfg, lab_random(l, "grad", s),
             lab_state(l, "w", NND_F64, s, NULL), lab_state(l, "m", NND_F64, s, NULL),
             sgd ? NULL : lab_state(l, "v", NND_F64, s, second),
             a->rounded ? lab_state(l, "out", NND_F32, s, NULL) : NULL,
             lab_reals(l, "hyper", NND_F32, S(1, I(NND_HYPER_COUNT)), hyper), NULL);
}

/* Powers of two throughout, so that the f32 parameters are exact. */
static const struct optim_arg adamw = {{"opt.adamw", 0.75, 0.875, 0x1p-10, 0.25}, true};
static const struct optim_arg adam = {{"opt.adam", 0.75, 0.875, 0x1p-10, 0.25}, false};
static const struct optim_arg sgd = {{"opt.sgd", 0.75, 0, 0, 0.25}, true};

/* Loshchilov & Hutter 2019, algorithm 2; Kingma & Ba 2015, algorithm 1. */
static int check_moments(struct lab_world *w, bool decoupled, struct err *e)
{
    const struct optim_config *c = &adamw.cfg;
    const struct lab *l = &w->lab[0];
    for (int i = 0; i < N; i++) {
        double x = lab_number("w", 0, i), g = 0.5 * lab_number("grad", 0, i);
        g += decoupled ? 0 : c->decay * x;
        double m = c->beta1 * lab_number("m", 0, i) + (1 - c->beta1) * g;
        double v = c->beta2 * 0.25 * (i + 1) + (1 - c->beta2) * g * g;
        double step = 1.25 * m / (sqrt(2 * v) + c->eps);
        step += decoupled ? c->decay * x : 0;
        if (lab_expect("m", i, m, found(l, "m")[i], e) ||
            lab_expect("v", i, v, found(l, "v")[i], e) ||
            lab_expect("w", i, x - 0.125 * step, found(l, "w")[i], e))
            return e->code;
    }
    return 0;
}

static int check_rounded(const struct lab *l, struct err *e)
{
    const float *out = (const float *)found(l, "out");
    for (int i = 0; i < N; i++)
        if (lab_expect("out", i, (double)(float)found(l, "w")[i], (double)out[i], e))
            return e->code;
    return 0;
}

static int check_adamw(struct lab_world *w, struct err *e)
{
    return check_moments(w, true, e) ? e->code : check_rounded(&w->lab[0], e);
}

static int check_adam(struct lab_world *w, struct err *e)
{
    return check_moments(w, false, e);
}

static int check_sgd(struct lab_world *w, struct err *e)
{
    const struct lab *l = &w->lab[0];
    for (int i = 0; i < N; i++) {
        double x = lab_number("w", 0, i), g = 0.5 * lab_number("grad", 0, i) + 0.25 * x;
        double m = 0.75 * lab_number("m", 0, i) + g;
        if (lab_expect("m", i, m, found(l, "m")[i], e) ||
            lab_expect("w", i, x - 0.125 * m, found(l, "w")[i], e))
            return e->code;
    }
    return check_rounded(l, e);
}

/* ------------------------------------------------------------------------- */

enum { LONG = 2 * NND_BLOCK_ELEMS + 100 };

static void build_sqnorm(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_random(l, "x", S(1, I(LONG)));
    op_sqnorm(l->g, x, lab_state(l, "blocks", NND_F64, S(1, I(5)), NULL), 1);
}

static double square_sum(const char *name, int rank, int64_t from, int64_t to)
{
    double sum = 0;
    for (int64_t i = from; i < to; i++)
        sum += lab_number(name, rank, i) * lab_number(name, rank, i);
    return sum;
}

static int check_sqnorm(struct lab_world *w, struct err *e)
{
    double want[5];
    for (int i = 0; i < 5; i++)
        want[i] = lab_number("blocks", 0, i);
    for (int i = 0; i < 3; i++) {
        int64_t from = (int64_t)i * NND_BLOCK_ELEMS, to = from + NND_BLOCK_ELEMS;
        want[1 + i] = square_sum("x", 0, from, to < LONG ? to : LONG);
    }
    for (int i = 0; i < 5; i++)
        if (lab_expect("blocks", i, want[i], found(&w->lab[0], "blocks")[i], e))
            return e->code;
    return 0;
}

/* ------------------------------------------------------------------------- */
/* The end of a step on two ranks: gradients to their owners, the norm, an
 * update by the owner, weights to both.  Two tensors, of 3 blocks and of 1.   */

static const int64_t sizes[] = {LONG, 21};
static const char *const tensors[] = {"a", "b"};

static struct shard make_shard(struct lab *l)
{
    struct shard_tensor t[2];
    struct shard s = {0};
    struct err e;
    for (int i = 0; i < 2; i++) {
        const struct param *p = lab_leaf(l, tensors[i], S(1, sizes[i]))->param;
        t[i] = (struct shard_tensor){p->offset, sizes[i], 1};
    }
    if (shard_make(l->g->mem, t, 2, 2, &s, &e))
        graph_fail(l->g, "%s", e.text);
    return s;
}

/* w -= lr * grad, by SGD without momentum: out is the weight, w its master. */
static void update_piece(struct lab *l, struct param *p, int64_t lo, int64_t hi,
                         struct value *rates)
{
    const struct optim_config cfg = {.kind = "opt.sgd"};
    char name[32];
    struct value *state[2];
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof(name), "%s.%s", i ? "moment" : "master", p->name);
        state[i] = lab_state(l, name, NND_F64, S(1, hi - lo), NULL);
    }
    op_optim(l->g, cfg, op_grad_piece(l->g, p, lo, hi), state[0], state[1], NULL,
             op_param_piece(l->g, p, lo, hi), rates, NULL);
}

static void build_zero(struct lab *l, const void *arg)
{
    (void)arg;
    static const int64_t order[] = {0, 1, 2, 3};
    struct shard s = make_shard(l);
    struct value *rates =
        lab_reals(l, "hyper", NND_F32, S(1, I(NND_HYPER_COUNT)), hyper);
    struct value *blocks = lab_state(l, "blocks", NND_F64, S(1, I(4)), NULL);
    int64_t *first = arena_calloc(l->g->mem, 4, sizeof(*first)), *count = first + 2;
    if (l->g->err.code)
        return;
    op_reduce(l->g, 0, &s);
    for (int r = 0, next = 0; r < 2; r++) {
        first[r] = next;
        for (int i = 0; i < 2; i++) {
            struct param *p = l->g->param[i];
            struct shard_tensor t = {p->offset, sizes[i], 1};
            int64_t lo, hi;
            shard_piece(&s, &t, r, &lo, &hi);
            if (lo == hi)
                continue;
            if (r == l->g->mesh.rank) {
                op_sqnorm(l->g, op_grad_piece(l->g, p, lo, hi), blocks, next);
                update_piece(l, p, lo, hi, rates);
            }
            next += (int)shard_blocks_in(&t, lo, hi);
        }
        count[r] = next - first[r];
    }
    struct norm_layout layout = {first, count, order, 4};
    op_norm(l->g, layout, blocks, lab_state(l, "norm", NND_F64, S(1, I(1)), NULL));
    op_gather(l->g, 0, &s);
}

/* The gradient after both ranks' sums. */
static double both(const char *name, int64_t i)
{
    return lab_number(name, 0, i) + lab_number(name, 1, i);
}

/* Element i of tensor k is number i - lo of its owner's master. */
static int check_weight(const struct lab *l, int k, int owner, int64_t i, int64_t lo,
                        struct err *e)
{
    const double *w = exec_data(l->x, l->g->param[k]->value);
    const char *master = k ? "master.b" : "master.a", *grad = k ? "grad.b" : "grad.a";
    double want = lab_number(master, owner, i - lo) - 0.125 * 0.5 * both(grad, i);
    return lab_expect(tensors[k], i, want, w[i], e);
}

static int check_zero(struct lab_world *w, struct err *e)
{
    double sum = 0;
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < sizes[k]; i++)
            sum += both(k ? "grad.b" : "grad.a", i) * both(k ? "grad.b" : "grad.a", i);
    for (int r = 0; r < 2; r++) {
        const struct lab *l = &w->lab[r];
        if (lab_expect("norm", r, sqrt(sum), found(l, "norm")[0], e))
            return e->code;
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; i < sizes[k]; i++) {
                bool second = k == 1 || i >= NND_BLOCK_ELEMS;
                int64_t lo = k == 0 && second ? NND_BLOCK_ELEMS : 0;
                if (check_weight(l, k, second, i, lo, e))
                    return e->code;
            }
    }
    return 0;
}

/* ------------------------------------------------------------------------- */

static void build_report(struct lab *l, const void *arg)
{
    static const int32_t count[] = {1, 2, 3, 10, 20, 30};
    (void)arg;
    struct value *c = lab_ints(l, "count", S(2, I(2), I(3)), count);
    struct value *load = graph_state(l->g, "load", NND_I64, S(2, I(2), I(3)));
    struct value *stats =
        lab_state(l, "stats", NND_F64, S(2, I(2), I(STATS_COUNT)), NULL);
    op_load(l->g, c, load, 1);
    op_load_sum(l->g, load);
    op_stats_begin(l->g, stats);
    op_stats_loss(l->g, lab_random(l, "loss", S(1, I(3))), stats);
    op_stats_all(l->g, stats);
}

static void build_report_apart(struct lab *l, const void *arg)
{
    l->g->apart = true;
    build_report(l, arg);
}

/* The loads of a layer are sums over groups and ranks; a chunk's statistics are
 * those of the rank that computed it. */
static int check_report(struct lab_world *w, struct err *e)
{
    static const int64_t loads[] = {0, 0, 0, 22, 44, 66};
    for (int r = 0; r < 2; r++) {
        const struct lab *l = &w->lab[r];
        const int64_t *load = exec_data(l->x, graph_find(l->g, "load"));
        for (int i = 0; i < 6; i++)
            if (lab_expect("load", i, (double)loads[i], (double)load[i], e))
                return e->code;
        for (int i = 0; i < 2 * STATS_COUNT; i++) {
            double want = 0;
            for (int k = 0; i % STATS_COUNT == STATS_LOSS && k < 3; k++)
                want += lab_number("loss", i / STATS_COUNT, k);
            if (lab_expect("stats", i, want, found(l, "stats")[i], e))
                return e->code;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------- */

static void build_hyper(struct lab *l, const void *arg)
{
    static const double given[NND_HYPER_COUNT] = {[NND_HYPER_LR] = 0.5,
                                                  [NND_HYPER_LOSS_SCALE] = 4,
                                                  [NND_HYPER_CLIP] = 1,
                                                  [NND_HYPER_BIAS1] = 3,
                                                  [NND_HYPER_BIAS2] = 5};
    static const double norm = 32, stats[2 * STATS_COUNT] = {7, 1, 1, 1, 8};
    struct value *skip = graph_state(l->g, "skip", NND_I32, S(1, I(1)));
    (void)arg;
    struct value *rates = op_hyper(
        l->g, lab_reals(l, "given", NND_F64, S(1, I(NND_HYPER_COUNT)), given),
        lab_state(l, "norm", NND_F64, S(1, I(1)), &norm),
        lab_state(l, "stats", NND_F64, S(2, I(2), I(STATS_COUNT)), stats), skip);
    op_copy(l->g, rates, graph_state(l->g, "out", NND_F64, S(1, I(NND_HYPER_COUNT))));
}

/* A norm of 8 is cut to 1: 1 / 8.000001 of the gradient, which is scaled by 4. */
static int check_hyper(struct lab_world *w, struct err *e)
{
    const double want[NND_HYPER_COUNT] = {[NND_HYPER_LR] = 0.5,
                                          [NND_HYPER_GRAD_SCALE] =
                                              (double)(float)(1 / (8 + 1e-6) / 4),
                                          [NND_HYPER_BIAS1] = 3,
                                          [NND_HYPER_BIAS2] = 5};
    const struct lab *l = &w->lab[0];
    for (int i = 0; i < NND_HYPER_COUNT; i++)
        if (lab_expect("hyper", i, want[i], found(l, "out")[i], e))
            return e->code;
    return lab_expect("skip", 0, 0,
                      *(int32_t *)exec_data(l->x, graph_find(l->g, "skip")), e);
}

static void build_carry(struct lab *l, const void *arg)
{
    static const double kept[] = {1, 2, 3};
    struct shape s = S(1, I(3));
    struct value *all = graph_state(l->g, "kept", NND_F32, s);
    (void)arg;
    op_copy(l->g, lab_reals(l, "before", NND_F32, s, kept), all);
    op_carry(l->g, all, graph_state(l->g, "own", NND_F64, s), false);
    op_carry(l->g, all, lab_state(l, "behind", NND_F64, s, NULL), true);
}

static int check_carry(struct lab_world *w, struct err *e)
{
    const struct lab *l = &w->lab[0];
    const float *kept = exec_data(l->x, graph_find(l->g, "kept"));
    for (int i = 0; i < 3; i++)
        if (lab_expect("own", i, i + 1, found(l, "own")[i], e) ||
            lab_expect("kept", i, (double)(float)found(l, "behind")[i], (double)kept[i],
                       e))
            return e->code;
    return 0;
}

/* ------------------------------------------------------------------------- */

const struct op_case op_cases_step[] = {
    {"rows.gather: repeated, three dims", &op_rows_gather_fwd, build_gather,
     .check = check_gather},
    {"rows.scatter: into a cache, one skipped", &op_rows_scatter_fwd, build_scatter,
     .check = check_scatter},
    {"copy: to f32", &op_copy_to, build_copy, .check = check_copy},
    {"attention.cached: lengths differ", &op_attention_cached_fwd, build_cached,
     .check = check_cached},
    {"opt.adamw", &op_opt_adamw, build_optim, .arg = &adamw, .check = check_adamw},
    {"opt.adam", &op_opt_adam, build_optim, .arg = &adam, .check = check_adam},
    {"opt.sgd", &op_opt_sgd, build_optim, .arg = &sgd, .check = check_sgd},
    {"sqnorm: two blocks and a part", &op_sqnorm_fwd, build_sqnorm,
     .check = check_sqnorm},
    {"step: reduce, norm, update, gather", &op_grad_reduce, build_zero,
     .check = check_zero, .ranks = 2},
    {"report: loads and statistics", &op_load_reduce, build_report,
     .check = check_report, .ranks = 2},
    {"report: the same by kernels", &op_load_reduce, build_report_apart,
     .check = check_report, .ranks = 2},
    {"opt.hyper: clipped", &op_opt_hyper, build_hyper, .check = check_hyper},
    {"carry: there and back", &op_carry_move, build_carry, .check = check_carry},
    {0},
};

const struct op_reason op_reasons[] = {
    {0},
};
