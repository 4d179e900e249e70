/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad.h - the plugin "bad" around one kernel, which the file that includes it defines;
 * for bad-*.c.
 */
#ifndef BAD_H
#define BAD_H

#include <nnd/plugin.h>

static const struct nnd_kernel bad_kernel;

static inline int need_nothing(const void *self, const void *params,
                               struct nnd_need *out)
{
    (void)self, (void)params;
    out->workspace = 0;
    return NND_OK;
}

static const struct nnd_kernel *const kernels[] = {&bad_kernel};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "bad",
    .version = "0.1",
    .license = "Apache-2.0",
    .build = "test",
    .kernels = kernels,
    .nkernels = 1,
};

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    (void)host, (void)e;
    return &plugin;
}

#endif
