/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_table.c - all operators, for whoever walks them (tests, profile, export).
 */
#include "graph/op_list.h"

const struct op *const op_table[] = {
    &op_copy_to,     &op_gemm,         &op_grad_reduce,  &op_grad_tree, &op_moe_balance,
    &op_moe_collect, &op_moe_dispatch, &op_moe_exchange, &op_moe_load,  &op_moe_tally,
    &op_moe_window,  &op_norm_gather,  &op_param_gather, &op_piece,     &op_plus,
    &op_reshape,     &op_stats_start,  &op_stats_sum,    NULL,
};
