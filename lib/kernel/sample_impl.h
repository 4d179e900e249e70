/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample_impl.h - what the files of sample.h share: tensors cut by their strides, and
 * outputs that lie elsewhere.
 */
#ifndef KERNEL_SAMPLE_IMPL_H
#define KERNEL_SAMPLE_IMPL_H

#include "kernel/sample.h"

/* Number i in the order of a contiguous tensor: where it lies, and what it is. */
char *sample_address(const struct nnd_tensor *t, int64_t i);
double sample_number(const struct nnd_tensor *t, int64_t i);

int64_t sample_elements(const struct nnd_tensor *t);

/* Root of the mean square of what is finite. */
double sample_rms(const struct nnd_tensor *t);

/* The places along each axis of the number at an address; false: it is none of t's. */
bool sample_index(const struct nnd_tensor *t, const void *at,
                  int64_t index[NND_MAX_DIMS]);

/* Which numbers along an axis: `count`, from `first` on. */
struct sample_pick {
    int64_t first, step, count;
};

/* `count` of n evenly, the first and the last among them; or number `must`, which is
 * not negative. */
struct sample_pick sample_pick(int64_t n, int64_t count, int64_t must);
void sample_cut(struct nnd_tensor *t, int axis, const struct sample_pick *p);

/* What an input does to the rounding of results. */
void sample_weigh(struct sample *s, const struct nnd_tensor *t);

/* Give an output of the sample memory of its own, with what the real one holds. */
void sample_redirect(struct sample *s, const char *name, struct nnd_tensor *t,
                     double slack, struct arena *a);

void sample_floor(struct sample *s, double floor);

/* "attn.fwd", "attn.bwd": one sequence and some of its heads. */
bool sample_attn(const void *params, bool bwd, const void *at, struct arena *a,
                 struct sample *out);

#endif
