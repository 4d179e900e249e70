/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_list.h - the operators there are; op_table.c has them in the same order.
 */
#ifndef GRAPH_OP_LIST_H
#define GRAPH_OP_LIST_H

#include "graph/op.h"

extern const struct op op_argmax_fwd;
extern const struct op op_attend_add_bwd;
extern const struct op op_attend_add_fwd;
extern const struct op op_attend_dot_bwd;
extern const struct op op_attend_dot_fwd;
extern const struct op op_attention_bwd;
extern const struct op op_attention_cached_fwd;
extern const struct op op_attention_fwd;
extern const struct op op_carry_move;
extern const struct op op_copy_to;
extern const struct op op_distill_bwd;
extern const struct op op_distill_fwd;
extern const struct op op_dropout_fwd;
extern const struct op op_embed_bwd;
extern const struct op op_embed_fwd;
extern const struct op op_gelu_bwd;
extern const struct op op_gelu_fwd;
extern const struct op op_gemm;
extern const struct op op_grad_reduce;
extern const struct op op_grad_tree;
extern const struct op op_grouped_dswiglu;
extern const struct op op_grouped_fwd;
extern const struct op op_grouped_swiglu_fwd;
extern const struct op op_grouped_two;
extern const struct op op_grouped_wgrad;
extern const struct op op_load_reduce;
extern const struct op op_moe_balance;
extern const struct op op_moe_collect;
extern const struct op op_moe_dispatch;
extern const struct op op_moe_exchange;
extern const struct op op_moe_load;
extern const struct op op_moe_tally;
extern const struct op op_moe_window;
extern const struct op op_norm_gather;
extern const struct op op_norm_layer_bwd;
extern const struct op op_norm_layer_fwd;
extern const struct op op_norm_rms_bwd;
extern const struct op op_norm_rms_fwd;
extern const struct op op_opt_adam;
extern const struct op op_opt_adamw;
extern const struct op op_opt_hyper;
extern const struct op op_opt_sgd;
extern const struct op op_pad_fwd;
extern const struct op op_param_gather;
extern const struct op op_permute_fwd;
extern const struct op op_piece;
extern const struct op op_plus;
extern const struct op op_relu_bwd;
extern const struct op op_relu_fwd;
extern const struct op op_reshape;
extern const struct op op_rnn_bwd;
extern const struct op op_rnn_cell_bwd;
extern const struct op op_rnn_cell_fwd;
extern const struct op op_rnn_fwd;
extern const struct op op_rope_fwd;
extern const struct op op_route_bwd;
extern const struct op op_route_fwd;
extern const struct op op_rows_gather_fwd;
extern const struct op op_rows_put_fwd;
extern const struct op op_rows_scatter_fwd;
extern const struct op op_rows_sum_fwd;
extern const struct op op_rows_take_fwd;
extern const struct op op_sample_fwd;
extern const struct op op_select_fwd;
extern const struct op op_softmax_bwd;
extern const struct op op_softmax_fwd;
extern const struct op op_sort_fwd;
extern const struct op op_sqnorm_fwd;
extern const struct op op_stats_gather;
extern const struct op op_stats_start;
extern const struct op op_stats_sum;
extern const struct op op_swiglu_bwd;
extern const struct op op_swiglu_fwd;
extern const struct op op_teach_fwd;
extern const struct op op_teach_seed;
extern const struct op op_turn_fwd;
extern const struct op op_unpermute_dgate;
extern const struct op op_unpermute_fwd;
extern const struct op op_xent_bwd;
extern const struct op op_xent_fwd;
extern const struct op op_xent_linear_bwd;
extern const struct op op_xent_linear_fwd;

#endif
