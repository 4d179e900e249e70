/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carry.h - recurrent states that go on from step to step (data.sampling sequential).
 *
 * Each sample of the batch is a stream with states of its own, whichever rank
 * computes it: a rank keeps those of its chunks, and a checkpoint has all of them, by
 * the number of the sample.
 */
#ifndef TRAIN_CARRY_H
#define TRAIN_CARRY_H

#include "graph/exec.h"
#include "model/model.h"

/* Every stream begins anew. */
void carry_reset(struct exec *x, const struct model *m);

/* Before the chunk at `position` is computed, and behind. */
void carry_before(struct exec *x, const struct model *m, int position);
void carry_behind(struct exec *x, const struct model *m, int position);

/* Set aside what is kept, to validate meanwhile, and take it back: `aside` has room
 * for carry_bytes. */
size_t carry_bytes(const struct model *m);
void carry_save(struct exec *x, const struct model *m, void *aside);
void carry_restore(struct exec *x, const struct model *m, const void *aside);

#endif
