/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mlp.c - the feed-forward block: of experts (moe.c), or dense: down(act(gate x) *
 * up x), or down(act(up x)).
 */
#include "model/block.h"

enum act block_act(const struct build *b)
{
    static const enum act acts[] = {
        [NND__MODEL__ACTIVATION__GELU] = ACT_GELU,
        [NND__MODEL__ACTIVATION__GELU_TANH] = ACT_GELU_TANH,
        [NND__MODEL__ACTIVATION__RELU] = ACT_RELU,
    };
    return acts[b->spec->activation];
}

struct value *block_feed_forward(struct build *b, uint32_t layer, const char *scope,
                                 struct value *x)
{
    struct value *y = model_is_moe(b->m->job, layer)
                          ? block_moe(b, scope, x)
                          : block_mlp(b, scope, x, b->spec->ffn);
    return block_dropout(b, y);
}

struct value *block_mlp(struct build *b, const char *scope, struct value *x, int64_t f)
{
    struct graph *g = b->g;
    const Nnd__Model *s = b->spec;
    graph_scope(g, "%s", scope);
    struct value *a;
    if (s->activation == NND__MODEL__ACTIVATION__SWIGLU) {
        struct value *gate = block_linear(b, "gate_proj", x, f, s->init_std);
        a = op_swiglu(g, gate, block_linear(b, "up_proj", x, f, s->init_std));
    } else {
        a = block_linear_act(b, "up_proj", x, f, s->init_std);
    }
    return block_linear(b, "down_proj", a, s->width, block_residual_std(b));
}
