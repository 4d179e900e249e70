/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule.c - the arithmetic of schedule.h.
 */
#include "train/schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

/* How far a decay from `from` over `steps` has come at `step`: 0 to 1. */
static double progress(int64_t step, int64_t from, int64_t steps)
{
    if (step < from)
        return 0;
    return step - from >= steps ? 1 : (double)(step - from) / (double)steps;
}

/* s^-1/2 behind the warm-up, a line up to there: 1 at its end. */
static double inverse_sqrt(int64_t step, int64_t warmup)
{
    double s = (double)(step + 1), w = (double)warmup;
    return fmin(sqrt(w / s), s / w);
}

double schedule_lr(const Nnd__Job *job, int64_t step)
{
    const Nnd__Train *t = job->train;
    int64_t warmup = t->warmup, decay = t->decay_steps, steps = t->steps;
    double span = t->lr - t->min_lr;
    if (t->schedule == NND__TRAIN__SCHEDULE__NOAM)
        return t->lr * inverse_sqrt(step, warmup) /
               sqrt((double)job->model->width * (double)warmup);
    if (t->schedule == NND__TRAIN__SCHEDULE__INVERSE_SQRT)
        return t->lr * inverse_sqrt(step, warmup);
    if (step < warmup)
        return t->lr * (double)(step + 1) / (double)warmup;
    switch (t->schedule) {
    case NND__TRAIN__SCHEDULE__COSINE:
        return t->min_lr +
               span * 0.5 * (1 + cos(PI * progress(step, warmup, decay - warmup)));
    case NND__TRAIN__SCHEDULE__LINEAR:
        return t->lr - span * progress(step, warmup, decay - warmup);
    case NND__TRAIN__SCHEDULE__WSD:
        return t->lr - span * progress(step, steps - decay, decay);
    default:
        return t->lr;
    }
}

double schedule_teacher(const Nnd__Train *t, int64_t step)
{
    double i = (double)step, k = t->teacher_k;
    switch (t->teacher) {
    case NND__TRAIN__TEACHER__LINEAR_DECAY:
        return fmax(t->teacher_min, k - t->teacher_c * i);
    case NND__TRAIN__TEACHER__EXPONENTIAL:
        return pow(k, i);
    case NND__TRAIN__TEACHER__INVERSE_SIGMOID:
        return k / (k + exp(i / k));
    default:
        return 1;
    }
}

struct loss_scaler schedule_scaler(const Nnd__Train *t)
{
    bool scaled = t->precision == NND__TRAIN__PRECISION__FP16;
    return (struct loss_scaler){.scale = scaled ? t->loss_scale : 1};
}

void schedule_scale(const Nnd__Train *t, struct loss_scaler *s, bool overflowed)
{
    if (t->precision != NND__TRAIN__PRECISION__FP16)
        return;
    if (overflowed) {
        s->scale = s->scale > 2 ? s->scale / 2 : 1;
        s->clean = 0;
    } else if (++s->clean >= t->loss_scale_window) {
        s->scale *= 2;
        s->clean = 0;
    }
}
