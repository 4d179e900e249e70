/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.h - programs at work: kernels bound once, run many times.
 *
 * exec_create allocates every region, chooses a kernel for every node and binds
 * all params.  Running a program allocates nothing.  The schedule - which
 * program, chunk position and slot comes next - is the caller's.
 */
#ifndef GRAPH_EXEC_H
#define GRAPH_EXEC_H

#include <stdatomic.h>

#include "base/pool.h"
#include "comm/comm.h"
#include "graph/memory.h"
#include "graph/op.h"
#include "kernel/kernel.h"
#include "kernel/verify.h"
#include "plan/tree.h"

/* Whom collectives talk to; all NULL in a plan. */
struct exec_comms {
    struct comm *world; /* = dp */
    struct comm *ep;    /* the ranks of one set of experts  */
    struct comm *edp;   /* the replicas of this rank's experts */
};

struct lane;    /* comm/lane.h */
struct mirror;  /* mirror.h  */
struct overlap; /* overlap.h  */
struct peers;   /* peers.h    */
struct record;  /* exec_impl.h */
struct trace;   /* trace.h     */

/* Where a rank is, readable from any thread (heartbeats). */
struct exec_progress {
    _Atomic(const char *) where;
    _Atomic(const char *) op;
    _Atomic int64_t seq;   /* collectives entered so far */
    _Atomic int64_t nodes; /* nodes begun so far         */
    atomic_bool waits;     /* within a collective now    */
};

struct exec_config {
    int slots, positions; /* schedule slots; chunk positions per step */
    int repeats; /* runs of a program until its weights change; from 2 on kernels'
                    packed weights pay (pack.h), and are kept */
    struct exec_comms comms;
    struct lane *lane; /* or NULL: gradients and weights wait for each other; else */
    struct exec_comms lane_comms; /* world and edp once more, for the lane alone  */
    const char *device;
    const char *staged; /* why gradients and weights that ranks exchange must pass the
                           host; NULL: between devices where that can be (peers.h) */
    const struct kernels *kernels;
    const struct kernel_table *table;
    int threads;
    bool capture;          /* have the device keep the launches of programs */
    struct verify *verify; /* calls held against ref, or NULL */
    const char *crumb;     /* file that says after a crash where it was, or NULL */
};

struct exec;

/* Params of every kernel node with data NULL, for kernel_select.  Lives in
 * arena a. */
int exec_wants(const struct graph *g, struct arena *a, struct kernel_want **out,
               size_t *n, struct err *e);

/* The tree that adds the chunk gradients of plane p on this rank: arrival i is
 * (position i / sources, source i % sources); sources = ep for experts. */
int exec_tree(const struct graph *g, int plane, int positions, struct arena *a,
              struct tree *out, struct err *e);

/* Everything but memory and data: trees, places, the kernels' workspace, packed
 * weights.  Sets the planes' buffers; once per graph (exec_create does it itself). */
int exec_plan(struct graph *g, const struct kernel_table *table, int slots,
              int positions, int repeats, struct memory *out, struct err *e);

int exec_create(struct graph *g, const struct exec_config *c, struct exec **out,
                struct err *e);
void exec_destroy(struct exec *x);

/* Why a program is launched node by node, where its device might keep its launches
 * (exec_record.c); or NULL. */
const char *exec_eager(const struct exec *x, int program);

/* Which step what follows belongs to, for the crumb. */
void exec_step(struct exec *x, int64_t step);

/* Run program `program` on chunk position `position`, with slot `slot`. */
int exec_run(struct exec *x, int program, int position, int slot, struct err *e);

/* Address of a value: of a saved one in `slot`, of a gradient's leaf at chunk
 * position `position`.  Host memory on "cpu". */
void *exec_address(const struct exec *x, const struct value *v, int slot, int position);

/* The same for the slot and position being run, for host ops; and for callers
 * that fill inputs and read results (slot 0).  On a device of its own memory: the
 * host's copy (mirror.h), which is up to date until the next program runs, and
 * which that program will see when it is an input or a state. */
void *exec_data(const struct exec *x, const struct value *v);

/* exec_data of a value whose old content nobody wants: all of it will be written. */
void *exec_renew(const struct exec *x, const struct value *v);

/* Wait once for all that was enqueued, and have the host's copies of these values,
 * NULL ones left out, up to date: exec_data waits for none of them then. */
int exec_fetch(struct exec *x, const struct value *const *v, int n, struct err *e);

/* Copy a whole value to or from the host's memory (slot 0, position 0). */
int exec_write(struct exec *x, const struct value *v, const void *src, struct err *e);
int exec_read(struct exec *x, const struct value *v, void *dst, struct err *e);

/* Weights were changed in place, neither by a program nor by exec_write: what kernels
 * have packed of them is no longer true. */
void exec_touch(struct exec *x);

/* The host's copies, or NULL where the device's memory is the host's. */
struct mirror *exec_mirror(const struct exec *x);

struct graph *exec_graph(const struct exec *x);
const struct memory *exec_memory(const struct exec *x);
const struct exec_comms *exec_comms_of(const struct exec *x);
struct exec_progress *exec_progress_of(struct exec *x);

/* For host ops: the chunk position and the loop round being run; the tree of a plane;
 * gradient buffer b of a plane. */
int exec_position(const struct exec *x);
int exec_round(const struct exec *x);
void *exec_plane(const struct exec *x, int plane); /* its weights */
const struct tree *exec_tree_of(const struct exec *x, int plane);
void *exec_grad_buffer(const struct exec *x, int plane, int buffer);

/* Who sends gradients and weights (overlap.h); the plane's from device to device
 * (peers.h), or NULL. */
struct overlap *exec_overlap(const struct exec *x);
struct peers *exec_peers(const struct exec *x, int plane);

/* How gradients and weights of a group go between ranks whose devices have memory of
 * their own, and why so; `by` is NULL where none go. */
struct exec_way {
    const char *by, *why; /* "nccl", "host" */
    int nodes;            /* of grad.reduce */
};
struct exec_way exec_way(const struct exec *x, enum param_group group);

/* Bytes that the groups take of a rank's device where all go from device to device. */
size_t exec_peers_bytes(const struct graph *g, const struct nnd_device_ops *dev);

/* What each node took since the last reset: nanoseconds, calls, and what it gave
 * to collectives - bytes to other ranks, of routed ops those kept as well. */
struct exec_cost {
    int64_t ns, calls, wire;
};
const struct exec_cost *exec_profile(const struct exec *x);
void exec_profile_reset(struct exec *x);

/* What sending gradients and weights took since the beginning: in all, and of that
 * while nothing was computed.  Rows of experts (moe.dispatch) are not in it. */
struct exec_sent {
    int64_t ns, exposed;
};
struct exec_sent exec_sent(const struct exec *x);

#endif
