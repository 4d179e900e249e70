/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_list.h - the operators there are; op_table.c has them in the same order.
 */
#ifndef GRAPH_OP_LIST_H
#define GRAPH_OP_LIST_H

#include "graph/op.h"

extern const struct op op_copy_to;
extern const struct op op_gemm;
extern const struct op op_grad_reduce;
extern const struct op op_plus;
extern const struct op op_reshape;
extern const struct op op_stats_start;
extern const struct op op_stats_sum;
extern const struct op op_grad_tree;
extern const struct op op_moe_balance;
extern const struct op op_moe_collect;
extern const struct op op_moe_dispatch;
extern const struct op op_moe_exchange;
extern const struct op op_moe_load;
extern const struct op op_moe_tally;
extern const struct op op_moe_window;
extern const struct op op_norm_gather;
extern const struct op op_param_gather;
extern const struct op op_piece;

#endif
