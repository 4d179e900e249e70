/* SPDX-License-Identifier: Apache-2.0 */
/*
 * decoder.c - the decoder-only Transformer: pre-norm blocks of attention and a
 * feed-forward part, dense or of experts, per layer.
 */
#include <stdio.h>

#include "model/family.h"

static struct value *layer(struct build *b, uint32_t i, struct value *x)
{
    char scope[64], part[80];
    snprintf(scope, sizeof(scope), "model.layers.%u", i);
    graph_scope(b->g, "%s", scope);
    struct value *a = block_norm(b, "input_layernorm", x, b->spec->width);
    snprintf(part, sizeof(part), "%s.self_attn", scope);
    x = op_add(b->g, x,
               block_attention(b, part, a, &(struct attend_to){.causal = true}));
    graph_scope(b->g, "%s", scope);
    a = block_norm(b, "post_attention_layernorm", x, b->spec->width);
    snprintf(part, sizeof(part), "%s.mlp", scope);
    return op_add(b->g, x, block_feed_forward(b, i, part, a));
}

static struct value *logits(struct build *b)
{
    struct value *x = block_embed(b, "model", "model", b->m->vocab);
    for (uint32_t i = 0; i < b->spec->layers; i++)
        x = layer(b, i, x);
    block_moe_finish(b);
    graph_scope(b->g, "model");
    return block_head(b, "model", block_norm(b, "norm", x, b->spec->width));
}

const struct family family_decoder = {.logits = logits};
