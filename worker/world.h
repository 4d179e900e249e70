/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - who started this process, and who else is there.
 *
 * Under mpirun or srun it is a rank of an MPI world and dies with its launcher;
 * started by hand it is a world of one, and MPI is never touched.
 */
#ifndef WORKER_WORLD_H
#define WORKER_WORLD_H

#include <stdbool.h>

#include "comm/comm.h"

/* To be called first in main: find out about the launcher, and have the kernel
 * kill this process when it dies.  False when it is dead already. */
bool world_enter(void);

/* Did a launcher start us, and as which rank?  0 by hand. */
bool world_is_launched(void);
int world_rank(void);

/* All ranks of the launcher, or just this process. */
int world_open(struct comm **out, struct err *e);

/* Print the one line that an error is, with the rank's number, on stderr. */
void world_say(const struct err *e);

/* Warn of every line of text, which may be NULL. */
void world_warn(const char *text);

#endif
