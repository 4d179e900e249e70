/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lab.h - what test programs need before they can train: the world, a job from a
 * file, threads, kernels and text.
 */
#ifndef TESTS_NUM_LAB_H
#define TESTS_NUM_LAB_H

#include "data/lexicon.h"
#include "proto/spec.h"
#include "train/trainer.h"

struct lab {
    struct comm *world;
    struct spec *spec;
    struct pool *pool;
    struct kernels *kernels;
    struct lexicon lexicon;
    struct corpus *corpus;
    struct lane *lane;       /* where ranks can have one; $NND_LAB_LANE=0: none */
    struct teacher *teacher; /* from lab_teach on */
};

/* Join the world (MPI under mpirun), read the job with its overrides ("-S",
 * "KEY=VALUE", ...), load ref and the plugins of $NND_PLUGIN_DIR. */
int lab_open(struct lab *l, const char *job, int n, char **overrides, struct err *e);
void lab_close(struct lab *l);

/* Where the job has a distill.teacher: open it.  Its checkpoint is of a model of the
 * student's own shape. */
int lab_teach(struct lab *l, struct err *e);

/* A trainer's configuration; threads are the job's, or 1. */
struct trainer_config lab_trainer(const struct lab *l);

/* Say why on stderr and end all ranks; returns 1 when alone. */
int lab_fail(struct lab *l, const char *who, const struct err *e);

#endif
