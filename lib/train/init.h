/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.h - how weights begin: a function of (seed, name, element) alone.
 */
#ifndef TRAIN_INIT_H
#define TRAIN_INIT_H

#include "graph/graph.h"

/* Elements [lo, hi) of a stored weight (counted from its start on this rank) as
 * f32: normal numbers by Box & Muller (1958) from Philox keyed by the seed and
 * the logical tensor's name, or the constant fill. */
void init_weight(const struct param *p, uint64_t seed, int64_t lo, int64_t hi,
                 float *out);

#endif
