/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encdec.c - the encoder-decoder Transformer (Vaswani et al. 2017): layers that
 * read the source, each row seeing all real ones, and layers that write the target,
 * each row seeing those before it and the whole source.
 *
 * post-norm: x = norm(x + f(x)); pre-norm: x = x + f(norm(x)), with a norm behind
 * the last layer of each side.
 */
#include <stdio.h>

#include "model/family.h"

/* One sub-layer f: what it attends to, or a feed-forward part. */
struct sublayer {
    const char *name;           /* "self_attn"; its norm is "self_attn_norm" */
    const struct attend_to *to; /* NULL: feed-forward                        */
    uint32_t number;            /* of the layer, counted through             */
    bool first;                 /* in its layer, which is a block            */
};

static struct value *inner(struct build *b, const char *scope, const struct sublayer *f,
                           struct value *x)
{
    char part[100];
    snprintf(part, sizeof(part), "%s.%s", scope, f->name);
    return f->to ? block_attention(b, part, x, f->to)
                 : block_feed_forward(b, f->number, part, x);
}

/* The residual stream, and what the last sub-layer has to add to it: the next norm
 * does so on its way. */
struct stream {
    struct value *x, *add;
};

static struct value *norm_of(struct build *b, const char *scope, const char *name,
                             struct stream *s)
{
    char part[40];
    snprintf(part, sizeof(part), "%s_norm", name);
    graph_scope(b->g, "%s", scope);
    struct value *y = block_norm_add(b, part, &s->x, s->add, b->spec->width);
    s->add = NULL;
    return y;
}

static void residual(struct build *b, const char *scope, struct stream *s,
                     const struct sublayer *f)
{
    if (b->spec->norm_place == NND__MODEL__NORM_PLACE__POST) {
        if (f->first)
            graph_block(b->g);
        s->add = inner(b, scope, f, s->x);
        s->x = norm_of(b, scope, f->name, s);
    } else {
        struct value *a = norm_of(b, scope, f->name, s);
        if (f->first)
            graph_block(b->g);
        s->add = inner(b, scope, f, a);
    }
}

/* Layers [0, n) of one side, numbered from `first`; memory: what the target's side
 * sees of the source. */
static struct value *layers(struct build *b, const char *side, uint32_t first,
                            uint32_t n, const struct attend_to *self,
                            const struct attend_to *memory, struct value *x)
{
    struct stream s = {x, NULL};
    char scope[64];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(scope, sizeof(scope), "model.%s.layers.%u", side, i);
        residual(b, scope, &s, &(struct sublayer){"self_attn", self, 0, true});
        if (memory) {
            struct attend_to at = *memory;
            at.look = b->step && i + 1 == n;
            residual(b, scope, &s, &(struct sublayer){"cross_attn", &at, 0, false});
        }
        residual(b, scope, &s, &(struct sublayer){"mlp", NULL, first + i, false});
    }
    graph_scope(b->g, "model.%s", side);
    if (b->spec->norm_place == NND__MODEL__NORM_PLACE__PRE)
        s.x = block_norm_add(b, "norm", &s.x, s.add, b->spec->width);
    graph_block_end(b->g);
    return s.x;
}

/* The source's rows [B*S,h]. */
static struct value *read_source(struct build *b)
{
    const Nnd__Model *s = b->spec;
    const char *table = s->share_embeddings ? "model.decoder" : "model.encoder";
    struct attend_to self = {.len = b->m->source_len};
    b->chunk = &b->m->source;
    struct value *x = block_embed(b, "model.encoder", table,
                                  s->share_embeddings ? b->m->vocab : s->source_vocab);
    x = layers(b, "encoder", 0, s->encoder_layers, &self, NULL, x);
    b->chunk = &b->m->chunk;
    return x;
}

static struct value *write_target(struct build *b, struct value *source)
{
    const Nnd__Model *s = b->spec;
    struct attend_to self = {.causal = true};
    struct attend_to memory = {
        .memory = source, .rows = &b->m->source, .len = b->m->source_len};
    struct value *x = block_embed(b, "model.decoder", "model.decoder", b->m->vocab);
    x = layers(b, "decoder", s->encoder_layers, s->layers, &self, &memory, x);
    block_moe_finish(b);
    return block_head(b, "model.decoder", x);
}

static struct value *logits(struct build *b)
{
    return write_target(b, b->step ? NULL : read_source(b));
}

/* The keys and values of every layer's look at the source. */
static void encode(struct build *b)
{
    struct value *memory = read_source(b);
    for (uint32_t i = 0; i < b->spec->layers; i++) {
        char scope[64];
        snprintf(scope, sizeof(scope), "model.decoder.layers.%u.cross_attn", i);
        block_attention_keep(b, scope, memory);
    }
}

const struct family family_encdec = {.reads = true, .logits = logits, .encode = encode};
