/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule.h - learning rate and loss scale as functions of the step.
 */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/job.pb-c.h"

/* The learning rate of step `step` (from 0): linear warm-up over `warmup` steps,
 * then constant; or a cosine (Loshchilov & Hutter 2017) or a line down to min_lr
 * at decay_steps; or WSD (Hu et al. 2024): constant, then a line down to min_lr
 * over the last decay_steps of all steps. */
double schedule_lr(const Nnd__Train *t, int64_t step);

/* Dynamic loss scaling for fp16 (Micikevicius et al. 2018): halve when a step
 * overflowed, double after `window` clean ones; 1 for other precisions. */
struct loss_scaler {
    double scale;
    int64_t clean;
};
struct loss_scaler schedule_scaler(const Nnd__Train *t);
void schedule_scale(const Nnd__Train *t, struct loss_scaler *s, bool overflowed);

#endif
