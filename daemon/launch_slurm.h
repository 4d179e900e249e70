/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_slurm.h - how nnd-slurm tells how a job of Slurm's ended: an exit status
 * out of this range, or the rank's own, or 128 + a signal.  For both sides of it.
 */
#ifndef DAEMON_LAUNCH_SLURM_H
#define DAEMON_LAUNCH_SLURM_H

enum slurm_end {
    SLURM_END_FIRST = 210,
    SLURM_NODE_FAIL = SLURM_END_FIRST, /* a node went away                       */
    SLURM_PREEMPTED,                   /* preempted, requeued, or near its limit */
    SLURM_OUT_OF_MEMORY,
    SLURM_TIMEOUT,
    SLURM_CANCELLED, /* by somebody else than nnd              */
    SLURM_REFUSED,   /* not accepted, or not started           */
    SLURM_GONE,      /* Slurm knows it no more                 */
    SLURM_END_LAST = SLURM_GONE,
};

#endif
