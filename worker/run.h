/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - one rank's part in one attempt at a job: everything it holds, from the
 * job file to the last checkpoint.
 */
#ifndef WORKER_RUN_H
#define WORKER_RUN_H

#include <limits.h>

#include "data/corpus.h"
#include "proto/spec.h"
#include "train/checkpoint.h"
#include "worker/agent.h"
#include "worker/args.h"
#include "worker/engine.h"
#include "worker/metrics.h"

struct run_options {
    const char *job, *dir, *uri, *plugins;
    struct arg_list set;
    int64_t attempt, epoch, threads;
    bool profile;
};

/* Most roll-backs in an attempt; what they were from is passed over afterwards. */
#define RUN_BAD_MAX 64

struct run {
    const struct run_options *o;
    struct comm *world, *control; /* control: the same ranks, for what is
                                     no part of a step                    */
    int rank;
    struct agent *agent; /* NULL without nnd                     */
    struct spec *spec;
    const Nnd__Job *job;
    struct engine engine;
    struct lexicon lexicon;
    struct corpus *corpus;
    struct lane *lane;         /* NULL for one rank                      */
    struct verify *verify;     /* calls held against ref, or NULL       */
    struct spec *teacher_spec; /* of distill.teacher's checkpoint       */
    struct teacher *teacher;   /* or NULL                               */
    struct trainer *trainer;
    struct scores *scores;       /* of what it writes, once asked for     */
    struct buf json, vocabulary; /* job and tokenizers, for checkpoints  */
    struct checkpoint *checkpoint;
    struct metrics_file *metrics; /* of rank 0                            */
    char from[PATH_MAX];          /* the checkpoint taken up, or ""       */
    bool begun;                   /* it is another job's: checkpoint.from */
    char checkpoints[PATH_MAX];   /* DIR/checkpoints                      */
    struct metrics last;          /* of the last step done                */
    int64_t seen;                 /* targets of all steps done            */
    int64_t saved;                /* step of the newest checkpoint, or 0  */
    int64_t told;                 /* when the last line was printed, ns   */
    bool best;                    /* the last step's is the best so far   */
    double density;               /* validation targets per character; 0: not
                                     counted yet                          */
    int64_t bad[RUN_BAD_MAX];
    int nbad, rollbacks;   /* rollbacks: since the last checkpoint */
    int nonfinite;         /* steps in a row that were not; mere
                              overflows of fp16 are not counted   */
    bool agreed;           /* all ranks know of the error and leave */
    Wire__Failure failure; /* class of an error that is none of
                              the general ones                     */
};

/* Become a rank: its world, its line to nnd.  run.c. */
int run_enter(struct run *r, const struct run_options *o, struct err *e);

/* Get ready for the first step.  Local errors are agreed on: then the lowest rank
 * that has one returns its text, the others "". */
int run_prepare(struct run *r, struct err *e);
void run_release(struct run *r); /* the opposite of run_prepare */

/* Collective.  Where to take up: the job's newest whole checkpoint, else the one that
 * it begins from, else none; and to put the trainer there.  run.c. */
int run_find(struct run *r, struct err *e);
int run_take_up(struct run *r, struct err *e);

/* After the last step, or when asked to stop: 0 or TASK_REQUEUE.  loop.c. */
int run_loop(struct run *r, struct err *e);

/* All ranks fail when one did. */
int run_agree(struct run *r, int rc, struct err *e);

/* Every target of steps 1 to `step`. */
int64_t run_targets(const struct run *r, int64_t step);

#endif
