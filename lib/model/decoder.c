/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.c - the decoder-only Transformer: pre-norm blocks of attention and a
 * feed-forward part, dense or of experts, per layer.
 */
#include <stdio.h>

#include "model/family.h"

/* The residual stream, and what the last block has to add to it: the next norm
 * does so on its way. */
struct stream {
    struct value *x, *add;
};

static void layer(struct build *b, uint32_t i, struct stream *s)
{
    int64_t h = b->spec->width;
    char scope[64], part[80];
    snprintf(scope, sizeof(scope), "model.layers.%u", i);
    graph_scope(b->g, "%s", scope);
    struct value *a = block_norm_add(b, "input_layernorm", &s->x, s->add, h);
    graph_block(b->g);
    snprintf(part, sizeof(part), "%s.self_attn", scope);
    s->add = block_attention(b, part, a, &(struct attend_to){.causal = true});
    graph_scope(b->g, "%s", scope);
    a = block_norm_add(b, "post_attention_layernorm", &s->x, s->add, h);
    snprintf(part, sizeof(part), "%s.mlp", scope);
    s->add = block_feed_forward(b, i, part, a);
}

static struct value *logits(struct build *b)
{
    struct stream s = {block_embed(b, "model", "model", b->m->vocab), NULL};
    for (uint32_t i = 0; i < b->spec->layers; i++)
        layer(b, i, &s);
    block_moe_finish(b);
    graph_scope(b->g, "model");
    struct value *x = block_norm_add(b, "norm", &s.x, s.add, b->spec->width);
    graph_block_end(b->g);
    return block_head(b, "model", x);
}

const struct family family_decoder = {.logits = logits};
