/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attention.c - attention with grouped key/value heads (Vaswani et al. 2017; Ainslie
 * et al. 2023), of rows to themselves or to a memory; rotary positions, optional
 * norms of queries and keys; the same weights against a cache when decoding.
 */
#include <math.h>
#include <stdio.h>

#include "model/block.h"

double block_residual_std(const struct build *b)
{
    return b->spec->init_std / sqrt(2.0 * model_layers(b->m->job));
}

/* The weight and, where the job has them, the bias of a linear layer. */
static struct value *linear_weights(struct build *b, const char *name,
                                    const struct value *x, int64_t out, double std,
                                    struct value **bias)
{
    char part[64];
    snprintf(part, sizeof(part), "%s.weight", name);
    struct value *w =
        graph_weight(b->g, part, 0, shape_of(2, out, shape_cols(&x->shape)),
                     (struct param_init){.std = std}, true);
    *bias = NULL;
    if (b->spec->bias) {
        snprintf(part, sizeof(part), "%s.bias", name);
        *bias = graph_weight(b->g, part, 0, shape_of(1, out), (struct param_init){0},
                             false);
    }
    return w;
}

struct value *block_linear(struct build *b, const char *name, struct value *x,
                           int64_t out, double std)
{
    if (!x)
        return NULL;
    struct value *bias, *w = linear_weights(b, name, x, out, std, &bias);
    return op_linear(b->g, x, w, bias);
}

struct value *block_linear_act(struct build *b, const char *name, struct value *x,
                               int64_t out, double std)
{
    if (!x)
        return NULL;
    struct value *bias, *w = linear_weights(b, name, x, out, std, &bias);
    return op_linear_act(b->g, x, w, bias, block_act(b));
}

/* Which of the rows' heads are made, from what. */
struct heads {
    const char *name; /* of the projection                     */
    int64_t count;
    const char *norm; /* with model.qk_norm; NULL: never       */
    bool rotate;      /* with model.position rope              */
};

/* Rows [R,h] projected to [R,heads,D], normed and rotated as the job says. */
static struct value *heads_of(struct build *b, const struct heads *h, struct value *x)
{
    const Nnd__Model *s = b->spec;
    int64_t d = s->head_dim;
    x = block_linear(b, h->name, x, h->count * d, s->init_std);
    if (!x)
        return NULL;
    x = op_view(b->g, x, shape_of(3, shape_rows(&x->shape), h->count, d));
    if (h->norm && s->qk_norm)
        x = block_norm_rms(b, h->norm, x, d);
    if (h->rotate && s->position == NND__MODEL__POSITION__ROPE)
        x = op_rope(b->g, x, b->chunk->pos, s->rope_theta, false);
    return x;
}

/* The same of keys (0) or values (1). */
static struct value *keys_of(struct build *b, int which, bool rotate, struct value *x)
{
    int64_t n = b->spec->kv_heads;
    const struct heads h[] = {{"k_proj", n, "k_norm", rotate},
                              {"v_proj", n, NULL, false}};
    return heads_of(b, &h[which], x);
}

static const char *const cache_names[] = {"k", "v"};

struct value *block_kept(struct build *b, const char *name, const char *suffix,
                         int dtype, int64_t rows, int64_t cols)
{
    int64_t batch = b->m->chunk.batch, all = b->step ? b->step->rows : batch;
    char full[256];
    snprintf(full, sizeof(full), "%s%s%s", name, suffix,
             b->step ? "" : MODEL_FIRST_SUFFIX);
    struct value *v = graph_state(b->g, full, dtype, shape_of(2, all * rows, cols));
    return op_head(b->g, v, batch * rows);
}

/* The cache of this layer's keys or values, [rows, context, Hk, D], with the new
 * rows written into it. */
static struct value *cached(struct build *b, const char *scope, int which,
                            struct value *x)
{
    if (!x)
        return NULL;
    const Nnd__Model *s = b->spec;
    int64_t rows = x->shape.dim[0], hk = s->kv_heads, d = s->head_dim;
    int64_t context = s->context;
    char name[200];
    snprintf(name, sizeof(name), "%s.%s", scope, cache_names[which]);
    struct value *all =
        block_kept(b, name, MODEL_CACHE_SUFFIX, b->g->act, context, hk * d);
    x = op_view(b->g, x, shape_of(2, rows, hk * d));
    return op_view(b->g, op_rows_scatter(b->g, x, b->step->slot, all),
                   shape_of(4, rows, context, hk, d));
}

/* What block_attention_keep has kept, [rows, source_context, Hk, D]. */
static struct value *kept(struct build *b, const char *scope, int which)
{
    const Nnd__Model *s = b->spec;
    int64_t hk = s->kv_heads, d = s->head_dim, n = s->source_context;
    char name[200];
    snprintf(name, sizeof(name), "%s.%s", scope, cache_names[which]);
    struct value *all = block_kept(b, name, MODEL_SOURCE_SUFFIX, b->g->act, n, hk * d);
    return op_view(b->g, all, shape_of(4, b->m->chunk.batch, n, hk, d));
}

void block_attention_keep(struct build *b, const char *scope, struct value *memory)
{
    graph_scope(b->g, "%s", scope);
    for (int i = 0; i < 2; i++) {
        struct value *x = keys_of(b, i, false, memory), *to = kept(b, scope, i);
        if (x && to)
            op_copy(b->g, op_view(b->g, x, to->shape), to);
    }
}

/* Queries and keys, for those who ask where a row looks. */
static void keep_look(struct build *b, struct value *q, struct value *k)
{
    if (!q || !k)
        return;
    int64_t rows = b->m->chunk.batch, n = shape_elements(&q->shape) / rows;
    struct value *to = block_kept(b, "look", ".q", b->g->act, 1, n);
    op_copy(b->g, op_view(b->g, q, to->shape), to);
    b->step->query = to->root;
    b->step->key = k->root;
}

/* A row of each sequence against what is kept of it. */
static struct value *attend_step(struct build *b, const char *scope, struct value *q,
                                 struct value *x, const struct attend_to *to)
{
    struct value *kv[2];
    for (int i = 0; i < 2; i++)
        kv[i] =
            to->rows ? kept(b, scope, i) : cached(b, scope, i, keys_of(b, i, true, x));
    if (to->look)
        keep_look(b, q, kv[0]);
    return op_attention_cached(b->g, q, kv[0], kv[1],
                               to->rows ? to->len : b->step->len);
}

static struct value *attend(struct build *b, struct value *q, struct value *x,
                            const struct attend_to *to)
{
    const struct chunk *keys = to->rows ? to->rows : b->chunk;
    struct attention_span span = {.batch = b->chunk->batch,
                                  .queries = b->chunk->context,
                                  .keys = keys->context,
                                  .causal = to->causal,
                                  .len = keys->cu ? NULL : to->len,
                                  .cu_q = b->chunk->cu,
                                  .cu_k = keys->cu};
    struct value *from = to->rows ? to->memory : x;
    struct value *k = keys_of(b, 0, !to->rows, from);
    struct value *v = keys_of(b, 1, false, from);
    return op_attention_span(b->g, q, k, v, b->train ? b->spec->dropout : 0, &span,
                             b->chunk);
}

struct value *block_attention(struct build *b, const char *scope, struct value *x,
                              const struct attend_to *to)
{
    struct graph *g = b->g;
    const Nnd__Model *s = b->spec;
    graph_scope(g, "%s", scope);
    struct value *q =
        heads_of(b, &(struct heads){"q_proj", s->heads, "q_norm", !to->rows}, x);
    struct value *o = b->step ? attend_step(b, scope, q, x, to) : attend(b, q, x, to);
    if (!o)
        return NULL;
    o = op_view(g, o,
                shape_of(2, shape_rows(&x->shape), (int64_t)s->heads * s->head_dim));
    return block_dropout(b,
                         block_linear(b, "o_proj", o, s->width, block_residual_std(b)));
}
