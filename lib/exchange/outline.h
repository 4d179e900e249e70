/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outline.h - which tensors the model of a job has, without computing with any.
 */
#ifndef EXCHANGE_OUTLINE_H
#define EXCHANGE_OUTLINE_H

#include "proto/job.pb-c.h"
#include "train/checkpoint_layout.h"

struct outline {
    struct graph *graph;
    struct layout *layout; /* weights and states of the model; no moments */
};

/* Of a resolved job.  Whatever it returns, outline_free takes it away. */
int outline_make(const Nnd__Job *job, int64_t vocab, struct outline *out,
                 struct err *e);
void outline_free(struct outline *o);

/* How many tensors there are, and the i-th: those of the model come first. */
int outline_count(const struct outline *o);
const struct safetensors_tensor *outline_at(const struct outline *o, int i);

#endif
