/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - tokens, and learned positions, as rows.
 */
#include "model/block.h"

struct value *block_embed(struct build *b)
{
    struct graph *g = b->g;
    const Nnd__Model *s = b->spec;
    struct param_init init = {.std = s->init_std};
    struct value *id = b->step ? b->step->id : b->m->chunk.id;
    struct value *pos = b->step ? b->step->pos : b->m->chunk.pos;
    graph_scope(g, "model");
    struct value *table =
        graph_weight(g, "embed_tokens.weight", 0,
                     shape_of(2, b->m->vocab, (int64_t)s->width), init, true);
    struct value *x = op_embed(g, table, id);
    if (s->position == NND__MODEL__POSITION__LEARNED) {
        struct value *place = graph_weight(
            g, "embed_positions.weight", 0,
            shape_of(2, (int64_t)s->context, (int64_t)s->width), init, true);
        x = op_add(g, x, op_embed(g, place, pos));
    }
    return block_dropout(b, x);
}

struct value *block_dropout(struct build *b, struct value *x)
{
    return b->train ? op_dropout(b->g, x, b->spec->dropout, &b->m->chunk) : x;
}
