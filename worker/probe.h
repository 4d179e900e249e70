/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - plugins that nobody has met yet are met by nnd-plugin-probe, not by a rank.
 */
#ifndef WORKER_PROBE_H
#define WORKER_PROBE_H

#include "base/err.h"
#include "comm/comm.h"

/* Have every *.so of the folders (separated by ':') that has neither a good mark nor
 * a note in `quarantine` loaded and tried by the probe, which leaves what it found
 * there.  Rank 0 does it, all wait.  That there is no probe is worth a warning. */
int probe_meet(const char *folders, const char *quarantine, struct comm *c,
               struct err *e);

#endif
