/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - the kernels that a job was given, for nnd to show.
 */
#ifndef WORKER_KERNELS_H
#define WORKER_KERNELS_H

#include "train/trainer.h"
#include "worker/agent.h"

/* Send the trainer's table, with the number of nodes that each row serves. */
void kernels_tell(struct trainer *t, const char *device, struct agent *a);

#endif
