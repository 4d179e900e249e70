/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - what pack() of a product has to leave: the same for calls of any number of
 * rows, for the host packs a weight once for all of them.
 */
#ifndef PROBE_PACK_H
#define PROBE_PACK_H

#include "base/arena.h"
#include "base/err.h"
#include "call.h"

/* The params' tensor for what pack() makes, or NULL. */
struct nnd_tensor *pack_place(union call_params *p, const char *op);

/* What need() says of params without data; 0: nothing is packed. */
size_t pack_bytes(const struct nnd_kernel *k, const union call_params *p);

/* Do calls of other numbers of rows that the kernel takes, and packs for, want as many
 * bytes?  Params have no data. */
int pack_check_sizes(const struct nnd_kernel *k, const union call_params *p,
                     size_t size, struct err *e);

/* Have them pack once more, each over bytes of `fill`, and find the same there as what
 * params, with data and place, have packed. */
int pack_check_bytes(const struct nnd_kernel *k, const struct nnd_device_ops *d,
                     const union call_params *p, const struct nnd_launch *l, int fill,
                     struct arena *a, struct err *e);

#endif
