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
 * over the last decay_steps of all steps.  With s = step + 1, w = warmup:
 * noam: lr width^-1/2 min(s^-1/2, s w^-3/2) (Vaswani et al. 2017, section 5.3);
 * inverse_sqrt: the same curve, with the peak lr at s = w. */
double schedule_lr(const Nnd__Job *job, int64_t step);

/* Scheduled sampling: the share of tokens that are the target's at update `step`, from
 * 0 (Bengio et al. 2015, section 2.4). */
double schedule_teacher(const Nnd__Train *t, int64_t step);

/* Dynamic loss scaling for fp16 (Micikevicius et al. 2018): halve when a step
 * overflowed, double after `window` clean ones; 1 for other precisions. */
struct loss_scaler {
    double scale;
    int64_t clean;
};
struct loss_scaler schedule_scaler(const Nnd__Train *t);
void schedule_scale(const Nnd__Train *t, struct loss_scaler *s, bool overflowed);

#endif
