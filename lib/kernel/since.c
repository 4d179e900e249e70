/* SPDX-License-Identifier: Apache-2.0 */
/*
 * since.c - the fields that are newer than ABI 1.0, a row for each operator.
 *
 * Who adds a field to params adds its rows here: plugin_abi.test misses them.
 */
#include "kernel/since.h"

#include <stdio.h>
#include <string.h>

enum kind { TENSOR, INT, FLOAT };

/* A field is used when it is neither 0 (of a tensor: absent) nor `usual`, which means
 * the same. */
struct field {
    const char *op;
    unsigned minor;
    const char *name;
    size_t at;
    enum kind kind;
    float usual;
};

#define FIELD(S, F) #F, offsetof(struct S, F)

static const struct field fields[] = {
    {"gemm", 1, FIELD(nnd_gemm, epilogue), INT, 0},
    {"gemm", 1, FIELD(nnd_gemm, pre), TENSOR, 0},
    {"gemm", 1, FIELD(nnd_gemm, sums), TENSOR, 0},
    {"gemm", 1, FIELD(nnd_gemm, packed), TENSOR, 0},
    {"gemm", 1, FIELD(nnd_gemm, act), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, epilogue), INT, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, gather_div), INT, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, a2), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, b2), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, d2), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, pre), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, pre2), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, scale), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, packed), TENSOR, 0},
    {"gemm.grouped", 1, FIELD(nnd_grouped_gemm, act), TENSOR, 0},
    {"attn.fwd", 1, FIELD(nnd_attn, bias), TENSOR, 0},
    {"attn.bwd", 1, FIELD(nnd_attn, bias), TENSOR, 0},
    {"attn.bwd", 1, FIELD(nnd_attn, dbias), TENSOR, 0},
    {"norm.rms.fwd", 1, FIELD(nnd_norm, add), TENSOR, 0},
    {"norm.rms.fwd", 1, FIELD(nnd_norm, sum), TENSOR, 0},
    {"norm.rms.bwd", 1, FIELD(nnd_norm, dsum), TENSOR, 0},
    {"norm.layer.fwd", 1, FIELD(nnd_norm, add), TENSOR, 0},
    {"norm.layer.fwd", 1, FIELD(nnd_norm, sum), TENSOR, 0},
    {"norm.layer.bwd", 1, FIELD(nnd_norm, dsum), TENSOR, 0},
    {"xent.fwd", 1, FIELD(nnd_xent, smoothing), FLOAT, 0},
    {"xent.fwd", 1, FIELD(nnd_xent, z_loss), FLOAT, 0},
    {"xent.bwd", 1, FIELD(nnd_xent, smoothing), FLOAT, 0},
    {"xent.bwd", 1, FIELD(nnd_xent, z_loss), FLOAT, 0},
    {"opt.adamw", 1, FIELD(nnd_optim, skip), TENSOR, 0},
    {"opt.adam", 1, FIELD(nnd_optim, skip), TENSOR, 0},
    {"opt.sgd", 1, FIELD(nnd_optim, skip), TENSOR, 0},
    {"embed.fwd", 1, FIELD(nnd_embed, scale), FLOAT, 1},
    {"embed.bwd", 1, FIELD(nnd_embed, scale), FLOAT, 1},
    {"embed.bwd", 1, FIELD(nnd_embed, accumulate), INT, 0},
};

static bool is_used(const struct field *f, const void *params)
{
    const char *at = (const char *)params + f->at;
    struct nnd_tensor t;
    int32_t i;
    float x;
    switch (f->kind) {
    case TENSOR:
        memcpy(&t, at, sizeof t);
        return t.ndim != 0;
    case INT:
        memcpy(&i, at, sizeof i);
        return i != 0;
    case FLOAT:
        memcpy(&x, at, sizeof x);
        return x != 0 && x != f->usual;
    }
    return true;
}

bool since_graphs(const struct nnd_device_ops *d)
{
    return NND_HAS(nnd_device_ops, d, graph_del) && d->graph_begin && d->graph_end &&
           d->graph_launch && d->graph_del;
}

const struct nnd_collectives *since_collectives(const struct nnd_device_ops *d)
{
    const struct nnd_collectives *c =
        NND_HAS(nnd_device_ops, d, collectives) ? d->collectives : NULL;
    bool whole = c && NND_HAS(nnd_collectives, c, gather) && c->name && c->place &&
                 c->make_id && c->join && c->leave && c->reduce && c->gather;
    return whole ? c : NULL;
}

size_t since_group_bytes(const struct nnd_collectives *c, int ranks)
{
    return c && NND_HAS(nnd_collectives, c, bytes) && c->bytes ? c->bytes(ranks) : 0;
}

bool since_newer(const struct nnd_plugin *p, const char *op, const void *params,
                 char *text, size_t size)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct field *f = &fields[i];
        if (f->minor <= p->abi_minor || strcmp(f->op, op) != 0 || !is_used(f, params))
            continue;
        snprintf(text, size, "is built for ABI %u.%u, the call has %s, of %d.%u",
                 p->abi_major, p->abi_minor, f->name, NND_ABI_MAJOR, f->minor);
        return true;
    }
    return false;
}
