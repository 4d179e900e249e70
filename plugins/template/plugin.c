/* SPDX-License-Identifier: Apache-2.0 */
/*
 * @NAME@.c - a plugin for nnd with one kernel: y = silu(a) * b, in f32.
 *
 * <nnd/plugin.h> says what each operator is given and what it has to promise.
 */
#include <math.h>
#include <stdio.h>

#include <nnd/plugin.h>

static const struct nnd_host *host;

static int refuse(struct nnd_error *e, int status, const char *why)
{
    snprintf(e->text, sizeof e->text, "%s", why);
    return status;
}

/* Which calls: any shape and strides, f32. */
static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    const struct nnd_tensor *all[] = {&p->a, &p->b, &p->y};

    (void)self;
    if (!NND_HAS(nnd_act, p, db))
        return refuse(e, NND_EINVAL, "the params are older than ABI 1.0");
    for (int i = 0; i < 3; i++) {
        if (all[i]->dtype != NND_F32)
            return refuse(e, NND_EUNSUPPORTED, "wanted a, b and y in f32");
        if (all[i]->ndim != 2 || all[i]->dim[0] != p->a.dim[0] ||
            all[i]->dim[1] != p->a.dim[1])
            return refuse(e, NND_EINVAL, "a, b and y are not of one shape [T,N]");
    }
    return NND_OK;
}

/* How much workspace: none. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params;
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

    (void)self, (void)plan, (void)l, (void)e;
    return host->parallel(host->h, (int)p->a.dim[0], gate_row, (void *)params);
}

static const struct nnd_kernel gate = {
    .struct_size = sizeof gate,
    .name = "gate",
    .op = "act.swiglu.fwd",
    .device = "cpu",
    .op_version = 1,
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,
    .priority = 10,
    .supports = supports,
    .need = need,
    .launch = launch,
};

static const struct nnd_kernel *const kernels[] = {&gate};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "@NAME@",
    .version = "0.1",
    .license = "Apache-2.0",
    .kernels = kernels,
    .nkernels = sizeof kernels / sizeof kernels[0],
};

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *h, struct nnd_error *e)
{
    (void)e;
    host = h;
    return &plugin;
}
