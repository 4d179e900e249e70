/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families.c - all the tables of one instruction set, for plugin.c.
 */
#include "op.h"

extern const struct op OPS(attn_fwd)[], OPS(attn_bwd)[], OPS(norm)[], OPS(act)[],
    OPS(rope)[], OPS(xent)[], OPS(xent_linear)[], OPS(embed)[], OPS(route)[],
    OPS(permute)[], OPS(sum)[], OPS(rows)[], OPS(optim)[], OPS(gemm)[], OPS(grouped)[],
    OPS(rnn_fwd)[], OPS(rnn_bwd)[], OPS(attend)[], OPS(choose)[], OPS(distill)[],
    OPS(softmax)[];
extern const struct op *const OPS(all)[];

const struct op *const OPS(all)[] = {
    OPS(attn_fwd), OPS(attn_bwd), OPS(norm),        OPS(act),
    OPS(rope),     OPS(xent),     OPS(xent_linear), OPS(embed),
    OPS(route),    OPS(permute),  OPS(sum),         OPS(rows),
    OPS(optim),    OPS(gemm),     OPS(grouped),     OPS(rnn_fwd),
    OPS(rnn_bwd),  OPS(attend),   OPS(choose),      OPS(distill),
    OPS(softmax),  NULL,
};
