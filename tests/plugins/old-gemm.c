/* SPDX-License-Identifier: Apache-2.0 */
/*
 * old-gemm.c - a product of f32 by the header of ABI 1.0, for plugin_abi.test.  It
 * looks at every field that 1.0 had, and so cannot see what later calls ask for
 * besides.
 */
#include <nnd/plugin.h>

#include <stdio.h>

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;

    (void)self;
    if (p->a.dtype == NND_F32 && p->b.dtype == NND_F32 && p->d.dtype == NND_F32 &&
        p->bias.ndim == 0 && p->beta == 0)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "only a, b and d, of f32");
    return NND_EUNSUPPORTED;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params;
    out->workspace = 0;
    return NND_OK;
}

static const float *at(const struct nnd_tensor *t, int turned, int64_t i, int64_t j)
{
    return (const float *)t->data + i * t->stride[turned] + j * t->stride[!turned];
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int64_t inner = p->a.dim[p->trans_a ? 0 : 1];

    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < p->d.dim[0]; i++)
        for (int64_t j = 0; j < p->d.dim[1]; j++) {
            double sum = 0;
            for (int64_t k = 0; k < inner; k++)
                sum += (double)*at(&p->a, p->trans_a, i, k) *
                       (double)*at(&p->b, p->trans_b, k, j);
            ((float *)p->d.data)[i * p->d.stride[0] + j * p->d.stride[1]] = (float)sum;
        }
    return NND_OK;
}

static const struct nnd_kernel kernel = {.struct_size = sizeof kernel,
                                         .name = "gemm",
                                         .op = "gemm",
                                         .device = "cpu",
                                         .op_version = 1,
                                         .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
                                         .priority = 99,
                                         .supports = supports,
                                         .need = need,
                                         .launch = launch};

static const struct nnd_kernel *const kernels[] = {&kernel};

static const struct nnd_plugin plugin = {.struct_size = sizeof plugin,
                                         .abi_major = NND_ABI_MAJOR,
                                         .abi_minor = NND_ABI_MINOR,
                                         .name = "old",
                                         .version = "1.0",
                                         .license = "Apache-2.0",
                                         .kernels = kernels,
                                         .nkernels = 1};

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *h, struct nnd_error *e)
{
    (void)h, (void)e;
    return &plugin;
}
