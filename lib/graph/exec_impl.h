/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_impl.h - what exec.c, exec_create.c, exec_record.c and trace.c share.
 */
#ifndef GRAPH_EXEC_IMPL_H
#define GRAPH_EXEC_IMPL_H

#include "graph/exec.h"
#include "graph/pack.h"
#include "graph/track.h"

/* One node at one (slot, position): kernel NULL when nothing is launched. */
struct record {
    const struct nnd_kernel *kernel;
    void *params, *plan;
    struct pack *pack; /* or NULL */
};

/* Nodes [first, end) of a program, whose launches the device keeps. */
struct stretch {
    void *graph; /* NULL: not yet, or there is nothing to launch */
    int first, end;
};

/* What one run of a program enqueues, to be run again one by one: a stretch ends with
 * a node that lets something go (overlap.h). */
struct recorded {
    struct stretch *stretch;
    int stretches, runs;
    bool kept;
};

/* The records of a program: [position][slot][node]. */
struct bound {
    struct record *record;
    struct recorded *recorded; /* [position][slot], or NULL: why not is in `eager` */
    const char *eager;
    int positions, slots;
    bool changes_weights;
};

struct exec {
    struct arena *mem;
    struct graph *g;
    struct exec_config c;
    struct memory m;
    const struct nnd_device_ops *dev;
    struct nnd_stream stream;
    bool has_stream;
    struct mirror *mirror;             /* NULL: the device's memory is the host's */
    bool hosting;                      /* an operator of the host runs            */
    bool whole;                        /* exec_create has done all it does        */
    struct track *track;               /* of peers, or NULL                       */
    struct peers *peers[PARAM_GROUPS]; /* NULL: by way of the host    */
    struct exec_way way[PARAM_GROUPS];
    char *region[REGION_COUNT];
    void *workspace;
    struct packs packs;
    void *packed;
    uint64_t weights; /* how often they were changed, from 1 on */
    struct tree tree[GRAPH_PLANES];
    struct bound bound[GRAPH_PROGRAMS];
    struct exec_cost *cost;
    struct overlap *overlap;
    struct exec_progress progress;
    struct crumb *crumb; /* NULL: nobody asked */
    bool *described;     /* [node] in the crumb */
    struct trace *trace; /* trace.h, or NULL   */
    int slot, position, round;
    bool later; /* of a loop's rounds it is not the first that runs */
};

/* "64x128 128x256 > 64x256": what goes into a node, and what comes out. */
void exec_shapes(const struct node *n, char *out, size_t size);

/* Find out which programs can be recorded, once all are bound and it is known what
 * their nodes let go. */
void exec_record_plan(struct exec *x);
void exec_record_free(struct exec *x);

/* Enqueue the run of a program, which has an index among those of its positions and
 * slots, as it was recorded; false in *done: it is to be run node by node. */
int exec_record_run(struct exec *x, int program, int index, bool *done, struct err *e);

/* Enqueue one node, and nothing of what it lets go. */
int exec_run_node(struct exec *x, const struct node *n, const struct record *r,
                  struct err *e);

#endif
