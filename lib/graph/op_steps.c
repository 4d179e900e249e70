/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_steps.c - sequences a step at a time: a step's rows out of all rows and back, and
 * which token a step is given, the target's or the model's own.
 *
 *   rows.take   rows of x by number; backward puts the gradients of all takes of x
 *               into one buffer
 *   rows.put    rows into a buffer that a chain of puts fills; backward takes them
 *   turn        [B,T] to [T,B] of whole numbers, or packed ones to that, the host's
 *   teach       scheduled sampling (Bengio et al. 2015), the host's: a coin for every
 *               token, whose bits are a function of (seed, step, sample, place)
 *   teach.seed  what a drawn token's bits are a function of, besides its place
 */
#include "graph/exec.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "tensor/philox.h"

enum { MOVE_X, MOVE_INDEX, MOVE_INTO };

struct put_attr {
    int64_t rows; /* of the buffer */
};

static struct value *put(struct graph *g, struct value *into, struct value *x,
                         struct value *index, int64_t rows)
{
    struct value *in[] = {x, index, into};
    if (!x || !index)
        return NULL;
    struct node *n = graph_add(g, &op_rows_put_fwd, &(struct put_attr){rows}, in, 3);
    return n ? n->out[0] : NULL;
}

static int move_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_rows *)params = (struct nnd_rows){
        .struct_size = sizeof(struct nnd_rows),
        .x = bind_matrix(b, n->in[MOVE_X]),
        .y = bind_matrix(b, n->out[0]),
        .index = bind_data(b, n->in[MOVE_INDEX]),
    };
    return 0;
}

/* in: x [S,N], index [R]; out: [R,N]. */
static int take_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, MOVE_X, "rows", 0, -1, -1, e) ||
        op_want(n, MOVE_INDEX, "row numbers", NND_I32, 1, -1, e))
        return -1;
    const struct value *x = n->in[MOVE_X];
    graph_out(
        g, n, x->dtype,
        shape_of(2, shape_cols(&n->in[MOVE_INDEX]->shape), shape_cols(&x->shape)));
    return 0;
}

/* What earlier takes have put together of x's gradient, or NULL. */
static struct value **begun(struct value *x)
{
    for (int i = 0; i < x->ngrads; i++)
        if (x->grads[i]->maker && x->grads[i]->maker->op == &op_rows_put_fwd)
            return &x->grads[i];
    return NULL;
}

static void take_grad(struct graph *g, const struct node *n)
{
    struct value *x = n->in[MOVE_X], *dy = grad_of(g, n->out[0]);
    if (!x->wants_grad || !dy)
        return;
    struct value **so_far = begun(x);
    struct value *dx =
        put(g, so_far ? *so_far : NULL, dy, n->in[MOVE_INDEX], shape_rows(&x->shape));
    if (so_far)
        *so_far = dx;
    else
        grad_add(g, x, dx);
}

const struct op op_rows_take_fwd = {
    .name = "rows.take",
    .shape = take_shape,
    .grad = take_grad,
    .kernel = "rows.gather",
    .params_size = sizeof(struct nnd_rows),
    .bind = move_bind,
};

/* in: x [R,N], index [R], into [rows,N] or NULL; out: into, or a new buffer. */
static int put_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct put_attr *at = n->attr;
    const struct value *x = n->in[MOVE_X];
    if (op_want(n, MOVE_X, "rows", 0, -1, -1, e) ||
        op_want(n, MOVE_INDEX, "row numbers", NND_I32, 1, shape_rows(&x->shape), e))
        return -1;
    int64_t cols = shape_cols(&x->shape);
    if (!n->in[MOVE_INTO]) {
        graph_out(g, n, x->dtype, shape_of(2, at->rows, cols));
        return 0;
    }
    if (op_want(n, MOVE_INTO, "rows put before", x->dtype, at->rows, cols, e))
        return -1;
    graph_out_view(g, n, n->in[MOVE_INTO], 0, n->in[MOVE_INTO]->shape);
    return 0;
}

static void put_grad(struct graph *g, const struct node *n)
{
    struct value *dy = grad_of(g, n->out[0]);
    grad_add(g, n->in[MOVE_X], op_rows_take(g, dy, n->in[MOVE_INDEX]));
    if (n->in[MOVE_INTO])
        grad_add(g, n->in[MOVE_INTO], dy);
}

const struct op op_rows_put_fwd = {
    .name = "rows.put",
    .attr_size = sizeof(struct put_attr),
    .shape = put_shape,
    .grad = put_grad,
    .kernel = "rows.scatter",
    .params_size = sizeof(struct nnd_rows),
    .bind = move_bind,
};

struct value *op_rows_take(struct graph *g, struct value *x, struct value *index)
{
    struct value *in[] = {x, index};
    struct node *n = x && index ? graph_add(g, &op_rows_take_fwd, NULL, in, 2) : NULL;
    return n ? n->out[0] : NULL;
}

struct value *op_rows_put(struct graph *g, struct value *into, struct value *x,
                          struct value *index, int64_t rows)
{
    return put(g, into, x, index, rows);
}

/* ------------------------------------------------------------------------- */

struct turn_attr {
    int64_t batch;
    int32_t none; /* what stands for a row that pad has not */
};

enum { TURN_X, TURN_PAD };

static int turn_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct turn_attr *at = n->attr;
    const struct value *pad = n->in[TURN_PAD];
    if (op_want(n, TURN_X, "numbers of rows", NND_I32, 1, -1, e))
        return -1;
    int64_t rows = shape_elements(&(pad ? pad : n->in[TURN_X])->shape);
    if (at->batch < 1 || rows % at->batch)
        return err_set(e, ERR_FAILED, "%s: %lld rows are not %lld sequences", n->where,
                       (long long)rows, (long long)at->batch);
    graph_out(g, n, NND_I32, shape_of(1, rows));
    return 0;
}

static int turn_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct turn_attr *at = n->attr;
    const int32_t *from = exec_data(x, n->in[TURN_X]), *pad = NULL;
    int32_t *to = exec_data(x, n->out[0]);
    int64_t steps = shape_elements(&n->out[0]->shape) / at->batch;
    (void)e;
    if (n->in[TURN_PAD])
        pad = exec_data(x, n->in[TURN_PAD]);
    for (int64_t b = 0; b < at->batch; b++)
        for (int64_t t = 0; t < steps; t++) {
            int64_t row = pad ? pad[b * steps + t] : b * steps + t;
            to[t * at->batch + b] = row < 0 ? at->none : from[row];
        }
    return 0;
}

const struct op op_turn_fwd = {.name = "turn",
                               .attr_size = sizeof(struct turn_attr),
                               .shape = turn_shape,
                               .run = turn_run};

struct value *op_turn(struct graph *g, struct value *x, int64_t batch,
                      const struct pad *p, int32_t none)
{
    struct value *in[] = {x, p ? p->from : NULL};
    struct turn_attr at = {batch, none};
    struct node *n = x ? graph_add(g, &op_turn_fwd, &at, in, 2) : NULL;
    return n ? n->out[0] : NULL;
}

/* ------------------------------------------------------------------------- */

/* Sets these coins apart from what else is drawn: an operator's number that no model
 * has. */
#define TEACH_STREAM 0x74656163u

enum {
    TEACH_ID,
    TEACH_POS,
    TEACH_SAMPLE,
    TEACH_RNG,
    TEACH_SHARE,
    TEACH_GUESS, /* NULL: nothing was guessed yet */
    TEACH_MIXED,
    TEACH_PAD, /* of mixed, or NULL */
    TEACH_INPUTS
};

struct teach_attr {
    int64_t first, stride; /* row i goes to row first + i * stride of mixed, or to
                              the one that pad has there */
    bool shifted;          /* guess i is about row i + 1                    */
};

static int teach_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct teach_attr *at = n->attr;
    const struct value *mixed = n->in[TEACH_MIXED];
    if (op_want(n, TEACH_ID, "targets", NND_I32, 1, -1, e))
        return -1;
    int64_t rows = shape_elements(&n->in[TEACH_ID]->shape);
    if (op_want(n, TEACH_POS, "places", NND_I32, 1, rows, e) ||
        op_want(n, TEACH_SAMPLE, "samples", NND_I32, 1, rows, e) ||
        op_want(n, TEACH_RNG, "seed and step", NND_I64, 1, 2, e) ||
        op_want(n, TEACH_SHARE, "share of targets", g->wide, 1, 1, e) ||
        op_want(n, TEACH_MIXED, "tokens to write", NND_I32, 1, -1, e))
        return -1;
    if (n->in[TEACH_GUESS] && op_want(n, TEACH_GUESS, "guesses", NND_I32, rows, 1, e))
        return -1;
    if (n->in[TEACH_PAD])
        mixed = n->in[TEACH_PAD];
    if (at->first + (rows - 1) * at->stride >= shape_elements(&mixed->shape))
        return err_set(e, ERR_FAILED, "%s: no room for %lld tokens", n->where,
                       (long long)rows);
    graph_out(g, n, NND_I32, shape_of(1, rows));
    return 0;
}

/* Is the token of (sample, place) the target's? */
static bool is_target(const uint64_t *rng, int32_t sample, int32_t pos, double share)
{
    const uint32_t counter[4] = {(uint32_t)sample, UINT32_MAX, (uint32_t)pos, 0};
    uint32_t bits[4];
    philox4x32(nnd_rng_key(rng, TEACH_STREAM), counter, bits);
    return (double)bits[0] * 0x1p-32 < share;
}

static double share_of(struct exec *x, const struct value *v)
{
    const void *data = exec_data(x, v);
    return v->dtype == NND_F64 ? *(const double *)data : *(const float *)data;
}

/* Row i's guess, -1 where there is none: a sentence's first token is always given. */
static int32_t guess_of(const struct teach_attr *at, const int32_t *guess,
                        const int32_t *pos, int64_t i)
{
    if (!guess || pos[i] < 1)
        return -1;
    return at->shifted ? guess[i - 1] : guess[i];
}

/* Where row i goes in what is given, -1: nowhere. */
static int64_t row_of(const struct teach_attr *at, const int32_t *pad, int64_t i)
{
    int64_t row = at->first + i * at->stride;
    return pad ? pad[row] : row;
}

static int teach_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct teach_attr *at = n->attr;
    const int32_t *id = exec_data(x, n->in[TEACH_ID]),
                  *pos = exec_data(x, n->in[TEACH_POS]),
                  *sample = exec_data(x, n->in[TEACH_SAMPLE]), *guess = NULL,
                  *pad = NULL;
    const uint64_t *rng = exec_data(x, n->in[TEACH_RNG]);
    int32_t *mixed = exec_data(x, n->in[TEACH_MIXED]), *out = exec_data(x, n->out[0]);
    double share = share_of(x, n->in[TEACH_SHARE]);
    (void)e;
    if (n->in[TEACH_GUESS])
        guess = exec_data(x, n->in[TEACH_GUESS]);
    if (n->in[TEACH_PAD])
        pad = exec_data(x, n->in[TEACH_PAD]);
    for (int64_t i = 0; i < shape_elements(&n->in[TEACH_ID]->shape); i++) {
        int32_t own = guess_of(at, guess, pos, i);
        int64_t row = row_of(at, pad, i);
        out[i] = own < 0 || is_target(rng, sample[i], pos[i], share) ? id[i] : own;
        if (row >= 0)
            mixed[row] = out[i];
    }
    return 0;
}

const struct op op_teach_fwd = {.name = "teach",
                                .attr_size = sizeof(struct teach_attr),
                                .shape = teach_shape,
                                .run = teach_run};

/* ------------------------------------------------------------------------- */

/* As TEACH_STREAM, of what is drawn. */
#define DRAW_STREAM 0x64726177u

static int seed_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, 0, "samples", NND_I32, 1, -1, e) ||
        op_want(n, 1, "seed and step", NND_I64, 1, 2, e))
        return -1;
    graph_out(g, n, NND_I64, n->in[0]->shape);
    return 0;
}

static int seed_run(struct exec *x, const struct node *n, struct err *e)
{
    const int32_t *sample = exec_data(x, n->in[0]);
    const uint64_t *rng = exec_data(x, n->in[1]);
    uint64_t *out = exec_data(x, n->out[0]), key = nnd_rng_key(rng, DRAW_STREAM);
    (void)e;
    for (int64_t i = 0; i < shape_elements(&n->in[0]->shape); i++)
        out[i] = nnd_rng_mix(key ^ (uint32_t)sample[i]);
    return 0;
}

const struct op op_teach_seed = {
    .name = "teach.seed", .shape = seed_shape, .run = seed_run};

struct value *op_teach_guess(struct graph *g, const struct chunk *c,
                             const struct teach *t, struct value *logits)
{
    static const struct sample_config all = {.temperature = 1, .top_p = 1};
    struct value *in[] = {c->sample, c->rng};
    struct node *seed;
    if (!t->drawn)
        return op_argmax(g, logits, 1).index;
    seed = graph_add(g, &op_teach_seed, NULL, in, 2);
    return op_sample(g, logits, all, seed ? seed->out[0] : NULL, c->pos).index;
}

/* ------------------------------------------------------------------------- */

static struct value *teach(struct graph *g, const struct chunk *c,
                           const struct teach *t, struct value *guess,
                           const struct pad *p, struct teach_attr at)
{
    struct value *in[TEACH_INPUTS] = {c->id,    c->pos, c->sample, c->rng,
                                      t->share, guess,  t->mixed,  p ? p->from : NULL};
    struct node *n = graph_add(g, &op_teach_fwd, &at, in, TEACH_INPUTS);
    return n ? n->out[0] : NULL;
}

struct value *op_teach_step(struct graph *g, const struct chunk *c,
                            const struct teach *t, struct value *guess, int64_t first,
                            int64_t stride, const struct pad *p)
{
    return teach(g, c, t, guess, p, (struct teach_attr){first, stride, false});
}

struct value *op_teach(struct graph *g, const struct chunk *c, const struct teach *t,
                       struct value *guess)
{
    struct teach_attr at = {0, 1, true};
    return guess ? teach(g, c, t, guess, NULL, at) : NULL;
}
