/* SPDX-License-Identifier: Apache-2.0 */
/*
 * teacher.h - a trained model that tells a student how likely it thinks each token.
 *
 * Every rank has all of it and computes its own chunks, with the shapes that the
 * student's chunks have: so its logits do not depend on the layout.
 */
#ifndef TRAIN_TEACHER_H
#define TRAIN_TEACHER_H

#include "comm/comm.h"
#include "graph/exec.h"
#include "proto/job.pb-c.h"

struct teacher;

struct teacher_config {
    const char *checkpoint;  /* NULL: the weights are for the caller to load */
    const Nnd__Job *job;     /* of the checkpoint            */
    const Nnd__Job *student; /* both outlive the teacher     */
    int64_t vocab;
    const struct kernels *kernels;
    struct comm *world; /* of the student: rank 0 chooses kernels for all */
    int threads;
};

/* Build, allocate, load the weights.  ERR_SPEC where the two do not fit: one reads a
 * source and the other does not, or a weight has another shape in the student's
 * contexts. */
int teacher_create(const struct teacher_config *c, struct teacher **out, struct err *e);
void teacher_destroy(struct teacher *t);

/* What computes it: where its weights are. */
struct exec *teacher_exec(const struct teacher *t);

/* The bytes that a teacher takes on every rank: weights, what it computes with, its
 * inputs and logits.  Errors as teacher_create's. */
int teacher_bytes(const Nnd__Job *job, const Nnd__Job *student, int64_t vocab,
                  const struct kernels *ks, int64_t *out, struct err *e);

/* The logits of the chunk whose inputs are in `student`: its value `taught`. */
int teacher_teach(struct teacher *t, struct exec *student, const struct value *taught,
                  struct err *e);

#endif
