/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recurrent.c - a layer of recurrent cells: over the steps of a chunk in training,
 * a step at a time when decoding.
 *
 * Weights are those of torch.nn.RNN, GRU and LSTM, gate by gate: "ih" for the input,
 * "hh" for the state, and "ic" for what comes to every step besides.
 */
#include <stdio.h>

#include "model/block.h"

static int cell_of(const Nnd__Model *s)
{
    static const int cell[] = {
        [NND__MODEL__CELL__GRU] = NND_CELL_GRU,
        [NND__MODEL__CELL__LSTM] = NND_CELL_LSTM,
        [NND__MODEL__CELL__RNN] = NND_CELL_TANH,
    };
    return cell[s->cell];
}

/* What all gates together have, per number of the state. */
static int64_t gates_of(int cell)
{
    return cell == NND_CELL_LSTM ? 4 : cell == NND_CELL_GRU ? 3 : 1;
}

int model_cell_states(const Nnd__Job *job)
{
    return job->model->cell == NND__MODEL__CELL__LSTM ? 2 : 1;
}

static struct rnn_weights weights_of(struct build *b, int64_t gates)
{
    const Nnd__Model *s = b->spec;
    int64_t h = s->width;
    struct rnn_weights w = {
        .u = graph_weight(b->g, "hh.weight", 0, shape_of(2, gates * h, h),
                          (struct param_init){.std = s->init_std}, true)};
    if (s->bias)
        w.b = graph_weight(b->g, "hh.bias", 0, shape_of(1, gates * h),
                           (struct param_init){0}, false);
    return w;
}

/* What does not wait for the state. */
static struct value *input_gates(struct build *b, const struct cells *c,
                                 struct value *x, int64_t gates)
{
    const Nnd__Model *s = b->spec;
    int64_t n = gates * s->width;
    x = block_linear(b, "ih", x, n, s->init_std);
    if (!c->also)
        return x;
    struct value *w =
        graph_weight(b->g, "ic.weight", 0, shape_of(2, n, shape_cols(&c->also->shape)),
                     (struct param_init){.std = s->init_std}, true);
    return op_add(b->g, x, op_linear(b->g, c->also, w, NULL));
}

/* The state of a layer from one step of decoding to the next. */
static struct value *step_state(struct build *b, const char *scope, int which)
{
    char name[200];
    snprintf(name, sizeof(name), "%s.%c" MODEL_STEP_SUFFIX, scope, "hc"[which]);
    return graph_state(b->g, name, which ? b->g->wide : b->g->act,
                       shape_of(2, b->m->chunk.batch, (int64_t)b->spec->width));
}

/* Where a row's first state comes from when it begins anew. */
static struct value *first_state(struct build *b, const char *scope, int which)
{
    char name[200];
    snprintf(name, sizeof(name), "%s.%c" MODEL_STEP_SUFFIX MODEL_FIRST_SUFFIX, scope,
             "hc"[which]);
    return graph_state(b->g, name, which ? b->g->wide : b->g->act,
                       shape_of(2, b->m->chunk.batch, (int64_t)b->spec->width));
}

void block_cells_keep(struct build *b, const char *scope, const struct rnn_state *s)
{
    if (s->h)
        op_copy(b->g, s->h, first_state(b, scope, 0));
    if (s->c)
        op_copy(b->g, s->c, first_state(b, scope, 1));
}

static struct rnn step(struct build *b, const char *scope, struct value *x,
                       struct rnn_weights w, int cell)
{
    struct rnn_state s = {.h = step_state(b, scope, 0)};
    if (cell == NND_CELL_LSTM)
        s.c = step_state(b, scope, 1);
    struct rnn r = op_rnn_cell(b->g, cell, x, w, s);
    if (r.h)
        op_copy(b->g, r.h, s.h);
    if (r.c)
        op_copy(b->g, r.c, s.c);
    return r;
}

struct rnn block_cells(struct build *b, const char *scope, struct value *x,
                       const struct cells *c)
{
    int cell = cell_of(b->spec);
    int64_t gates = gates_of(cell);
    graph_scope(b->g, "%s", scope);
    struct rnn_weights w = weights_of(b, gates);
    x = input_gates(b, c, x, gates);
    if (b->step)
        return step(b, scope, x, w, cell);
    struct rnn_config config = {.cell = cell, .reverse = c->reverse};
    return op_rnn(b->g, config, x, b->chunk->context, w, c->first, c->len);
}
