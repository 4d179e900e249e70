/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_local.c - ranks on this machine, by Open MPI's mpirun.
 */
#include "daemon/launch.h"
#include "daemon/launch_mpirun.h"

/* pml ob1 saves 0.2 s of probing for networks that one machine has no use for.
 * Nothing listens beyond the loopback interface.  Ranks bind their own threads,
 * and nnd has already counted the slots.  All files stay in the attempt's own
 * folders, which the shepherd removes whatever happens. */
static char **local_argv(const struct launch *l, struct arena *arena)
{
    struct launch_args a = launch_args_create(arena);

    mpirun_add(&a, l);
    launch_add(&a, "--oversubscribe");
    mpirun_add_mca(&a, "btl_tcp_if_include", "lo");
    mpirun_add_mca(&a, "oob_tcp_if_include", "lo");
    if (l->shm_dir)
        mpirun_add_mca(&a, "btl_vader_backing_directory", l->shm_dir);
    launch_add_worker(&a, l);
    return a.v;
}

const struct launcher launch_local = {
    .name = "local",
    .program = "mpirun",
    .grace_ms = 2000,
    .argv = local_argv,
    .signal = mpirun_signal,
    .classify = mpirun_classify,
    .line = mpirun_line,
    .blame = mpirun_blame,
};
