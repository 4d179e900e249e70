/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_list.h - the operators there are; op_table.c has them in the same order.
 */
#ifndef GRAPH_OP_LIST_H
#define GRAPH_OP_LIST_H

#include "graph/op.h"

extern const struct op op_gemm;
extern const struct op op_plus;
extern const struct op op_reshape;
extern const struct op op_grad_tree;
extern const struct op op_piece;

#endif
