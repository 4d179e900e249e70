/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases_recurrent.c - cases of recurrent layers, of attention that keeps its
 * weights, and of choosing columns.
 */
#include <math.h>

#include "op_cases.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

enum { B = 4, T = 5, H = 3 };

/* A whole row, none, one step, some. */
static const int32_t lengths[B] = {T, 0, 1, 3};

struct rnn_arg {
    int cell, gates;
    bool reverse, time_major, plain; /* plain: no bias, first state or lengths */
};

static struct rnn_weights weights_of(struct lab *l, const struct rnn_arg *a)
{
    struct value *u = lab_leaf(l, "u", S(2, I(a->gates * H), I(H)));
    return (struct rnn_weights){
        .u = u, .b = a->plain ? NULL : lab_leaf(l, "b", S(1, I(a->gates * H)))};
}

static struct rnn_state state_of(struct lab *l, const struct rnn_arg *a)
{
    if (a->plain)
        return (struct rnn_state){0};
    struct rnn_state s = {.h = lab_leaf(l, "h0", S(2, I(B), I(H)))};
    if (a->cell == NND_CELL_LSTM)
        s.c = lab_leaf(l, "c0", S(2, I(B), I(H)));
    return s;
}

static void build_rnn(struct lab *l, const void *arg)
{
    const struct rnn_arg *a = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(B * T), I(a->gates * H)));
    struct value *len = a->plain ? NULL : lab_ints(l, "len", S(1, I(B)), lengths);
    struct rnn_config c = {
        .cell = a->cell, .reverse = a->reverse, .time_major = a->time_major};
    struct rnn r = op_rnn(l->g, c, x, T, weights_of(l, a), state_of(l, a), len);
    lab_dot(l, r.y, -1);
    lab_dot(l, r.h, -1);
    lab_dot(l, r.c, -1);
}

/* An encoder of which only the last state is used. */
static void build_last(struct lab *l, const void *arg)
{
    const struct rnn_arg *a = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(B * T), I(a->gates * H)));
    struct value *len = lab_ints(l, "len", S(1, I(B)), lengths);
    struct rnn_config c = {.cell = a->cell};
    struct rnn r = op_rnn(l->g, c, x, T, weights_of(l, a), state_of(l, a), len);
    lab_dot(l, r.h, -1);
}

/* Three steps by hand, with one set of weights. */
static void build_cell(struct lab *l, const void *arg)
{
    const struct rnn_arg *a = arg;
    const char *name[] = {"x0", "x1", "x2"};
    struct rnn_weights w = weights_of(l, a);
    struct rnn_state s = state_of(l, a);
    for (int i = 0; i < 3; i++) {
        struct value *x = lab_leaf(l, name[i], S(2, I(B), I(a->gates * H)));
        struct rnn r = op_rnn_cell(l->g, a->cell, x, w, s);
        lab_dot(l, r.y, -1);
        s = (struct rnn_state){.h = r.h, .c = r.c};
    }
    lab_dot(l, s.h, -1);
}

/* Steps and the sequence of them: the same numbers. */
static void build_both(struct lab *l, const void *arg)
{
    const struct rnn_arg *a = arg;
    struct rnn_weights w = weights_of(l, a);
    struct rnn_config c = {.cell = a->cell, .time_major = true};
    struct value *x = lab_random(l, "x", S(2, I(2 * B), I(a->gates * H)));
    struct rnn r = op_rnn(l->g, c, x, 2, w, (struct rnn_state){0}, NULL);
    struct value *rows = lab_ints(l, "rows", S(1, I(B)), (const int32_t[]){0, 1, 2, 3});
    struct value *next = lab_ints(l, "next", S(1, I(B)), (const int32_t[]){4, 5, 6, 7});
    struct rnn one = op_rnn_cell(l->g, a->cell, op_rows_gather(l->g, x, rows), w,
                                 (struct rnn_state){0});
    one = op_rnn_cell(l->g, a->cell, op_rows_gather(l->g, x, next), w,
                      (struct rnn_state){one.h, one.c});
    struct shape s = S(2, I(B), I(H));
    op_copy(l->g, r.h, lab_state(l, "seq", NND_F64, s, NULL));
    op_copy(l->g, one.y, lab_state(l, "cells", NND_F64, s, NULL));
}

static int check_both(struct lab_world *w, struct err *e)
{
    struct lab *l = &w->lab[0];
    const double *seq = exec_data(l->x, graph_find(l->g, "seq"));
    const double *cells = exec_data(l->x, graph_find(l->g, "cells"));
    for (int i = 0; i < B * H; i++)
        if (seq[i] != cells[i] || fabs(seq[i]) < 1e-6)
            return lab_expect("state", i, seq[i], cells[i] + 1, e);
    return 0;
}

/* ------------------------------------------------------------------------- */

struct attend_arg {
    int queries, keys, size, values;
    bool add, lengths;
};

static void build_attend(struct lab *l, const void *arg)
{
    const struct attend_arg *a = arg;
    const int32_t len[] = {a->keys, 0, 1, a->keys - 1};
    struct value *q = lab_leaf(l, "q", S(2, I(B * a->queries), I(a->size)));
    struct value *k = lab_leaf(l, "k", S(2, I(B * a->keys), I(a->size)));
    struct value *v = lab_leaf(l, "v", S(2, I(B * a->keys), I(a->values)));
    struct value *n = a->lengths ? lab_ints(l, "len", S(1, I(B)), len) : NULL;
    struct attend r =
        a->add ? op_attend_add(l->g, B, q, k, v, lab_leaf(l, "w", S(1, I(a->size))), n)
               : op_attend_dot(l->g, B, q, k, v, 0.7, n);
    lab_dot(l, r.o, -1);
}

/* ------------------------------------------------------------------------- */

enum { R = 2, V = 6, K = 4 };
static const double columns[R * V] = {1, 3, -2, 3, 0, 7, -1, -1, -1, -5, -1, -1};

static void build_argmax(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_reals(l, "x", NND_F64, S(2, I(R), I(V)), columns);
    struct choice c = op_argmax(l->g, x, K);
    op_copy(l->g, c.value, lab_state(l, "largest", NND_F64, S(2, I(R), I(K)), NULL));
    op_copy(l->g, op_select(l->g, x, c.index),
            lab_state(l, "named", NND_F64, S(2, I(R), I(K)), NULL));
}

static int check_argmax(struct lab_world *w, struct err *e)
{
    static const double want[R * K] = {7, 3, 3, 1, -1, -1, -1, -1};
    struct lab *l = &w->lab[0];
    const double *largest = exec_data(l->x, graph_find(l->g, "largest"));
    const double *named = exec_data(l->x, graph_find(l->g, "named"));
    for (int i = 0; i < R * K; i++)
        if (lab_expect("largest", i, want[i], largest[i], e) ||
            lab_expect("named", i, want[i], named[i], e))
            return e->code;
    return 0;
}

/* Row 0 may only draw its largest, row 1 is nobody's. */
static void build_sample(struct lab *l, const void *arg)
{
    const int32_t pos[R] = {3, -1};
    (void)arg;
    lab_chunk(l, 1, 1, 0, 2);
    struct value *x = lab_reals(l, "x", NND_F64, S(2, I(R), I(V)), columns);
    struct sample_config c = {.temperature = 0.5, .top_p = 0.9, .top_k = 3};
    struct choice r =
        op_sample(l->g, x, c, l->c.rng, lab_ints(l, "place", S(1, I(R)), pos));
    op_copy(l->g, r.value, lab_state(l, "drawn", NND_F64, S(2, I(R), I(1)), NULL));
}

static int check_sample(struct lab_world *w, struct err *e)
{
    struct lab *l = &w->lab[0];
    const double *drawn = exec_data(l->x, graph_find(l->g, "drawn"));
    return lab_expect("drawn", 0, 7, drawn[0], e) ||
                   lab_expect("drawn", 1, 0, drawn[1], e)
               ? e->code
               : 0;
}

/* ------------------------------------------------------------------------- */
/* A step at a time.                                                         */

/* Rows of x in three steps, each put elsewhere after it met the one before. */
static void build_steps(struct lab *l, const void *arg)
{
    struct value *x = lab_leaf(l, "x", S(2, I(3 * B), I(H))), *all = NULL, *last = NULL;
    (void)arg;
    for (int t = 0; t < 3; t++) {
        struct value *step = op_rows_take(l->g, x, graph_index(l->g, t, 3, B));
        last = last ? op_add(l->g, last, step) : step;
        all = op_rows_put(l->g, all, last, graph_index(l->g, t * B, 1, B), 3 * B);
    }
    lab_dot(l, all, -1);
}

static const int32_t by_row[6] = {0, 1, 2, 10, 11, 12};

static void build_turn(struct lab *l, const void *arg)
{
    (void)arg;
    op_turn(l->g, lab_ints(l, "rows", S(1, I(6)), by_row), 2, NULL, 0);
}

static const struct value *out_of_op(const struct lab *l, const struct op *op)
{
    for (int i = 0; i < l->g->nnode; i++)
        if (l->g->node[i]->op == op)
            return l->g->node[i]->out[0];
    return NULL;
}

static int check_turn(struct lab_world *w, struct err *e)
{
    static const int32_t want[6] = {0, 10, 1, 11, 2, 12};
    struct lab *l = &w->lab[0];
    const int32_t *got = exec_data(l->x, out_of_op(l, &op_turn_fwd));
    for (int i = 0; i < 6; i++)
        if (lab_expect("turned", i, want[i], got[i], e))
            return e->code;
    return 0;
}

/* Five packed rows and one that is nobody's: sequences of two, none and three. */
enum { PACKED = 6, PACKS = 3, LONGEST = 3 };

static struct pad pads_of(struct lab *l)
{
    static const int32_t from[] = {0, 1, -1, -1, -1, -1, 2, 3, 4},
                         to[] = {0, 1, 6, 7, 8, -1}, len[] = {2, 0, 3};
    return (struct pad){.from =
                            lab_ints(l, "from", S(2, I(PACKS * LONGEST), I(1)), from),
                        .to = lab_ints(l, "to", S(2, I(PACKED), I(1)), to),
                        .len = lab_ints(l, "len", S(1, I(PACKS)), len)};
}

static void build_pad(struct lab *l, const void *arg)
{
    struct value *x = lab_leaf(l, "x", S(2, I(PACKED), I(H)));
    struct pad p = pads_of(l);
    (void)arg;
    struct value *y = op_pad(l->g, x, &p);
    lab_dot(l, y, -1);
    lab_dot(l, op_unpad(l->g, y, &p), -1);
}

/* Cells between them, whose weights' gradients are sums over packed rows. */
static void build_packed(struct lab *l, const void *arg)
{
    const struct rnn_arg *a = arg;
    struct value *x = lab_leaf(l, "x", S(2, I(PACKED), I(a->gates * H)));
    struct rnn_config c = {.cell = a->cell, .reverse = a->reverse, .pad = pads_of(l)};
    struct rnn r = op_rnn(l->g, c, op_pad(l->g, x, &c.pad), LONGEST, weights_of(l, a),
                          (struct rnn_state){0}, c.pad.len);
    lab_dot(l, op_unpad(l->g, r.y, &c.pad), -1);
    lab_dot(l, r.h, -1);
}

static void build_turn_packed(struct lab *l, const void *arg)
{
    static const int32_t packed[PACKED] = {10, 11, 12, 13, 14, 15};
    struct pad p = pads_of(l);
    (void)arg;
    op_turn(l->g, lab_ints(l, "rows", S(1, I(PACKED)), packed), PACKS, &p, -7);
}

static int check_turn_packed(struct lab_world *w, struct err *e)
{
    static const int32_t want[] = {10, -7, 12, 11, -7, 13, -7, -7, 14};
    struct lab *l = &w->lab[0];
    const int32_t *got = exec_data(l->x, out_of_op(l, &op_turn_fwd));
    for (int i = 0; i < PACKS * LONGEST; i++)
        if (lab_expect("turned", i, want[i], got[i], e))
            return e->code;
    return 0;
}

/* Two rows of three places: the first is always given, so is padding; of the others
 * none or all are the target's. */
static void build_teach(struct lab *l, const void *arg)
{
    static const int32_t guess[6] = {50, 51, 52, 60, 61, 62},
                         pos[6] = {0, 1, 2, 0, 1, -1};
    static const int32_t sample[6] = {0, 0, 0, 1, 1, 1};
    lab_chunk(l, 1, 1, 0, 2);
    struct chunk c = {.id = lab_ints(l, "ids", S(1, I(6)), by_row),
                      .pos = lab_ints(l, "places", S(1, I(6)), pos),
                      .sample = lab_ints(l, "samples", S(1, I(6)), sample),
                      .rng = l->c.rng};
    struct teach t = {.share = lab_reals(l, "share", NND_F64, S(1, I(1)), arg),
                      .mixed = lab_ints(l, "mixed", S(1, I(6)), guess)};
    op_teach(l->g, &c, &t, lab_ints(l, "guess", S(2, I(6), I(1)), guess));
}

static int check_teach(struct lab_world *w, const int32_t *want, struct err *e)
{
    struct lab *l = &w->lab[0];
    const int32_t *mixed = exec_data(l->x, graph_find(l->g, "mixed"));
    const int32_t *given = exec_data(l->x, out_of_op(l, &op_teach_fwd));
    for (int i = 0; i < 6; i++)
        if (lab_expect("mixed", i, want[i], mixed[i], e) ||
            lab_expect("given", i, want[i], given[i], e))
            return e->code;
    return 0;
}

/* A drawn token's bits differ from sample to sample, and are the same each time. */
static const int32_t drawn_for[6] = {0, 1, 0, -1, 1, 7};

static void build_seed(struct lab *l, const void *arg)
{
    (void)arg;
    lab_chunk(l, 1, 1, 0, 2);
    struct value *in[] = {lab_ints(l, "samples", S(1, I(6)), drawn_for), l->c.rng};
    graph_add(l->g, &op_teach_seed, NULL, in, 2);
}

static int check_seed(struct lab_world *w, struct err *e)
{
    const int64_t *s = exec_data(w->lab[0].x, out_of_op(&w->lab[0], &op_teach_seed));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++)
            if (lab_expect("as another", i, drawn_for[i] == drawn_for[k], s[i] == s[k],
                           e))
                return e->code;
    return 0;
}

static int check_own(struct lab_world *w, struct err *e)
{
    return check_teach(w, (const int32_t[]){0, 50, 51, 10, 60, 12}, e);
}

static int check_given(struct lab_world *w, struct err *e)
{
    return check_teach(w, by_row, e);
}

/* ------------------------------------------------------------------------- */

const struct op_case op_cases_recurrent[] = {
    {"rnn: tanh", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_TANH, .gates = 1}},
    {"rnn: relu, backward", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_RELU, .gates = 1, .reverse = true}},
    {"rnn: gru", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_GRU, .gates = 3}},
    {"rnn: gru, backward, time first", &op_rnn_fwd, build_rnn,
     .arg =
         &(struct rnn_arg){
             .cell = NND_CELL_GRU, .gates = 3, .reverse = true, .time_major = true}},
    {"rnn: lstm", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4}},
    {"rnn: lstm, backward", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4, .reverse = true}},
    {"rnn: lstm from nothing", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4, .plain = true}},
    {"rnn: gru from nothing", &op_rnn_fwd, build_rnn,
     .arg = &(struct rnn_arg){.cell = NND_CELL_GRU, .gates = 3, .plain = true}},
    {"rnn: the last state alone", &op_rnn_fwd, build_last,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4}},
    {"rnn.cell: tanh", &op_rnn_cell_fwd, build_cell,
     .arg = &(struct rnn_arg){.cell = NND_CELL_TANH, .gates = 1}},
    {"rnn.cell: gru", &op_rnn_cell_fwd, build_cell,
     .arg = &(struct rnn_arg){.cell = NND_CELL_GRU, .gates = 3}},
    {"rnn.cell: lstm", &op_rnn_cell_fwd, build_cell,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4}},
    {"rnn.cell: as in a sequence", &op_rnn_cell_fwd, build_both,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4}, .check = check_both},
    {"attend: sum, a step", &op_attend_add_fwd, build_attend,
     .arg = &(struct attend_arg){1, 4, 3, 2, true, true}},
    {"attend: sum, steps", &op_attend_add_fwd, build_attend,
     .arg = &(struct attend_arg){3, 5, 2, 4, true, false}},
    {"attend: product", &op_attend_dot_fwd, build_attend,
     .arg = &(struct attend_arg){3, 4, 3, 2, false, true}},
    {"rows.take: a step of rows", &op_rows_take_fwd, build_steps, .arg = NULL},
    {"rows.put: step behind step", &op_rows_put_fwd, build_steps, .arg = NULL},
    {"pad: a sequence of none among them", &op_pad_fwd, build_pad, .arg = NULL},
    {"pad: gru", &op_rnn_fwd, build_packed,
     .arg = &(struct rnn_arg){.cell = NND_CELL_GRU, .gates = 3}},
    {"pad: lstm, backward", &op_rnn_fwd, build_packed,
     .arg = &(struct rnn_arg){.cell = NND_CELL_LSTM, .gates = 4, .reverse = true}},
    {"turn: time first", &op_turn_fwd, build_turn, .check = check_turn},
    {"turn: packed rows", &op_turn_fwd, build_turn_packed, .check = check_turn_packed},
    {"teach: the model's own", &op_teach_fwd, build_teach, .arg = &(double){0},
     .check = check_own},
    {"teach: the target's", &op_teach_fwd, build_teach, .arg = &(double){1},
     .check = check_given},
    {"teach.seed: one a sample", &op_teach_seed, build_seed, .check = check_seed},
    {"argmax: ties", &op_argmax_fwd, build_argmax, .check = check_argmax},
    {"select: what argmax found", &op_select_fwd, build_argmax, .check = check_argmax},
    {"sample: no choice, no row", &op_sample_fwd, build_sample, .check = check_sample},
    {0},
};
