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

/* The chunk that a forward program works on; inputs of the graph. */
struct chunk {
    int64_t batch, context;     /* sequences, rows of each             */
    struct value *id, *target;  /* i32 [T]; target -1: no loss         */
    struct value *pos, *sample; /* i32 [T]; pos -1: padding            */
    struct value *rng;          /* i64 [2]: seed, step                 */
    struct value *seed;         /* wide [1]: loss scale / real targets */
};

/* y [T,N] = x [T,K] W^T + b; W [N,K] as torch.nn.Linear keeps it; b may be NULL.
 * x may have more leading dims. */
struct value *op_linear(struct graph *g, struct value *x, struct value *w,
                        struct value *b);

/* The same with a wide result (router, logits when asked for). */
struct value *op_linear_wide(struct graph *g, struct value *x, struct value *w);

/* y = a + b, the sum rounded once. */
struct value *op_add(struct graph *g, struct value *a, struct value *b);

/* The same memory with another shape of as many elements. */
struct value *op_view(struct graph *g, struct value *x, struct shape s);

/* Root-mean-square and layer norm over the last axis; b NULL in the former. */
struct value *op_norm_rms(struct graph *g, struct value *x, struct value *w,
                          double eps);
struct value *op_norm_layer(struct graph *g, struct value *x, struct value *w,
                            struct value *b, double eps);

/* Rotary positions on x [T,H,D]. */
struct value *op_rope(struct graph *g, struct value *x, struct value *pos, double theta,
                      bool interleaved);

struct value *op_swiglu(struct graph *g, struct value *a, struct value *b);
struct value *op_gelu(struct graph *g, struct value *x, bool approx);

struct value *op_embed(struct graph *g, struct value *table, struct value *id);

/* Identity when p is 0. */
struct value *op_dropout(struct graph *g, struct value *x, double p,
                         const struct chunk *c);

/* Causal self-attention within each of the chunk's sequences: q [T,H,D],
 * k, v [T,Hk,D]; p: dropout of the weights. */
struct value *op_attention(struct graph *g, struct value *q, struct value *k,
                           struct value *v, double p, const struct chunk *c);

/* One query row per sequence against a cache [B,S,Hk,D] of which the first
 * len[b] rows count; no gradient. */
struct value *op_attention_cached(struct graph *g, struct value *q, struct value *k,
                                  struct value *v, struct value *len);

/* dst (a state or input) with x's rows written at index [rows]; no gradient. */
struct value *op_rows_scatter(struct graph *g, struct value *x, struct value *index,
                              struct value *dst);

/* y[i] = x[index[i]]; no gradient. */
struct value *op_rows_gather(struct graph *g, struct value *x, struct value *index);

/* Terminal: loss per row, wide [T]. */
struct value *op_xent(struct graph *g, struct value *logits, const struct chunk *c);

/* Routing of T rows over E experts. */
struct route_config {
    int top_k, score;         /* NND_SCORE_... */
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

/* z wide [T,E]; bias f32 [E] or NULL.  Terminal: besides dgate, its backward
 * takes aux_weight wide [groups,E] and z_weight wide [1], set afterwards with
 * op_route_aux (either may be NULL). */
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

/* y[t] = sum_k gate[t,k] * x[place[t,k]]; backward gives dx and dgate. */
struct value *op_unpermute(struct graph *g, struct value *x, struct value *gate,
                           struct sort *s);

/* Experts: y[seg] = x[seg] W[index]^T, W [G,N,K] stacked.  seg_m: i32
 * [nseg,4] (struct nnd_segment) with index into W; seg_k: the same rows with
 * index into `leaves` matrices of weight gradients. */
struct value *op_grouped(struct graph *g, struct value *x, struct value *w,
                         struct value *seg_m, struct value *seg_k, int leaves);

/* Optimizer pieces: partial sums of squares f64 [blocks] of grad (wide [n]); one
 * update of n elements (v NULL: SGD; out NULL: w is the weight itself). */
struct value *op_sqnorm(struct graph *g, struct value *grad);
struct optim_config {
    const char *kind; /* "opt.adamw", "opt.adam", "opt.sgd" */
    double beta1, beta2, eps, decay;
};
void op_optim(struct graph *g, struct optim_config cfg, struct value *grad,
              struct value *w, struct value *m, struct value *v, struct value *out,
              struct value *hyper);

/* A view of [lo, hi) of a weight, or of its finished gradient. */
struct value *op_param_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi);
struct value *op_grad_piece(struct graph *g, struct param *p, int64_t lo, int64_t hi);

/* Add the leaf of `source` of p's gradient to the tree of its plane. */
void op_grad_add(struct graph *g, struct param *p, struct value *leaf, int source);

/* Column sums of x over its rows, wide [N] (a bias gradient). */
struct value *op_rows_sum(struct graph *g, struct value *x);

/* y = ((x[0] + x[1]) + ...), n <= NND_SUM_MAX, of dtype `dtype`. */
struct value *op_sum(struct graph *g, struct value *const *x, int n, int dtype);

#endif
