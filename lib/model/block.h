/* SPDX-License-Identifier: Apache-2.0 */
/*
 * block.h - the parts that model families are put together from.
 *
 * Each takes and returns rows [T,h]; its weights are named under the graph's
 * scope, so a family sets the scope and calls the block.
 *
 * Letters: T rows of a chunk, h width, H heads, Hk key/value heads, D head
 * size, f feed-forward width, E experts, K experts per row, V vocabulary, S rows of
 * a source.
 */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/model.h"

/* What a forward is for, and what it gathers on the way. */
struct build {
    const struct model *m;
    struct graph *g;
    const Nnd__Model *spec;
    const struct chunk *chunk; /* the rows at hand: m->chunk or m->source   */
    bool train;
    struct decode_step *step; /* decoding: rows against a cache; else NULL  */
    struct tally tally;       /* routing over all layers (hf_concat)        */
    int routes;               /* MoE layers so far                          */
    struct route *route;      /* [layers]                                   */
    struct value **z_weight;  /* [layers]                                   */
};

/* Tokens of the chunk as rows, and where they stand.  `table` is the scope of the
 * embedding [vocab,h], `scope` that of learned positions. */
struct value *block_embed(struct build *b, const char *scope, const char *table,
                          int64_t vocab);

/* Rows as logits [T,V], wide ones when decoding; `table` is the scope of the
 * embedding that model.tie_embeddings ties to. */
struct value *block_head(struct build *b, const char *table, struct value *x);

/* The norm of x + add (NULL: of x); *x becomes what it was taken of. */
struct value *block_norm_add(struct build *b, const char *name, struct value **x,
                             struct value *add, int64_t n);
struct value *block_norm_rms(struct build *b, const char *name, struct value *x,
                             int64_t n);
struct value *block_linear(struct build *b, const char *name, struct value *x,
                           int64_t out, double std);
/* block_act() of it. */
struct value *block_linear_act(struct build *b, const char *name, struct value *x,
                               int64_t out, double std);

/* What rows attend to: themselves, or a memory. */
struct attend_to {
    bool causal;              /* themselves: those before, and itself     */
    const struct chunk *rows; /* of the memory; NULL: themselves          */
    struct value *memory;     /* its rows [B*S,h]; unused when decoding   */
    struct value *len;        /* i32 [B]: how many are real; NULL: all    */
    bool look;                /* when decoding, keep what says where      */
};
struct value *block_attention(struct build *b, const char *scope, struct value *x,
                              const struct attend_to *to);

/* A state of decoding, `rows` of numbers for each sequence, which is named by `suffix`:
 * those of the sequences at hand.  Without b->step: what "encode" makes for it. */
struct value *block_kept(struct build *b, const char *name, const char *suffix,
                         int dtype, int64_t rows, int64_t cols);

/* Before decoding: keep the keys and values of a memory, for block_attention. */
void block_attention_keep(struct build *b, const char *scope, struct value *memory);

/* Rows of the chunk at hand as operators want them that go step by step: of each of its
 * sequences equally many; and back.  The same rows where they are so already. */
struct value *block_pad(struct build *b, struct value *x);
struct value *block_unpad(struct build *b, struct value *x);

/* A layer of recurrent cells. */
struct cells {
    bool reverse;           /* from a row's last step on               */
    struct value *len;      /* i32 [B]: real steps; NULL: all          */
    struct rnn_state first; /* training; decoding goes on from its own */
    struct value *also;     /* rows that come to each step besides     */
    int64_t width;          /* of a state; 0: the model's              */
};
struct rnn block_cells(struct build *b, const char *scope, struct value *x,
                       const struct cells *c);

/* The same a step at a time: what an input [T,..] gives the gates, and one step of the
 * layer, its gates [B,..], from state s on. */
struct value *block_cells_gates(struct build *b, const char *scope, struct value *x);
struct rnn block_cells_step(struct build *b, const char *scope, struct value *gates,
                            struct value *also, struct rnn_state s);

/* The chunk at hand with the rows of a step side by side, and of that the rows of
 * step t: ids, places and samples. */
struct chunk block_steps(struct build *b);
struct chunk block_step(struct build *b, const struct chunk *steps, int64_t t);

/* Scheduled sampling where a step needs the one before it: decode the chunk's rows step
 * by step, each given the target's token or the one guessed, as the coin says.  next:
 * from the embedded tokens [B,h] to logits [B,V]; `scope` is that of the embedding. */
typedef struct value *block_step_f(struct build *b, struct value *x, void *arg);
void block_guess(struct build *b, const char *scope, block_step_f *next, void *arg);

/* Decoding: the state of a layer before the step. */
struct value *block_cells_state(struct build *b, const char *scope);

/* Before decoding: the state that a layer begins with. */
void block_cells_keep(struct build *b, const char *scope, const struct rnn_state *s);

struct value *block_mlp(struct build *b, const char *scope, struct value *x, int64_t f);
struct value *block_moe(struct build *b, const char *scope, struct value *x);

/* One of the two, as the job says of layer number `layer`, with dropout behind. */
struct value *block_feed_forward(struct build *b, uint32_t layer, const char *scope,
                                 struct value *x);
struct value *block_dropout(struct build *b, struct value *x);

/* What model.activation names, when that is no SwiGLU, which has two inputs. */
enum act block_act(const struct build *b);

/* Connect the balancing losses when all MoE layers have been built. */
void block_moe_finish(struct build *b);

/* Deviation of weights that feed the residual stream: init_std / sqrt(2 layers)
 * (Radford et al. 2019, section 2.3). */
double block_residual_std(const struct build *b);

#endif
