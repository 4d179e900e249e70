/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_nompi.c - stands in for comm_mpi.c in a build without MPI.
 */
#include "comm/comm_impl.h"

int comm_mpi_world(struct comm **out, struct err *e)
{
    (void)out;
    return err_set(e, ERR_FAILED,
                   "comm: wanted a world of ranks, found a build without MPI");
}

void comm_mpi_set_piece(struct comm *c, size_t bytes)
{
    (void)c, (void)bytes;
}
