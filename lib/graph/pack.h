/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - weights in the order that the chosen kernels of products like to read
 * (nnd_kernel.pack), made again when they have changed; for the executor alone.
 *
 * A pack belongs to a weight, or a pair of them, and all calls of one kernel that
 * multiply with it the same way round.
 */
#ifndef GRAPH_PACK_H
#define GRAPH_PACK_H

#include "graph/graph.h"
#include "kernel/kernel.h"

struct pack {
    const struct nnd_kernel *kernel;
    const struct value *weight[2]; /* roots */
    int64_t offset[2];
    struct nnd_tensor b[2]; /* as the kernel sees them, without data */
    int32_t trans_b;
    size_t bytes, at; /* in the packs' memory                          */
    uint64_t version; /* of the weights that it was made of; 0: of none */
    struct pack *next;
};

struct packs {
    struct pack *first;
    size_t bytes; /* of all */
};

/* The pack of node n, which kernel k computes from `params` (bound, data or none); made
 * in arena a when there is none yet.  NULL: its b is no weight, or k does not pack. */
struct pack *packs_find(struct packs *all, const struct node *n,
                        const struct nnd_kernel *k, const void *params,
                        struct arena *a);

/* Have params use the pack, which lies in `memory`. */
void pack_use(const struct pack *p, void *params, void *memory);

#endif
