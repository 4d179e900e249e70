/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_rnn.c - "rnn.seq.*", "rnn.cell.*".
 *
 * Row 0 of a case has all steps, row 1 none, row 2 one; behind a row's last step x
 * and dy hold NaN.
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

struct rnn_case {
    int cell, b, t, h;
    bool lengths, reverse;
    bool first, last; /* a first state is given; backward, a gradient of the last:
                         without the other in encoders, and in steps that carry on */
    bool bias;
    bool bare; /* no last state is asked for; backward only that has a gradient */
    bool nan;  /* the first number of x is one, and that of dy */
};

static const struct rnn_case sequences[] = {
    {NND_CELL_TANH, 1, 1, 1, false, false, false, false, false, false, false},
    {NND_CELL_TANH, 3, 4, 5, true, false, true, true, true, false, false},
    {NND_CELL_RELU, 4, 3, 17, true, true, true, true, true, false, false},
    {NND_CELL_GRU, 1, 6, 8, false, false, false, false, true, false, false},
    {NND_CELL_GRU, 5, 4, 7, true, false, true, true, true, false, false},
    {NND_CELL_GRU, 6, 3, 33, true, true, true, true, false, false, false},
    {NND_CELL_GRU, 0, 2, 4, false, false, true, true, true, false, false},
    {NND_CELL_LSTM, 1, 5, 3, false, false, true, true, false, false, false},
    {NND_CELL_LSTM, 5, 4, 16, true, false, true, true, true, false, false},
    {NND_CELL_LSTM, 7, 3, 31, true, true, false, false, true, false, false},
    {NND_CELL_LSTM, 9, 2, 65, true, false, true, true, true, false, false},
    {NND_CELL_LSTM, 3, 0, 4, true, false, true, true, true, false, false},
    {NND_CELL_TANH, 4, 3, 6, true, false, true, true, false, true, false},
    {NND_CELL_GRU, 3, 4, 9, true, true, true, true, true, true, false},
    {NND_CELL_LSTM, 5, 3, 12, true, false, true, true, true, true, false},
    {NND_CELL_TANH, 4, 3, 7, true, false, false, true, true, false, false},
    {NND_CELL_RELU, 4, 3, 7, true, true, true, false, true, false, false},
    {NND_CELL_GRU, 4, 3, 9, true, true, false, true, true, false, false},
    {NND_CELL_GRU, 4, 3, 9, true, false, true, false, true, false, false},
    {NND_CELL_LSTM, 4, 3, 9, true, false, false, true, true, false, false},
    {NND_CELL_LSTM, 4, 3, 9, true, true, true, false, true, false, false},
    {NND_CELL_TANH, 2, 130, 3, true, false, true, true, true, false, false},
    {NND_CELL_GRU, 2, 2, 140, false, false, true, true, true, false, false},
};

static const struct rnn_case cells[] = {
    {NND_CELL_TANH, 3, 1, 5, false, false, true, true, true, false, false},
    {NND_CELL_RELU, 2, 1, 4, false, false, false, false, false, false, false},
    {NND_CELL_RELU, 3, 1, 5, false, false, true, true, true, false, true},
    {NND_CELL_GRU, 17, 1, 24, false, false, true, true, true, false, false},
    {NND_CELL_GRU, 3, 1, 7, true, false, true, true, true, false, false},
    {NND_CELL_LSTM, 5, 1, 40, false, false, true, true, true, false, false},
    {NND_CELL_LSTM, 4, 1, 9, true, true, true, true, false, false, false},
    {NND_CELL_TANH, 4, 1, 7, true, false, false, true, true, false, false},
    {NND_CELL_RELU, 4, 1, 7, false, false, true, false, true, false, false},
    {NND_CELL_GRU, 4, 1, 9, true, false, false, true, true, false, false},
    {NND_CELL_GRU, 4, 1, 9, false, false, true, false, true, false, false},
    {NND_CELL_LSTM, 4, 1, 9, true, false, false, true, true, false, false},
    {NND_CELL_LSTM, 4, 1, 9, false, false, true, false, true, false, false},
    {NND_CELL_LSTM, 70, 1, 33, false, false, true, true, true, false, false},
};

static int gates_of(int cell)
{
    return cell <= NND_CELL_RELU ? 1 : cell == NND_CELL_GRU ? 3 : 4;
}

/* One case within a window: its rows and how long they are. */
struct rows {
    const struct rnn_case *k;
    int64_t b;
    const int64_t *id;
    int32_t *len;
};

static struct rows rows_of(struct call *c, const struct rnn_case *k,
                           const struct window *w)
{
    struct rows r = {.k = k, .b = window_rows(w, k->b) + w->tail};
    r.id = window_ids(c, w, k->b);
    r.len = call_ints(c, r.b);
    for (int64_t i = 0; i < r.b; i++) {
        int64_t id = r.id[i];
        r.len[i] = !k->lengths || id <= 0 ? k->t
                   : id <= 2 && k->t > 0  ? (int32_t)id - 1
                                          : call_number(31, (uint64_t)id, 0, k->t);
    }
    return r;
}

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, enum kind kind, const struct rows *r, int64_t n)
{
    struct slot *s = call_tensor(c, name, x, role, kind, r->b, r->k->t, n);
    s->row = r->id;
    return s;
}

static struct slot *add_state(struct call *c, const char *name, struct nnd_tensor *x,
                              enum role role, enum kind kind, const struct rows *r)
{
    struct slot *s = call_tensor(c, name, x, role, kind, r->b, r->k->h, -1);
    s->row = r->id;
    return s;
}

/* Values that end with the row, NaN behind. */
static void end_with_row(struct call *c, struct slot *s, const struct rows *r)
{
    int64_t t = s->dim[1], n = s->dim[2];
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t b = i / n / t, within = i % (t * n);
        uint64_t place = (uint64_t)r->id[b] << 24 | (uint64_t)within;
        bool none = r->k->nan && place == 0;
        value[i] = none || within / n >= r->len[b] ? NAN
                   : r->id[b] < 0                  ? 0
                                  : s->spread * call_random(41 + (uint64_t)n, place);
    }
    s->value = value;
}

/* Sums of H products in each of T steps, each of which the next builds upon; 16-bit
 * states are rounded at each. */
static void loosen(struct slot *s, const struct rows *r)
{
    s->slack = SLACK_BACKWARD;
    s->terms = 4 * (1 + (int64_t)r->k->h) * (1 + r->k->t);
    s->like = 1; /* x */
}

static void add_inputs(struct call *c, const struct rows *r)
{
    struct nnd_rnn *p = &c->params.rnn;
    int64_t h = r->k->h, g = gates_of(r->k->cell);
    struct slot *x = add(c, "x", &p->x, ROLE_IN, KIND_ACT, r, g * h);
    x->spread = 2;
    end_with_row(c, x, r);
    struct slot *u = call_tensor(c, "u", &p->u, ROLE_IN, KIND_WEIGHT, g * h, h, -1);
    u->spread = 1.2 / sqrt((double)h);
    if (r->k->bias)
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_WEIGHT, g * h, -1, -1);
    if (r->k->first)
        add_state(c, "h0", &p->h0, ROLE_IN, KIND_ACT, r);
    if (r->k->first && r->k->cell == NND_CELL_LSTM)
        add_state(c, "c0", &p->c0, ROLE_IN, KIND_F32, r);
}

static void add_results(struct call *c, const struct rows *r, bool bwd)
{
    struct nnd_rnn *p = &c->params.rnn;
    enum role kept = bwd ? ROLE_DERIVED : ROLE_OUT,
              last = bwd ? ROLE_SCRATCH : ROLE_OUT;
    loosen(add(c, "y", &p->y, kept, KIND_ACT, r, r->k->h), r);
    if (!r->k->bare)
        loosen(add_state(c, "h_last", &p->h_last, last, KIND_ACT, r), r);
    if (r->k->cell >= NND_CELL_GRU)
        loosen(add(c, "gates", &p->gates, kept, KIND_ACT, r, 4 * (int64_t)r->k->h), r);
    if (r->k->cell < NND_CELL_LSTM)
        return;
    loosen(add(c, "c", &p->c, kept, KIND_F32, r, r->k->h), r);
    if (!r->k->bare)
        loosen(add_state(c, "c_last", &p->c_last, last, KIND_F32, r), r);
}

static void add_gradients(struct call *c, const struct rows *r)
{
    struct nnd_rnn *p = &c->params.rnn;
    int64_t h = r->k->h, g = gates_of(r->k->cell);
    if (!r->k->bare)
        end_with_row(c, add(c, "dy", &p->dy, ROLE_IN, KIND_ACT, r, h), r);
    loosen(add(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, r, g * h), r);
    add(c, "h_prev", &p->h_prev, ROLE_OUT, KIND_ACT, r, h)->slack = SLACK_COPY;
    if (r->k->cell == NND_CELL_GRU)
        loosen(add(c, "da", &p->da, ROLE_OUT, KIND_ACT, r, g * h), r);
    bool two = r->k->cell == NND_CELL_LSTM;
    if (r->k->last)
        add_state(c, "dh", &p->dh, ROLE_IN, KIND_ACT, r);
    if (r->k->last && two)
        add_state(c, "dc", &p->dc, ROLE_IN, KIND_F32, r);
    if (r->k->first)
        loosen(add_state(c, "dh0", &p->dh0, ROLE_OUT, KIND_ACT, r), r);
    if (r->k->first && two)
        loosen(add_state(c, "dc0", &p->dc0, ROLE_OUT, KIND_F32, r), r);
}

static bool build(struct call *c, const struct rnn_case *k, const struct window *w,
                  const char *derive)
{
    struct rows r = rows_of(c, k, w);
    c->params.rnn = (struct nnd_rnn){
        .struct_size = sizeof c->params.rnn, .cell = k->cell, .reverse = k->reverse};
    c->rows = k->b;
    c->big = k->b > 20 || k->t > 100 || k->h > 100;
    c->derive = derive;
    add_inputs(c, &r);
    add_results(c, &r, derive);
    if (derive)
        add_gradients(c, &r);
    if (k->lengths)
        call_array(c, &c->params.rnn.len, r.len, (size_t)r.b * sizeof *r.len);
    snprintf(c->text, sizeof c->text, "%s b=%d t=%d h=%d%s%s%s%s%s%s",
             ((const char *[]){"tanh", "relu", "gru", "lstm"})[k->cell], k->b, k->t,
             k->h, k->lengths ? " lengths" : "", k->reverse ? " reverse" : "",
             k->first ? " first" : "", k->last ? " last" : "", k->bias ? " bias" : "",
             k->bare ? " bare" : "");
    return true;
}

bool family_rnn_seq_fwd(struct call *c, int i, const struct window *w)
{
    return i < COUNT(sequences) && build(c, &sequences[i], w, NULL);
}

bool family_rnn_seq_bwd(struct call *c, int i, const struct window *w)
{
    return i < COUNT(sequences) && build(c, &sequences[i], w, "rnn.seq.fwd");
}

bool family_rnn_cell_fwd(struct call *c, int i, const struct window *w)
{
    return i < COUNT(cells) && build(c, &cells[i], w, NULL);
}

bool family_rnn_cell_bwd(struct call *c, int i, const struct window *w)
{
    return i < COUNT(cells) && build(c, &cells[i], w, "rnn.cell.fwd");
}
