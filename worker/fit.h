/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fit.h - train.batch fit: the largest step that memory takes.
 *
 * It is worked out once, when a job is submitted, and stored in the job as numbers: a
 * job that goes on elsewhere, or with less memory, has the same batches.
 */
#ifndef WORKER_FIT_H
#define WORKER_FIT_H

#include "data/corpus.h"
#include "kernel/kernel.h"
#include "proto/spec.h"

/* Give the job its train.batch, and for pairs train.batch_tokens: as much as the plan
 * says to stay within train.memory on every rank, at most an epoch of c.  memory 0:
 * four fifths of what this machine has free, shared by the ranks.  teacher: the job of
 * distill.teacher's checkpoint, or NULL.  ERR_SPEC when not
 * even the smallest step fits, with the MiB that it takes. */
int fit_batch(struct spec *s, const Nnd__Job *teacher, const struct kernels *ks,
              int64_t vocab, const struct corpus *c, struct err *e);

#endif
