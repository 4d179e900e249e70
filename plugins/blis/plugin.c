/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plugin.c - the plugin "blis": matrix products.
 *
 * Their bits are those of the kernels that BLIS chooses for this CPU, so the choice
 * is part of their names.
 */
#include <blis.h>
#include <stdio.h>
#include <stdlib.h>

#include "plugins/cpu/op.h"
#include "plugins/cpu/par.h"
#include "product.h"

#define KERNELS_MAX 4

extern const struct op gemm_ops[];

static struct op_kernel selves[KERNELS_MAX];
static struct nnd_kernel kernels[KERNELS_MAX];
static const struct nnd_kernel *list[KERNELS_MAX];

static struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "blis",
    .version = "1",
    .license = "Apache-2.0",
    .kernels = list,
};

static void add(const struct op *op, enum isa isa, const char *suffix)
{
    uint32_t n = plugin.nkernels++;

    op_describe(op, isa, suffix, &selves[n], &kernels[n]);
    list[n] = &kernels[n];
}

static void list_kernels(const char *arch)
{
    plugin.nkernels = 0;
    add(gemm_ops, ISA_BASE, arch);
}

/* BLIS 0.9 knows Intel's AVX-512 by the processor's model name, and takes those it
 * has not heard of for Haswells, at half their speed (measured: 83 against 150
 * GFLOP/s).  It can be told at its first start only, by the environment, which
 * is left as it was.  AMD's do as well with what BLIS chooses. */
static void init_blis(void)
{
    int told = 0;

#if defined(__x86_64__) && defined(BLIS_CONFIG_SKX)
    if (__builtin_cpu_is("intel") && isa_runs(ISA_V4) && !getenv("BLIS_ARCH_TYPE")) {
        char number[16];

        snprintf(number, sizeof number, "%d", (int)BLIS_ARCH_SKX);
        told = setenv("BLIS_ARCH_TYPE", number, 1) == 0;
    }
#endif
    bli_init();
    bli_arch_query_id();
    if (told)
        unsetenv("BLIS_ARCH_TYPE");
}

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    if (!host || !NND_HAS(nnd_host, host, parallel) || !host->parallel) {
        op_refuse(e, NND_EINVAL, "the host offers no parallel()");
        return NULL;
    }
    par_init(host);
    init_blis();
    product_init();
    plugin.build = bli_info_get_version_str();
    list_kernels(bli_arch_string(bli_arch_query_id()));
    return &plugin;
}
