/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comm_mpi.c - communicators over MPI; the only file that includes mpi.h.
 *
 * Counts in MPI are ints, so whatever is long goes in pieces.  Blocks of bytes
 * are exchanged by non-blocking messages between pairs, each rank beginning
 * with its neighbour, so that no rank is everyone's first target.  MPI's own
 * errors come back with the collective's and the peer's name.
 *
 * Nobody waits for long without sleep: every call but those that make and end
 * communicators is a non-blocking one, looked after and then, between naps, again.
 * Open MPI's own remedy where ranks outnumber processors, sched_yield between looks, is
 * switched off by worker/world.c: Linux 6.18 with autogroups has been seen to give all
 * other processes of a machine nothing for 30 seconds while two ranks yielded.
 *
 * Open MPI 4.1 cannot repair a world that lost a rank: after an error the only
 * thing to do with a communicator is comm_abort.
 */
#include "comm/comm_impl.h"

#include <errno.h>
#include <mpi.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { TAG = 1, NAP_LEAST_NS = 20000, NAP_MOST_NS = 1000000 };

/* Looks at what one waits for before the first nap: where every rank has a processor,
 * and where somebody else could use it.  One takes 12 ns over shared memory. */
enum { LOOKS_ALONE = 5000, LOOKS_GENTLE = 200 };

/* 1 GiB: far below the 2 GiB that an int counts. */
static const size_t piece_most = (size_t)1 << 30;

struct comm_mpi {
    struct comm base;
    MPI_Comm mpi;
    size_t piece;              /* bytes of the longest message           */
    int looks;                 /* before the first nap                   */
    MPI_Request *req;          /* [2 * size]                             */
    MPI_Status *stat;          /* [2 * size]                             */
    size_t *own_len, *own_off; /* [size] what allgatherv sends to a rank */
};

/* What goes to and comes from the other ranks in one exchange. */
struct blocks {
    const char *send;
    const size_t *send_len, *send_off;
    char *recv;
    const size_t *recv_len, *recv_off;
};

static struct comm_mpi *mpi_of(struct comm *c)
{
    return (struct comm_mpi *)c;
}

static int fail(const struct comm *c, const char *what, int mpi_code, struct err *e)
{
    char text[MPI_MAX_ERROR_STRING];
    int len;

    if (MPI_Error_string(mpi_code, text, &len) != MPI_SUCCESS)
        text[0] = '\0';
    return err_set(e, ERR_FAILED, "comm %s: rank %d of %d: MPI error %d: %s", what,
                   c->rank, c->size, mpi_code, text);
}

static int fail_peer(const struct comm *c, const char *what, const char *verb, int peer,
                     int mpi_code, struct err *e)
{
    fail(c, what, mpi_code, e);
    return err_prefix(e, "%s rank %d", verb, peer);
}

/* --- creation ------------------------------------------------------------- */

static const struct comm_ops mpi_ops;

static int make_lists(struct comm_mpi *m, size_t size)
{
    m->req = calloc(2 * size, sizeof *m->req);
    m->stat = calloc(2 * size, sizeof *m->stat);
    m->own_len = calloc(size, sizeof *m->own_len);
    m->own_off = calloc(size, sizeof *m->own_off);
    return m->req && m->stat && m->own_len && m->own_off ? 0 : -1;
}

static void release(struct comm_mpi *m)
{
    free(m->req);
    free(m->stat);
    free(m->own_len);
    free(m->own_off);
    free(m);
}

/* Have the ranks of this machine a processor each? */
static bool has_processor(void)
{
    MPI_Comm here;
    int ranks = 1;

    if (MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                            &here) != MPI_SUCCESS)
        return false;
    MPI_Comm_size(here, &ranks);
    MPI_Comm_free(&here);
    return ranks <= sysconf(_SC_NPROCESSORS_ONLN);
}

/* What a communicator has from the one it is split from; of the world `like` is
 * NULL. */
static int wrap(MPI_Comm mpi, const struct comm_mpi *like, struct comm **out,
                struct err *e)
{
    struct comm_mpi *m = calloc(1, sizeof *m);
    int level;

    if (!m)
        goto oom;
    m->base.ops = &mpi_ops;
    m->mpi = mpi;
    m->piece = like ? like->piece : piece_most;
    m->looks = like ? like->looks : has_processor() ? LOOKS_ALONE : LOOKS_GENTLE;
    MPI_Query_thread(&level);
    m->base.threads = level == MPI_THREAD_MULTIPLE;
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    MPI_Comm_rank(mpi, &m->base.rank);
    MPI_Comm_size(mpi, &m->base.size);
    if (make_lists(m, (size_t)m->base.size) < 0)
        goto oom_lists;
    *out = &m->base;
    return 0;

oom_lists:
    release(m);
oom:
    return err_sys(e, ERR_NOMEM, ENOMEM, "comm: a communicator over MPI");
}

int comm_mpi_world(struct comm **out, struct err *e)
{
    int ready = 0, level = 0, rc;

    MPI_Initialized(&ready);
    if (ready)
        return err_set(e, ERR_FAILED,
                       "comm: wanted one MPI world, found a second call");
    /* Naps are as long as was asked for, those of threads begun from here on, too. */
    prctl(PR_SET_TIMERSLACK, 1UL);
    rc = MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
    if (rc != MPI_SUCCESS)
        return err_set(e, ERR_FAILED, "comm: MPI_Init_thread: MPI error %d", rc);
    if (level < MPI_THREAD_FUNNELED)
        rc = err_set(e, ERR_FAILED, "comm: wanted MPI_THREAD_FUNNELED, found level %d",
                     level);
    else
        rc = wrap(MPI_COMM_WORLD, NULL, out, e);
    if (rc < 0)
        MPI_Finalize();
    return rc;
}

static int mpi_split(struct comm *c, int color, struct comm **out, struct err *e)
{
    MPI_Comm part;
    int rc = MPI_Comm_split(mpi_of(c)->mpi, color, c->rank, &part);

    if (rc != MPI_SUCCESS)
        return fail(c, "split", rc, e);
    rc = wrap(part, mpi_of(c), out, e);
    if (rc < 0)
        MPI_Comm_free(&part);
    return rc;
}

static void mpi_destroy(struct comm *c)
{
    struct comm_mpi *m = mpi_of(c);

    if (m->mpi == MPI_COMM_WORLD)
        MPI_Finalize();
    else
        MPI_Comm_free(&m->mpi);
    release(m);
}

void comm_mpi_set_piece(struct comm *c, size_t bytes)
{
    mpi_of(c)->piece = bytes;
}

/* --- waiting -------------------------------------------------------------- */

/* Looking costs less than sleeping while the other side is at it; after that each
 * look waits for the clock, a sixteenth longer each time, so that a wait is late by a
 * small part of what it took. */
static int64_t rest(int64_t nap)
{
    nanosleep(&(struct timespec){.tv_nsec = nap}, NULL);
    return nap < NAP_MOST_NS ? nap + nap / 16 : nap;
}

static int wait_requests(struct comm_mpi *m, int n)
{
    int64_t nap = NAP_LEAST_NS;
    int looks = 0, done = 0, rc = MPI_SUCCESS;

    while (rc == MPI_SUCCESS) {
        rc = MPI_Testall(n, m->req, &done, m->stat);
        if (done)
            break;
        if (looks++ >= m->looks)
            nap = rest(nap), looks = m->looks;
    }
    return rc;
}

static void mpi_wait_gently(struct comm *c)
{
    mpi_of(c)->looks = LOOKS_GENTLE;
}

/* The end of the one request that a call with the result rc began. */
static int wait_begun(struct comm_mpi *m, int rc)
{
    if (rc != MPI_SUCCESS)
        return rc;
    rc = wait_requests(m, 1);
    return rc == MPI_ERR_IN_STATUS ? m->stat[0].MPI_ERROR : rc;
}

/* --- blocks of bytes ------------------------------------------------------ */

static int ring_peer(const struct comm *c, int distance)
{
    return (c->rank + distance) % c->size;
}

/* The length of piece k of `len` bytes; 0 past the end. */
static int piece_len(const struct comm_mpi *m, size_t len, size_t k)
{
    size_t from = k * m->piece;

    if (from >= len)
        return 0;
    return (int)(len - from < m->piece ? len - from : m->piece);
}

static size_t pieces(const struct comm_mpi *m, size_t len)
{
    return (len + m->piece - 1) / m->piece;
}

/* The most pieces that this rank has for or from any other. */
static size_t rounds(const struct comm_mpi *m, const struct blocks *b)
{
    size_t most = 0;

    for (int i = 0; i < m->base.size; i++) {
        if (i == m->base.rank)
            continue;
        if (pieces(m, b->send_len[i]) > most)
            most = pieces(m, b->send_len[i]);
        if (pieces(m, b->recv_len[i]) > most)
            most = pieces(m, b->recv_len[i]);
    }
    return most;
}

/* Requests [0, size) receive and [size, 2 size) send, by distance of the peer. */
static int start_round(struct comm_mpi *m, const struct blocks *b, size_t k,
                       const char *what, struct err *e)
{
    const struct comm *c = &m->base;
    const size_t from = k * m->piece;

    for (int d = 0; d < 2 * c->size; d++)
        m->req[d] = MPI_REQUEST_NULL;
    for (int d = 1; d < c->size; d++) {
        int p = ring_peer(c, c->size - d), n = piece_len(m, b->recv_len[p], k), rc;

        if (n == 0)
            continue;
        rc = MPI_Irecv(b->recv + b->recv_off[p] + from, n, MPI_BYTE, p, TAG, m->mpi,
                       &m->req[d]);
        if (rc != MPI_SUCCESS)
            return fail_peer(c, what, "receive from", p, rc, e);
    }
    for (int d = 1; d < c->size; d++) {
        int p = ring_peer(c, d), n = piece_len(m, b->send_len[p], k), rc;

        if (n == 0)
            continue;
        rc = MPI_Isend(b->send + b->send_off[p] + from, n, MPI_BYTE, p, TAG, m->mpi,
                       &m->req[c->size + d]);
        if (rc != MPI_SUCCESS)
            return fail_peer(c, what, "send to", p, rc, e);
    }
    return 0;
}

/* Name the first message that failed, rather than one that merely had to wait. */
static int fail_wait(struct comm_mpi *m, const char *what, int rc, struct err *e)
{
    const struct comm *c = &m->base;

    if (rc != MPI_ERR_IN_STATUS)
        return fail(c, what, rc, e);
    for (int i = 0; i < 2 * c->size; i++) {
        int code = m->stat[i].MPI_ERROR, d = i % c->size;

        if (code == MPI_SUCCESS || code == MPI_ERR_PENDING)
            continue;
        if (i < c->size)
            return fail_peer(c, what, "receive from", ring_peer(c, c->size - d), code,
                             e);
        return fail_peer(c, what, "send to", ring_peer(c, d), code, e);
    }
    return fail(c, what, rc, e);
}

/* A message may be shorter than its place without an error from MPI. */
static int check_arrivals(struct comm_mpi *m, const struct blocks *b, size_t k,
                          const char *what, struct err *e)
{
    const struct comm *c = &m->base;

    for (int d = 1; d < c->size; d++) {
        int p = ring_peer(c, c->size - d), want = piece_len(m, b->recv_len[p], k),
            found;

        if (want == 0)
            continue;
        MPI_Get_count(&m->stat[d], MPI_BYTE, &found);
        if (found != want)
            return err_set(
                e, ERR_FAILED,
                "comm %s: rank %d of %d: wanted %d bytes from rank %d, found %d", what,
                c->rank, c->size, want, p, found);
    }
    return 0;
}

/* Pieces of a pair arrive in the order in which they were sent, and a round
 * needs of other ranks only what they send in theirs, so none waits in vain
 * although the ranks' numbers of rounds differ. */
static int exchange(struct comm_mpi *m, const struct blocks *b, const char *what,
                    struct err *e)
{
    const size_t n = rounds(m, b);

    for (size_t k = 0; k < n; k++) {
        int rc = start_round(m, b, k, what, e);

        if (rc < 0)
            return rc;
        rc = wait_requests(m, 2 * m->base.size);
        if (rc != MPI_SUCCESS)
            return fail_wait(m, what, rc, e);
        if ((rc = check_arrivals(m, b, k, what, e)) < 0)
            return rc;
    }
    return 0;
}

static int mpi_alltoallv(struct comm *c, const void *send, const size_t *send_len,
                         const size_t *send_off, void *recv, const size_t *recv_len,
                         const size_t *recv_off, struct err *e)
{
    const struct blocks b = {send, send_len, send_off, recv, recv_len, recv_off};

    return exchange(mpi_of(c), &b, "alltoallv", e);
}

/* Direct, as alltoallv: on shared memory it is as fast as a ring of neighbours
 * (1 KiB to 4 MiB a rank, 2 and 4 ranks), faster where messages are short, and
 * up to a third faster than MPI_Allgatherv, whose counts are ints besides. */
static int mpi_allgatherv(struct comm *c, void *buf, const size_t *len,
                          const size_t *off, struct err *e)
{
    struct comm_mpi *m = mpi_of(c);
    const struct blocks b = {buf, m->own_len, m->own_off, buf, len, off};

    for (int i = 0; i < c->size; i++) {
        m->own_len[i] = len[c->rank];
        m->own_off[i] = off[c->rank];
    }
    return exchange(m, &b, "allgatherv", e);
}

/* --- MPI's own collectives, in pieces ------------------------------------- */

static int mpi_allreduce(struct comm *c, int64_t *x, size_t n, enum comm_reduce op,
                         struct err *e)
{
    const MPI_Op ops[] = {
        [COMM_SUM] = MPI_SUM, [COMM_MAX] = MPI_MAX, [COMM_OR] = MPI_BOR};
    struct comm_mpi *m = mpi_of(c);
    const size_t most = m->piece / sizeof *x;

    for (size_t at = 0; at < n; at += most) {
        int len = (int)(n - at < most ? n - at : most);
        int rc = wait_begun(m, MPI_Iallreduce(MPI_IN_PLACE, x + at, len, MPI_INT64_T,
                                              ops[op], m->mpi, &m->req[0]));

        if (rc != MPI_SUCCESS)
            return fail(c, "allreduce", rc, e);
    }
    return 0;
}

static int mpi_bcast(struct comm *c, void *buf, size_t len, int root, struct err *e)
{
    struct comm_mpi *m = mpi_of(c);

    for (size_t k = 0; k < pieces(m, len); k++) {
        int rc =
            wait_begun(m, MPI_Ibcast((char *)buf + k * m->piece, piece_len(m, len, k),
                                     MPI_BYTE, root, m->mpi, &m->req[0]));

        if (rc != MPI_SUCCESS)
            return fail_peer(c, "bcast", "from", root, rc, e);
    }
    return 0;
}

static int mpi_barrier(struct comm *c, struct err *e)
{
    struct comm_mpi *m = mpi_of(c);
    int rc = wait_begun(m, MPI_Ibarrier(m->mpi, &m->req[0]));

    return rc == MPI_SUCCESS ? 0 : fail(c, "barrier", rc, e);
}

/* Always the whole world, whichever part of it asks. */
static void mpi_abort(struct comm *c, int code)
{
    (void)c;
    MPI_Abort(MPI_COMM_WORLD, code);
}

static const struct comm_ops mpi_ops = {
    .split = mpi_split,
    .destroy = mpi_destroy,
    .alltoallv = mpi_alltoallv,
    .allgatherv = mpi_allgatherv,
    .allreduce = mpi_allreduce,
    .bcast = mpi_bcast,
    .barrier = mpi_barrier,
    .abort = mpi_abort,
    .wait_gently = mpi_wait_gently,
};
