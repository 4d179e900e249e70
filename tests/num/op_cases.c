/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases.c - cases of the dense operators.
 */
#include "op_cases.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

struct dims {
    int rows, cols, other;
};

/* ------------------------------------------------------------------------- */

static void build_linear(struct lab *l, const void *arg)
{
    const struct dims *d = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(d->rows), I(d->cols)));
    struct value *w = lab_leaf(l, "w", S(2, I(d->other), I(d->cols)));
    struct value *b = lab_leaf(l, "b", S(1, I(d->other)));
    lab_dot(l, op_linear(l->g, x, w, b), -1);
}

static void build_linear_wide(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_leaf(l, "x", S(3, I(2), I(3), I(5)));
    struct value *w = lab_leaf(l, "w", S(2, I(4), I(5)));
    lab_dot(l, op_linear_wide(l->g, x, w), -1);
}

struct between {
    enum act act;
    bool both; /* what is between two layers has another user */
};

static void build_linear_act(struct lab *l, const void *arg)
{
    const struct between *d = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(5), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(7), I(3)));
    struct value *b = lab_leaf(l, "b", S(1, I(7)));
    struct value *w2 = lab_leaf(l, "w2", S(2, I(2), I(7)));
    struct value *y = op_linear_act(l->g, x, w, b, d->act);
    lab_dot(l, op_linear(l->g, y, w2, NULL), -1);
    if (d->both)
        lab_dot(l, y, -1);
}

/* One weight, two users: a tied embedding. */
static void build_linear_twice(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_leaf(l, "x", S(2, I(3), I(4)));
    struct value *w = lab_leaf(l, "w", S(2, I(4), I(4)));
    lab_dot(l, op_linear(l->g, op_linear(l->g, x, w, NULL), w, NULL), -1);
}

/* One weight at every step of a model that is written out step by step. */
static void build_linear_often(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_leaf(l, "x", S(2, I(2), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(3), I(3)));
    for (int i = 0; i < 2 * NND_SUM_MAX + 3; i++) {
        x = op_act(l->g, op_linear(l->g, x, w, NULL), ACT_GELU);
        lab_dot(l, x, -1);
    }
}

static void build_sum(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *a = lab_leaf(l, "a", S(2, I(3), I(5)));
    struct value *b = lab_leaf(l, "b", S(2, I(3), I(5)));
    struct value *c = lab_leaf(l, "c", S(2, I(3), I(5)));
    struct value *x[] = {a, b, c, a};
    struct value *y = op_sum(l->g, x, 4, NND_F64);
    lab_dot(l, y, -1);
    lab_dot(l, op_add(l->g, y, b), -1);
}

static void build_view(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_leaf(l, "x", S(2, I(4), I(6)));
    struct value *v = op_view(l->g, x, S(3, I(4), I(3), I(2)));
    lab_dot(l, op_view(l->g, v, S(2, I(8), I(3))), -1);
    lab_dot(l, op_act(l->g, v, ACT_GELU), -1);
}

/* ------------------------------------------------------------------------- */

static void build_rms(struct lab *l, const void *arg)
{
    const struct shape *s = arg;
    struct value *x = lab_leaf(l, "x", *s);
    struct value *w = lab_leaf(l, "w", S(1, shape_cols(s)));
    lab_dot(l, op_norm_rms(l->g, x, w, 1e-5), -1);
}

static void build_layer(struct lab *l, const void *arg)
{
    const struct shape *s = arg;
    struct value *x = lab_leaf(l, "x", *s);
    struct value *w = lab_leaf(l, "w", S(1, shape_cols(s)));
    struct value *b = lab_leaf(l, "b", S(1, shape_cols(s)));
    lab_dot(l, op_norm_layer(l->g, x, w, b, 1e-5), -1);
}

/* Twice, so that the sum has users besides its norm. */
static void build_norm_add(struct lab *l, const void *arg)
{
    const bool *layer = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(5), I(7)));
    struct value *add = lab_leaf(l, "add", S(2, I(5), I(7)));
    struct value *w = lab_leaf(l, "w", S(1, I(7)));
    struct value *b = *layer ? lab_leaf(l, "b", S(1, I(7))) : NULL;
    for (int i = 0; i < 2; i++)
        add = *layer ? op_norm_layer_add(l->g, &x, add, w, b, 1e-5)
                     : op_norm_rms_add(l->g, &x, add, w, 1e-5);
    lab_dot(l, add, -1);
    lab_dot(l, x, -1);
}

static const bool norm_is_layer = true, norm_is_rms = false;

static const struct shape matrix = {2, {5, 7}}, one_row = {2, {1, 2}},
                          heads = {3, {4, 3, 6}}, long_rows = {2, {2, 67}};

/* ------------------------------------------------------------------------- */

struct rope_arg {
    int heads, size, context, pad;
    bool interleaved;
};

static void build_rope(struct lab *l, const void *arg)
{
    const struct rope_arg *a = arg;
    lab_chunk(l, 2, a->context, a->pad, 5);
    struct value *x =
        lab_leaf(l, "x", S(3, I(2 * a->context), I(a->heads), I(a->size)));
    lab_dot(l, op_rope(l->g, x, l->c.pos, 1e4, a->interleaved), -1);
}

static void build_swiglu(struct lab *l, const void *arg)
{
    const struct dims *d = arg;
    struct value *a = lab_leaf(l, "a", S(2, I(d->rows), I(d->cols)));
    struct value *b = lab_leaf(l, "b", S(2, I(d->rows), I(d->cols)));
    lab_dot(l, op_swiglu(l->g, a, b), -1);
}

static void build_swiglu_alias(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *a = lab_leaf(l, "a", S(3, I(2), I(2), I(3)));
    lab_dot(l, op_swiglu(l->g, a, a), -1);
}

static void build_act(struct lab *l, const void *arg)
{
    const enum act *act = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(3), I(11)));
    lab_dot(l, op_act(l->g, x, *act), -1);
}

struct softmax_arg {
    double scale;
    bool lengths; /* 3, 0, 1 and 7 of 7 columns */
};

static void build_softmax(struct lab *l, const void *arg)
{
    static const int32_t len[] = {3, 0, 1, 7};
    const struct softmax_arg *a = arg;
    struct value *x = lab_leaf(l, "x", S(3, I(2), I(2), I(7)));
    struct value *n = a->lengths ? lab_ints(l, "len", S(1, I(4)), len) : NULL;
    lab_dot(l, op_softmax(l->g, x, n, a->scale), -1);
}

static const bool yes = true, no = false;

static void build_embed(struct lab *l, const void *arg)
{
    (void)arg;
    const int32_t id[] = {3, 0, 3, -1, 5, 3};
    struct value *table = lab_leaf(l, "table", S(2, I(7), I(3)));
    struct value *ids = lab_ints(l, "ids", S(1, I(6)), id);
    lab_dot(l, op_embed(l->g, table, ids), -1);
}

static void build_embed_scaled(struct lab *l, const void *arg)
{
    (void)arg;
    static const int32_t id[] = {2, -1, 0, 2};
    struct value *table = lab_leaf(l, "table", S(2, I(4), I(3)));
    struct value *ids = lab_ints(l, "ids", S(1, I(4)), id);
    lab_dot(l, op_embed_scaled(l->g, table, ids, 2.5), -1);
}

/* Learned positions beside words, and the words' table tied to the output. */
static void build_embed_tied(struct lab *l, const void *arg)
{
    (void)arg;
    lab_chunk(l, 2, 4, 1, 5);
    struct value *words = lab_leaf(l, "words", S(2, I(5), I(3)));
    struct value *places = lab_leaf(l, "places", S(2, I(4), I(3)));
    struct value *x =
        op_add(l->g, op_embed(l->g, words, l->c.id), op_embed(l->g, places, l->c.pos));
    lab_dot(l, op_linear(l->g, x, words, NULL), -1);
}

/* A table that both sides of a model and its output share. */
static void build_embed_shared(struct lab *l, const void *arg)
{
    (void)arg;
    static const int32_t id[] = {4, 1, -1, 4, 0};
    lab_chunk(l, 1, 5, 1, 5);
    struct value *words = lab_leaf(l, "words", S(2, I(5), I(3)));
    struct value *ids = lab_ints(l, "ids", S(1, I(5)), id);
    struct value *x = op_add(l->g, op_embed(l->g, words, l->c.id),
                             op_embed_scaled(l->g, words, ids, 1.5));
    lab_dot(l, op_linear(l->g, x, words, NULL), -1);
}

struct dropout_arg {
    double p;
    int pad;
};

static void build_dropout(struct lab *l, const void *arg)
{
    const struct dropout_arg *a = arg;
    lab_chunk(l, 3, 5, a->pad, 5);
    struct value *x = lab_leaf(l, "x", S(2, I(15), I(9)));
    struct value *y = op_dropout(l->g, x, a->p, &l->c);
    lab_dot(l, y, -1);
    lab_dot(l, op_dropout(l->g, y, a->p / 2, &l->c), -1);
}

/* ------------------------------------------------------------------------- */

struct attention_arg {
    int batch, context, heads, key_heads, size;
    double p;
    int pad;
};

static void build_attention(struct lab *l, const void *arg)
{
    const struct attention_arg *a = arg;
    int64_t rows = (int64_t)a->batch * a->context;
    lab_chunk(l, a->batch, a->context, a->pad, 5);
    struct value *q = lab_leaf(l, "q", S(3, rows, I(a->heads), I(a->size)));
    struct value *k = lab_leaf(l, "k", S(3, rows, I(a->key_heads), I(a->size)));
    struct value *v = lab_leaf(l, "v", S(3, rows, I(a->key_heads), I(a->size)));
    lab_dot(l, op_attention(l->g, q, k, v, a->p, &l->c), -1);
}

struct span_arg {
    int batch, queries, keys;
    int32_t len[3];
    double p;
    bool causal;
};

/* Queries of one text, keys and values of another, of which some count. */
static void build_span(struct lab *l, const void *arg)
{
    const struct span_arg *a = arg;
    int64_t rows = (int64_t)a->batch * a->queries, keys = (int64_t)a->batch * a->keys;
    lab_chunk(l, a->batch, a->queries, 1, 5);
    struct value *q = lab_leaf(l, "q", S(3, rows, I(4), I(3)));
    struct value *k = lab_leaf(l, "k", S(3, keys, I(2), I(3)));
    struct value *v = lab_leaf(l, "v", S(3, keys, I(2), I(3)));
    struct attention_span s = {.batch = a->batch,
                               .queries = a->queries,
                               .keys = a->keys,
                               .causal = a->causal,
                               .len = lab_ints(l, "len", S(1, I(a->batch)), a->len)};
    lab_dot(l, op_attention_span(l->g, q, k, v, a->p, &s, &l->c), -1);
}

/* Sequences of 3, 0, 1 and 2 queries over 2, 1, 0 and 4 keys, rows left over. */
static void build_packed(struct lab *l, const void *arg)
{
    static const int32_t cu_q[] = {0, 3, 3, 4, 6}, cu_k[] = {0, 2, 3, 3, 7};
    const bool *causal = arg;
    const int32_t *keys = *causal ? cu_q : cu_k;
    lab_chunk(l, 1, 7, 1, 5);
    struct value *q = lab_leaf(l, "q", S(3, I(7), I(4), I(3)));
    struct value *k = lab_leaf(l, "k", S(3, I(8), I(2), I(3)));
    struct value *v = lab_leaf(l, "v", S(3, I(8), I(2), I(3)));
    struct attention_span s = {.batch = 4,
                               .queries = 4,
                               .keys = 4,
                               .causal = *causal,
                               .cu_q = lab_ints(l, "cu_q", S(1, I(5)), cu_q),
                               .cu_k = lab_ints(l, "cu_k", S(1, I(5)), keys)};
    lab_dot(l, op_attention_span(l->g, q, k, v, 0, &s, &l->c), -1);
}

/* Queries, keys and values from the same rows, rotated, as models do. */
static void build_attention_block(struct lab *l, const void *arg)
{
    (void)arg;
    lab_chunk(l, 2, 4, 1, 5);
    struct shape s = S(3, I(8), I(2), I(4));
    struct value *x = lab_leaf(l, "x", S(2, I(8), I(5))), *h[3];
    const char *name[] = {"wq", "wk", "wv"};
    for (int i = 0; i < 3; i++) {
        struct value *w = lab_leaf(l, name[i], S(2, I(8), I(5)));
        h[i] = op_view(l->g, op_linear(l->g, x, w, NULL), s);
    }
    for (int i = 0; i < 2; i++)
        h[i] = op_rope(l->g, h[i], l->c.pos, 100, false);
    struct value *o = op_attention(l->g, h[0], h[1], h[2], 0, &l->c);
    lab_dot(l, o ? op_view(l->g, o, S(2, I(8), I(8))) : NULL, -1);
}

/* ------------------------------------------------------------------------- */

struct xent_arg {
    int rows, pad, classes;
    bool shared; /* someone else reads the logits as well */
};

/* The total is seed * the sum over rows, as backward takes it; the sum comes
 * from the statistics. */
static void count_loss(struct lab *l, struct value *loss)
{
    const double coef[STATS_COUNT] = {[STATS_LOSS] = 0.5};
    struct shape s = S(2, I(1), I(STATS_COUNT));
    struct value *stats = graph_state(l->g, "stats", NND_F64, s);
    op_stats_begin(l->g, stats);
    op_stats_loss(l->g, loss, stats);
    lab_count(l, stats, lab_reals(l, "coef", NND_F64, s, coef));
}

static void build_xent(struct lab *l, const void *arg)
{
    const struct xent_arg *a = arg;
    lab_chunk(l, 1, a->rows, a->pad, a->classes);
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(a->classes), I(3)));
    struct value *z = op_linear_wide(l->g, x, w);
    if (a->shared)
        lab_dot(l, op_act(l->g, z, ACT_GELU), -1);
    count_loss(l, op_xent(l->g, z, &l->c));
}

static void build_distill(struct lab *l, const void *arg)
{
    const struct xent_arg *a = arg;
    lab_chunk(l, 1, a->rows, a->pad, a->classes);
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(a->classes), I(3)));
    struct value *z = op_linear_wide(l->g, x, w);
    struct value *y = lab_random(l, "teacher", S(2, I(a->rows), I(a->classes)));
    if (a->shared)
        lab_dot(l, op_act(l->g, z, ACT_GELU), -1);
    count_loss(l, op_distill(l->g, z, y, 0.7, 2.5, &l->c));
}

static void build_xent_linear(struct lab *l, const void *arg)
{
    const struct xent_arg *a = arg;
    lab_chunk(l, 1, a->rows, a->pad, a->classes);
    struct value *x = lab_leaf(l, "x", S(2, I(a->rows), I(3)));
    struct value *w = lab_leaf(l, "w", S(2, I(a->classes), I(3)));
    if (a->shared)
        lab_dot(l, op_act(l->g, op_linear_wide(l->g, x, w), ACT_GELU), -1);
    count_loss(l, op_xent_linear(l->g, x, w, &l->c));
}

static void build_xent_leaf(struct lab *l, const void *arg)
{
    (void)arg;
    lab_chunk(l, 2, 3, 1, 4);
    count_loss(l, op_xent(l->g, lab_leaf(l, "z", S(2, I(6), I(4))), &l->c));
}

/* ------------------------------------------------------------------------- */

const struct op_case op_cases_dense[] = {
    {"linear: odd sizes, bias", &op_gemm, build_linear, .arg = &(struct dims){5, 7, 3}},
    {"linear: one row", &op_gemm, build_linear, .arg = &(struct dims){1, 1, 1}},
    {"linear: more rows than a block", &op_gemm, build_linear,
     .arg = &(struct dims){300, 2, 3}, .most = 40},
    {"linear: wide, three dims", &op_gemm, build_linear_wide, .arg = NULL},
    {"linear: gelu", &op_gemm, build_linear_act,
     .arg = &(struct between){ACT_GELU, false}},
    {"linear: gelu by tanh, two users", &op_gemm, build_linear_act,
     .arg = &(struct between){ACT_GELU_TANH, true}},
    {"linear: relu", &op_gemm, build_linear_act,
     .arg = &(struct between){ACT_RELU, false}},
    {"linear: relu, two users", &op_gemm, build_linear_act,
     .arg = &(struct between){ACT_RELU, true}},
    {"linear: a weight used twice", &op_gemm, build_linear_twice, .arg = NULL},
    {"linear: a weight used 35 times", &op_gemm, build_linear_often, .arg = NULL},
    {"sum: a summand twice", &op_plus, build_sum, .arg = NULL},
    {"view: of a view, read twice", &op_reshape, build_view, .arg = NULL},
    {"norm.rms: matrix", &op_norm_rms_fwd, build_rms, .arg = &matrix},
    {"norm.rms: one row", &op_norm_rms_fwd, build_rms, .arg = &one_row},
    {"norm.rms: heads", &op_norm_rms_fwd, build_rms, .arg = &heads},
    {"norm.rms: long rows", &op_norm_rms_fwd, build_rms, .arg = &long_rows},
    {"norm.rms: residual", &op_norm_rms_fwd, build_norm_add, .arg = &norm_is_rms},
    {"norm.layer: residual", &op_norm_layer_fwd, build_norm_add, .arg = &norm_is_layer},
    {"norm.layer: matrix", &op_norm_layer_fwd, build_layer, .arg = &matrix},
    {"norm.layer: heads", &op_norm_layer_fwd, build_layer, .arg = &heads},
    {"norm.layer: long rows", &op_norm_layer_fwd, build_layer, .arg = &long_rows},
    {"rope: halves", &op_rope_fwd, build_rope,
     .arg = &(struct rope_arg){3, 6, 3, 1, false}},
    {"rope: pairs", &op_rope_fwd, build_rope,
     .arg = &(struct rope_arg){1, 10, 3, 0, true}},
    {"swiglu: odd sizes", &op_swiglu_fwd, build_swiglu, .arg = &(struct dims){3, 5, 0}},
    {"swiglu: one element", &op_swiglu_fwd, build_swiglu,
     .arg = &(struct dims){1, 1, 0}},
    {"swiglu: both the same", &op_swiglu_fwd, build_swiglu_alias, .arg = NULL},
    {"gelu: erf", &op_gelu_fwd, build_act, .arg = &(enum act){ACT_GELU}},
    {"gelu: tanh", &op_gelu_fwd, build_act, .arg = &(enum act){ACT_GELU_TANH}},
    {"relu", &op_relu_fwd, build_act, .arg = &(enum act){ACT_RELU}},
    {"softmax", &op_softmax_fwd, build_softmax, .arg = &(struct softmax_arg){1, false}},
    {"softmax: scaled, lengths differ, one is 0", &op_softmax_fwd, build_softmax,
     .arg = &(struct softmax_arg){-2.5, true}},
    {"embed: repeated, unused, negative", &op_embed_fwd, build_embed, .arg = NULL},
    {"embed: scaled", &op_embed_fwd, build_embed_scaled, .arg = NULL},
    {"embed: positions, tied table", &op_embed_fwd, build_embed_tied, .arg = NULL},
    {"embed: shared table", &op_embed_fwd, build_embed_shared, .arg = NULL},
    {"dropout: p 0.3", &op_dropout_fwd, build_dropout,
     .arg = &(struct dropout_arg){0.3, 0}},
    {"dropout: p 0.75, padding", &op_dropout_fwd, build_dropout,
     .arg = &(struct dropout_arg){0.75, 2}},
    {"attention: one row", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){2, 1, 1, 1, 2, 0, 0}},
    {"attention: one head", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){1, 5, 1, 1, 3, 0, 0}},
    {"attention: shared key heads", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){2, 5, 4, 2, 6, 0, 0}},
    {"attention: one key head", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){3, 7, 3, 1, 4, 0, 0}, .most = 60},
    {"attention: dropout", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){2, 6, 4, 2, 4, 0.3, 0}, .most = 60},
    {"attention: dropout, padding", &op_attention_fwd, build_attention,
     .arg = &(struct attention_arg){2, 5, 2, 2, 3, 0.2, 2}},
    {"attention: a memory, lengths differ, one is 0", &op_attention_fwd, build_span,
     .arg = &(struct span_arg){3, 4, 5, {5, 2, 0}, 0, false}, .most = 60},
    {"attention: a memory, one query, one key", &op_attention_fwd, build_span,
     .arg = &(struct span_arg){2, 1, 1, {1, 0}, 0, false}},
    {"attention: packed, a memory", &op_attention_fwd, build_packed, .arg = &no},
    {"attention: packed, causal", &op_attention_fwd, build_packed, .arg = &yes},
    {"attention: a memory, dropout", &op_attention_fwd, build_span,
     .arg = &(struct span_arg){2, 3, 7, {7, 6}, 0.3, false}, .most = 60},
    {"attention: from one input, rotated", &op_attention_fwd, build_attention_block,
     .arg = NULL},
    {"xent: over the logits", &op_xent_fwd, build_xent,
     .arg = &(struct xent_arg){5, 0, 7, false}},
    {"xent: padding", &op_xent_fwd, build_xent,
     .arg = &(struct xent_arg){6, 2, 4, false}},
    {"xent: logits read twice", &op_xent_fwd, build_xent,
     .arg = &(struct xent_arg){5, 1, 7, true}},
    {"xent: a weight as logits", &op_xent_fwd, build_xent_leaf, .arg = NULL},
    {"distill: padding", &op_distill_fwd, build_distill,
     .arg = &(struct xent_arg){6, 2, 5, false}},
    {"distill: logits read twice", &op_distill_fwd, build_distill,
     .arg = &(struct xent_arg){5, 0, 7, true}},
    {"xent.linear: no padding", &op_xent_linear_fwd, build_xent_linear,
     .arg = &(struct xent_arg){5, 0, 7, false}},
    {"xent.linear: padding", &op_xent_linear_fwd, build_xent_linear,
     .arg = &(struct xent_arg){6, 2, 4, false}},
    {"xent.linear: rows and weight used twice", &op_xent_linear_fwd, build_xent_linear,
     .arg = &(struct xent_arg){5, 1, 7, true}},
    {0},
};
