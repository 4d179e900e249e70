/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer_impl.h - what trainer.c, profile.c, plan_report.c and retrace.c share.
 */
#ifndef TRAIN_TRAINER_IMPL_H
#define TRAIN_TRAINER_IMPL_H

#include "data/batch.h"
#include "kernel/tune.h"
#include "model/model.h"
#include "train/trainer.h"

/* The graph of a job on one rank, with all of its programs. */
struct programs {
    struct graph *g;
    struct model model;
    int guess; /* or -1: before forward, with scheduled sampling */
    int forward, backward, eval;
    int report, gather; /* after training chunks; after a validation batch */
    struct update update;
};

int programs_build(const Nnd__Job *job, int rank, int64_t vocab, struct programs *out,
                   struct err *e);

/* Why gradients and weights may not go from device to device, or NULL. */
const char *trainer_staged(const Nnd__Job *job);

/* One choice of kernels for all ranks of a job, by its rules and mode, and by what
 * `tune` measures unless it is NULL. */
int kernels_for_job(const struct kernels *ks, const Nnd__Job *job, int64_t vocab,
                    struct tune *tune, struct kernel_table **out, struct err *e);

struct trainer {
    struct trainer_config c;
    struct programs p;
    struct comm *ep, *edp;
    struct comm *lane_world, *lane_edp; /* NULL without a lane */
    struct buf table_text;
    struct kernel_table *table;
    struct exec *x;
    struct batch_source train, valid;
    void *carry_aside;         /* carry_bytes: training's states before the step, and
                                  while it validates */
    uint64_t *counts;          /* [chunks]: targets */
    double *sums;              /* [chunks]: scratch */
    const struct value **told; /* what the host looks at behind a step */
    int ntold;
    struct train_state s, before; /* now, and before the last step */
    struct exec_sent began;       /* what had been sent before the first step */
};

/* The step that the state says, but for what the optimizer does. */
int trainer_compute(struct trainer *t, int64_t *targets, struct err *e);

/* Are the loss and the norm that it left? */
bool trainer_is_finite(const struct trainer *t);

#endif
