/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_layout.h - which logical tensors a model has, in which file each
 * stands, and which of their elements lie on this rank.
 *
 * For the files checkpoint*.c and lib/exchange alone.  Tensors are numbered alike on
 * every rank of every mesh: weights in the order of the graph, experts by number, then
 * states of the model, then the optimizer's moments and the averages in the order of
 * the weights, then states that training carries from step to step.
 */
#ifndef TRAIN_CHECKPOINT_LAYOUT_H
#define TRAIN_CHECKPOINT_LAYOUT_H

#include "base/arena.h"
#include "format/safetensors.h"
#include "graph/graph.h"
#include "train/update.h"

enum layout_file { LAYOUT_MODEL, LAYOUT_OPTIMIZER, LAYOUT_FILES };

extern const char *const layout_file_name[LAYOUT_FILES];

struct layout_tensor {
    enum layout_file file;
    const struct safetensors_tensor *at; /* in the sealed plan; f32 */
};

/* A value on this rank that holds a part of some tensors. */
struct layout_source {
    const struct value *value;
    bool owned;     /* this rank writes it; no other does */
    int first, end; /* its slices */
};

/* Elements [lo, hi) of a tensor are those of a source from `offset` on. */
struct layout_slice {
    int tensor;
    int64_t lo, hi, offset;
};

struct layout {
    struct arena *mem;
    struct safetensors_plan *plan[LAYOUT_FILES];
    struct layout_tensor *tensor;
    struct layout_source *source; /* all that this rank reads; a part is owned */
    struct layout_slice *slice;
    int ntensor, nsource, nslice;
    int64_t nparams; /* elements of all weights */
};

/* Weights, states and moments of a training graph, in f32 masters; u NULL: of
 * weights and states alone, in the values that the graph computes with. */
int layout_create(const struct graph *g, const struct update *u, struct layout **out,
                  struct err *e);
void layout_destroy(struct layout *l);

/* Bytes of the sources that this rank owns. */
size_t layout_owned_bytes(const struct layout *l);

#endif
