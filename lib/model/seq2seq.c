/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seq2seq.c - recurrent cells that read a source hand their last state on to cells
 * that write the target (Sutskever et al. 2014; Cho et al. 2014).
 *
 * attention none: the last state of the top layer comes to every step besides, a
 * fixed context that decoding sees as training does.  additive, dot: after each step
 * the top layer looks at all real rows of the source (Luong et al. 2015), the score
 * being a sum (Bahdanau et al. 2015) or a product; what it saw is added to what it
 * says.  Both directions of an encoder are added to each other, layer by layer.
 */
#include <math.h>
#include <stdio.h>

#include "model/family.h"

/* What the encoder leaves: rows of its top layer, and a last state per layer. */
struct source {
    struct value *rows;      /* [B*S,h] */
    struct rnn_state *state; /* [layers] */
};

static struct value *both(struct build *b, struct value *x, struct value *y)
{
    return x && y ? op_add(b->g, x, y) : x;
}

static struct rnn read_layer(struct build *b, uint32_t i, struct value *x)
{
    char scope[64];
    struct cells c = {.len = b->m->source_len};
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
    out.rows = x;
    b->chunk = &b->m->chunk;
    return out;
}

/* ---- looking at it -------------------------------------------------------- */

static bool looks(const struct build *b)
{
    return b->spec->attention != NND__ATTEND__NONE;
}

/* States of decoding: keys and values of every source, or its one context. */
static struct value *kept(struct build *b, const char *what, int64_t rows)
{
    char name[64];
    snprintf(name, sizeof(name), "model.source.%s", what);
    return graph_state(b->g, name, b->g->act,
                       shape_of(2, rows, (int64_t)b->spec->width));
}

static struct value *keys_of(struct build *b, const struct source *s)
{
    graph_scope(b->g, "model.attention");
    return block_linear(b, "k_proj", s->rows, b->spec->width, b->spec->init_std);
}

/* The rows' looks, [B*T,h], with the queries q. */
static struct value *look(struct build *b, const struct source *s, struct value *q)
{
    struct graph *g = b->g;
    int64_t batch = b->m->chunk.batch, keys = batch * b->spec->source_context;
    struct value *k = b->step ? kept(b, "k", keys) : keys_of(b, s);
    struct value *v = b->step ? kept(b, "v", keys) : s->rows;
    graph_scope(g, "model.attention");
    q = block_linear(b, "q_proj", q, b->spec->width, b->spec->init_std);
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
        b->step->weight = graph_state(g, "attention", g->wide, a.weight->shape);
        op_copy(g, a.weight, b->step->weight);
    }
    return a.o;
}

/* The same context for each of a sequence's rows x: one key, so the weight is 1. */
static struct value *fixed_context(struct build *b, const struct source *s,
                                   struct value *x)
{
    if (b->step)
        return kept(b, "context", b->m->chunk.batch);
    struct value *h = s->state[b->spec->layers - 1].h;
    graph_scope(b->g, "model.context");
    return op_attend_dot(b->g, b->m->chunk.batch, x, h, h, 1, NULL).o;
}

/* ---- writing -------------------------------------------------------------- */

static struct value *write_layers(struct build *b, const struct source *s,
                                  struct value *x)
{
    struct value *also = looks(b) ? NULL : fixed_context(b, s, x);
    for (uint32_t i = 0; i < b->spec->layers; i++) {
        char scope[64];
        struct cells c = {.also = i == 0 ? also : NULL};
        snprintf(scope, sizeof(scope), "model.decoder.layers.%u", i);
        if (!b->step)
            c.first = s->state[i];
        x = block_dropout(b, block_cells(b, scope, x, &c).y);
    }
    return x;
}

static struct value *logits(struct build *b)
{
    struct source s = {0};
    if (!b->step)
        s = read_source(b);
    struct value *x = block_embed(b, "model.decoder", "model.decoder", b->m->vocab);
    x = write_layers(b, &s, x);
    if (looks(b)) {
        struct value *seen = look(b, &s, x);
        graph_scope(b->g, "model.attention");
        int64_t h = b->spec->width;
        double std = b->spec->init_std;
        x = op_add(b->g, block_linear(b, "y_proj", x, h, std),
                   block_linear(b, "o_proj", seen, h, std));
    }
    return block_head(b, "model.decoder", x);
}

static void encode(struct build *b)
{
    struct decode_step *step = b->step;
    uint32_t layers = b->spec->layers;
    b->step = NULL;
    struct source s = read_source(b);
    struct value *k = looks(b) ? keys_of(b, &s) : NULL;
    b->step = step;
    for (uint32_t i = 0; i < layers; i++) {
        char scope[64];
        snprintf(scope, sizeof(scope), "model.decoder.layers.%u", i);
        block_cells_keep(b, scope, &s.state[i]);
    }
    if (!s.rows || (looks(b) && !k))
        return;
    if (looks(b)) {
        op_copy(b->g, k, kept(b, "k", shape_rows(&k->shape)));
        op_copy(b->g, s.rows, kept(b, "v", shape_rows(&k->shape)));
    } else {
        struct value *h = s.state[layers - 1].h;
        op_copy(b->g, h, kept(b, "context", shape_rows(&h->shape)));
    }
}

const struct family family_seq2seq = {
    .reads = true, .logits = logits, .encode = encode, .endless = true};
