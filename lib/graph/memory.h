/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - a place for every value, before anything runs.
 *
 * Liveness over the nodes gives arena values offsets.  A value that crosses programs
 * belongs to a slot; but where there is one slot, what forward saves for its backward
 * lies in the arena too, since nothing runs between them: what backward makes has the
 * place of what it has read.  The same numbers are allocated by exec.h and printed by
 * `nnctl plan`.
 */
#ifndef GRAPH_MEMORY_H
#define GRAPH_MEMORY_H

#include "graph/graph.h"

#define MEMORY_ALIGN 64

enum region {
    REGION_PARAM,
    REGION_GRAD,
    REGION_STATE,
    REGION_INPUT,
    REGION_SLOT, /* one of `slots` alike */
    REGION_ARENA,
    REGION_COUNT
};

struct memory {
    size_t bytes[REGION_COUNT]; /* of one slot for REGION_SLOT */
    int slots;
    size_t workspace; /* filled by exec_plan: the largest need of a kernel */
    size_t packed;    /* and weights as kernels have packed them (pack.h)  */
};

/* Plan for `slots` slots in flight.  Sets value.offset, saved and slotted and the
 * planes' offsets.  Call once, after the last node. */
int memory_plan(struct graph *g, int slots, struct memory *out, struct err *e);

/* The region a value's root lies in. */
enum region memory_region(const struct value *v);

#endif
