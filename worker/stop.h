/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.h - signals that ask a task to end early, as flags to look at.
 */
#ifndef WORKER_STOP_H
#define WORKER_STOP_H

#include <stdbool.h>

/* From now on TERM (mpirun, nnd, a batch system), USR2 (mpirun hands it on) and
 * INT (a person) only set a flag.  A second INT ends the process as ever. */
void stop_catch(void);

/* Was there one? */
bool stop_asked(void);

#endif
