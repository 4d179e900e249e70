/* SPDX-License-Identifier: Apache-2.0 */
/*
 * overlap.h - gradients and weights on their way while others are computed; for the
 * executor and op_zero.c alone.
 *
 * A plane is sent in parts: gradients as soon as backward of a rank's last chunk has
 * added the last leaf of a few weights, weights as soon as the optimizer has passed a
 * window.  Which parts there are, in which order, and after which node each goes is
 * computed beforehand; the order is the same on all ranks.  Elements are added in one
 * order, whoever sends them when, so the bits are those of sending all of it at the
 * end.
 *
 * Parts go by a lane (comm/lane.h) where processors compute, and by a track (track.h)
 * where they go from device to device: the nodes grad.reduce and param.gather wait for
 * what is on its way, on a track the device does.  Planes that have neither are sent by
 * these nodes themselves.
 */
#ifndef GRAPH_OVERLAP_H
#define GRAPH_OVERLAP_H

#include "graph/exec.h"
#include "graph/track.h"
#include "plan/shard.h"

/* What grad.reduce and param.gather nodes have as attr. */
struct zero_attr {
    int plane;
    struct shard shard;
};

/* A part of a plane: of grad.reduce its elements [lo, hi), of param.gather elements
 * [lo, hi) of what each replica owns. */
struct zero_part {
    struct exec *exec;
    const struct node *node;
    struct comm *comm;
    int64_t lo, hi;
};
typedef int zero_send_f(const struct zero_part *z, struct err *e);

/* op_zero.c: */
zero_send_f zero_reduce, zero_gather;
struct peers *zero_peers(const struct exec *x, const struct node *n); /* or NULL */
struct comm *zero_comm(const struct graph *g, const struct exec_comms *c, int plane);
int zero_rank(const struct graph *g, int plane);  /* this rank among the replicas  */
int64_t zero_owned(const struct shard *s, int r); /* elements of replica r        */
int64_t zero_largest(const struct shard *s);

/* op_sum.c: the weight whose gradient is finished when n has run at the last chunk
 * position; NULL: none. */
struct param *grad_tree_finishes(const struct node *n);

/* exec.c: bytes that a node has sent by way of the lane. */
void exec_add_wire(struct exec *x, const struct node *n, int64_t bytes);

/* Lives in arena a.  After the planes' trees and peers are known; t: on which those
 * send, or NULL. */
int overlap_create(struct exec *x, struct arena *a, const struct exec_config *c,
                   struct track *t, struct overlap **out, struct err *e);

/* Send all that goes on the track once, before there is anything to send: what a group
 * takes of its device at its first calls it takes now. */
int overlap_rehearse(struct overlap *o, struct err *e);

/* Does node n let something go at a chunk position? */
bool overlap_lets_go(const struct overlap *o, const struct node *n, int position);

/* It has run there, or been enqueued: post what it lets go. */
int overlap_after(struct overlap *o, const struct node *n, int position, struct err *e);

/* For the node itself: wait for its parts, or send `all` with `send`. */
int overlap_run(struct overlap *o, const struct node *n, zero_send_f *send,
                const struct zero_part *all, struct err *e);

struct exec_sent overlap_sent(const struct overlap *o);

#endif
