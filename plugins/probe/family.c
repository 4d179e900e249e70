/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family.c - the table of families, and what they share.
 */
#include "family.h"

#include <string.h>

static const struct family families[] = {
    {"gemm", family_gemm},
    {"gemm.grouped", family_grouped},
    {"attn.fwd", family_attn_fwd},
    {"attn.bwd", family_attn_bwd},
    {"norm.rms.fwd", family_rms_fwd},
    {"norm.rms.bwd", family_rms_bwd},
    {"norm.layer.fwd", family_layer_fwd},
    {"norm.layer.bwd", family_layer_bwd},
    {"rope", family_rope},
    {"act.swiglu.fwd", family_swiglu_fwd},
    {"act.swiglu.bwd", family_swiglu_bwd},
    {"act.gelu.fwd", family_gelu_fwd},
    {"act.gelu.bwd", family_gelu_bwd},
    {"act.relu.fwd", family_relu_fwd},
    {"act.relu.bwd", family_relu_bwd},
    {"softmax.fwd", family_softmax_fwd},
    {"softmax.bwd", family_softmax_bwd},
    {"xent.fwd", family_xent_fwd},
    {"xent.bwd", family_xent_bwd},
    {"xent.linear.fwd", family_xent_linear_fwd},
    {"xent.linear.bwd", family_xent_linear_bwd},
    {"distill.fwd", family_distill_fwd},
    {"distill.bwd", family_distill_bwd},
    {"embed.fwd", family_embed_fwd},
    {"embed.bwd", family_embed_bwd},
    {"moe.route.fwd", family_route_fwd},
    {"moe.route.bwd", family_route_bwd},
    {"moe.sort", family_sort},
    {"moe.permute", family_permute},
    {"moe.unpermute", family_unpermute},
    {"moe.dgate", family_dgate},
    {"moe.balance", family_balance},
    {"moe.window", family_window},
    {"sum", family_sum},
    {"dropout", family_dropout},
    {"rows.sum", family_rows_sum},
    {"rows.gather", family_rows_gather},
    {"rows.scatter", family_rows_scatter},
    {"sqnorm", family_sqnorm},
    {"opt.adamw", family_adamw},
    {"opt.adam", family_adam},
    {"opt.sgd", family_sgd},
    {"opt.hyper", family_hyper},
    {"total", family_total},
    {"rnn.seq.fwd", family_rnn_seq_fwd},
    {"rnn.seq.bwd", family_rnn_seq_bwd},
    {"rnn.cell.fwd", family_rnn_cell_fwd},
    {"rnn.cell.bwd", family_rnn_cell_bwd},
    {"attn.add.fwd", family_add_fwd},
    {"attn.add.bwd", family_add_bwd},
    {"attn.dot.fwd", family_dot_fwd},
    {"attn.dot.bwd", family_dot_bwd},
    {"argmax", family_argmax},
    {"sample", family_sample},
    {"select", family_select},
    {"cast.quant", family_quant},
    {"cast.dequant", family_dequant},
    {"fill", family_fill},
    {"scale", family_scale},
    {"amax", family_amax},
};

const struct family *family_find(const char *op)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (strcmp(families[i].op, op) == 0)
            return &families[i];
    return NULL;
}

int64_t window_rows(const struct window *w, int64_t n)
{
    return w->count < 0 ? n : w->count;
}

const int64_t *window_ids(struct call *c, const struct window *w, int64_t n)
{
    int64_t rows = window_rows(w, n);
    int64_t *id = call_row_ids(c, rows + w->tail, w->tail);
    for (int64_t i = 0; i < rows; i++)
        id[i] = w->first + i;
    return id;
}
