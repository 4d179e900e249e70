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

static struct rnn_weights weights_of(struct build *b, int64_t h)
{
    const Nnd__Model *s = b->spec;
    int64_t n = gates_of(cell_of(s)) * h;
    struct rnn_weights w = {.u = graph_weight(b->g, "hh.weight", 0, shape_of(2, n, h),
                                              (struct param_init){.std = s->init_std},
                                              true)};
    if (s->bias)
        w.b = graph_weight(b->g, "hh.bias", 0, shape_of(1, n), (struct param_init){0},
                           false);
    return w;
}

/* What of the input does not wait for the state, for cells of width h. */
static struct value *gates_in(struct build *b, struct value *x, int64_t h)
{
    return block_linear(b, "ih", x, gates_of(cell_of(b->spec)) * h, b->spec->init_std);
}

/* The same, and what comes besides. */
static struct value *add_also(struct build *b, struct value *gates, struct value *also)
{
    if (!also || !gates)
        return gates;
    struct value *w =
        graph_weight(b->g, "ic.weight", 0,
                     shape_of(2, shape_cols(&gates->shape), shape_cols(&also->shape)),
                     (struct param_init){.std = b->spec->init_std}, true);
    return op_add(b->g, gates, op_linear(b->g, also, w, NULL));
}

/* The state of a layer from one step of decoding to the next; before decoding, where
 * it comes from when a row begins anew. */
static struct value *step_state(struct build *b, const char *scope, int which)
{
    char name[200];
    snprintf(name, sizeof(name), "%s.%c", scope, "hc"[which]);
    return block_kept(b, name, MODEL_STEP_SUFFIX, which ? b->g->wide : b->g->act, 1,
                      b->spec->width);
}

void block_cells_keep(struct build *b, const char *scope, const struct rnn_state *s)
{
    if (s->h)
        op_copy(b->g, s->h, step_state(b, scope, 0));
    if (s->c)
        op_copy(b->g, s->c, step_state(b, scope, 1));
}

struct value *block_cells_state(struct build *b, const char *scope)
{
    return step_state(b, scope, 0);
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

struct value *block_pad(struct build *b, struct value *x)
{
    const struct pad *p = &b->chunk->pad;
    return p->from ? op_pad(b->g, x, p) : x;
}

struct value *block_unpad(struct build *b, struct value *x)
{
    const struct pad *p = &b->chunk->pad;
    return p->from ? op_unpad(b->g, x, p) : x;
}

struct rnn block_cells(struct build *b, const char *scope, struct value *x,
                       const struct cells *c)
{
    int cell = cell_of(b->spec);
    int64_t h = c->width ? c->width : b->spec->width;
    graph_scope(b->g, "%s", scope);
    struct rnn_weights w = weights_of(b, h);
    x = add_also(b, gates_in(b, x, h), c->also);
    if (b->step)
        return step(b, scope, x, w, cell);
    struct rnn_config config = {
        .cell = cell, .reverse = c->reverse, .pad = b->chunk->pad};
    struct value *len = c->len ? c->len : b->chunk->pad.len;
    struct rnn r =
        op_rnn(b->g, config, block_pad(b, x), b->chunk->context, w, c->first, len);
    r.y = block_unpad(b, r.y);
    return r;
}

struct value *block_cells_gates(struct build *b, const char *scope, struct value *x)
{
    graph_scope(b->g, "%s", scope);
    return gates_in(b, x, b->spec->width);
}

struct rnn block_cells_step(struct build *b, const char *scope, struct value *gates,
                            struct value *also, struct rnn_state s)
{
    graph_scope(b->g, "%s", scope);
    struct rnn_weights w = weights_of(b, b->spec->width);
    return op_rnn_cell(b->g, cell_of(b->spec), add_also(b, gates, also), w, s);
}

/* ---- a step at a time ---------------------------------------------- */

struct chunk block_steps(struct build *b)
{
    struct chunk c = *b->chunk;
    graph_scope(b->g, "steps");
    c.id = op_turn(b->g, c.id, c.batch, &c.pad, 0);
    c.pos = op_turn(b->g, c.pos, c.batch, &c.pad, -1);
    c.sample = op_turn(b->g, c.sample, c.batch, &c.pad, 0);
    return c;
}

struct chunk block_step(struct build *b, const struct chunk *steps, int64_t t)
{
    int64_t n = steps->batch;
    struct shape rows = shape_of(1, n);
    return (struct chunk){.batch = n,
                          .context = 1,
                          .rows = n,
                          .id = op_part(b->g, steps->id, t * n, rows),
                          .pos = op_part(b->g, steps->pos, t * n, rows),
                          .sample = op_part(b->g, steps->sample, t * n, rows),
                          .rng = steps->rng};
}

void block_guess(struct build *b, const char *scope, block_step_f *next, void *arg)
{
    const struct chunk *all = b->chunk, steps = block_steps(b);
    struct value *guess = NULL;
    for (int64_t t = 0; t < all->context; t++) {
        struct chunk c = block_step(b, &steps, t);
        graph_scope(b->g, "steps");
        c.id = op_teach_step(b->g, &c, &b->m->teach, guess, t, all->context, &all->pad);
        if (t + 1 == all->context)
            break;
        b->chunk = &c;
        struct value *x = block_embed(b, scope, scope, b->m->vocab);
        guess = op_teach_guess(b->g, &c, &b->m->teach, next(b, x, arg));
        b->chunk = all;
    }
}
