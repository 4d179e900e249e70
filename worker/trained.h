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

/* What every task with a trained model is told; its options begin with this. */
struct trained_options {
    const char *checkpoint, *plugins, *quarantine;
    struct arg_list rules;
    int64_t threads;
    bool best, json;
};
extern const struct arg_row trained_args[];

struct trained {
    bool best;           /* set before trained_open: not the newest, the best one */
    char path[PATH_MAX]; /* of the checkpoint */
    struct comm *self;
    struct spec *spec;
    const Nnd__Job *job;
    struct lexicon lexicon;
    int64_t vocab;
    uint32_t *never;  /* ids that it does not write, [nnever] */
    uint32_t *ends;   /* ids that end what it writes, [nends] */
    uint32_t *begins; /* that stand before what it goes on with, [nbegins] */
    size_t nnever, nends, nbegins;
    struct engine engine;
    struct decoder *decoder; /* from trained_decoder on */
};

/* Find the checkpoint (`dir` is one, or a job's folder, or a folder of checkpoints:
 * the newest) and read what it is of.  Whatever it returns, trained_close takes it
 * away. */
int trained_open(struct trained *t, const char *dir, struct err *e);

/* The engine, as in engine.h. */
int trained_engine(struct trained *t, const struct engine_config *c, struct err *e);

struct engine_config trained_config(const struct trained_options *o);

/* Does the id end what the model writes? */
bool trained_is_end(const struct trained *t, uint32_t id);

/* Does `other` have the same words, so that they can write together?  ERR_SPEC: no. */
int trained_alike(const struct trained *t, const struct trained *other, struct err *e);

/* A decoder with the checkpoint's weights; of `shape` its rows, sources and unit count.
 * Of several rules for an operator the last one counts: `rules` come after the job's.
 * engine: t's own, or that of another one. */
int trained_decoder(struct trained *t, const struct engine *engine,
                    const struct decoder_config *shape, const struct arg_list *rules,
                    struct err *e);
void trained_close(struct trained *t);

/* A task with a trained model: `work` gets zeroed memory of `size` bytes that begins
 * with a struct trained, which is open; `close` takes away what work left, whatever
 * that returned. */
struct trained_task {
    const char *name;
    size_t size;
    int (*work)(void *self, const void *options, struct err *e);
    void (*close)(void *self);
};

/* Do it; the options begin with struct trained_options. */
int trained_do(const struct trained_task *k, const void *options, struct err *e);

#endif
