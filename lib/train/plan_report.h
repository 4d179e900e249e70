/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plan_report.h - what a job will take, counted on the graphs that would run it:
 * memory of every rank by kind, work per token, bytes between ranks.
 *
 * Nothing is allocated and nothing runs; every rank of the job is looked at from
 * one process.
 */
#ifndef TRAIN_PLAN_REPORT_H
#define TRAIN_PLAN_REPORT_H

#include "base/arena.h"
#include "kernel/kernel.h"
#include "proto/job.pb-c.h"

enum plan_kind {
    PLAN_WEIGHTS,     /* in the dtype of the activations                       */
    PLAN_MASTER,      /* f32 copies of the owned ones, where those are 16 bit  */
    PLAN_MOMENTS,     /* of the optimizer, of the owned ones                   */
    PLAN_GRADIENTS,   /* one buffer, and those of the tree over chunks         */
    PLAN_ACTIVATIONS, /* saved for backward, and between nodes                 */
    PLAN_BUFFERS,     /* inputs, statistics, kernels' workspace and packed weights,
                         the copy that a checkpoint is written from, the corpus */
    PLAN_COLLECTIVES, /* what groups of devices take, by their plugin's estimate, for
                         ranks with a device each                            */
    PLAN_TEACHER,     /* all of distill.teacher's                              */
    PLAN_SCORES,      /* what writes the texts that train.best scores: of rank 0  */
    PLAN_KINDS
};

/* "weights", "master", ... */
extern const char *const plan_kind_name[PLAN_KINDS];

struct plan_rank {
    int64_t bytes[PLAN_KINDS];
    int64_t wire; /* handed to collectives per step */
};

/* One collective of a training step, summed over ranks. */
struct plan_wire {
    const char *collective, *where; /* "moe.dispatch", "model.layers.0.mlp" */
    int64_t bytes, calls;           /* per step; calls: of one rank         */
    bool routed; /* data decides how many of the bytes stay where they are */
};

struct plan_report {
    int64_t params;      /* of the model, whatever the layout               */
    int64_t active;      /* that one token meets                            */
    int64_t token_flops; /* forward and backward, per token                 */
    int ranks;
    struct plan_rank *rank; /* [ranks]                                       */
    struct plan_wire *wire; /* [nwire]                                       */
    size_t nwire;
    const char *kernels;      /* the table as text, and the calls of rank 0, whose */
    struct kernel_want *want; /* `where` and params are gone (kernel.h)      */
    size_t nwant;
};

/* The job is resolved, its vocabulary known; teacher is the job of distill.teacher's
 * checkpoint, or NULL; corpus_bytes is what the text takes in every process,
 * scores_bytes what train.best takes on rank 0.  The report lies in arena a. */
int plan_report_make(const Nnd__Job *job, const Nnd__Job *teacher,
                     const struct kernels *ks, int64_t vocab, int64_t corpus_bytes,
                     int64_t scores_bytes, struct arena *a, struct plan_report *out,
                     struct err *e);

/* Only which kernels the job would run on, as text; the error says which rule cannot be
 * met, or what nobody computes. */
int plan_kernels(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                 struct arena *a, const char **out, struct err *e);

int64_t plan_rank_total(const struct plan_rank *r);

#endif
