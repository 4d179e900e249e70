/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_recurrent.c - recurrent layers as ONNX's RNN, GRU and LSTM, with the linear
 * layer before them, and looks at a source.
 *
 * ONNX has the gates of a GRU in the order z, r, n (ours: r, z, n) and those of an LSTM
 * in i, o, f, g (ours: i, f, g, o).
 */
#include <string.h>

#include "exchange/onnx_emit.h"
#include "graph/op_list.h"

enum { RNN_X, RNN_U, RNN_B, RNN_H0, RNN_C0, RNN_LEN };
enum { RNN_OUT_Y, RNN_OUT_H, RNN_OUT_C_LAST = 4 };

static bool is_rnn(const struct node *n)
{
    return n->op == &op_rnn_fwd || n->op == &op_rnn_cell_fwd;
}

static int uses(const struct graph *g, const struct value *v, const struct node **user)
{
    int n = 0;

    for (int k = 0; k < g->nnode; k++)
        for (int i = 0; i < g->node[k]->nin; i++)
            if (g->node[k]->in[i] == v) {
                *user = g->node[k];
                n++;
            }
    return n;
}

/* The layer that makes the gates' input, or the sum of two; of all steps, and then a
 * step's rows of it. */
bool onnx_is_folded(const struct graph *g, const struct node *n)
{
    bool linear = n->op == &op_gemm, taken = n->op == &op_rows_take_fwd;
    const struct node *user = NULL;

    if ((!linear && !taken && n->op != &op_plus) || uses(g, n->out[0], &user) != 1)
        return false;
    if ((linear && user->op == &op_rows_take_fwd) ||
        ((linear || taken) && user->op == &op_plus))
        return onnx_is_folded(g, user);
    return is_rnn(user) && user->in[RNN_X] == n->out[0];
}

/* ---- weights -------------------------------------------------------------- */

/* The numbers of our gates in the order of theirs. */
static const int *order_of(int cell, int *n)
{
    static const int gru[] = {1, 0, 2}, lstm[] = {0, 3, 1, 2}, one[] = {0};

    *n = cell == NND_CELL_GRU ? 3 : cell == NND_CELL_LSTM ? 4 : 1;
    return cell == NND_CELL_GRU ? gru : cell == NND_CELL_LSTM ? lstm : one;
}

static const char *concat(struct onnx_body *b, const char *const *x, int n,
                          int64_t axis)
{
    const char *y = onnx_node(b, "Concat", x, n, 1)->output[0];

    onnx_int(b, "axis", axis);
    return y;
}

/* A weight or bias with its gates in their order, and a direction in front. */
static const char *gates(struct onnx_body *b, int cell, const char *w)
{
    const char *part[4];
    int n;
    const int *order = order_of(cell, &n);

    if (n > 1) {
        Onnx__Node *split = onnx_node(b, "Split", &w, 1, n);
        onnx_int(b, "axis", 0);
        for (int i = 0; i < n; i++)
            part[i] = split->output[order[i]];
        w = concat(b, part, n, 0);
    }
    return onnx_unsqueeze(b, w, 0);
}

/* Zeros like a bias. */
static const char *zeros(struct onnx_body *b, int64_t n)
{
    const char *y =
        onnx_op(b, "ConstantOfShape", onnx_const_ints(b, &n, 1), NULL, NULL);

    return y;
}

struct source {
    const char *x, *w, *bias; /* bias NULL: none */
    bool source;              /* x has rows of a source */
};

/* x and W of one linear layer; of two that are added, side by side. */
static struct source source_of(struct onnx_body *b, const struct node *n)
{
    struct source s = {0};

    if (n->op == &op_rows_take_fwd)
        return source_of(b, n->in[0]->maker);
    if (n->op == &op_gemm) {
        s.x = onnx_name(b, n->in[0]);
        s.source = b->form[n->in[0]->id].source;
        s.w = onnx_name(b, n->in[1]);
        s.bias = n->in[2] ? onnx_name(b, n->in[2]) : NULL;
        return s;
    }
    struct source one = source_of(b, n->in[0]->maker),
                  two = source_of(b, n->in[1]->maker);
    const char *x[] = {one.x, two.x}, *w[] = {one.w, two.w};
    s.x = concat(b, x, 2, -1);
    s.w = concat(b, w, 2, 1);
    s.bias = one.bias;
    return s;
}

static const char *biases(struct onnx_body *b, const struct node *n, int cell,
                          const char *of_input)
{
    int64_t rows = n->in[RNN_U]->shape.dim[0];
    const char *of_state = n->in[RNN_B] ? onnx_name(b, n->in[RNN_B]) : NULL;

    if (!of_input && !of_state)
        return "";
    const char *both[] = {gates(b, cell, of_input ? of_input : zeros(b, rows)),
                          gates(b, cell, of_state ? of_state : zeros(b, rows))};
    return concat(b, both, 2, 1);
}

/* ---- layers --------------------------------------------------------------- */

static const char *first(struct onnx_body *b, const struct value *v)
{
    return v ? onnx_unsqueeze(b, onnx_name(b, v), 0) : "";
}

void onnx_emit_rnn(struct onnx_body *b, const struct node *n)
{
    static const int64_t swap[] = {1, 0, 2};
    static const char *const names[] = {
        [NND_CELL_TANH] = "RNN", [NND_CELL_GRU] = "GRU", [NND_CELL_LSTM] = "LSTM"};
    bool step = n->op == &op_rnn_cell_fwd;
    struct onnx_form rows = {.lead = 1};
    struct nnd_rnn p;

    n->op->bind(n, NULL, &p);
    struct source s = source_of(b, n->in[RNN_X]->maker);
    struct onnx_form form = {.lead = step ? 1 : 2, .source = !step && s.source};
    const char *x = step ? onnx_unsqueeze(b, s.x, 0) : onnx_transpose(b, s.x, swap, 3);
    const char *w = gates(b, p.cell, s.w);
    const char *u = gates(b, p.cell, onnx_name(b, n->in[RNN_U]));
    const char *bias = biases(b, n, p.cell, s.bias);
    const char *len =
        n->in[RNN_LEN] ? onnx_cast(b, onnx_name(b, n->in[RNN_LEN]), ONNX_INT32) : "";
    const char *in[] = {
        x, w, u, bias, len, first(b, n->in[RNN_H0]), first(b, n->in[RNN_C0])};
    bool lstm = p.cell == NND_CELL_LSTM;
    Onnx__Node *y = onnx_node(b, names[p.cell], in, lstm ? 7 : 6, lstm ? 3 : 2);
    onnx_int(b, "hidden_size", n->in[RNN_U]->shape.dim[1]);
    if (p.cell == NND_CELL_GRU)
        onnx_int(b, "linear_before_reset", 1);
    if (p.reverse)
        onnx_text(b, "direction", "reverse");
    const char *all = onnx_squeeze(b, y->output[0], 1);
    all = step ? onnx_squeeze(b, all, 0) : onnx_transpose(b, all, swap, 3);
    onnx_let(b, n->out[RNN_OUT_Y], all, form);
    onnx_let(b, n->out[RNN_OUT_H], onnx_squeeze(b, y->output[1], 0), rows);
    if (lstm)
        onnx_let(b, n->out[RNN_OUT_C_LAST], onnx_squeeze(b, y->output[2], 0), rows);
}

int onnx_cell_states(const struct node *n, const struct value **from,
                     const struct value **to)
{
    if (n->op != &op_rnn_cell_fwd)
        return 0;
    from[0] = n->in[RNN_H0];
    to[0] = n->out[RNN_OUT_H];
    from[1] = n->in[RNN_C0];
    to[1] = from[1] ? n->out[RNN_OUT_C_LAST] : NULL;
    return from[1] ? 2 : 1;
}

/* ---- looks at a source ---------------------------------------------------- */

enum { ATTEND_Q, ATTEND_K, ATTEND_V, ATTEND_W, ATTEND_LEN };

/* [B,rows,N], whatever a sequence's rows are. */
static const char *by_sequence(struct onnx_body *b, const struct value *v)
{
    const char *x = onnx_name(b, v);

    return b->form[v->id].lead == 2 ? x : onnx_unsqueeze(b, x, 1);
}

void onnx_emit_attend(struct onnx_body *b, const struct node *n)
{
    static const int64_t turn[] = {0, 2, 1};
    struct onnx_form form = b->form[n->in[ATTEND_Q]->id];
    struct nnd_attend p;

    n->op->bind(n, NULL, &p);
    const char *q = by_sequence(b, n->in[ATTEND_Q]), *s;
    const char *k = by_sequence(b, n->in[ATTEND_K]);
    const char *v = by_sequence(b, n->in[ATTEND_V]);
    if (n->op == &op_attend_add_fwd) {
        s = onnx_op(b, "Add", onnx_unsqueeze(b, q, 2), onnx_unsqueeze(b, k, 1), NULL);
        s = onnx_op(b, "Tanh", s, NULL, NULL);
        s = onnx_op(b, "MatMul", s, onnx_name(b, n->in[ATTEND_W]), NULL);
    } else {
        s = onnx_op(b, "MatMul", q, onnx_transpose(b, k, turn, 3), NULL);
        s = onnx_op(b, "Mul", s, onnx_const_float(b, (double)p.scale), NULL);
    }
    s = onnx_softmax(b, s, 3,
                     n->in[ATTEND_LEN] ? onnx_name(b, n->in[ATTEND_LEN]) : NULL, false);
    const char *o = onnx_op(b, "MatMul", s, v, NULL);
    if (form.lead == 1) {
        o = onnx_squeeze(b, o, 1);
        s = onnx_squeeze(b, s, 1);
    }
    onnx_let(b, n->out[0], o, form);
    onnx_let(b, n->out[1], s, form);
}
