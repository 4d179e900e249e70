/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_recurrent.c - a recurrent layer over whole sequences, and one step of it.
 *
 * The input's product with its weights is a linear layer before this operator.
 * Backward gives the gradients of all steps' gates, and the state before each
 * step; the gradient of the recurrent weights is then one product over all steps,
 * their bias' a sum over rows.
 */
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct rnn_attr {
    int cell;
    bool reverse, time_major;
    int64_t steps; /* T; rows are B * T */
};

enum {
    RNN_X,
    RNN_U,
    RNN_B,
    RNN_H0,
    RNN_C0,
    RNN_LEN,
    RNN_PAD, /* struct pad: from, to; or NULL */
    RNN_UNPAD,
    RNN_FORWARD,
    RNN_Y = RNN_FORWARD, /* backward, from here on */
    RNN_GATES,
    RNN_C,
    RNN_DY,
    RNN_DH,
    RNN_DC,
    RNN_INPUTS
};

/* Outputs of forward; of backward. */
enum { RNN_OUT_Y, RNN_OUT_H, RNN_OUT_GATES, RNN_OUT_C, RNN_OUT_C_LAST };
enum { RNN_OUT_DX, RNN_OUT_H_PREV, RNN_OUT_MORE };

static int gates_of(int cell)
{
    static const int gates[] = {[NND_CELL_TANH] = 1,
                                [NND_CELL_RELU] = 1,
                                [NND_CELL_GRU] = 3,
                                [NND_CELL_LSTM] = 4};
    return gates[cell];
}

static int64_t hidden_of(const struct node *n)
{
    return shape_cols(&n->in[RNN_U]->shape);
}

static int64_t batch_of(const struct node *n)
{
    const struct rnn_attr *at = n->attr;
    return shape_rows(&n->in[RNN_X]->shape) / at->steps;
}

static int rnn_want_state(const struct graph *g, const struct node *n, struct err *e)
{
    const struct rnn_attr *at = n->attr;
    int64_t batch = batch_of(n), h = hidden_of(n);
    if (n->in[RNN_H0] && op_want(n, RNN_H0, "first state", 0, batch, h, e))
        return -1;
    if (n->in[RNN_C0] && at->cell != NND_CELL_LSTM)
        return err_set(e, ERR_FAILED, "%s: a cell state, and no lstm", n->where);
    if (n->in[RNN_C0] && op_want(n, RNN_C0, "first cell state", g->wide, batch, h, e))
        return -1;
    return n->in[RNN_LEN] ? op_want(n, RNN_LEN, "lengths", NND_I32, 1, batch, e) : 0;
}

static int rnn_want(const struct graph *g, const struct node *n, struct err *e)
{
    const struct rnn_attr *at = n->attr;
    int64_t rows = shape_rows(&n->in[RNN_X]->shape), h = hidden_of(n),
            gates = gates_of(at->cell) * h;
    if (at->steps < 1 || rows % at->steps)
        return err_set(e, ERR_FAILED, "%s: %lld rows are not sequences of %lld steps",
                       n->where, (long long)rows, (long long)at->steps);
    if (op_want(n, RNN_X, "gates' input", 0, -1, gates, e) ||
        op_want(n, RNN_U, "recurrent weights", 0, gates, h, e))
        return -1;
    if (n->in[RNN_B] && op_want(n, RNN_B, "recurrent bias", 0, 1, gates, e))
        return -1;
    return rnn_want_state(g, n, e);
}

static int rnn_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct rnn_attr *at = n->attr;
    if (rnn_want(g, n, e))
        return -1;
    const struct value *x = n->in[RNN_X];
    int64_t rows = shape_rows(&x->shape), h = hidden_of(n), batch = batch_of(n);
    graph_out(g, n, x->dtype, shape_of(2, rows, h));
    graph_out(g, n, x->dtype, shape_of(2, batch, h));
    if (at->cell >= NND_CELL_GRU)
        graph_out(g, n, x->dtype, shape_of(2, rows, 4 * h));
    if (at->cell == NND_CELL_LSTM) {
        graph_out(g, n, g->wide, shape_of(2, rows, h));
        graph_out(g, n, g->wide, shape_of(2, batch, h));
    }
    return 0;
}

/* [B,T,N] of a value of B * T rows. */
static struct nnd_tensor steps_of(const struct node *n, const struct bind *b,
                                  const struct value *v)
{
    const struct rnn_attr *at = n->attr;
    struct nnd_tensor t = bind_matrix(b, v);
    if (!v)
        return t;
    int64_t cols = t.dim[1], batch = batch_of(n);
    t.ndim = 3;
    t.dim[0] = batch, t.dim[1] = at->steps, t.dim[2] = cols;
    t.stride[0] = at->time_major ? cols : at->steps * cols;
    t.stride[1] = at->time_major ? batch * cols : cols;
    t.stride[2] = 1;
    return t;
}

/* What both directions read. */
static struct nnd_rnn rnn_params(const struct node *n, const struct bind *b)
{
    const struct rnn_attr *at = n->attr;
    return (struct nnd_rnn){
        .struct_size = sizeof(struct nnd_rnn),
        .x = steps_of(n, b, n->in[RNN_X]),
        .u = bind_matrix(b, n->in[RNN_U]),
        .b = bind_vector(b, n->in[RNN_B]),
        .h0 = bind_matrix(b, n->in[RNN_H0]),
        .c0 = bind_matrix(b, n->in[RNN_C0]),
        .len = bind_data(b, n->in[RNN_LEN]),
        .cell = at->cell,
        .reverse = at->reverse,
    };
}

static struct value *out_of(const struct node *n, int i)
{
    return i < n->nout ? n->out[i] : NULL;
}

static int rnn_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_rnn *p = params;
    *p = rnn_params(n, b);
    p->y = steps_of(n, b, n->out[RNN_OUT_Y]);
    p->h_last = bind_matrix(b, n->out[RNN_OUT_H]);
    p->gates = steps_of(n, b, out_of(n, RNN_OUT_GATES));
    p->c = steps_of(n, b, out_of(n, RNN_OUT_C));
    p->c_last = bind_matrix(b, out_of(n, RNN_OUT_C_LAST));
    return 0;
}

/* The recurrent product, in either direction. */
static int64_t rnn_flops(const struct node *n)
{
    return 2 * shape_elements(&n->in[RNN_X]->shape) * hidden_of(n);
}

/* out: dx, h_prev, then da (gru), dh0 and dc0 of states that were given. */
static int rnn_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct rnn_attr *at = n->attr;
    if (rnn_want(g, n, e))
        return -1;
    const struct value *x = n->in[RNN_X], *h0 = n->in[RNN_H0], *c0 = n->in[RNN_C0];
    graph_out(g, n, grad_dtype(g, x), x->shape);
    graph_out(g, n, x->dtype, n->in[RNN_Y]->shape);
    if (at->cell == NND_CELL_GRU)
        graph_out(g, n, x->dtype, x->shape);
    if (h0)
        graph_out(g, n, grad_dtype(g, h0), h0->shape);
    if (c0)
        graph_out(g, n, grad_dtype(g, c0), c0->shape);
    return 0;
}

static int rnn_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct rnn_attr *at = n->attr;
    struct nnd_rnn *p = params;
    int more = RNN_OUT_MORE;
    *p = rnn_params(n, b);
    p->y = steps_of(n, b, n->in[RNN_Y]);
    p->gates = steps_of(n, b, n->in[RNN_GATES]);
    p->c = steps_of(n, b, n->in[RNN_C]);
    p->dy = steps_of(n, b, n->in[RNN_DY]);
    p->dh = bind_matrix(b, n->in[RNN_DH]);
    p->dc = bind_matrix(b, n->in[RNN_DC]);
    p->dx = steps_of(n, b, n->out[RNN_OUT_DX]);
    p->h_prev = steps_of(n, b, n->out[RNN_OUT_H_PREV]);
    p->da = steps_of(n, b, at->cell == NND_CELL_GRU ? n->out[more++] : NULL);
    p->dh0 = bind_matrix(b, n->in[RNN_H0] ? n->out[more++] : NULL);
    p->dc0 = bind_matrix(b, n->in[RNN_C0] ? n->out[more++] : NULL);
    return 0;
}

const struct op op_rnn_bwd = {
    .name = "rnn.bwd",
    .attr_size = sizeof(struct rnn_attr),
    .shape = rnn_bwd_shape,
    .flops = rnn_flops,
    .kernel = "rnn.seq.bwd",
    .params_size = sizeof(struct nnd_rnn),
    .bind = rnn_bwd_bind,
};

const struct op op_rnn_cell_bwd = {
    .name = "rnn.cell.bwd",
    .attr_size = sizeof(struct rnn_attr),
    .shape = rnn_bwd_shape,
    .flops = rnn_flops,
    .kernel = "rnn.cell.bwd",
    .params_size = sizeof(struct nnd_rnn),
    .bind = rnn_bwd_bind,
};

/* Sums over all steps: of the gates' gradients, and of these times the states before.
 */
static void weight_grads(struct graph *g, const struct node *n, struct value *da,
                         struct value *h_prev)
{
    struct pad p = {n->in[RNN_PAD], n->in[RNN_UNPAD], n->in[RNN_LEN]};
    if (p.to) {
        da = op_unpad(g, da, &p);
        h_prev = op_unpad(g, h_prev, &p);
    }
    if (n->in[RNN_U]->wants_grad)
        grad_add(g, n->in[RNN_U], op_linear_wgrad(g, da, h_prev, n->in[RNN_U]));
    if (n->in[RNN_B] && n->in[RNN_B]->wants_grad)
        grad_add(g, n->in[RNN_B], op_rows_sum(g, da));
}

static void rnn_grad(struct graph *g, const struct node *n)
{
    const struct rnn_attr *at = n->attr;
    struct value *in[RNN_INPUTS], *c_last = out_of(n, RNN_OUT_C_LAST);
    for (int i = 0; i < RNN_FORWARD; i++)
        in[i] = n->in[i];
    in[RNN_Y] = n->out[RNN_OUT_Y];
    in[RNN_GATES] = out_of(n, RNN_OUT_GATES);
    in[RNN_C] = out_of(n, RNN_OUT_C);
    in[RNN_DY] = grad_of(g, n->out[RNN_OUT_Y]);
    in[RNN_DH] = grad_of(g, n->out[RNN_OUT_H]);
    in[RNN_DC] = c_last ? grad_of(g, c_last) : NULL;
    const struct op *twin = n->op == &op_rnn_cell_fwd ? &op_rnn_cell_bwd : &op_rnn_bwd;
    struct node *d = graph_add(g, twin, at, in, RNN_INPUTS);
    if (!d)
        return;
    int more = RNN_OUT_MORE;
    struct value *dx = d->out[RNN_OUT_DX],
                 *da = at->cell == NND_CELL_GRU ? d->out[more++] : dx;
    grad_add(g, n->in[RNN_X], dx);
    weight_grads(g, n, da, d->out[RNN_OUT_H_PREV]);
    if (n->in[RNN_H0])
        grad_add(g, n->in[RNN_H0], d->out[more++]);
    if (n->in[RNN_C0])
        grad_add(g, n->in[RNN_C0], d->out[more++]);
}

const struct op op_rnn_fwd = {
    .name = "rnn",
    .attr_size = sizeof(struct rnn_attr),
    .shape = rnn_shape,
    .grad = rnn_grad,
    .flops = rnn_flops,
    .kernel = "rnn.seq.fwd",
    .params_size = sizeof(struct nnd_rnn),
    .bind = rnn_bind,
};

const struct op op_rnn_cell_fwd = {
    .name = "rnn.cell",
    .attr_size = sizeof(struct rnn_attr),
    .shape = rnn_shape,
    .grad = rnn_grad,
    .flops = rnn_flops,
    .kernel = "rnn.cell.fwd",
    .params_size = sizeof(struct nnd_rnn),
    .bind = rnn_bind,
};

static struct rnn rnn(struct graph *g, const struct op *op, struct rnn_attr at,
                      struct value *const in[RNN_FORWARD])
{
    if (at.cell < NND_CELL_TANH || at.cell > NND_CELL_LSTM) {
        graph_fail(g, "%s: rnn: no cell has number %d", g->scope, at.cell);
        return (struct rnn){0};
    }
    if (!in[RNN_X] || !in[RNN_U])
        return (struct rnn){0};
    struct node *n = graph_add(g, op, &at, in, RNN_FORWARD);
    if (!n)
        return (struct rnn){0};
    return (struct rnn){
        .y = n->out[RNN_OUT_Y], .h = n->out[RNN_OUT_H], .c = out_of(n, RNN_OUT_C_LAST)};
}

struct rnn op_rnn(struct graph *g, struct rnn_config c, struct value *x, int64_t steps,
                  struct rnn_weights w, struct rnn_state first, struct value *len)
{
    struct value *in[] = {x, w.u, w.b, first.h, first.c, len, c.pad.from, c.pad.to};
    struct rnn_attr at = {c.cell, c.reverse, c.time_major, steps};
    return rnn(g, &op_rnn_fwd, at, in);
}

struct rnn op_rnn_cell(struct graph *g, int cell, struct value *x, struct rnn_weights w,
                       struct rnn_state state)
{
    struct value *in[] = {x, w.u, w.b, state.h, state.c, NULL, NULL, NULL};
    struct rnn_attr at = {.cell = cell, .steps = 1};
    return rnn(g, &op_rnn_cell_fwd, at, in);
}
