/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c - causal self-attention with grouped key/value heads (Vaswani et
 * al. 2017; Ainslie et al. 2023), rotary positions, optional norms of queries
 * and keys; the same weights against a cache when decoding.
 */
#include <math.h>
#include <stdio.h>

#include "model/block.h"

double block_residual_std(const struct build *b)
{
    return b->spec->init_std / sqrt(2.0 * b->spec->layers);
}

struct value *block_linear(struct build *b, const char *name, struct value *x,
                           int64_t out, double std)
{
    if (!x)
        return NULL;
    char part[64];
    snprintf(part, sizeof(part), "%s.weight", name);
    struct value *w =
        graph_weight(b->g, part, 0, shape_of(2, out, shape_cols(&x->shape)),
                     (struct param_init){.std = std}, true);
    struct value *bias = NULL;
    if (b->spec->bias) {
        snprintf(part, sizeof(part), "%s.bias", name);
        bias = graph_weight(b->g, part, 0, shape_of(1, out), (struct param_init){0},
                            false);
    }
    return op_linear(b->g, x, w, bias);
}

/* [T, heads * D] as [T, heads, D], normed and rotated as the job says. */
static struct value *heads_of(struct build *b, struct value *x, int64_t heads,
                              const char *norm)
{
    if (!x)
        return NULL;
    const Nnd__Model *s = b->spec;
    int64_t rows = shape_rows(&x->shape), d = s->head_dim;
    x = op_view(b->g, x, shape_of(3, rows, heads, d));
    if (norm && s->qk_norm)
        x = block_norm_rms(b, norm, x, d);
    if (norm && s->position == NND__MODEL__POSITION__ROPE)
        x = op_rope(b->g, x, b->step ? b->step->pos : b->m->chunk.pos, s->rope_theta,
                    false);
    return x;
}

/* The cache of this layer's keys or values, [rows, context, Hk, D], with the new
 * rows written into it. */
static struct value *cached(struct build *b, const char *scope, const char *what,
                            struct value *x)
{
    if (!x)
        return NULL;
    const Nnd__Model *s = b->spec;
    int64_t rows = x->shape.dim[0], hk = s->kv_heads, d = s->head_dim;
    int64_t context = s->context;
    char name[200];
    snprintf(name, sizeof(name), "%s.cache.%s", scope, what);
    struct value *all =
        graph_state(b->g, name, b->g->act, shape_of(2, rows * context, hk * d));
    x = op_view(b->g, x, shape_of(2, rows, hk * d));
    return op_view(b->g, op_rows_scatter(b->g, x, b->step->slot, all),
                   shape_of(4, rows, context, hk, d));
}

struct value *block_attention(struct build *b, const char *scope, struct value *x)
{
    struct graph *g = b->g;
    const Nnd__Model *s = b->spec;
    int64_t h = s->heads, hk = s->kv_heads, d = s->head_dim;
    graph_scope(g, "%s", scope);
    struct value *q = block_linear(b, "q_proj", x, h * d, s->init_std);
    struct value *k = block_linear(b, "k_proj", x, hk * d, s->init_std);
    struct value *v = block_linear(b, "v_proj", x, hk * d, s->init_std);
    q = heads_of(b, q, h, "q_norm");
    k = heads_of(b, k, hk, "k_norm");
    v = heads_of(b, v, hk, NULL);
    struct value *o;
    if (b->step)
        o = op_attention_cached(g, q, cached(b, scope, "k", k),
                                cached(b, scope, "v", v), b->step->len);
    else
        o = op_attention(g, q, k, v, b->train ? s->dropout : 0, &b->m->chunk);
    if (!o)
        return NULL;
    o = op_view(g, o, shape_of(2, shape_rows(&x->shape), h * d));
    return block_dropout(b,
                         block_linear(b, "o_proj", o, s->width, block_residual_std(b)));
}
