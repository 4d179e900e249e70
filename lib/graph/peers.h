/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.h - gradients and weights from device to device, where ranks have one each;
 * for the executor and op_zero.c.
 *
 * Where the device's plugin has collectives (nnd_collectives) on all ranks of a
 * communicator, and no two of them share a device, they join as a group.  What they
 * need to meet goes over the communicator.  Sums are then added in an order of the
 * plugin's, which may depend on how many ranks there are.
 */
#ifndef GRAPH_PEERS_H
#define GRAPH_PEERS_H

#include <nnd/plugin.h>

#include "base/arena.h"
#include "comm/comm.h"

struct peers;

/* Collective over c; calls will be enqueued on `stream`, which outlives them.  *out is
 * NULL where they cannot be a group, and *why then says for what reason, the same one
 * on all ranks; it lives in arena a.  Joining that fails is an error. */
int peers_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                 struct comm *c, struct arena *a, struct peers **out, const char **why,
                 struct err *e);

/* With all others, or `at_once`: nobody may be there any more. */
void peers_destroy(struct peers *p, bool at_once);

/* What a group of so many ranks takes of each device, about. */
size_t peers_bytes(const struct nnd_device_ops *dev, int ranks);

const char *peers_name(const struct peers *p); /* "nccl" */

/* Enqueue comm_reduce_scatter, or comm_allgatherv, of device memory: the same bytes,
 * numbers of type `dtype`. */
int peers_reduce(struct peers *p, void *buf, int dtype, const size_t *len,
                 const size_t *off, struct err *e);
int peers_gather(struct peers *p, void *buf, const size_t *len, const size_t *off,
                 struct err *e);

#endif
