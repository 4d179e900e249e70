/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families.h - the kernel tables of this plugin, one for each source, and the
 * device's table.
 */
#ifndef CUDA_FAMILIES_H
#define CUDA_FAMILIES_H

#ifdef __cplusplus
extern "C" {
#endif
#include "plugins/cpu/op.h"

extern const struct op cuda_act_ops[], cuda_attend_ops[], cuda_attn_bwd_ops[],
    cuda_attn_bwd_hopper_ops[], cuda_attn_bwd_mma_ops[], cuda_attn_fwd_ops[],
    cuda_attn_hopper_ops[], cuda_attn_mma_ops[], cuda_cast_ops[], cuda_distill_ops[],
    cuda_gemm_ops[], cuda_grouped_ops[], cuda_grouped_hopper_ops[], cuda_lt_ops[],
    cuda_norm_ops[], cuda_optim_ops[], cuda_permute_ops[], cuda_quant_ops[],
    cuda_rnn_ops[], cuda_rope_ops[], cuda_route_ops[], cuda_rows_ops[],
    cuda_sample_ops[], cuda_softmax_ops[], cuda_step_ops[], cuda_sum_ops[],
    cuda_xent_ops[], cuda_xent_linear_ops[], cuda_xent_linear_hopper_ops[];

/* Of gemm.cu, for lt.cu and xent_linear.cu: what a call must be, all of it, its sums;
 * and where rows of B do not count whose mask is negative, whatever they hold. */
int cuda_gemm_check(const void *params, struct nnd_error *e);
int cuda_gemm_launch(const void *params, const struct nnd_launch *l);
int cuda_gemm_sums(const struct nnd_gemm *p, const struct nnd_launch *l);
int cuda_gemm_masked(const struct nnd_gemm *p, const int32_t *mask,
                     const struct nnd_launch *l);

/* Of rows.cu, for attend.cu: "rows.sum". */
int cuda_rows_sum_check(const void *params, struct nnd_error *e);
size_t cuda_rows_sum_workspace(const void *params);
int cuda_rows_sum(const void *params, const struct nnd_launch *l);

/* nnd_kernel.plan of cuda_lt_ops. */
int cuda_lt_plan(const void *self, const void *params, void **plan,
                 struct nnd_error *e);

extern const struct nnd_device_ops cuda_device;
extern const struct nnd_collectives cuda_collectives;

/* Of nccl.cu, for device.cu, which waits: is this process in a group; has one lost a
 * rank?  Then it was left, so that nothing waits for it. */
int cuda_groups_any(void);
int cuda_groups_fault(void);

/* The device is of no use from now on, for this reason: NND_EDEVICE. */
int cuda_lost(const char *text);

/* What NVML says of the device on PCI bus `bus`: members of a JSON object, or why it
 * says nothing. */
void cuda_nvml(const char *bus, char *json, size_t len);

/* This thread's calls go to device `dev` from now on. */
int cuda_enter(int dev);

/* What the last failed call of this thread was, "" when none; cleared by asking. */
const char *cuda_last_text(void);

#ifdef __cplusplus
}
#endif
#endif
