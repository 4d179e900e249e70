/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm.h - bytes between the ranks of one job.
 *
 * A communicator is a vtable: comm_self.c is a world of one, comm_mpi.c the only
 * file that knows MPI.  It moves bytes and adds integers; floating-point sums
 * belong to the callers, who fix their order.  Every call is collective over
 * the communicator, and is counted, so that a plan can be held against it.
 * One thread per process communicates.
 */
#ifndef COMM_COMM_H
#define COMM_COMM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct comm;

/* What went through a communicator and its children so far: calls, and bytes
 * that this rank sent to other ranks (remote) or kept (local). */
struct comm_count {
    int64_t calls, remote, local;
};

enum comm_reduce { COMM_SUM, COMM_MAX, COMM_OR };

/* A world of one. */
int comm_self(struct comm **out, struct err *e);

/* MPI_COMM_WORLD; initialises MPI (funneled) and finalises it in comm_destroy.
 * Without MPI in the build: an error that says so. */
int comm_mpi_world(struct comm **out, struct err *e);

/* Ranks with the same color, ordered by their rank in c. */
int comm_split(struct comm *c, int color, struct comm **out, struct err *e);
void comm_destroy(struct comm *c);

int comm_rank(const struct comm *c);
int comm_size(const struct comm *c);

/* Counters of this communicator alone (children have their own). */
struct comm_count comm_counted(const struct comm *c);

/* Rank i's bytes [send_off[i], +send_len[i]) arrive at this rank's
 * recv + recv_off[..].  Lengths above 2 GiB are fine. */
int comm_alltoallv(struct comm *c, const void *send, const size_t *send_len,
                   const size_t *send_off, void *recv, const size_t *recv_len,
                   const size_t *recv_off, struct err *e);

/* In place: rank i's bytes [off[i], +len[i]) of buf reach every rank. */
int comm_allgatherv(struct comm *c, void *buf, const size_t *len, const size_t *off,
                    struct err *e);

/* In place, element by element. */
int comm_allreduce(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                   struct err *e);
int comm_bcast(struct comm *c, void *buf, size_t len, int root, struct err *e);
int comm_barrier(struct comm *c, struct err *e);

/* End all ranks at once with exit code `code`; does not return. */
void comm_abort(struct comm *c, int code);

#endif
