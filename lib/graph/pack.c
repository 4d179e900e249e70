/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - which calls share what is packed.
 */
#include "graph/pack.h"

#include <string.h>

#include "graph/memory.h"
#include "graph/op.h"

/* Where the params of products keep what matters here. */
static const struct product {
    const char *op;
    size_t b, b2, trans_b, packed; /* b2 0: there is none */
} products[] = {
    {"gemm", offsetof(struct nnd_gemm, b), 0, offsetof(struct nnd_gemm, trans_b),
     offsetof(struct nnd_gemm, packed)},
    {"gemm.grouped", offsetof(struct nnd_grouped_gemm, b),
     offsetof(struct nnd_grouped_gemm, b2), offsetof(struct nnd_grouped_gemm, trans_b),
     offsetof(struct nnd_grouped_gemm, packed)},
};

static const struct product *product_of(const char *op)
{
    for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
        if (strcmp(products[i].op, op) == 0)
            return &products[i];
    return NULL;
}

static struct nnd_tensor shape_at(const void *params, size_t at)
{
    struct nnd_tensor t = {0};
    if (at)
        memcpy(&t, (const char *)params + at, sizeof(t));
    t.data = NULL;
    return t;
}

/* Weights alone stay as they are for a while. */
static bool set_weight(struct pack *p, int i, const struct value *v)
{
    if (!v || v->root->storage != STORAGE_PARAM)
        return false;
    p->weight[i] = v->root;
    p->offset[i] = v->root_offset;
    return true;
}

/* What pack node n would use; false: none. */
static bool describe(const struct node *n, const struct nnd_kernel *k,
                     const void *params, struct pack *out)
{
    const struct product *at = product_of(k->op);
    struct nnd_need need = {.struct_size = sizeof(need)};
    *out = (struct pack){.kernel = k};
    if (!at || !NND_HAS(nnd_kernel, k, pack) || !k->pack || !n->op->weight[0])
        return false;
    out->b[0] = shape_at(params, at->b);
    out->b[1] = shape_at(params, at->b2);
    memcpy(&out->trans_b, (const char *)params + at->trans_b, sizeof(out->trans_b));
    for (int i = 0; i < 2; i++)
        if (out->b[i].ndim && !set_weight(out, i, n->in[n->op->weight[i] - 1]))
            return false;
    if (k->need(k->self, params, &need) != NND_OK)
        return false;
    out->bytes = need.packed;
    return out->bytes > 0;
}

static bool is_same(const struct pack *a, const struct pack *b)
{
    return a->kernel == b->kernel && a->trans_b == b->trans_b && a->bytes == b->bytes &&
           memcmp(a->weight, b->weight, sizeof(a->weight)) == 0 &&
           memcmp(a->offset, b->offset, sizeof(a->offset)) == 0 &&
           memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

struct pack *packs_find(struct packs *all, const struct node *n,
                        const struct nnd_kernel *k, const void *params, struct arena *a)
{
    struct pack wanted, **at = &all->first;
    if (!describe(n, k, params, &wanted))
        return NULL;
    for (; *at; at = &(*at)->next)
        if (is_same(*at, &wanted))
            return *at;
    wanted.at = all->bytes;
    all->bytes += (wanted.bytes + 255) / 256 * 256;
    *at = arena_memdup(a, &wanted, sizeof(wanted));
    return *at;
}

void pack_use(const struct pack *p, void *params, void *memory)
{
    struct nnd_tensor t = {.data = (char *)memory + p->at,
                           .dim = {(int64_t)p->bytes},
                           .stride = {1},
                           .ndim = 1,
                           .dtype = NND_U8,
                           .align_log2 = 8};
    memcpy((char *)params + product_of(p->kernel->op)->packed, &t, sizeof(t));
}
