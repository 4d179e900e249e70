/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families_bf16.c - the tables of what multiplies pairs of bf16, for plugin.c.
 */
#include "op.h"

extern const struct op OPS(attn_fwd)[], OPS(attn_bwd)[], OPS(gemm)[], OPS(grouped)[],
    OPS(rnn_bwd)[], OPS(rnn_fwd)[], OPS(xent_linear)[];
extern const struct op *const OPS(all)[];

const struct op *const OPS(all)[] = {OPS(attn_fwd),    OPS(attn_bwd), OPS(gemm),
                                     OPS(grouped),     OPS(rnn_bwd),  OPS(rnn_fwd),
                                     OPS(xent_linear), NULL};
