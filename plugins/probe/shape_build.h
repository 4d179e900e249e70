/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape_build.h - what builds the calls of shape.c: one function for each kind of
 * params, with one plain call of any size.
 */
#ifndef PROBE_SHAPE_BUILD_H
#define PROBE_SHAPE_BUILD_H

#include "call.h"
#include "shape.h"

enum { SIZES = 6, WORDS = 4 };

/* Sizes in the order of the operator's letters; which of its words were said, a bit
 * each; and what its row of the table says besides. */
struct sizes {
    int64_t n[SIZES];
    bool bwd;
    int kind;
    unsigned words;
};

/* Build the call; *w is zeros. */
typedef void shape_f(struct call *c, const struct sizes *z, struct shape_work *w);

shape_f shape_gemm, shape_grouped, shape_attn, shape_norm, shape_rope, shape_act,
    shape_softmax, shape_xent, shape_xent_linear, shape_distill, shape_embed,
    shape_route, shape_sort, shape_permute, shape_sum, shape_dropout, shape_rows,
    shape_sqnorm, shape_optim, shape_rnn, shape_balance, shape_window, shape_hyper,
    shape_total, shape_attend, shape_argmax, shape_sample, shape_select, shape_quant,
    shape_cast;

#endif
