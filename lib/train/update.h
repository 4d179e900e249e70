/* SPDX-License-Identifier: Apache-2.0 */
/*
 * update.h - from a step's gradients to new weights, as programs of the graph:
 * "reduce" (gradients to their owners, the norm), "apply" (the optimizer on what
 * this rank owns, weights back to everybody), "spread" (the weights out of given
 * masters, to everybody).
 *
 * A piece is the part of one stored weight whose optimizer state this rank
 * holds (ZeRO-1).  Where weights are stored narrower than f32 the piece has a
 * master copy; where they are f32 the weight itself is the master.
 */
#ifndef TRAIN_UPDATE_H
#define TRAIN_UPDATE_H

#include "graph/ops.h"
#include "proto/job.pb-c.h"

struct piece {
    struct param *param;
    int64_t lo, hi;       /* elements of param->value, whole blocks      */
    struct value *master; /* f32 [hi - lo]: state, or a view of the weight */
    struct value *m, *v;  /* f32 [hi - lo] states; v NULL for SGD        */
};

struct update {
    int reduce, apply, spread; /* programs                                    */
    struct piece *piece;       /* this rank's, by plane and weight            */
    int npieces;
    int moments; /* states per element: 1 m, 2 m and v                  */
    struct shard shard[GRAPH_PLANES];
    struct value *norm;  /* f64 [1]: of the scaled gradients            */
    struct value *hyper; /* input f32 [NND_HYPER_COUNT]                 */
};

/* Append the programs; call after the backward of everything.  Lives in the
 * graph's arena. */
int update_build(struct graph *g, const Nnd__Job *job, struct update *out,
                 struct err *e);

#endif
