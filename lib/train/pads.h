/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pads.h - the inputs by which a model pads a chunk's packed samples.
 */
#ifndef TRAIN_PADS_H
#define TRAIN_PADS_H

#include "graph/exec.h"
#include "graph/ops.h"

/* Fill c->pad from c->cu, which x has: which packed row each padded one is, the other
 * way round, and how long the samples are.  Without pad: nothing. */
void pads_fill(struct exec *x, const struct chunk *c);

#endif
