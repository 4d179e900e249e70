/* SPDX-License-Identifier: Apache-2.0 */
/*
 * @NAME@.c - a plugin for nnd with one kernel: y = silu(a) * b, in f32.
 * <nnd/plugin.h> says what each operator is given and what it has to promise.
 */
#include <math.h>
#include <nnd/plugin.h>
#include <stdio.h>

static const struct nnd_host *host;

/* Which calls: any shape and strides, f32.  A "no" has its reason. */
static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    if (p->a.dtype == NND_F32 && p->b.dtype == NND_F32 && p->y.dtype == NND_F32)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "wanted a, b and y in f32");
    return NND_EUNSUPPORTED;
}

/* How much workspace: none. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    out->workspace = 0;
    return NND_OK;
}

static float *at(const struct nnd_tensor *x, int64_t row, int64_t column)
{
    return (float *)x->data + row * x->stride[0] + column * x->stride[1];
}

/* One row.  Nothing here depends on another, so the kernel is invariant. */
static void gate_row(void *params, int row)
{
    const struct nnd_act *p = params;
    for (int64_t n = 0; n < p->a.dim[1]; n++) {
        float a = *at(&p->a, row, n);
        *at(&p->y, row, n) = a / (1 + expf(-a)) * *at(&p->b, row, n);
    }
}

/* The work, over the host's threads; no allocation, no threads of our own. */
static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    return host->parallel(host->h, (int)p->a.dim[0], gate_row, (void *)p);
}

static const struct nnd_kernel gate = {
    .struct_size = sizeof gate,
    .name = "gate",
    .op = "act.swiglu.fwd",
    .op_version = 1,
    .device = "cpu",
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,
    .priority = 10,
    .supports = supports,
    .need = need,
    .launch = launch,
};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "@NAME@",
    .version = "0.1",
    .license = "Apache-2.0",
    .kernels = (const struct nnd_kernel *const[]){&gate},
    .nkernels = 1,
};

__attribute__((visibility("default"))) /* the one name that others see */
const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *h, struct nnd_error *e)
{
    host = h;
    return &plugin;
}
