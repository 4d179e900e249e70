/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_emit.c - the table of operators and what each becomes.
 *
 * Attributes are read from the params that a node's bind makes for kernels; without an
 * executor it gives dims and no addresses.
 */
#include "exchange/onnx_emit.h"

#include <math.h>
#include <string.h>

#include "graph/op_list.h"

typedef void emit_f(struct onnx_body *b, const struct node *n);

#define HIDDEN (-1e30) /* a score that does not count */

static void params_of(const struct node *n, void *out)
{
    n->op->bind(n, NULL, out);
}

static const char *in(struct onnx_body *b, const struct node *n, int i)
{
    return onnx_name(b, n->in[i]);
}

static struct onnx_form form_of(const struct onnx_body *b, const struct node *n, int i)
{
    return b->form[n->in[i]->id];
}

/* ---- rows ----------------------------------------------------------------- */

static const char *gelu(struct onnx_body *b, const char *x, bool approx)
{
    const char *half = onnx_op(b, "Mul", x, onnx_const_float(b, 0.5), NULL), *t;

    if (approx) {
        const char *cube = onnx_op(b, "Mul", onnx_op(b, "Mul", x, x, NULL), x, NULL);
        cube = onnx_op(b, "Mul", cube, onnx_const_float(b, 0.044715), NULL);
        t = onnx_op(b, "Add", x, cube, NULL);
        t = onnx_op(b, "Mul", t, onnx_const_float(b, sqrt(2 / 3.14159265358979323846)),
                    NULL);
        t = onnx_op(b, "Tanh", t, NULL, NULL);
    } else {
        t = onnx_op(b, "Mul", x, onnx_const_float(b, sqrt(0.5)), NULL);
        t = onnx_op(b, "Erf", t, NULL, NULL);
    }
    t = onnx_op(b, "Add", t, onnx_const_float(b, 1), NULL);
    return onnx_op(b, "Mul", half, t, NULL);
}

/* What an end of products makes of x. */
static const char *ended(struct onnx_body *b, const char *x, int epilogue)
{
    switch (epilogue) {
    case NND_EPI_GELU:
    case NND_EPI_GELU_TANH:
        return gelu(b, x, epilogue == NND_EPI_GELU_TANH);
    case NND_EPI_RELU:
        return onnx_op(b, "Relu", x, NULL, NULL);
    default:
        return x;
    }
}

static void emit_gelu(struct onnx_body *b, const struct node *n)
{
    struct nnd_act p;

    params_of(n, &p);
    onnx_let(b, n->out[0], gelu(b, in(b, n, 0), p.approx), form_of(b, n, 0));
}

static void emit_relu(struct onnx_body *b, const struct node *n)
{
    onnx_let(b, n->out[0], ended(b, in(b, n, 0), NND_EPI_RELU), form_of(b, n, 0));
}

static const char *swiglu(struct onnx_body *b, const char *gate, const char *up)
{
    const char *s = onnx_op(b, "Sigmoid", gate, NULL, NULL);

    return onnx_op(b, "Mul", onnx_op(b, "Mul", gate, s, NULL), up, NULL);
}

static void emit_swiglu(struct onnx_body *b, const struct node *n)
{
    const char *gate = in(b, n, 0), *up = in(b, n, 1);

    onnx_let(b, n->out[0], swiglu(b, gate, up), form_of(b, n, 0));
}

/* A weight as MatMul wants it. */
static const char *factor(struct onnx_body *b, const struct value *w, int axes)
{
    static const int64_t perm[] = {1, 0}, stacked[] = {0, 2, 1};
    const char *name = onnx_name(b, w);

    if (onnx_is_transposed(b->g, w))
        return name;
    return onnx_transpose(b, name, axes == 3 ? stacked : perm, axes);
}

static void emit_linear(struct onnx_body *b, const struct node *n)
{
    struct nnd_gemm p;
    const char *x = in(b, n, 0), *y;

    params_of(n, &p);
    y = onnx_op(b, "MatMul", x, factor(b, n->in[1], 2), NULL);
    if (n->in[2])
        y = onnx_op(b, "Add", y, in(b, n, 2), NULL);
    onnx_let(b, n->out[0], ended(b, y, p.epilogue), form_of(b, n, 0));
}

static void emit_sum(struct onnx_body *b, const struct node *n)
{
    struct onnx_form form = form_of(b, n, 0);
    const char *y = in(b, n, 0);

    for (int i = 1; i < n->nin; i++) {
        y = onnx_op(b, "Add", y, in(b, n, i), NULL);
        form.shared = form.shared && form_of(b, n, i).shared;
    }
    onnx_let(b, n->out[0], y, form);
}

/* Results of another shape are the same rows; [B,N,..] and [T,..] are one thing here.
 */
static void emit_view(struct onnx_body *b, const struct node *n)
{
    const struct shape *from = &n->in[0]->shape, *to = &n->out[0]->shape;
    struct onnx_form form = form_of(b, n, 0);
    int skip_from = from->ndim == 4 && form.lead == 2 ? 2 : 1;
    int skip_to = to->ndim == 4 && form.lead == 2 ? 2 : 1;
    int64_t dims[GRAPH_DIMS + 2] = {0};
    int count = form.lead;
    bool same = from->ndim - skip_from == to->ndim - skip_to;

    for (int i = skip_to; i < to->ndim; i++) {
        dims[count++] = to->dim[i];
        same = same && from->dim[i - skip_to + skip_from] == to->dim[i];
    }
    const char *x = in(b, n, 0);
    same = same || (n->in[0]->maker && n->in[0]->maker->op == &op_rows_put_fwd);
    onnx_let(b, n->out[0], same ? x : onnx_reshape(b, x, dims, count), form);
}

enum { PUT_X, PUT_INTO = 2 };

/* Rows put between those that are there, for a view of twice as wide ones: they stand
 * side by side at once.  Those of a loop's steps are the loop's. */
static void emit_put(struct onnx_body *b, const struct node *n)
{
    const char *x = in(b, n, PUT_X);

    if (n->in[PUT_INTO]) {
        x = onnx_op(b, "Concat", in(b, n, PUT_INTO), x, NULL);
        onnx_int(b, "axis", -1);
    }
    onnx_let(b, n->out[0], x, form_of(b, n, PUT_X));
}

static void emit_embed(struct onnx_body *b, const struct node *n)
{
    struct nnd_embed p;
    const char *id, *y, *table = in(b, n, 0);

    params_of(n, &p);
    id = in(b, n, 1);
    y = onnx_op(b, "Gather", table, id, NULL);
    if (p.scale != 1)
        y = onnx_op(b, "Mul", y, onnx_const_float(b, (double)p.scale), NULL);
    onnx_let(b, n->out[0], y, form_of(b, n, 1));
}

/* ---- norms ---------------------------------------------------------------- */

const struct value *onnx_norm_sum(const struct node *n)
{
    bool norm = n->op == &op_norm_rms_fwd || n->op == &op_norm_layer_fwd;

    return norm && n->nin > ONNX_NORM_ADD && n->in[ONNX_NORM_ADD] ? n->out[n->nout - 1]
                                                                  : NULL;
}

static struct onnx_form rows_of_norm(const struct onnx_body *b, const struct node *n)
{
    struct onnx_form form = form_of(b, n, ONNX_NORM_X);

    return (struct onnx_form){.lead = form.lead, .source = form.source};
}

/* What is normed: the sum of x and the residual is a result of its own. */
static const char *norm_input(struct onnx_body *b, const struct node *n)
{
    const struct value *sum = onnx_norm_sum(n);
    const char *x;

    if (sum && b->form[sum->id].summed)
        return onnx_name(b, sum);
    x = in(b, n, ONNX_NORM_X);
    if (!sum)
        return x;
    x = onnx_op(b, "Add", x, in(b, n, ONNX_NORM_ADD), NULL);
    onnx_let(b, sum, x, rows_of_norm(b, n));
    return x;
}

static void emit_norm_rms(struct onnx_body *b, const struct node *n)
{
    static const int64_t last = -1;
    struct nnd_norm p;
    const char *x = norm_input(b, n), *y;

    params_of(n, &p);
    y = onnx_op(b, "ReduceMean", onnx_op(b, "Mul", x, x, NULL), NULL, NULL);
    onnx_ints(b, "axes", &last, 1);
    y = onnx_op(b, "Add", y, onnx_const_float(b, (double)p.eps), NULL);
    y = onnx_op(b, "Div", x, onnx_op(b, "Sqrt", y, NULL, NULL), NULL);
    y = onnx_op(b, "Mul", y, in(b, n, ONNX_NORM_W), NULL);
    onnx_let(b, n->out[0], y, rows_of_norm(b, n));
}

static void emit_norm_layer(struct onnx_body *b, const struct node *n)
{
    struct nnd_norm p;
    const char *x = norm_input(b, n), *w = in(b, n, ONNX_NORM_W), *y;

    params_of(n, &p);
    y = onnx_op(b, "LayerNormalization", x, w,
                n->in[ONNX_NORM_B] ? in(b, n, ONNX_NORM_B) : NULL);
    onnx_int(b, "axis", -1);
    onnx_float(b, "epsilon", (double)p.eps);
    onnx_let(b, n->out[0], y, rows_of_norm(b, n));
}

/* ---- attention ------------------------------------------------------------ */

/* x [..,H,D]: its halves turned by the angles of its place. */
static void emit_rope(struct onnx_body *b, const struct node *n)
{
    struct nnd_rope p;
    int64_t d = n->in[0]->shape.dim[2];
    float *freq = arena_calloc(b->mem, (size_t)d, sizeof *freq);
    const char *x = in(b, n, 0), *pos = in(b, n, 1), *a, *c, *s, *y0, *y1;

    params_of(n, &p);
    for (int64_t i = 0; i < d / 2; i++)
        freq[i] = (float)pow((double)p.theta, -2.0 * (double)i / (double)d);
    a = onnx_unsqueeze(b, onnx_unsqueeze(b, onnx_cast(b, pos, ONNX_FLOAT), -1), -1);
    a = onnx_op(b, "Mul", a, onnx_const_floats(b, freq, (int)(d / 2)), NULL);
    c = onnx_op(b, "Cos", a, NULL, NULL);
    s = onnx_op(b, "Sin", a, NULL, NULL);
    Onnx__Node *half = onnx_node(b, "Split", &x, 1, 2);
    onnx_int(b, "axis", -1);
    y0 = onnx_op(b, "Sub", onnx_op(b, "Mul", half->output[0], c, NULL),
                 onnx_op(b, "Mul", half->output[1], s, NULL), NULL);
    y1 = onnx_op(b, "Add", onnx_op(b, "Mul", half->output[1], c, NULL),
                 onnx_op(b, "Mul", half->output[0], s, NULL), NULL);
    const char *y = onnx_op(b, "Concat", y0, y1, NULL);
    onnx_int(b, "axis", -1);
    onnx_let(b, n->out[0], y, form_of(b, n, 0));
}

const char *onnx_softmax(struct onnx_body *b, const char *scores, int axes,
                         const char *len, bool causal)
{
    const char *mask = NULL, *p;

    if (causal) {
        const char *key = onnx_count(b, scores, axes - 1);
        const char *row = onnx_unsqueeze(b, onnx_count(b, scores, axes - 2), 1);
        mask = onnx_op(b, "LessOrEqual", key, row, NULL);
    }
    if (len) {
        const char *key = onnx_count(b, scores, axes - 1);
        int64_t dims[GRAPH_DIMS + 2] = {-1, 1, 1, 1, 1, 1};
        const char *real =
            onnx_op(b, "Less", key,
                    onnx_reshape(b, onnx_cast(b, len, ONNX_INT64), dims, axes), NULL);
        mask = mask ? onnx_op(b, "And", mask, real, NULL) : real;
    }
    if (mask)
        scores = onnx_op(b, "Where", mask, scores, onnx_const_float(b, HIDDEN));
    p = onnx_op(b, "Softmax", scores, NULL, NULL);
    onnx_int(b, "axis", -1);
    return mask ? onnx_op(b, "Where", mask, p, onnx_const_float(b, 0)) : p;
}

/* q [B,T,H,D] and k, v [B,S,Hk,D], by groups of heads that share keys. */
static const char *attend(struct onnx_body *b, const struct node *n, const char *q,
                          const char *len, const struct nnd_attn *p)
{
    static const int64_t to_q[] = {0, 2, 3, 1, 4}, to_k[] = {0, 2, 3, 1};
    static const int64_t to_v[] = {0, 2, 1, 3}, from[] = {0, 3, 1, 2, 4};
    const struct shape *qs = &n->in[0]->shape, *ks = &n->in[1]->shape;
    int64_t heads = qs->dim[1], d = qs->dim[2], shared = ks->dim[ks->ndim - 2];
    int64_t grouped[] = {0, 0, shared, heads / shared, d}, flat[] = {0, 0, heads, d};
    const char *k = in(b, n, 1), *v = in(b, n, 2), *s;

    q = onnx_transpose(b, onnx_reshape(b, q, grouped, 5), to_q, 5);
    k = onnx_unsqueeze(b, onnx_transpose(b, k, to_k, 4), 2);
    v = onnx_unsqueeze(b, onnx_transpose(b, v, to_v, 4), 2);
    s = onnx_op(b, "MatMul", q, k, NULL);
    s = onnx_op(b, "Mul", s, onnx_const_float(b, (double)p->scale), NULL);
    s = onnx_softmax(b, s, 5, len, p->causal);
    s = onnx_transpose(b, onnx_op(b, "MatMul", s, v, NULL), from, 5);
    return onnx_reshape(b, s, flat, 4);
}

enum { ATTN_LEN = 6 };

static void emit_attention(struct onnx_body *b, const struct node *n)
{
    struct nnd_attn p;
    const char *len = n->in[ATTN_LEN] ? in(b, n, ATTN_LEN) : NULL;

    params_of(n, &p);
    onnx_let(b, n->out[0], attend(b, n, in(b, n, 0), len, &p), form_of(b, n, 0));
}

static void emit_attention_cached(struct onnx_body *b, const struct node *n)
{
    struct nnd_attn p;
    const char *q, *o, *len = in(b, n, ATTN_LEN);

    params_of(n, &p);
    p.causal = 0; /* the newest row sees all of the cache */
    q = onnx_unsqueeze(b, in(b, n, 0), 1);
    o = attend(b, n, q, len, &p);
    onnx_let(b, n->out[0], onnx_squeeze(b, o, 1), form_of(b, n, 0));
}

/* A row of each sequence into the cache [B,S,N], at the place that the index says. */
static void emit_scatter(struct onnx_body *b, const struct node *n)
{
    const char *x = in(b, n, 0), *place = in(b, n, 1), *to = in(b, n, 2), *row;

    row = onnx_unsqueeze(b, onnx_count(b, place, 0), 1);
    row = onnx_op(b, "Concat", row, onnx_unsqueeze(b, place, 1), NULL);
    onnx_int(b, "axis", 1);
    onnx_let(b, n->out[0], onnx_op(b, "ScatterND", to, row, x), form_of(b, n, 2));
}

static void emit_alias(struct onnx_body *b, const struct node *n)
{
    onnx_let(b, n->out[0], in(b, n, 0), form_of(b, n, 0));
}

/* ---- experts --------------------------------------------------------------- */

enum { ROUTE_Z, ROUTE_BIAS };

static void emit_route(struct onnx_body *b, const struct node *n)
{
    struct nnd_route p;
    struct onnx_form form = form_of(b, n, ROUTE_Z);
    const char *score, *by, *gate, *expert;
    int64_t k, last = -1;

    params_of(n, &p);
    k = p.top_k;
    score = onnx_op(b, p.score == NND_SCORE_SIGMOID ? "Sigmoid" : "Softmax",
                    in(b, n, ROUTE_Z), NULL, NULL);
    if (p.score != NND_SCORE_SIGMOID)
        onnx_int(b, "axis", -1);
    by = n->in[ROUTE_BIAS] ? onnx_op(b, "Add", score, in(b, n, ROUTE_BIAS), NULL)
                           : score;
    const char *top[] = {by, onnx_const_ints(b, &k, 1)};
    expert = onnx_node(b, "TopK", top, 2, 2)->output[1];
    onnx_int(b, "axis", -1);
    gate = onnx_op(b, "GatherElements", score, expert, NULL);
    onnx_int(b, "axis", -1);
    if (p.renormalize) {
        const char *sum =
            onnx_op(b, "ReduceSum", gate, onnx_const_ints(b, &last, 1), NULL);
        sum = onnx_op(b, "Add", sum, onnx_const_float(b, 1e-20), NULL);
        gate = onnx_op(b, "Div", gate, sum, NULL);
    }
    if (p.scale != 1)
        gate = onnx_op(b, "Mul", gate, onnx_const_float(b, (double)p.scale), NULL);
    onnx_let(b, n->out[0], expert, form);
    onnx_let(b, n->out[1], gate, form);
}

/* Every expert computes every row: [B,E,N,.], or [E,B,.] where a row is a sequence. */
static const char *spread(struct onnx_body *b, const struct node *n,
                          struct onnx_form *form)
{
    const char *x = in(b, n, 0);

    *form = form_of(b, n, 0);
    if (!form->experts)
        x = onnx_unsqueeze(b, x, form->lead == 2 ? 1 : 0);
    form->experts = true;
    return x;
}

static void emit_grouped(struct onnx_body *b, const struct node *n)
{
    struct onnx_form form;
    const char *x = spread(b, n, &form);

    onnx_let(b, n->out[0], onnx_op(b, "MatMul", x, factor(b, n->in[1], 3), NULL), form);
}

static void emit_grouped_swiglu(struct onnx_body *b, const struct node *n)
{
    struct onnx_form form;
    const char *x = spread(b, n, &form);
    const char *gate = onnx_op(b, "MatMul", x, factor(b, n->in[1], 3), NULL);
    const char *up = onnx_op(b, "MatMul", x, factor(b, n->in[2], 3), NULL);

    onnx_let(b, n->out[0], swiglu(b, gate, up), form);
}

enum { PERMUTE_GATE = 1, PERMUTE_PLACE };

/* What each expert said, weighed by the gates of those that were chosen, 0 for the
 * others. */
static void emit_unpermute(struct onnx_body *b, const struct node *n)
{
    static const int64_t sequence[] = {0, 2, 1}, row[] = {1, 0};
    const struct node *route = n->in[PERMUTE_GATE]->maker;
    const struct node *sort = n->in[PERMUTE_PLACE]->maker;
    struct onnx_form form = form_of(b, n, 0);
    int64_t axis = form.lead == 2 ? 1 : 0;
    const char *shape =
        onnx_op(b, "Shape", onnx_name(b, route->in[ROUTE_Z]), NULL, NULL);
    const char *none = onnx_op(b, "ConstantOfShape", shape, NULL, NULL);
    const char *gate = onnx_op(b, "ScatterElements", none, onnx_name(b, sort->in[0]),
                               in(b, n, PERMUTE_GATE)),
               *y;

    onnx_int(b, "axis", -1);
    gate = onnx_transpose(b, gate, form.lead == 2 ? sequence : row, form.lead + 1);
    y = onnx_op(b, "Mul", in(b, n, 0), onnx_unsqueeze(b, gate, -1), NULL);
    y = onnx_op(b, "ReduceSum", y, onnx_const_ints(b, &axis, 1), NULL);
    onnx_int(b, "keepdims", 0);
    form.experts = false;
    onnx_let(b, n->out[0], y, form);
}

/* ---- the table ------------------------------------------------------------ */

/* run NULL: statistics of training, or an order of memory that ONNX does without. */
static const struct form {
    const struct op *op;
    emit_f *run;
} forms[] = {
    {&op_attend_add_fwd, onnx_emit_attend},
    {&op_attend_dot_fwd, onnx_emit_attend},
    {&op_attention_cached_fwd, emit_attention_cached},
    {&op_attention_fwd, emit_attention},
    {&op_copy_to, emit_alias},
    {&op_embed_fwd, emit_embed},
    {&op_gelu_fwd, emit_gelu},
    {&op_gemm, emit_linear},
    {&op_grouped_fwd, emit_grouped},
    {&op_grouped_swiglu_fwd, emit_grouped_swiglu},
    {&op_moe_collect, emit_alias},
    {&op_moe_dispatch, emit_alias},
    {&op_moe_exchange, NULL},
    {&op_moe_window, NULL},
    {&op_norm_layer_fwd, emit_norm_layer},
    {&op_norm_rms_fwd, emit_norm_rms},
    {&op_pad_fwd, NULL},
    {&op_permute_fwd, emit_alias},
    {&op_piece, NULL},
    {&op_plus, emit_sum},
    {&op_relu_fwd, emit_relu},
    {&op_reshape, emit_view},
    {&op_rnn_cell_fwd, onnx_emit_rnn},
    {&op_rnn_fwd, onnx_emit_rnn},
    {&op_rope_fwd, emit_rope},
    {&op_route_fwd, emit_route},
    {&op_rows_put_fwd, emit_put},
    {&op_rows_scatter_fwd, emit_scatter},
    {&op_rows_take_fwd, NULL},
    {&op_sort_fwd, NULL},
    {&op_stats_start, NULL},
    {&op_stats_sum, NULL},
    {&op_swiglu_fwd, emit_swiglu},
    {&op_turn_fwd, NULL},
    {&op_unpermute_fwd, emit_unpermute},
    {&op_xent_fwd, NULL},
};

static const struct form *find(const struct op *op)
{
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (forms[i].op == op)
            return &forms[i];
    return NULL;
}

bool onnx_has_form(const struct node *n)
{
    const struct form *f = find(n->op);

    return f && f->run;
}

/* Only says where copies go: it has no value, and is no input. */
static bool is_target(const struct graph *g, const struct node *n)
{
    bool any = false;

    for (int k = 0; n->op == &op_reshape && k < g->nnode; k++)
        for (int i = 0; i < g->node[k]->nin; i++) {
            if (g->node[k]->in[i] != n->out[0])
                continue;
            if (g->node[k]->op != &op_copy_to || i != 1)
                return false;
            any = true;
        }
    return any;
}

int onnx_emit(struct onnx_body *b, const struct node *n, struct err *e)
{
    const struct form *f = find(n->op);

    if (!f)
        return err_set(e, ERR_SPEC, "%s: operator %s has no form in ONNX here",
                       n->where, n->op->name);
    if (f->run && !onnx_is_folded(b->g, n) && !is_target(b->g, n))
        f->run(b, n);
    return 0;
}

/* As b of a product whose columns are its rows. */
static bool is_factor(const struct graph *g, const struct node *n, int i)
{
    if (n->op == &op_gemm)
        return i == 1 && !onnx_is_folded(g, n);
    if (n->op == &op_grouped_fwd)
        return i == 1;
    return n->op == &op_grouped_swiglu_fwd && (i == 1 || i == 2);
}

bool onnx_is_transposed(const struct graph *g, const struct value *v)
{
    if (v->storage != STORAGE_PARAM)
        return false;
    for (int k = 0; k < g->nnode; k++)
        for (int i = 0; i < g->node[k]->nin; i++)
            if (g->node[k]->in[i] == v && !is_factor(g, g->node[k], i))
                return false;
    return v->shape.ndim >= 2;
}
