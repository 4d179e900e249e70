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

    /* With train.ema: the average, and where the weight is the master, room for it
     * while the average is validated; else NULL. */
    struct value *average, *aside;
};

#define UPDATE_KINDS 3

struct update {
    int reduce, apply, spread; /* programs                                    */
    struct piece *piece;       /* this rank's, by plane and weight            */
    int npieces;
    int kinds; /* states per element that a checkpoint has, and their names:
                  "m", "v", "ema", in this order */
    const char *kind[UPDATE_KINDS];

    /* Programs, with train.ema; else -1.  keep: the weights go aside, if need be;
     * average: the averages become the weights; restore: they are again what they
     * were. */
    int keep, average, restore;
    struct value *hyper_average; /* input f32 [NND_HYPER_COUNT], or NULL */
    struct shard shard[GRAPH_PLANES];
    struct value *norm;  /* f64 [1]: of the scaled gradients            */
    struct value *hyper; /* input f32 [NND_HYPER_COUNT]; NULL with:     */

    /* Where the host is apart (graph.apart): the input f64 [NND_HYPER_COUNT] of which,
     * and of the norm, the device makes hyper; and the state i32 [1] that says whether
     * nothing was applied. */
    struct value *given, *skip;
};

/* State `kind` of a piece, by its number in update.kind. */
struct value *update_state(const struct update *u, const struct piece *p, int kind);

/* Append the programs; call after the backward of everything.  stats: of the chunks,
 * losses in their first column.  Lives in the graph's arena. */
int update_build(struct graph *g, const Nnd__Job *job, struct value *stats,
                 struct update *out, struct err *e);

#endif
