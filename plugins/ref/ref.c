/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref.c - the table of the ref plugin: every op of the catalogue in plain C.
 *
 * It is the oracle that other kernels are checked against and the last resort
 * when none of them suits: correct, deterministic, single-threaded, slow.
 */
#include "ref.h"

#include "impl.h"

static const struct nnd_kernel *const kernels[] = {
    &ref_gemm,
    &ref_gemm_grouped,
    &ref_attn_fwd,
    &ref_attn_bwd,
    &ref_rms_fwd,
    &ref_rms_bwd,
    &ref_layer_fwd,
    &ref_layer_bwd,
    &ref_rope,
    &ref_swiglu_fwd,
    &ref_swiglu_bwd,
    &ref_gelu_fwd,
    &ref_gelu_bwd,
    &ref_relu_fwd,
    &ref_relu_bwd,
    &ref_softmax_fwd,
    &ref_softmax_bwd,
    &ref_xent_fwd,
    &ref_xent_bwd,
    &ref_xent_linear_fwd,
    &ref_xent_linear_bwd,
    &ref_distill_fwd,
    &ref_distill_bwd,
    &ref_embed_fwd,
    &ref_embed_bwd,
    &ref_route_fwd,
    &ref_route_bwd,
    &ref_sort,
    &ref_permute,
    &ref_unpermute,
    &ref_dgate,
    &ref_balance,
    &ref_window,
    &ref_sum,
    &ref_drop,
    &ref_rows_sum,
    &ref_rows_gather,
    &ref_rows_scatter,
    &ref_sqnorm,
    &ref_adamw,
    &ref_adam,
    &ref_sgd,
    &ref_hyper,
    &ref_total,
    &ref_rnn_seq_fwd,
    &ref_rnn_seq_bwd,
    &ref_rnn_cell_fwd,
    &ref_rnn_cell_bwd,
    &ref_add_fwd,
    &ref_add_bwd,
    &ref_dot_fwd,
    &ref_dot_bwd,
    &ref_argmax,
    &ref_sample,
    &ref_select,
    &ref_quant,
    &ref_dequant,
    &ref_filled,
    &ref_scaled,
    &ref_amax,
};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "ref",
    .version = "1.0",
    .license = "Apache-2.0",
    .build = "C, " __VERSION__,
    .kernels = kernels,
    .nkernels = sizeof kernels / sizeof kernels[0],
};

const struct nnd_plugin *ref_plugin(const struct nnd_host *host, struct nnd_error *e)
{
    (void)host;
    (void)e;
    return &plugin;
}
