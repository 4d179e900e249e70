/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family.h - the conformance suite: for each op, cases that build calls.
 *
 * Cases are chosen for what goes wrong: 0 and 1, primes, one more and one less
 * than a tile, empty groups, masked rows, NaN where nobody may look, results
 * that may overwrite an input.
 */
#ifndef PROBE_FAMILY_H
#define PROBE_FAMILY_H

#include "base/err.h"
#include "call.h"

/* Which of a case's rows a call has. */
struct window {
    int64_t first, count; /* these rows only; count < 0: all             */
    int64_t tail;         /* and so many rows of zeros behind them       */
    int part;             /* 0: whole; 1, 2: the two halves of call.parts */
};

/* Build case i within the window; false when there is no case i. */
typedef bool build_f(struct call *c, int i, const struct window *w);

struct family {
    const char *op;
    build_f *build;
};

/* The family of an op, or NULL. */
const struct family *family_find(const char *op);

/* The operator of plugin p that `op` is, or is the gradient of; or NULL. */
const struct nnd_op_def *outside_find(const struct nnd_plugin *p, const char *op);

/* Does shape() of an operator of a plugin give outputs that can be, or refuse? */
int outside_shapes(const struct nnd_op_def *d, struct err *e);

/* The rows that a window leaves of n, without its tail. */
int64_t window_rows(const struct window *w, int64_t n);

/* Ids first, first + 1, ... of window_rows(w, n) rows, then the tail's. */
const int64_t *window_ids(struct call *c, const struct window *w, int64_t n);

build_f family_gemm, family_grouped, family_attn_fwd, family_attn_bwd, family_rms_fwd,
    family_rms_bwd, family_layer_fwd, family_layer_bwd, family_rope, family_swiglu_fwd,
    family_swiglu_bwd, family_gelu_fwd, family_gelu_bwd, family_relu_fwd,
    family_relu_bwd, family_softmax_fwd, family_softmax_bwd, family_xent_fwd,
    family_xent_bwd, family_xent_linear_fwd, family_xent_linear_bwd, family_distill_fwd,
    family_distill_bwd, family_embed_fwd, family_embed_bwd, family_route_fwd,
    family_route_bwd, family_sort, family_permute, family_unpermute, family_dgate,
    family_sum, family_dropout, family_rows_sum, family_rows_gather,
    family_rows_scatter, family_sqnorm, family_adamw, family_adam, family_sgd,
    family_rnn_seq_fwd, family_rnn_seq_bwd, family_rnn_cell_fwd, family_rnn_cell_bwd,
    family_add_fwd, family_add_bwd, family_dot_fwd, family_dot_bwd, family_argmax,
    family_sample, family_select, family_quant, family_dequant, family_fill,
    family_scale, family_amax, family_balance, family_window, family_hyper,
    family_total, family_outside;

#endif
