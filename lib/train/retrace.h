/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retrace.h - why a step was not finite: the step once more, looked at call by call.
 *
 * Nothing of the job is changed by it - weights, moments, carried states, balancing
 * biases - and nothing allocated but room for a sample of one call.
 */
#ifndef TRAIN_RETRACE_H
#define TRAIN_RETRACE_H

#include "train/trainer.h"

enum finding_kind {
    FINDING_NONE,    /* not looked for: text says why            */
    FINDING_WEIGHTS, /* they were no numbers before the step     */
    FINDING_KERNEL,  /* is wrong, and condemned                  */
    FINDING_MODEL,   /* or the data: no kernel is worse than ref */
    FINDING_UNKNOWN, /* where is known, but not whose fault      */
    FINDING_FLEETING /* this time it was finite                  */
};

/* Equal on all ranks. */
struct finding {
    enum finding_kind kind;
    int rank;        /* who found it */
    char text[1600]; /* one line     */
};

/* Right behind trainer_step, whose report says `skipped`.  Collective. */
int trainer_retrace(struct trainer *t, struct finding *out, struct err *e);

#endif
