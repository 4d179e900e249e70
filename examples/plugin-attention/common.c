/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common.c - a plugin with one kernel for "attn.fwd": which calls it takes, how they
 * are cut into blocks, and the tables.  The work is attend(), in naive.c or tiled.c.
 */
#include "common.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct nnd_host *host;

static int refuse(struct nnd_error *e, const char *why)
{
    snprintf(e->text, sizeof e->text, "%s", why);
    return NND_EUNSUPPORTED;
}

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    const struct nnd_tensor *t[] = {&p->q, &p->k, &p->v, &p->o};

    for (int i = 0; i < 4; i++) {
        if (t[i]->dtype != NND_F32 || t[i]->ndim != 3)
            return refuse(e, "wanted q, k, v, o [T,H,D] in f32");
        if (t[i]->dim[2] > 1 && t[i]->stride[2] != 1)
            return refuse(e, "wanted numbers of a head side by side");
        if (t[i]->dim[2] > MOST_D)
            return refuse(e, "wanted a head of at most 256 numbers");
    }
    if (p->window > 0 || p->softcap != 0 || p->dropout.p != 0)
        return refuse(e, "no window, softcap or dropout");
    if (NND_HAS(nnd_attn, p, bias) && p->bias.ndim)
        return refuse(e, "no bias");
    return NND_OK;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    out->workspace = 0;
    return NND_OK;
}

/* ---- the call, cut into blocks ---- */

static int64_t blocks_of(const struct nnd_attn *p)
{
    return (p->max_q + BLOCK - 1) / BLOCK;
}

/* Block `number` of all sequences and heads; many are empty where sequences are short.
 */
static void one_block(void *arg, int number)
{
    const struct nnd_attn *p = arg;
    int64_t blocks = blocks_of(p), heads = p->q.dim[1], s = number / blocks / heads;
    int64_t q = p->cu_q ? p->cu_q[s] : s * p->max_q;
    int64_t nq = p->cu_q ? p->cu_q[s + 1] - q : p->max_q;
    int64_t k = p->cu_k ? p->cu_k[s] : s * p->max_k;
    int64_t nk = p->cu_k ? p->cu_k[s + 1] - k : p->max_k;
    int64_t first = number % blocks * BLOCK, h = number / blocks % heads;
    struct block b = {p, h, h * p->k.dim[1] / heads, q + first, nq - first, k, nk, 0};

    if (p->len_k)
        b.nk = p->len_k[s];
    b.shift = first + b.nk - nq + 1;
    if (b.count > BLOCK)
        b.count = BLOCK;
    if (b.count > 0)
        attend(&b);
}

/* Rows [from, to) belong to no sequence: they count as fully masked. */
static void mask_rows(const struct nnd_attn *p, int64_t from, int64_t to)
{
    for (int64_t h = 0; h < p->q.dim[1]; h++)
        for (int64_t i = from; i < to; i++) {
            struct block b = {.p = p, .h = h, .q = i};

            memset(row(&p->o, i, h), 0, (size_t)p->o.dim[2] * sizeof(float));
            *lse_of(&b, 0) = -INFINITY;
        }
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    int64_t tasks = p->batch * p->q.dim[1] * blocks_of(p);

    if (p->cu_q) {
        mask_rows(p, 0, p->cu_q[0]);
        mask_rows(p, p->cu_q[p->batch], p->q.dim[0]);
    } else {
        mask_rows(p, (int64_t)p->batch * p->max_q, p->q.dim[0]);
    }
    return host->parallel(host->h, (int)tasks, one_block, (void *)params);
}

/* ---- tables ---- */

static const struct nnd_kernel kernel = {
    .struct_size = sizeof kernel,
    .name = "attn",
    .op = "attn.fwd",
    .op_version = 1,
    .device = "cpu",
    .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,
    .priority = 10,
    .supports = supports,
    .need = need,
    .launch = launch,
};
static const struct nnd_kernel *const kernels[] = {&kernel};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = attend_name,
    .version = "1.0",
    .license = "Apache-2.0",
    .kernels = kernels,
    .nkernels = 1,
};

__attribute__((visibility("default"))) nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *h, struct nnd_error *e)
{
    host = h;
    return &plugin;
}
