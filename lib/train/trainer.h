/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trainer.h - a job at work on this rank: its graph, its kernels, its steps.
 *
 * Knows nothing of daemons, files or clocks on walls; who calls it reports,
 * saves (checkpoint.h) and decides when to stop.  All calls are collective over
 * the job's ranks and give every rank the same report.
 */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H

#include <stdbool.h>

#include "base/buf.h"
#include "comm/lane.h"
#include "data/corpus.h"
#include "graph/exec.h"
#include "train/update.h"

struct trainer;

struct trainer_config {
    const Nnd__Job *job; /* resolved; outlives the trainer       */
    struct comm *world;
    const struct kernels *kernels;
    const struct corpus *corpus;
    int64_t vocab;
    int threads;
    const char *crumb;       /* see exec_config */
    const char *tuned;       /* file of what kernels.tune measures, or NULL */
    struct lane *lane;       /* sends gradients and weights meanwhile; or NULL     */
    struct verify *verify;   /* see exec_config; outlives the trainer */
    struct teacher *teacher; /* with distill.teacher (teacher.h); outlives it as well */
};

/* What changes from step to step besides tensors; part of a checkpoint. */
struct train_state {
    int64_t step;      /* steps done (skipped ones too); the data's position  */
    int64_t applied;   /* optimizer updates done                              */
    double loss_scale; /* 1 unless in fp16                                */
    int64_t clean;     /* steps since the loss scale last changed             */

    /* Of validations, by trainer_judge. */
    double best;       /* the best value so far                           */
    int64_t best_step; /* after which it was measured; 0: there is none   */
    int64_t stale;     /* validations since without a better one          */
};

struct step_report {
    int64_t step; /* number of the step just done, from 1                 */
    double loss, aux_loss, z_loss; /* nats per target; unscaled             */
    double grad_norm, lr, loss_scale;
    int64_t targets; /* of all ranks                                        */
    double seconds;
    double send_seconds; /* of this rank: gradients and weights on their way */
    double send_hidden;  /* share of that while it computed; NAN: none sent  */
    bool skipped;        /* a NaN or Inf was met, nothing was applied           */
    int moe_layers, dead_experts; /* experts that no row chose, all layers  */
    double overload; /* largest load of an expert / mean load, any layer    */
};

/* Build the graph, let rank 0 choose the kernels for all, allocate, bind. */
int trainer_create(const struct trainer_config *c, struct trainer **out, struct err *e);
void trainer_destroy(struct trainer *t);

/* Weights from the seed (the same in every layout), zero moments and biases of routers,
 * step 0, whatever was there. */
int trainer_start(struct trainer *t, struct err *e);

/* The first step of weights that have been put into the pieces: zero moments are
 * theirs already. */
int trainer_begin(struct trainer *t, struct err *e);

/* After a checkpoint's tensors have been put into the pieces and states: make
 * the weights from the masters, on all ranks, and go on from `s`; with the loss scale
 * of the job's beginning where that of s is 0, or the job has none. */
int trainer_resume(struct trainer *t, const struct train_state *s, struct err *e);

/* One step.  A non-finite gradient norm is seen by all ranks and skips the
 * update; what else to do is the caller's policy. */
int trainer_step(struct trainer *t, struct step_report *out, struct err *e);

/* Pass over the next step's batch without computing (after a roll-back); carried states
 * are zero behind it. */
void trainer_skip(struct trainer *t);

/* With train.ema: the averages become the weights, to be looked at, or the weights
 * are again what they were.  Nothing without it. */
int trainer_average(struct trainer *t, bool on, struct err *e);

/* Mean loss over the validation part (nats per target); NAN when it is empty. */
int trainer_validate(struct trainer *t, double *loss, struct err *e);

/* What a validation measured: is it better than all before?  `larger`: more is better.
 * A number that is none never is.  Equal values on all ranks. */
bool trainer_judge(struct trainer *t, double value, bool larger);

/* Of what was judged nothing counts any more: it was another job's. */
void trainer_forget(struct trainer *t);

const struct train_state *trainer_state(const struct trainer *t);
struct graph *trainer_graph(const struct trainer *t);
struct exec *trainer_exec(const struct trainer *t);
const struct update *trainer_update(const struct trainer *t);

/* The kernel table as text (kernel.h). */
const char *trainer_kernels(const struct trainer *t);

/* Where this rank is; readable from any thread. */
struct exec_progress *trainer_progress(struct trainer *t);

/* Time since the last call by operator, a line each, and by layer, a line each with
 * forward and backward; on a device, which programs it does not keep, how ranks
 * exchange gradients, and why; then forget it. */
void trainer_profile(struct trainer *t, struct buf *out);

/* Which programs a device does not keep to run them in one call, and why, a line for
 * those in a row that have the same reason. */
void trainer_eager(const struct trainer *t, struct buf *out);

/* How gradients and weights go between ranks with devices, and why, a line; two where
 * those of experts go another way.  Nothing on processors, and of one rank. */
void trainer_ways(const struct trainer *t, struct buf *out);

/* What sending gradients and weights has taken since the first step (exec.h). */
struct exec_sent trainer_sent(const struct trainer *t);

#endif
