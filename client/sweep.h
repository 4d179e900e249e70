/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.h - one job file, many jobs: every combination of the values given for some
 * keys.
 */
#ifndef CLIENT_SWEEP_H
#define CLIENT_SWEEP_H

#include "base/arena.h"
#include "base/err.h"
#include "client/cli.h"

enum { SWEEP_MAX = 1000 }; /* jobs of an array */

/* What is different in each job. */
struct sweep {
    size_t n;           /* jobs; 1 without a sweep            */
    size_t naxes;       /* keys                               */
    const char ***set;  /* set[i][k]: "train.lr=3e-4"         */
    const char **label; /* label[i]: "train.lr=3e-4 seed=2"   */
};

/* From "KEY=A,B,C" and "KEY=1..10", the last key changing fastest.  Lives in the arena.
 */
int sweep_make(const struct opt_list *axes, struct arena *a, struct sweep *out,
               struct err *e);

#endif
