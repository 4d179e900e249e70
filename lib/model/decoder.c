/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.c - the decoder-only Transformer: pre-norm blocks of attention and a
 * feed-forward part, dense or of experts, per layer.
 */
#include <stdio.h>

#include "model/block.h"

bool model_is_moe(const Nnd__Job *job, uint32_t i)
{
    const Nnd__Moe *moe = job->model->moe;
    if (!moe || !moe->experts || (i + 1) % moe->every)
        return false;
    for (size_t k = 0; k < moe->n_dense_layers; k++)
        if (moe->dense_layers[k] == i)
            return false;
    return true;
}

static struct value *feed_forward(struct build *b, uint32_t layer, const char *scope,
                                  struct value *x)
{
    struct value *y = model_is_moe(b->m->job, layer)
                          ? block_moe(b, scope, x)
                          : block_mlp(b, scope, x, b->spec->ffn);
    return block_dropout(b, y);
}

static struct value *layer(struct build *b, uint32_t i, struct value *x)
{
    char scope[64], part[80];
    snprintf(scope, sizeof(scope), "model.layers.%u", i);
    graph_scope(b->g, "%s", scope);
    struct value *a = block_norm(b, "input_layernorm", x, b->spec->width);
    snprintf(part, sizeof(part), "%s.self_attn", scope);
    x = op_add(b->g, x, block_attention(b, part, a));
    graph_scope(b->g, "%s", scope);
    a = block_norm(b, "post_attention_layernorm", x, b->spec->width);
    snprintf(part, sizeof(part), "%s.mlp", scope);
    return op_add(b->g, x, feed_forward(b, i, part, a));
}

/* Rows [T,h] as logits [T,V]; wide ones when they are for people. */
static struct value *head(struct build *b, struct value *x)
{
    struct graph *g = b->g;
    struct shape s = shape_of(2, b->m->vocab, (int64_t)b->spec->width);
    struct param_init init = {.std = b->spec->init_std};
    graph_scope(g, "%s", b->spec->tie_embeddings ? "model" : "");
    struct value *w = b->spec->tie_embeddings
                          ? graph_weight(g, "embed_tokens.weight", 0, s, init, true)
                          : graph_weight(g, "lm_head.weight", 0, s, init, true);
    graph_scope(g, "lm_head");
    return b->step ? op_linear_wide(g, x, w) : op_linear(g, x, w, NULL);
}

static struct value *decoder(struct build *b)
{
    struct value *x = block_embed(b);
    for (uint32_t i = 0; i < b->spec->layers; i++)
        x = layer(b, i, x);
    block_moe_finish(b);
    graph_scope(b->g, "model");
    return head(b, block_norm(b, "norm", x, b->spec->width));
}

static struct build build_of(const struct model *m, bool train)
{
    struct build b = {.m = m, .g = m->g, .spec = m->job->model, .train = train};
    b.route = arena_calloc(m->g->mem, b.spec->layers, sizeof(*b.route));
    b.z_weight = arena_calloc(m->g->mem, b.spec->layers, sizeof(*b.z_weight));
    return b;
}

static int forward(struct model *m, const char *program, bool train, struct err *e)
{
    int p = graph_program(m->g, program);
    struct build b = build_of(m, train);
    graph_scope(m->g, "chunk");
    op_stats_begin(m->g, m->stats);
    struct value *logits = decoder(&b);
    graph_scope(m->g, "loss");
    if (!logits)
        graph_fail(m->g, "model: a block gave no result");
    op_stats_loss(m->g, op_xent(m->g, logits, &m->chunk), m->stats);
    return graph_status(m->g, e) ? e->code : p;
}

int model_forward(struct model *m, struct err *e)
{
    return forward(m, "forward", true, e);
}

int model_eval(struct model *m, struct err *e)
{
    return forward(m, "eval", false, e);
}

int model_moe_layers(const Nnd__Job *job)
{
    int n = 0;
    for (uint32_t i = 0; i < job->model->layers; i++)
        n += model_is_moe(job, i);
    return n;
}

int model_init(struct model *m, struct graph *g, const Nnd__Job *job, int64_t vocab,
               struct err *e)
{
    int64_t batch = job->train->batch / job->train->chunks, n = job->model->context;
    struct shape rows = shape_of(1, batch * n), one = shape_of(1, (int64_t)1);
    *m = (struct model){.g = g, .job = job, .vocab = vocab};
    m->chunk = (struct chunk){
        .batch = batch,
        .context = n,
        .id = graph_input(g, "id", NND_I32, rows),
        .target = graph_input(g, "target", NND_I32, rows),
        .pos = graph_input(g, "pos", NND_I32, rows),
        .sample = graph_input(g, "sample", NND_I32, rows),
        .rng = graph_input(g, "rng", NND_I64, shape_of(1, (int64_t)2)),
        .seed = graph_input(g, "seed", g->wide, one),
    };
    m->aux_scale = graph_input(g, "aux_scale", g->wide, one);
    m->stats = graph_state(g, "stats", NND_F64,
                           shape_of(2, (int64_t)g->mesh.chunks, (int64_t)STATS_COUNT));
    if (model_moe_layers(job))
        m->load = graph_state(g, "load", NND_I64,
                              shape_of(2, (int64_t)model_moe_layers(job),
                                       (int64_t)job->model->moe->experts));
    return graph_status(g, e);
}

int model_decode(struct graph *g, const Nnd__Job *job, int64_t vocab, int64_t rows,
                 struct decode_step *out, struct err *e)
{
    struct shape s = shape_of(1, rows);
    *out = (struct decode_step){.id = graph_input(g, "id", NND_I32, s),
                                .pos = graph_input(g, "pos", NND_I32, s),
                                .slot = graph_input(g, "slot", NND_I32, s),
                                .len = graph_input(g, "len", NND_I32, s)};
    struct model m = {.g = g, .job = job, .vocab = vocab};
    m.chunk = (struct chunk){.batch = rows, .context = 1, .pos = out->pos};
    graph_program(g, "decode");
    struct build b = build_of(&m, false);
    b.step = out;
    struct value *logits = decoder(&b);
    graph_scope(g, "%s", "");
    out->logits = graph_state(g, "logits", g->wide, shape_of(2, rows, vocab));
    op_copy(g, logits, out->logits);
    return graph_status(g, e);
}
