/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.h - a part of a call that the plain kernel can compute by itself, so that a
 * large call can be held against `ref` at little cost.
 *
 * A sample is a copy of the params with tensors cut to some rows, columns, heads or
 * sequences - first and last among them - by their strides alone; its outputs lie in
 * memory of their own and start as the real ones are.  Which cuts leave the numbers
 * what they are follows from each operator's definition.
 */
#ifndef KERNEL_SAMPLE_H
#define KERNEL_SAMPLE_H

#include <stdbool.h>

#include <nnd/plugin.h>

#include "base/arena.h"
#include "base/err.h"

enum { SAMPLE_OUTPUTS = 8 };

/* One output: where the kernel under test leaves it, and where `ref` does. */
struct sample_output {
    const char *name;
    struct nnd_tensor real, mine;
    double slack; /* share of numbers that may differ, of integers           */
    double floor; /* what an element may be off where its sum cancels out    */
    const struct sample_output *counts; /* how often it has each number, or NULL */
};

struct sample {
    void *params; /* for ref */
    double unit;  /* largest dtype_unit of the inputs */
    double terms; /* as many as a sum may have at most */
    struct sample_output output[SAMPLE_OUTPUTS];
    int noutputs;
};

/* Cut a call of `op` in host memory, whose data has not been written yet; with `at`,
 * the address of an element of an output, so that it is in the sample.  False: for this
 * operator, or these params, there is no sample. */
bool sample_make(const char *op, const void *params, const void *at, struct arena *a,
                 struct sample *out);

/* Is what was computed the same, but for rounding?  Says where it is worst. */
int sample_compare(const struct sample *s, struct err *e);

/* Is there, where the kernel left a NaN or an infinity, a number of ref's that is no
 * border case - at most half of the largest of its type?  Says where, and both. */
bool sample_lost(const struct sample *s, struct err *e);

#endif
