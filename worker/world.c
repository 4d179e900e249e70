/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - the launcher's marks in the environment, and the tie to its life.
 */
#include "worker/world.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static struct {
    bool launched;
    int rank;
} world;

/* Open MPI's mpirun sets the first, PMIx (srun --mpi=pmix, prterun) the second. */
static void read_marks(void)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    int64_t n;

    if (!rank)
        rank = getenv("PMIX_RANK");
    world.launched = rank != NULL;
    if (rank && str_to_i64(rank, &n) && n >= 0 && n < INT32_MAX)
        world.rank = (int)n;
}

bool world_enter(void)
{
    pid_t parent = getppid();

    read_marks();
    if (!world.launched)
        return true;
    /* A parent that died before the call sends no signal any more. */
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

bool world_is_launched(void)
{
    return world.launched;
}

int world_rank(void)
{
    return world.rank;
}

/* How ranks wait is comm_mpi.c's business, which says why they never yield; who says
 * otherwise in the environment is listened to. */
int world_open(struct comm **out, struct err *e)
{
    setenv("OMPI_MCA_mpi_yield_when_idle", "0", 0);
    return world.launched ? comm_mpi_world(out, e) : comm_self(out, e);
}

/* One write, so that lines of several ranks do not mix. */
void world_say(const struct err *e)
{
    if (world.launched)
        fprintf(stderr, "nnd-worker: rank %d: %s\n", world.rank, e->text);
    else
        fprintf(stderr, "nnd-worker: %s\n", e->text);
}

void world_warn(const char *text)
{
    while (text && *text) {
        size_t n = strcspn(text, "\n");

        log_warn("%.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}
