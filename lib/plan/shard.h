/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shard.h - who owns which elements of gradients and optimizer state (ZeRO-1;
 * Rajbhandari et al. 2020).
 *
 * The tensors of a group of replicas are laid one after the other; each is cut
 * into blocks of SHARD_BLOCK elements (its last one may be short), counted
 * from the start of its logical tensor.  Every replica owns a contiguous run of
 * blocks, as equal in elements as blocks allow.
 */
#ifndef PLAN_SHARD_H
#define PLAN_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

#define SHARD_BLOCK 4096

/* One stored tensor: `logical` logical tensors of `each` elements (experts are
 * stacked, one logical tensor an expert), at element `offset` of the plane. */
struct shard_tensor {
    int64_t offset, each;
    int logical;
};

struct shard {
    int replicas;
    int64_t *begin, *end; /* [replicas] element ranges of the plane, in whole
                             blocks; offsets between tensors (padding) belong
                             to the range they lie in */
};

/* Tensors by ascending offset, without overlap. */
int shard_make(struct arena *a, const struct shard_tensor *t, size_t n, int replicas,
               struct shard *out, struct err *e);

/* The part of tensor t that replica r owns: [*lo, *hi) relative to the tensor's
 * start; *lo == *hi when none. */
void shard_piece(const struct shard *s, const struct shard_tensor *t, int r,
                 int64_t *lo, int64_t *hi);

/* Blocks of a tensor, and of the piece [lo, hi) of it (lo at a block's start). */
int64_t shard_blocks(const struct shard_tensor *t);
int64_t shard_blocks_in(const struct shard_tensor *t, int64_t lo, int64_t hi);

#endif
