/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seq2seq.c - recurrent cells that read a source hand their last state on to cells
 * that write the target (Sutskever et al. 2014; Cho et al. 2014).
 *
 * attention none: the last state of the top layer comes to every step besides, a
 * fixed context that decoding sees as training does.  additive, dot: each step looks at
 * all real rows of the source, the score being a sum (Bahdanau et al. 2015) or a
 * product.  attention_place behind: the top layer looks with its new state, and what it
 * saw is added to what it says (Luong et al. 2015).  before: the query is the top
 * layer's state before the step, and what it saw comes to the step's input, so that one
 * step has to wait for the other (Bahdanau et al. 2015).
 *
 * Both directions of an encoder are added to each other, layer by layer, or stand side
 * by side, each half as wide.
 */
#include <math.h>
#include <stdio.h>

#include "model/family.h"

/* What the encoder leaves: rows of its top layer and their keys where they are looked
 * at, then padded, and a last state per layer. */
struct source {
    struct value *rows, *keys; /* [B*S,h] */
    struct rnn_state *state;   /* [layers] */
};

/* Rows [R,h/2] of both directions side by side: [R,h]. */
static struct value *side_by_side(struct build *b, struct value *x, struct value *y)
{
    int64_t n = shape_rows(&x->shape), h = shape_cols(&x->shape);
    struct value *all = op_rows_put(b->g, NULL, x, graph_index(b->g, 0, 2, n), 2 * n);
    all = op_rows_put(b->g, all, y, graph_index(b->g, 1, 2, n), 2 * n);
    return op_view(b->g, all, shape_of(2, n, 2 * h));
}

static struct value *both(struct build *b, struct value *x, struct value *y)
{
    if (!x || !y)
        return x;
    return b->spec->merge == NND__MODEL__MERGE__CONCAT ? side_by_side(b, x, y)
                                                       : op_add(b->g, x, y);
}

static struct rnn read_layer(struct build *b, uint32_t i, struct value *x)
{
    char scope[64];
    struct cells c = {.len = b->m->source_len};
    if (b->spec->bidirectional && b->spec->merge == NND__MODEL__MERGE__CONCAT)
        c.width = b->spec->width / 2;
    snprintf(scope, sizeof(scope), "model.encoder.layers.%u", i);
    struct rnn f = block_cells(b, scope, x, &c);
    if (!b->spec->bidirectional)
        return f;
    snprintf(scope, sizeof(scope), "model.encoder.layers.%u.backwards", i);
    c.reverse = true;
    struct rnn r = block_cells(b, scope, x, &c);
    graph_scope(b->g, "model.encoder.layers.%u", i);
    return (struct rnn){both(b, f.y, r.y), both(b, f.h, r.h), both(b, f.c, r.c)};
}

static bool looks(const struct build *b)
{
    return b->spec->attention != NND__ATTEND__NONE;
}

static bool looks_before(const struct build *b)
{
    return looks(b) && b->spec->attention_place == NND__MODEL__ATTENTION_PLACE__BEFORE;
}

static struct source read_source(struct build *b)
{
    const Nnd__Model *s = b->spec;
    const char *table = s->share_embeddings ? "model.decoder" : "model.encoder";
    struct source out = {.state =
                             arena_calloc(b->g->mem, s->layers, sizeof(*out.state))};
    b->chunk = &b->m->source;
    struct value *x = block_embed(b, "model.encoder", table,
                                  s->share_embeddings ? b->m->vocab : s->source_vocab);
    for (uint32_t i = 0; i < s->layers; i++) {
        struct rnn r = read_layer(b, i, x);
        out.state[i] = (struct rnn_state){r.h, r.c};
        x = block_dropout(b, r.y);
    }
    graph_scope(b->g, "model.attention");
    if (looks(b)) {
        out.keys = block_pad(
            b, block_linear(b, "k_proj", x, b->spec->width, b->spec->init_std));
        x = block_pad(b, x);
    }
    out.rows = x;
    b->chunk = &b->m->chunk;
    return out;
}

/* ---- looking at it -------------------------------------------------------- */

/* States of decoding: keys and values of every source, or its one context. */
static struct value *kept(struct build *b, const char *what, int64_t rows)
{
    char name[64];
    snprintf(name, sizeof(name), "model.%s", what);
    return block_kept(b, name, MODEL_SOURCE_SUFFIX, b->g->act, rows, b->spec->width);
}

/* What rows with the states q see, [rows,h]. */
static struct value *look(struct build *b, const struct source *s, struct value *q)
{
    struct graph *g = b->g;
    int64_t batch = b->m->chunk.batch, keys = b->spec->source_context;
    struct value *k = b->step ? kept(b, "k", keys) : s->keys;
    struct value *v = b->step ? kept(b, "v", keys) : s->rows;
    graph_scope(g, "model.attention");
    q = block_pad(b, block_linear(b, "q_proj", q, b->spec->width, b->spec->init_std));
    struct attend a;
    if (b->spec->attention == NND__ATTEND__ADDITIVE) {
        struct value *w =
            graph_weight(g, "v.weight", 0, shape_of(1, (int64_t)b->spec->width),
                         (struct param_init){.std = b->spec->init_std}, false);
        a = op_attend_add(g, batch, q, k, v, w, b->m->source_len);
    } else {
        a = op_attend_dot(g, batch, q, k, v, 1 / sqrt(b->spec->width),
                          b->m->source_len);
    }
    if (b->step && a.weight) {
        struct value *to = block_kept(b, "look", ".weight", g->wide, 1, keys);
        op_copy(g, op_view(g, a.weight, to->shape), to);
        b->step->weight = to->root;
    }
    return block_unpad(b, a.o);
}

/* The same context for each of a sequence's rows x: one key, so the weight is 1. */
static struct value *fixed_context(struct build *b, const struct source *s,
                                   struct value *x)
{
    if (b->step)
        return kept(b, "context", 1);
    struct value *h = s->state[b->spec->layers - 1].h;
    graph_scope(b->g, "model.context");
    x = op_attend_dot(b->g, b->m->chunk.batch, block_pad(b, x), h, h, 1, NULL).o;
    return block_unpad(b, x);
}

/* ---- writing -------------------------------------------------------------- */

static void scope_of(uint32_t layer, char *out, size_t size)
{
    snprintf(out, size, "model.decoder.layers.%u", layer);
}

/* What comes to the first layer's input besides; training: of all rows, and not where
 * steps wait for each other. */
static struct value *besides(struct build *b, const struct source *s, struct value *x)
{
    char top[64];
    if (!looks(b))
        return fixed_context(b, s, x);
    if (!looks_before(b))
        return NULL;
    scope_of(b->spec->layers - 1, top, sizeof(top));
    return look(b, s, block_cells_state(b, top));
}

static struct value *write_layers(struct build *b, const struct source *s,
                                  struct value *x)
{
    struct value *also = besides(b, s, x);
    for (uint32_t i = 0; i < b->spec->layers; i++) {
        char scope[64];
        struct cells c = {.also = i == 0 ? also : NULL};
        scope_of(i, scope, sizeof(scope));
        if (!b->step)
            c.first = s->state[i];
        x = block_dropout(b, block_cells(b, scope, x, &c).y);
    }
    return x;
}

/* What is said: the top layer's rows x, and what they see, if they look behind. */
static struct value *say(struct build *b, const struct source *s, struct value *x)
{
    if (looks(b) && !looks_before(b)) {
        struct value *seen = look(b, s, x);
        graph_scope(b->g, "model.attention");
        int64_t h = b->spec->width;
        double std = b->spec->init_std;
        x = op_add(b->g, block_linear(b, "y_proj", x, h, std),
                   block_linear(b, "o_proj", seen, h, std));
    }
    return block_head(b, "model.decoder", x);
}

/* One writer that goes step by step: where its layers stand. */
struct writer {
    const struct source *s;
    struct rnn_state *state; /* [layers] */
};

static struct writer writer_of(struct build *b, const struct source *s)
{
    size_t n = b->spec->layers * sizeof(*s->state);
    return (struct writer){s, arena_memdup(b->g->mem, s->state, n)};
}

/* One step of all layers; `gates` is what the step's input gives the first one's. */
static struct value *write_step(struct build *b, struct writer *w, struct value *gates)
{
    uint32_t layers = b->spec->layers;
    struct value *also = looks_before(b) ? look(b, w->s, w->state[layers - 1].h)
                         : looks(b)      ? NULL
                                         : w->s->state[layers - 1].h;
    struct value *x = NULL;
    for (uint32_t i = 0; i < layers; i++) {
        char scope[64];
        scope_of(i, scope, sizeof(scope));
        if (i > 0)
            gates = block_cells_gates(b, scope, x);
        struct rnn r =
            block_cells_step(b, scope, gates, i == 0 ? also : NULL, w->state[i]);
        w->state[i] = (struct rnn_state){r.h, r.c};
        x = block_dropout(b, r.y);
    }
    return x;
}

/* All rows [B*T,h], where the first layer's input waits for the step before. */
static struct value *write_steps(struct build *b, const struct source *s,
                                 struct value *x)
{
    const struct chunk *all = b->chunk, steps = block_steps(b);
    struct writer w = writer_of(b, s);
    char scope[64];
    scope_of(0, scope, sizeof(scope));
    struct value *gates = block_pad(b, block_cells_gates(b, scope, x)), *y = NULL;
    int64_t n = all->batch * all->context;
    for (int64_t t = 0; t < all->context; t++) {
        struct chunk c = block_step(b, &steps, t);
        struct value *rows = graph_index(b->g, t, all->context, all->batch);
        b->chunk = &c;
        struct value *step = write_step(b, &w, op_rows_take(b->g, gates, rows));
        y = op_rows_put(b->g, y, step, rows, n);
        b->chunk = all;
    }
    return block_unpad(b, y);
}

static struct value *logits(struct build *b)
{
    struct source s = {0};
    if (!b->step)
        s = read_source(b);
    struct value *x = block_embed(b, "model.decoder", "model.decoder", b->m->vocab);
    if (looks_before(b) && !b->step)
        return say(b, &s, write_steps(b, &s, x));
    return say(b, &s, write_layers(b, &s, x));
}

/* ---- guessing ------------------------------------------------------------- */

static struct value *guess_step(struct build *b, struct value *x, void *arg)
{
    struct writer *w = arg;
    char scope[64];
    scope_of(0, scope, sizeof(scope));
    return say(b, w->s, write_step(b, w, block_cells_gates(b, scope, x)));
}

static void guess(struct build *b)
{
    struct source s = read_source(b);
    struct writer w = writer_of(b, &s);
    block_guess(b, "model.decoder", guess_step, &w);
}

/* ---- before decoding ------------------------------------------------------ */

static void encode(struct build *b)
{
    uint32_t layers = b->spec->layers;
    struct source s = read_source(b);
    struct value *k = s.keys;
    for (uint32_t i = 0; i < layers; i++) {
        char scope[64];
        scope_of(i, scope, sizeof(scope));
        block_cells_keep(b, scope, &s.state[i]);
    }
    if (!s.rows || (looks(b) && !k))
        return;
    if (looks(b)) {
        op_copy(b->g, k, kept(b, "k", b->spec->source_context));
        op_copy(b->g, s.rows, kept(b, "v", b->spec->source_context));
    } else {
        struct value *h = s.state[layers - 1].h;
        op_copy(b->g, h, kept(b, "context", 1));
    }
}

const struct family family_seq2seq = {
    .reads = true,
    .endless = true,
    .pads = true,
    .logits = logits,
    .guess = guess,
    .encode = encode,
};
