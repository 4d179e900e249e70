/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - what a step measured, and the file that keeps it: one JSON object a
 * line, the keys of RankMetric in proto/wire.proto besides "attempt" and "time", and
 * with train.best "val_" and what it names.
 *
 * Beside it, in a folder tensorboard, the same is written for TensorBoard.
 *
 * A line is one write, so that whoever is killed leaves whole lines.  Numbers that
 * are not finite are left out, for JSON has none.
 */
#ifndef WORKER_METRICS_H
#define WORKER_METRICS_H

#include "base/err.h"
#include "train/trainer.h"

struct metrics {
    struct step_report report;
    double val_loss;     /* NAN: not validated at this step       */
    const char *quality; /* what train.best goes by, or NULL  */
    double value;        /* its value, with val_loss          */
    int64_t tokens;      /* targets of all steps up to this one   */
    int attempt;
};

/* Not finite where no time was taken. */
double metrics_tokens_per_s(const struct metrics *m);

struct metrics_file;

/* Open or make the file, and drop what it says of steps after `last`, which are
 * about to be done again. */
int metrics_open(const char *path, int64_t last, struct metrics_file **out,
                 struct err *e);
void metrics_close(struct metrics_file *f);

int metrics_add(struct metrics_file *f, const struct metrics *m, struct err *e);

/* The same in the middle of a run: after it was rolled back to step `last`. */
int metrics_drop(struct metrics_file *f, int64_t last, struct err *e);

#endif
