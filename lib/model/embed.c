/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - both ends of a model: tokens with their positions as rows, and rows as
 * logits.
 */
#include <math.h>

#include "model/block.h"

/* The deviation that leaves rows of about 1 after scaling. */
static struct param_init table_init(const Nnd__Model *s)
{
    return (struct param_init){.std = s->scale_embeddings ? 1 / sqrt(s->width)
                                                          : s->init_std};
}

static struct value *table_of(struct build *b, const char *scope, int64_t vocab)
{
    graph_scope(b->g, "%s", scope);
    return graph_weight(b->g, "embed_tokens.weight", 0,
                        shape_of(2, vocab, (int64_t)b->spec->width),
                        table_init(b->spec), true);
}

/* PE[p, 2i] = sin(p / 10000^(2i/d)), PE[p, 2i+1] = cos of the same (Vaswani et al.
 * 2017, section 3.5); of an odd d the last cosine is left out. */
static void fill_sinusoid(const struct shape *s, float *out)
{
    int64_t d = s->dim[1];
    for (int64_t p = 0; p < s->dim[0]; p++)
        for (int64_t i = 0; i < d; i++) {
            double angle = (double)p / pow(10000, (double)(i - i % 2) / (double)d);
            out[p * d + i] = (float)(i % 2 ? cos(angle) : sin(angle));
        }
}

/* How many places there are for the chunk at hand. */
static int64_t places(const struct build *b)
{
    return b->chunk == &b->m->source ? b->spec->source_context : b->spec->context;
}

static struct value *position_table(struct build *b, const char *scope)
{
    const Nnd__Model *s = b->spec;
    int64_t most = s->context > s->source_context ? s->context : s->source_context;
    switch (s->position) {
    case NND__MODEL__POSITION__LEARNED:
        graph_scope(b->g, "%s", scope);
        return graph_weight(b->g, "embed_positions.weight", 0,
                            shape_of(2, places(b), (int64_t)s->width),
                            (struct param_init){.std = s->init_std}, true);
    case NND__MODEL__POSITION__SINUSOID:
        return graph_constant(b->g, "sinusoid", b->g->act,
                              shape_of(2, most, (int64_t)s->width), fill_sinusoid);
    default:
        return NULL;
    }
}

struct value *block_embed(struct build *b, const char *scope, const char *table,
                          int64_t vocab)
{
    const Nnd__Model *s = b->spec;
    struct value *x = op_embed_scaled(b->g, table_of(b, table, vocab), b->chunk->id,
                                      s->scale_embeddings ? sqrt(s->width) : 1);
    struct value *place = position_table(b, scope);
    graph_scope(b->g, "%s", scope);
    if (place)
        x = op_add(b->g, x, op_embed(b->g, place, b->chunk->pos));
    return block_dropout(b, x);
}

struct value *block_head(struct build *b, const char *table, struct value *x)
{
    const Nnd__Model *s = b->spec;
    struct value *w;
    if (s->tie_embeddings) {
        w = table_of(b, table, b->m->vocab);
    } else {
        graph_scope(b->g, "%s", "");
        w = graph_weight(b->g, "lm_head.weight", 0,
                         shape_of(2, b->m->vocab, (int64_t)s->width),
                         (struct param_init){.std = s->init_std}, true);
    }
    graph_scope(b->g, "lm_head");
    return b->step ? op_linear_wide(b->g, x, w) : op_linear(b->g, x, w, NULL);
}

struct value *block_dropout(struct build *b, struct value *x)
{
    return b->train ? op_dropout(b->g, x, b->spec->dropout, b->chunk) : x;
}
