/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm.c - the part that all kinds of communicators share: counting, and the
 * bytes that a rank keeps.
 */
#include "comm/comm_impl.h"

#include <string.h>
#include <unistd.h>

void comm_note(struct comm *c, size_t remote, size_t local)
{
    c->count.calls++;
    c->count.remote += (int64_t)remote;
    c->count.local += (int64_t)local;
}

static size_t to_others(const struct comm *c, size_t bytes)
{
    return bytes * ((size_t)c->size - 1);
}

int comm_split(struct comm *c, int color, struct comm **out, struct err *e)
{
    if (color < 0)
        return err_set(e, ERR_FAILED, "comm split: wanted a color from 0 on, found %d",
                       color);
    return c->ops->split(c, color, out, e);
}

void comm_destroy(struct comm *c)
{
    if (c)
        c->ops->destroy(c);
}

int comm_rank(const struct comm *c)
{
    return c->rank;
}

int comm_size(const struct comm *c)
{
    return c->size;
}

struct comm_count comm_counted(const struct comm *c)
{
    return c->count;
}

bool comm_threads(const struct comm *c)
{
    return c->threads;
}

void comm_wait_gently(struct comm *c)
{
    if (c->ops->wait_gently)
        c->ops->wait_gently(c);
}

int comm_alltoallv(struct comm *c, const void *send, const size_t *send_len,
                   const size_t *send_off, void *recv, const size_t *recv_len,
                   const size_t *recv_off, struct err *e)
{
    const int me = c->rank;
    size_t remote = 0;
    int rc;

    if (send_len[me] != recv_len[me])
        return err_set(
            e, ERR_FAILED,
            "comm alltoallv: rank %d: wanted %zu bytes from itself, found %zu", me,
            recv_len[me], send_len[me]);
    if (send_len[me] > 0)
        memcpy((char *)recv + recv_off[me], (const char *)send + send_off[me],
               send_len[me]);
    rc = c->size == 1 ? 0
                      : c->ops->alltoallv(c, send, send_len, send_off, recv, recv_len,
                                          recv_off, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < c->size; i++)
        remote += i == me ? 0 : send_len[i];
    comm_note(c, remote, send_len[me]);
    return 0;
}

int comm_allgatherv(struct comm *c, void *buf, const size_t *len, const size_t *off,
                    struct err *e)
{
    int rc = c->size == 1 ? 0 : c->ops->allgatherv(c, buf, len, off, e);

    if (rc == 0)
        comm_note(c, to_others(c, len[c->rank]), len[c->rank]);
    return rc;
}

int comm_allreduce(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                   struct err *e)
{
    int rc = c->size == 1 ? 0 : c->ops->allreduce(c, x, n, op, e);

    if (rc == 0)
        comm_note(c, to_others(c, n * sizeof *x), n * sizeof *x);
    return rc;
}

int comm_bcast(struct comm *c, void *buf, size_t len, int root, struct err *e)
{
    const size_t sent = c->rank == root ? len : 0;
    int rc;

    if (root < 0 || root >= c->size)
        return err_set(e, ERR_FAILED,
                       "comm bcast: wanted a root below %d, found rank %d", c->size,
                       root);
    rc = c->size == 1 ? 0 : c->ops->bcast(c, buf, len, root, e);
    if (rc == 0)
        comm_note(c, to_others(c, sent), sent);
    return rc;
}

int comm_barrier(struct comm *c, struct err *e)
{
    int rc = c->size == 1 ? 0 : c->ops->barrier(c, e);

    if (rc == 0)
        comm_note(c, 0, 0);
    return rc;
}

void comm_abort(struct comm *c, int code)
{
    c->ops->abort(c, code);
    _exit(code);
}
