/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_mpirun.h - what the launchers that run Open MPI's mpirun share: the front
 * of its command, its signals, its exit codes and its lines.  See launch.h.
 */
#ifndef DAEMON_LAUNCH_MPIRUN_H
#define DAEMON_LAUNCH_MPIRUN_H

#include "daemon/launch.h"

void mpirun_add_mca(struct launch_args *a, const char *name, const char *value);
void mpirun_add(struct launch_args *a, const struct launch *l);
int mpirun_signal(enum launch_ask ask);
void mpirun_classify(int wait, struct launch_exit *out);
size_t mpirun_line(const char *text, size_t len, int *rank, bool *err);
bool mpirun_blame(const char *text, size_t len, int *rank, int *code);

#endif
