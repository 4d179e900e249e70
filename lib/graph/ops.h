/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ops.h - the vocabulary of model code: a builder for each operator.
 *
 * Every builder appends nodes to the graph's open program and returns the
 * result; with a NULL argument or after an error it returns NULL.  T rows
 * (tokens of a chunk), N columns, H heads, D head size, E experts.
 */
#ifndef GRAPH_OPS_H
#define GRAPH_OPS_H

#include "graph/graph.h"
#include "plan/shard.h"

/* The chunk that a forward program works on; inputs of the graph. */
/* How packed sequences are padded to equally many rows (op_pad.c): inputs, which go
 * with the chunk's cu; or all NULL. */
struct pad {
    struct value *from, *to; /* i32 [batch*context,1], [rows,1]: of each padded row the
                                packed one, and the other way round; -1: none */
    struct value *len;       /* i32 [batch] */
};

struct chunk {
    int64_t batch, context;     /* sequences, rows of each (packed: at most) */
    int64_t rows;               /* T: batch * context; packed: fewer         */
    struct value *cu;           /* packed: i32 [batch + 1], where they begin */
    struct pad pad;             /* packed, for a family that pads            */
    struct value *id, *target;  /* i32 [T]; target -1: no loss         */
    struct value *pos, *sample; /* i32 [T]; pos -1: padding            */
    struct value *rng;          /* i64 [2]: seed, step                 */
    struct value *seed;         /* f32 [1]: loss scale / real targets */
};

/* y [T,N] = x [T,K] W^T + b; W [N,K] as torch.nn.Linear keeps it; b may be NULL.
 * x may have more leading dims. */
struct value *op_linear(struct graph *g, struct value *x, struct value *w,
                        struct value *b);

/* Functions of one number that stand between layers; GELU by erf, and its tanh form. */
enum act { ACT_GELU, ACT_GELU_TANH, ACT_RELU };

/* y = act(x W^T + b), in one pass each way where y has one user, a linear layer. */
struct value *op_linear_act(struct graph *g, struct value *x, struct value *w,
                            struct value *b, enum act act);

/* The same with a wide result (router, logits when asked for). */
struct value *op_linear_wide(struct graph *g, struct value *x, struct value *w);

/* The gradient of a weight w [N,K] that made dy's value of x: dy^T x, a sum over
 * rows, in the type that gradients of w are made in. */
struct value *op_linear_wgrad(struct graph *g, struct value *dy, struct value *x,
                              struct value *w);

/* y = a + b, the sum rounded once. */
struct value *op_add(struct graph *g, struct value *a, struct value *b);

/* The same memory with another shape of as many elements. */
struct value *op_view(struct graph *g, struct value *x, struct shape s);

/* Elements of x from `offset` on, seen as shape s; no gradient. */
struct value *op_part(struct graph *g, struct value *x, int64_t offset, struct shape s);

/* The same memory up to number n of the first dim; no gradient. */
struct value *op_head(struct graph *g, struct value *x, int64_t n);

/* Root-mean-square and layer norm over the last axis; b may be NULL. */
struct value *op_norm_rms(struct graph *g, struct value *x, struct value *w,
                          double eps);
struct value *op_norm_layer(struct graph *g, struct value *x, struct value *w,
                            struct value *b, double eps);

/* The same of x + add, in one pass; *x becomes that sum.  `add` NULL: nothing to. */
struct value *op_norm_rms_add(struct graph *g, struct value **x, struct value *add,
                              struct value *w, double eps);
struct value *op_norm_layer_add(struct graph *g, struct value **x, struct value *add,
                                struct value *w, struct value *b, double eps);

/* Rotary positions on x [T,H,D]. */
struct value *op_rope(struct graph *g, struct value *x, struct value *pos, double theta,
                      bool interleaved);

struct value *op_swiglu(struct graph *g, struct value *a, struct value *b);
struct value *op_act(struct graph *g, struct value *x, enum act act);
/* The rule (op.h) that makes act(x) again. */
struct again;
bool op_act_again(struct value *x, enum act act, struct again *a);
/* dy * act'(x). */
struct value *op_act_slope(struct graph *g, struct value *x, struct value *dy,
                           enum act act);
/* The end (enum nnd_epilogue) of a product that applies act, or multiplies by its
 * slope. */
int op_act_epilogue(enum act act, bool slope);

/* softmax(scale x) over the first len[t] columns of row t, 0 in the others; len i32
 * [T], NULL: all count. */
struct value *op_softmax(struct graph *g, struct value *x, struct value *len,
                         double scale);

/* Rows of table [V,N] by number, times scale; id -1: a row of zeros. */
struct value *op_embed(struct graph *g, struct value *table, struct value *id);
struct value *op_embed_scaled(struct graph *g, struct value *table, struct value *id,
                              double scale);

/* Identity when p is 0. */
struct value *op_dropout(struct graph *g, struct value *x, double p,
                         const struct chunk *c);

/* Causal self-attention within each of the chunk's sequences: q [T,H,D],
 * k, v [T,Hk,D]; p: dropout of the weights. */
struct value *op_attention(struct graph *g, struct value *q, struct value *k,
                           struct value *v, double p, const struct chunk *c);

/* The same between two lots of sequences: q [batch*queries,H,D], k, v
 * [batch*keys,Hk,D], of which the first len[b] count (NULL: all).  c: of the
 * queries' rows, for dropout. */
struct attention_span {
    int64_t batch, queries, keys;
    bool causal;
    struct value *len; /* i32 [batch], or NULL */

    /* Sequences of any length, one behind the other: number b has the rows
     * [cu_q[b], cu_q[b+1]) and keys [cu_k[b], cu_k[b+1]), at most `queries` and `keys`
     * of them.  i32 [batch + 1], or both NULL. */
    struct value *cu_q, *cu_k;
};
struct value *op_attention_span(struct graph *g, struct value *q, struct value *k,
                                struct value *v, double p,
                                const struct attention_span *s, const struct chunk *c);

/* One query row per sequence against a cache [B,S,Hk,D] of which the first
 * len[b] rows count; no gradient. */
struct value *op_attention_cached(struct graph *g, struct value *q, struct value *k,
                                  struct value *v, struct value *len);

/* dst [...,N] (a state or input) with row i of x [R,...] written at row index[i]
 * of dst, a row being as many elements as x has behind its first dim; no gradient. */
struct value *op_rows_scatter(struct graph *g, struct value *x, struct value *index,
                              struct value *dst);

/* y[i] = x[index[i]] along the first dim; no gradient. */
struct value *op_rows_gather(struct graph *g, struct value *x, struct value *index);

/* A step's rows of sequences (op_steps.c): rows of x [S,N] by number, index i32 [R].
 * Where a gradient is wanted, the takes of x take every row once. */
struct value *op_rows_take(struct graph *g, struct value *x, struct value *index);

/* x [R,N] as the rows `index` of a buffer [rows,N]: of `into`, which earlier puts have
 * begun, or, NULL, a new one.  A row is read only after it was put. */
struct value *op_rows_put(struct graph *g, struct value *into, struct value *x,
                          struct value *index, int64_t rows);

/* Packed rows [R,N] as padded ones [batch*context,N], zeros where there is none, and
 * back, zeros behind the last one. */
struct value *op_pad(struct graph *g, struct value *x, const struct pad *p);
struct value *op_unpad(struct graph *g, struct value *x, const struct pad *p);

/* Whole numbers of rows, batch first, as [T,B]; of packed rows by their pad, `none`
 * where there is none.  p NULL: rows [B,T]. */
struct value *op_turn(struct graph *g, struct value *x, int64_t batch,
                      const struct pad *p, int32_t none);

/* Scheduled sampling: which tokens are given, c's or what was guessed in their place?
 * A coin is thrown for each: share (wide [1]) of them are c's, and always the first of
 * a sample.  What is given is written to mixed (i32, a state), and returned.
 * op_teach: guess [T,1], that of a row is about the one behind it.  op_teach_step: c
 * has the rows of one step, that go to the rows first, first + stride, ... of mixed,
 * counted as p pads them, which NULL does not; guess is about these rows, NULL: there
 * is none.
 * op_teach_guess: what logits of c's rows say comes next, the likeliest, or drawn. */
struct teach {
    struct value *share, *mixed;
    bool drawn;
};
struct value *op_teach_guess(struct graph *g, const struct chunk *c,
                             const struct teach *t, struct value *logits);
struct value *op_teach(struct graph *g, const struct chunk *c, const struct teach *t,
                       struct value *guess);
struct value *op_teach_step(struct graph *g, const struct chunk *c,
                            const struct teach *t, struct value *guess, int64_t first,
                            int64_t stride, const struct pad *p);

/* A recurrent layer (op_recurrent.c); formulas, and the order of the gates, stand
 * at "rnn.seq" in <nnd/ops.h>.  x [B*T,G*H] is what op_linear made of the
 * input; rows in the order of a chunk, b * T + t, or t * B + b when time_major.
 * A row's state stands still after its length, and its outputs there are 0.  pad: x
 * is what op_pad made by it, and sums over all steps leave out what it put in. */
struct rnn_config {
    int cell;                 /* NND_CELL_...                          */
    bool reverse, time_major; /* reverse: from a row's last step on    */
    struct pad pad;
};
struct rnn_weights {
    struct value *u, *b; /* [G*H,H], [G*H] or NULL */
};
struct rnn_state {
    struct value *h, *c; /* [B,H], wide [B,H] (lstm); NULL: zeros */
};
struct rnn {
    struct value *y;     /* [B*T,H]: the state after each step       */
    struct value *h, *c; /* the last state, as rnn_state has the first */
};

/* len i32 [B], or NULL: all rows have T = `steps`. */
struct rnn op_rnn(struct graph *g, struct rnn_config c, struct value *x, int64_t steps,
                  struct rnn_weights w, struct rnn_state first, struct value *len);

/* One step of B rows, x [B,G*H]; the same bits as in a sequence. */
struct rnn op_rnn_cell(struct graph *g, int cell, struct value *x, struct rnn_weights w,
                       struct rnn_state state);

/* Attention of T queries a sequence over S keys with values (op_attend.c): q
 * [B*T,A], k [B*S,A], v [B*S,N], of which the first len[b] count (NULL: all).
 * add: w [A] weighs tanh(q + k).  weight is for looking at: no gradient flows
 * through it. */
struct attend {
    struct value *o, *weight; /* [B*T,N], wide [B*T,S] */
};
struct attend op_attend_add(struct graph *g, int64_t batch, struct value *q,
                            struct value *k, struct value *v, struct value *w,
                            struct value *len);
struct attend op_attend_dot(struct graph *g, int64_t batch, struct value *q,
                            struct value *k, struct value *v, double scale,
                            struct value *len);

/* Columns of rows (op_choose.c), without gradients: the k largest of each row of x,
 * falling; one drawn by the rule of "sample" in <nnd/ops.h>, seed i64 [R], pos
 * i32 [R]; those that index [R,K] names. */
struct sample_config {
    double temperature, top_p;
    int32_t top_k; /* 0: all */
};
struct choice {
    struct value *index, *value; /* i32 [R,k], wide [R,k] */
};
struct choice op_argmax(struct graph *g, struct value *x, int64_t k);
struct choice op_sample(struct graph *g, struct value *x, struct sample_config c,
                        struct value *seed, struct value *pos);
struct value *op_select(struct graph *g, struct value *x, struct value *index);

/* Terminal: loss per row, wide [T]. */
struct value *op_xent(struct graph *g, struct value *logits, const struct chunk *c);

/* The same loss, with the gradient of its smoothed form: a share `smoothing` of the
 * target spread evenly over all tokens (Szegedy et al. 2016, as PyTorch has it). */
struct value *op_xent_smooth(struct graph *g, struct value *logits, double smoothing,
                             const struct chunk *c);

/* The loss of a student beside its teacher's logits, which get no gradient; see
 * op_distill.c. */
struct value *op_distill(struct graph *g, struct value *logits, struct value *teacher,
                         double alpha, double temperature, const struct chunk *c);

/* The same of the logits x w^T, x [T,N], w [V,N], which are never stored whole. */
struct value *op_xent_linear(struct graph *g, struct value *x, struct value *w,
                             const struct chunk *c);

/* Routing of T rows over E experts. */
struct route_config {
    int top_k, score; /* NND_SCORE_... */
    bool renormalize;
    double scale;
    int64_t group_rows; /* rows of a balancing group: T, or a sequence */
};

struct route {
    struct node *node;
    struct value *expert, *gate; /* i32, wide [T,top_k]           */
    struct value *count, *psum;  /* i32, f64 [groups,E]           */
    struct value *zsq;           /* f64 [1]                       */
};

/* z wide [T,E]; bias wide [E] or NULL.  Terminal: besides dgate, its backward
 * takes aux_weight wide [groups,E] and z_weight f32 [1], set between here and
 * graph_backward with op_route_aux (either may be NULL). */
struct route op_route(struct graph *g, struct value *z, struct value *bias,
                      struct route_config cfg, const struct chunk *c);
void op_route_aux(struct route *r, struct value *aux_weight, struct value *z_weight);

/* Order choices by (expert, row). */
struct sort {
    struct value *place, *source; /* i32 [T,top_k], [T*top_k] */
    struct value *total;          /* i32 [E]                  */
};
struct sort op_sort(struct graph *g, struct value *expert, int experts);

/* Rows of x in sorted order [T*top_k,N]; its backward adds them up again. */
struct value *op_permute(struct graph *g, struct value *x, struct sort *s);

/* y[t] = sum_k gate[t,k] * x[place[t,k]]; backward gives dx and dgate.  gate NULL:
 * the plain sum. */
struct value *op_unpermute(struct graph *g, struct value *x, struct value *gate,
                           struct sort *s);

/* Segments of rows in the order of experts, i32 [nseg,4] (struct nnd_segment): seg_m
 * with index into the experts' weights, seg_k the same rows with index into `leaves`
 * matrices of weight gradients. */
struct window {
    struct value *seg_m, *seg_k;
};

/* Experts: y[seg] = x[seg] W[index]^T, W [G,N,K] stacked.  With `order` x has the rows
 * of op_permute's x, which are found as they are read; NULL: they are in order. */
struct value *op_grouped(struct graph *g, struct value *x, const struct sort *order,
                         struct value *w, struct window seg, int leaves);

/* y = silu(x gate^T) * (x up^T) by segments: both products and the activation in one
 * call, and backward in one where y has one user, an op_grouped. */
struct value *op_grouped_swiglu(struct graph *g, struct value *x,
                                const struct sort *order, struct value *gate,
                                struct value *up, struct window seg, int leaves);

/* Expert parallelism (op_expert.c).  counts i32 [ep,E]: rows from each rank of
 * the group to each expert.  Arrivals are rows at their experts' rank, at most
 * `capacity` a round; with ep 1 they are the sorted rows themselves. */
struct value *op_exchange(struct graph *g, struct value *total);
struct window op_window(struct graph *g, struct value *counts, int64_t capacity);
struct value *op_dispatch(struct graph *g, struct value *x, struct value *counts,
                          int64_t capacity);
struct value *op_collect(struct graph *g, struct value *y, struct value *counts,
                         int64_t capacity, int64_t rows);

/* Statistics, a row a chunk (op_stats.c): a state f64 [chunks, STATS_COUNT]. */
enum { STATS_LOSS, STATS_AUX, STATS_Z, STATS_COUNT = 4 };
void op_stats_begin(struct graph *g, struct value *stats);
void op_stats_loss(struct graph *g, struct value *loss, struct value *stats);

/* Counts i32 and probability sums f64 [groups,E] of one layer, or of several. */
struct tally {
    struct value *count, *psum;
};
struct tally op_tally(struct graph *g, struct tally sum, struct tally more);

/* The balancing losses of one chunk, given how many layers the tally holds;
 * concat: Hugging Face's convention, layers concatenated before averaging.
 * scale wide [1]: loss scale / chunks. */
#define BALANCE_EXPERTS_MAX 4096 /* as many as a job may have */
struct balance_config {
    int top_k, layers;
    bool concat;
    double aux_coef, z_coef;
};
struct balance {
    struct value *aux_weight, *z_weight; /* for op_route_aux */
};
struct balance op_balance(struct graph *g, struct balance_config c, struct tally t,
                          struct value *zsq, struct value *stats, struct value *scale);

/* Add a layer's counts to row `row` of the step's loads, a state i64 [layers,E]. */
void op_load(struct graph *g, struct value *count, struct value *load, int row);

/* Loads, and rows of statistics, of all ranks to all ranks (op_report.c). */
void op_load_sum(struct graph *g, struct value *load);
void op_stats_all(struct graph *g, struct value *stats);

/* ZeRO-1 (op_zero.c) over the replicas of a plane; nothing is added for one.
 * reduce: buffer 0 of the gradients becomes the sum over replicas, at each
 * element's owner; gather: owners' weights to all. */
void op_reduce(struct graph *g, int plane, const struct shard *s);
void op_gather(struct graph *g, int plane, const struct shard *s);

/* Where the partial sums of squares lie: rank r's are [first[r], +blocks[r]) of
 * `total`; order[i]: the canonical number of the i-th (tensors in order of
 * the graph, experts by number, blocks). */
struct norm_layout {
    const int64_t *first, *blocks, *order;
    int64_t total;
};

/* norm (state f64 [1]) = sqrt(sum of blocks, in canonical order). */
void op_norm(struct graph *g, struct norm_layout l, struct value *blocks,
             struct value *norm);

/* Optimizer pieces: partial sums of squares of grad (wide [n]) into
 * blocks[first...] (a state, f64); one update of n elements (v NULL: SGD; out
 * NULL: w is the weight itself). */
void op_sqnorm(struct graph *g, struct value *grad, struct value *blocks,
               int64_t first);
struct optim_config {
    const char *kind; /* "opt.adamw", "opt.adam", "opt.sgd" */
    double beta1, beta2, eps, decay;
};
void op_optim(struct graph *g, struct optim_config cfg, struct value *grad,
              struct value *w, struct value *m, struct value *v, struct value *out,
              struct value *hyper, struct value *skip);

/* The rates of a step, f32 [NND_HYPER_COUNT], of what is given, f64 [NND_HYPER_COUNT],
 * the gradients' norm and the losses; skip, a state i32 [1], says whether one of them
 * is not finite. */
struct value *op_hyper(struct graph *g, struct value *given, struct value *norm,
                       struct value *stats, struct value *skip);

/* An operator that a plugin brings (kernels_op; op_outside.c): in [def->nin], NULL
 * for absent ones; attr [def->nattr]; out [def->nout].  Differentiated where it has
 * a backward.  -1 after an error, with out all NULL. */
int op_outside(struct graph *g, const struct nnd_op_def *def,
               const union nnd_attr *attr, struct value *const *in, struct value **out);

/* A view of [lo, hi) of a weight, or of its finished gradient. */
struct value *op_param_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi);
struct value *op_grad_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi);

/* Add the leaf of `source` of p's gradient to the tree of its plane. */
void op_grad_add(struct graph *g, struct param *p, struct value *leaf, int source);

/* dst (a state) = x, converted to its dtype; returns dst as written. */
struct value *op_copy(struct graph *g, struct value *x, struct value *dst);

/* The chunk's own value out of what is kept of all chunks of this rank, f32, one
 * behind the other; or back into it.  Nothing is read or written but by this. */
void op_carry(struct graph *g, struct value *kept, struct value *own, bool back);

/* Column sums of x over its rows, wide [N] (a bias gradient). */
struct value *op_rows_sum(struct graph *g, struct value *x);

/* y = ((x[0] + x[1]) + ...), n <= NND_SUM_MAX, of dtype `dtype`. */
struct value *op_sum(struct graph *g, struct value *const *x, int n, int dtype);

#endif
