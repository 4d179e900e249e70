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

static const struct op *const families[] = {
    cuda_act_ops,   cuda_attn_bwd_ops, cuda_attn_fwd_ops, cuda_cast_ops,
    cuda_gemm_ops,  cuda_grouped_ops,  cuda_lt_ops,       cuda_norm_ops,
    cuda_optim_ops, cuda_permute_ops,  cuda_rope_ops,     cuda_route_ops,
    cuda_rows_ops,  cuda_sum_ops,      cuda_xent_ops,
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
    r = k->op->launch(params, l);
    return r ? op_refuse(e, r, "%s: %s", k->name, cuda_last_text()) : NND_OK;
}

/* The library's sums have an order of its own, which rows may change. */
static void describe(const struct op *op, int library, struct op_kernel *self,
                     struct nnd_kernel *k)
{
    op_describe(op, ISA_BASE, library ? "lt" : "cuda", self, k);
    k->device = "cuda";
    k->flags |= NND_K_CAPTURABLE;
    k->priority = 50;
    k->launch = launch;
    if (library) {
        k->flags &= ~(uint32_t)NND_K_INVARIANT;
        k->priority = 70;
        k->plan = cuda_lt_plan;
    }
}

static void list_kernels(void)
{
    uint32_t n = 0;

    for (size_t f = 0; f < sizeof families / sizeof *families; f++)
        for (const struct op *op = families[f]; op->name && n < KERNELS_MAX;
             op++, n++) {
            list[n] = &kernels[n];
            describe(op, families[f] == cuda_lt_ops, &selves[n], &kernels[n]);
        }
    plugin.nkernels = n;
}

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    (void)host, (void)e;
    list_kernels();
    return &plugin;
}
