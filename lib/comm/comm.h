/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm.h - bytes between the ranks of one job.
 *
 * A communicator is a vtable: comm_self.c is a world of one, comm_mpi.c the only
 * file that knows MPI.  It moves bytes and adds integers; how floating-point
 * numbers are added is the callers' business, in which order is fixed here.
 * Every call is collective over the communicator, and is counted, so that a plan
 * can be held against it.  A communicator is used by one thread at a time; two
 * threads use two communicators, where comm_threads allows it (lane.h).
 * After an error a communicator is good for comm_abort alone.
 */
#ifndef COMM_COMM_H
#define COMM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct comm;

/* What went through a communicator so far (not through its children): completed
 * calls, and bytes that this rank contributed to other ranks (remote) and to
 * itself (local).  The bytes are those of the direct exchange, whatever way they
 * take: alltoallv the lengths sent; allgatherv len[self] to each rank; allreduce
 * 8 n to each rank; reduce_scatter what each other rank owns, in the form in which
 * it goes; bcast len to each rank at the root, else 0; barrier 0; a split is not
 * counted. */
struct comm_count {
    int64_t calls, remote, local;
};

enum comm_reduce { COMM_SUM, COMM_MAX, COMM_OR };

/* A world of one. */
int comm_self(struct comm **out, struct err *e);

/* MPI_COMM_WORLD; initialises MPI (for several threads, where it can) and finalises
 * it in comm_destroy.  Without MPI in the build: an error that says so. */
int comm_mpi_world(struct comm **out, struct err *e);

/* May threads use communicators of this kind at the same time? */
bool comm_threads(const struct comm *c);

/* From now on c, and what is split from it, looks only shortly for what it waits for
 * before it sleeps between looks: for a thread that must not take the processor from
 * one that computes.  Where ranks outnumber processors all do so. */
void comm_wait_gently(struct comm *c);

/* Ranks with the same color (0 or more), ordered by their rank in c.  A part is
 * destroyed before what it was split from. */
int comm_split(struct comm *c, int color, struct comm **out, struct err *e);
void comm_destroy(struct comm *c);

int comm_rank(const struct comm *c);
int comm_size(const struct comm *c);

struct comm_count comm_counted(const struct comm *c);

/* Rank i's bytes [send_off[i], +send_len[i]) arrive at this rank's
 * recv + recv_off[..].  send and recv do not overlap.  Lengths above 2 GiB are
 * fine.  What one rank sends is what the other expects: a message of another
 * length is an error, a missing one waits for ever. */
int comm_alltoallv(struct comm *c, const void *send, const size_t *send_len,
                   const size_t *send_off, void *recv, const size_t *recv_len,
                   const size_t *recv_off, struct err *e);

/* In place: rank i's bytes [off[i], +len[i]) of buf reach every rank. */
int comm_allgatherv(struct comm *c, void *buf, const size_t *len, const size_t *off,
                    struct err *e);

/* y += x, n bytes of each, which do not overlap. */
typedef int comm_add_f(void *arg, void *y, const void *x, size_t n, struct err *e);

/* `n` elements in another form. */
typedef void comm_form_f(void *to, const void *from, size_t n);

/* A shorter form for elements on their way: made by `narrow` as they leave, undone by
 * `widen` before they are added.  What a rank adds of its own was never narrow. */
struct comm_wire {
    size_t here, there; /* bytes of an element in memory and on its way */
    comm_form_f *narrow, *widen;
};

/* How comm_reduce_scatter adds, and in what room: scratch is, for each other rank, as
 * long as the shorter of `window` and the longest len; with a wire form it has room for
 * as many elements twice in that form besides. */
struct comm_sum {
    comm_add_f *add;
    void *arg;
    char *scratch;
    size_t window; /* bytes that a rank sends another at once; whole elements */
    const struct comm_wire *wire; /* or NULL: as they are */
};

/* In place: everybody's bytes [off[i], +len[i]) of buf are added into those of rank
 * i, as a binary tree over ranks, neighbours first: ((0 + 1) + (2 + 3)) + ...  What
 * other ranks own is as it was. */
int comm_reduce_scatter(struct comm *c, void *buf, const size_t *len, const size_t *off,
                        const struct comm_sum *s, struct err *e);

/* In place, element by element; COMM_OR is bitwise. */
int comm_allreduce(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                   struct err *e);
int comm_bcast(struct comm *c, void *buf, size_t len, int root, struct err *e);
int comm_barrier(struct comm *c, struct err *e);

/* End all ranks at once with exit code `code`; does not return. */
void comm_abort(struct comm *c, int code) __attribute__((noreturn));

#endif
