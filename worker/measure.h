/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.h - by what a job is told how good its model is: the quantities that
 * train.best names.
 *
 * A quantity is a row of one table: its name in metrics.jsonl, which way is better,
 * and how it is taken after a validation.
 */
#ifndef WORKER_MEASURE_H
#define WORKER_MEASURE_H

#include "metric/metric.h"
#include "worker/run.h"

struct measure {
    const char *name; /* in metrics.jsonl, behind "val_" */
    bool larger;      /* the larger, the better          */

    /* Take it of the weights as they are, with train.ema the averages: `loss` is what
     * the validation found, nats per target.  Collective; every rank gets the same
     * number. */
    int (*take)(struct run *r, const struct measure *m, double loss, double *out,
                struct err *e);
    enum metric score; /* of texts (scores.h) */
};

/* The row of what the job goes by; NULL: it goes by nothing. */
const struct measure *measure_of(const Nnd__Job *job);

/* What taking it takes on rank 0 besides training, in bytes (scores_bytes); 0 for what
 * follows from the loss. */
int measure_bytes(const Nnd__Job *job, const struct kernels *ks, int64_t vocab,
                  int64_t *out, struct err *e);

#endif
