/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnnlm.c - the recurrent language model (Mikolov et al. 2010): layers of cells that
 * read a token and are asked for the next.
 *
 * With data.sampling sequential a row of the batch is a stream: its state goes on
 * where the step before left it, and no gradient flows back there.
 */
#include <stdio.h>

#include "model/family.h"

static struct rnn_state carried(const struct build *b, uint32_t layer)
{
    int n = model_cell_states(b->m->job);
    const struct model_carry *c = b->m->carry + (size_t)layer * (size_t)n;
    if (!b->m->ncarry || b->step)
        return (struct rnn_state){0};
    return (struct rnn_state){c[0].in, n > 1 ? c[1].in : NULL};
}

static void carry_on(const struct build *b, uint32_t layer, const struct rnn *r)
{
    int n = model_cell_states(b->m->job);
    struct value *last[] = {r->h, r->c};
    for (int i = 0; b->m->ncarry && !b->step && i < n; i++)
        if (last[i])
            op_copy(b->g, last[i], b->m->carry[(int)layer * n + i].out);
}

static struct value *logits(struct build *b)
{
    struct value *x = block_embed(b, "model", "model", b->m->vocab);
    for (uint32_t i = 0; i < b->spec->layers; i++) {
        char scope[64];
        snprintf(scope, sizeof(scope), "model.layers.%u", i);
        struct rnn r =
            block_cells(b, scope, x, &(struct cells){.first = carried(b, i)});
        carry_on(b, i, &r);
        x = block_dropout(b, r.y);
    }
    return block_head(b, "model", x);
}

/* One step of all layers: arg is their states. */
static struct value *step(struct build *b, struct value *x, void *arg)
{
    struct rnn_state *state = arg;
    for (uint32_t i = 0; i < b->spec->layers; i++) {
        char scope[64];
        snprintf(scope, sizeof(scope), "model.layers.%u", i);
        struct value *gates = block_cells_gates(b, scope, x);
        struct rnn r = block_cells_step(b, scope, gates, NULL, state[i]);
        state[i] = (struct rnn_state){r.h, r.c};
        x = r.y;
    }
    return block_head(b, "model", x);
}

static void guess(struct build *b)
{
    struct rnn_state *state = arena_calloc(b->g->mem, b->spec->layers, sizeof(*state));
    for (uint32_t i = 0; i < b->spec->layers; i++)
        state[i] = carried(b, i);
    block_guess(b, "model", step, state);
}

const struct family family_rnnlm = {.logits = logits, .guess = guess, .endless = true};
