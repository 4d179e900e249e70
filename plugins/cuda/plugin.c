/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.c - the plugin "cuda": the catalogue, for NVIDIA's GPUs.
 *
 * It loads wherever its file can be: there is no library of the driver among its
 * needs.  How many devices there are, and why none, is asked of the driver when the
 * host first asks the device's table.
 */
#include <stdio.h>

#include "families.h"

#define KERNELS_MAX 96

/* Kernels of a source: what their names end with, and how good they are. */
static const struct family {
    const struct op *ops;
    const char *suffix;
    int priority;
    int varies; /* sums have an order of the library's, which rows may change */
    int (*plan)(const void *self, const void *params, void **plan, struct nnd_error *e);
} families[] = {
    {cuda_act_ops, "cuda", 50, 0, NULL},
    {cuda_attend_ops, "cuda", 50, 0, NULL},
    {cuda_attn_bwd_ops, "cuda", 50, 0, NULL},
    {cuda_attn_fwd_ops, "cuda", 50, 0, NULL},
    {cuda_attn_bwd_hopper_ops, "hopper", 80, 0, NULL},
    {cuda_attn_bwd_mma_ops, "mma", 60, 0, NULL},
    {cuda_attn_hopper_ops, "hopper", 80, 0, NULL},
    {cuda_attn_mma_ops, "mma", 60, 0, NULL},
    {cuda_cast_ops, "cuda", 50, 0, NULL},
    {cuda_gemm_ops, "cuda", 50, 0, NULL},
    {cuda_grouped_ops, "cuda", 50, 0, NULL},
    {cuda_grouped_hopper_ops, "hopper", 80, 0, NULL},
    {cuda_lt_ops, "lt", 70, 1, cuda_lt_plan},
    {cuda_distill_ops, "cuda", 50, 0, NULL},
    {cuda_norm_ops, "cuda", 50, 0, NULL},
    {cuda_optim_ops, "cuda", 50, 0, NULL},
    {cuda_permute_ops, "cuda", 50, 0, NULL},
    {cuda_quant_ops, "cuda", 50, 0, NULL},
    {cuda_rnn_ops, "cuda", 50, 0, NULL},
    {cuda_rope_ops, "cuda", 50, 0, NULL},
    {cuda_route_ops, "cuda", 50, 0, NULL},
    {cuda_rows_ops, "cuda", 50, 0, NULL},
    {cuda_sample_ops, "cuda", 50, 0, NULL},
    {cuda_softmax_ops, "cuda", 50, 0, NULL},
    {cuda_step_ops, "cuda", 50, 0, NULL},
    {cuda_sum_ops, "cuda", 50, 0, NULL},
    {cuda_xent_ops, "cuda", 50, 0, NULL},
    {cuda_xent_linear_ops, "cuda", 50, 0, NULL},
    {cuda_xent_linear_hopper_ops, "hopper", 80, 0, NULL},
};

static struct op_kernel selves[KERNELS_MAX];
static struct nnd_kernel kernels[KERNELS_MAX];
static const struct nnd_kernel *list[KERNELS_MAX];
static const struct nnd_device_ops *const devices[] = {&cuda_device};

static struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "cuda",
    .version = "1",
    .license = "Apache-2.0",
    .build = CUDA_BUILD,
    .kernels = list,
    .devices = devices,
    .ndevices = 1,
};

/* As op.c's, but what fails is the device's. */
static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct op_kernel *k = self;
    size_t need = k->op->workspace ? k->op->workspace(params) : 0;
    int r;

    (void)plan;
    if (l->workspace_size < need)
        return op_refuse(e, NND_EINVAL, "workspace of %zu bytes, wanted %zu",
                         l->workspace_size, need);
    r = cuda_enter(l->stream.device);
    if (!r)
        r = k->op->launch(params, l);
    return r ? op_refuse(e, r, "%s: %s", k->name, cuda_last_text()) : NND_OK;
}

static void describe(const struct family *f, const struct op *op, uint32_t n)
{
    struct nnd_kernel *k = &kernels[n];

    op_describe(op, ISA_BASE, f->suffix, &selves[n], k);
    k->device = "cuda";
    k->flags |= NND_K_CAPTURABLE;
    if (f->varies)
        k->flags &= ~(uint32_t)NND_K_INVARIANT;
    k->priority = f->priority;
    k->plan = f->plan;
    k->launch = launch;
    list[n] = k;
}

static void list_kernels(void)
{
    uint32_t n = 0;

    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        for (const struct op *op = families[i].ops; op->name && n < KERNELS_MAX; op++)
            describe(&families[i], op, n++);
    plugin.nkernels = n;
}

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    (void)host, (void)e;
    list_kernels();
    return &plugin;
}
