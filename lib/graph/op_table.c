/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_table.c - all operators, for whoever walks them (tests, profile, export).
 */
#include "graph/op_list.h"

const struct op *const op_table[] = {
    &op_gemm, &op_plus, &op_reshape, &op_grad_tree, &op_piece, NULL,
};
