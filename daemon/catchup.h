/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catchup.h - what ranks wrote into their job's folder while no nnd listened.
 */
#ifndef DAEMON_CATCHUP_H
#define DAEMON_CATCHUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/wire.pb-c.h"

/* Fold the newest lines of JOBDIR/metrics.jsonl into *m; returns the attempt that wrote
 * the last of them, 0 where none says so. */
uint32_t catchup_metrics(const char *job_dir, Wire__RankMetric *m);

/* The newest whole checkpoint, JOBDIR/checkpoints/step-N with a manifest in it;
 * false when there is none. */
bool catchup_checkpoint(const char *job_dir, char path[PATH_MAX], uint64_t *step);

#endif
