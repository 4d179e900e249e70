/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trained.h - a trained model, taken out of its checkpoint to be used.
 */
#ifndef WORKER_TRAINED_H
#define WORKER_TRAINED_H

#include <limits.h>

#include "data/lexicon.h"
#include "decode/decoder.h"
#include "proto/spec.h"
#include "worker/args.h"
#include "worker/engine.h"

struct trained {
    bool best;           /* set before trained_open: not the newest, the best one */
    char path[PATH_MAX]; /* of the checkpoint */
    struct comm *self;
    struct spec *spec;
    const Nnd__Job *job;
    struct lexicon lexicon;
    int64_t vocab;
    struct engine engine;
    struct decoder *decoder; /* from trained_decoder on */
};

/* Find the checkpoint (`dir` is one, or a job's folder, or a folder of checkpoints:
 * the newest) and read what it is of.  Whatever it returns, trained_close takes it
 * away. */
int trained_open(struct trained *t, const char *dir, struct err *e);

/* The engine, as in engine.h. */
int trained_engine(struct trained *t, const struct engine_config *c, struct err *e);

/* A decoder of that many rows with the checkpoint's weights.  Of several rules for an
 * operator the last one counts: `rules` come after the job's. */
int trained_decoder(struct trained *t, int rows, const struct arg_list *rules,
                    struct err *e);
void trained_close(struct trained *t);

#endif
