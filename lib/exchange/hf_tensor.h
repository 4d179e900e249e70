/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_tensor.h - the tensors that a class of `transformers` has for a model of ours,
 * and which of ours each is made of.
 *
 * For both directions: every tensor on either side is counted once.
 */
#ifndef EXCHANGE_HF_TENSOR_H
#define EXCHANGE_HF_TENSOR_H

#include "base/map.h"
#include "exchange/outline.h"
#include "format/hf.h"

#define HF_PARTS 3

/* One of theirs. */
struct hf_tensor {
    const char *name;
    uint32_t ndim;
    int64_t dim[2];
    uint64_t elements;
    struct hf_place place;
    int parts, part[HF_PARTS]; /* numbers in the outline, in order */
    int64_t rows, cols;        /* of one part, as ours             */
};

struct hf_tensors {
    struct arena *mem;
    struct map *named;
    struct hf_tensor **at; /* [n], by name */
    size_t n;
};

/* ERR_NOTFOUND names a tensor of ours that the class has not, or a part that the model
 * has not. */
int hf_tensors_create(const struct outline *o, const struct hf_arch *arch,
                      struct hf_tensors **out, struct err *e);
void hf_tensors_destroy(struct hf_tensors *t);

/* Part `part` of theirs[t->elements] to ours, or the other way. */
void hf_tensor_take(const struct hf_tensor *t, int part, const float *theirs,
                    float *ours);
void hf_tensor_give(const struct hf_tensor *t, int part, const float *ours,
                    float *theirs);

#endif
