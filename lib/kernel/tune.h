/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tune.h - how long kernels of the CPU take for a job's calls, measured once and
 * written down.
 *
 * Seconds are kept by the kernel's file (its SHA-256), the processor, the number of
 * threads, and the class of the call: its types, and its sizes to the next power of
 * two. Who reads the file again on the same machine gets the same numbers, and makes
 * the same choice.
 */
#ifndef KERNEL_TUNE_H
#define KERNEL_TUNE_H

#include "kernel/kernel.h"

struct tune;

/* `file` holds what was measured before, if it is there; it grows by every measurement.
 * Lines that cannot be read are left alone. */
struct tune *tune_create(const struct kernels *ks, int threads, const char *file);
void tune_destroy(struct tune *t);

/* Seconds of one call of k, the shortest of a few; numbers are made up.  Negative:
 * the call needs numbers that only a job has (packed sequences), or memory that is not
 * the host's, or the kernel fails. */
double tune_seconds(struct tune *t, const struct nnd_kernel *k,
                    const struct kernel_want *w);

#endif
