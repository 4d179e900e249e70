/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.c - the plugin "cpu": the catalogue, for the processor.
 *
 * Each kernel exists once for each instruction set, from the same source and
 * with the same bits (vec.h says why; a test holds it), so the fastest that runs
 * here may be taken without anybody's numbers changing.  Attention and
 * products are the exceptions: where there is no fused multiply-add, and where
 * pairs of bf16 are multiplied, they have bits of their own.
 */
#include "op.h"
#include "par.h"

#include <stdio.h>

#define KERNELS_MAX 320

extern const struct op *const all_ops_base[];
#ifdef __x86_64__
extern const struct op *const all_ops_v3[];
extern const struct op *const all_ops_v4[];
extern const struct op *const all_ops_bf16[];
extern tile_seconds_f tile_seconds_v4, tile_seconds_bf16;
#endif

static const struct op *const *const by_isa[ISA_COUNT] = {
    [ISA_BASE] = all_ops_base,
#ifdef __x86_64__
    [ISA_V3] = all_ops_v3,
    [ISA_V4] = all_ops_v4,
    [ISA_BF16] = all_ops_bf16,
#endif
};

static struct op_kernel selves[KERNELS_MAX];
static struct nnd_kernel kernels[KERNELS_MAX];
static const struct nnd_kernel *list[KERNELS_MAX];

static struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "cpu",
    .version = "1",
    .license = "Apache-2.0",
    .build = __VERSION__,
    .kernels = list,
};

/* Products of bf16 pairs do twice as much as plain ones on some processors (Zen 4) and
 * half as much on others (Sapphire Rapids): tiles of both are timed.  What lies between
 * stays with plain ones, so that the choice does not hang on noise. */
static int pairs_pay(void)
{
#ifdef __x86_64__
    return isa_runs(ISA_BF16) && tile_seconds_bf16() < 0.75 * tile_seconds_v4();
#else
    return 0;
#endif
}

static int priority_of(enum isa isa, int pairs)
{
    return isa == ISA_BF16 && !pairs ? 40 : 50 + 5 * (int)isa;
}

static void list_kernels(void)
{
    uint32_t n = 0;
    int pairs = pairs_pay();

    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (const struct op *const *family = by_isa[isa]; family && *family; family++)
            for (const struct op *op = *family; op->name && n < KERNELS_MAX;
                 op++, n++) {
                op_describe(op, isa, isa_name(isa), &selves[n], &kernels[n]);
                kernels[n].priority = priority_of(isa, pairs);
                list[n] = &kernels[n];
            }
    plugin.nkernels = n;
}

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    if (!host || !NND_HAS(nnd_host, host, parallel) || !host->parallel) {
        op_refuse(e, NND_EINVAL, "the host offers no parallel()");
        return NULL;
    }
    par_init(host);
    list_kernels();
    return &plugin;
}
