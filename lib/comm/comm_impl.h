/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_impl.h - what a kind of communicator fills in; for lib/comm and tests
 * alone.
 *
 * comm.c counts, keeps a rank's bytes for itself, and calls what is here only
 * where there is another rank to talk to.  A rank's own part is never sent.
 */
#ifndef COMM_COMM_IMPL_H
#define COMM_COMM_IMPL_H

#include "comm/comm.h"

/* Same arguments, same errors as the function of that name in comm.h. */
struct comm_ops {
    int (*split)(struct comm *c, int color, struct comm **out, struct err *e);
    void (*destroy)(struct comm *c); /* frees c too */
    int (*alltoallv)(struct comm *c, const void *send, const size_t *send_len,
                     const size_t *send_off, void *recv, const size_t *recv_len,
                     const size_t *recv_off, struct err *e);
    int (*allgatherv)(struct comm *c, void *buf, const size_t *len, const size_t *off,
                      struct err *e);
    int (*allreduce)(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                     struct err *e);
    int (*bcast)(struct comm *c, void *buf, size_t len, int root, struct err *e);
    int (*barrier)(struct comm *c, struct err *e);
    void (*abort)(struct comm *c, int code);
    void (*wait_gently)(struct comm *c); /* NULL: waits as it does          */
};

/* The first member of every communicator. */
struct comm {
    const struct comm_ops *ops;
    int rank, size;
    bool threads; /* see comm_threads */
    struct comm_count count;
};

/* Count a call that has ended. */
void comm_note(struct comm *c, size_t remote, size_t local);

/* Longest message of a communicator over MPI and of those split from it later;
 * tests make it small to see messages cut.  A multiple of 8. */
void comm_mpi_set_piece(struct comm *c, size_t bytes);

#endif
