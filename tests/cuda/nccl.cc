/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nccl.cc - a library in the place of NCCL for the emulated device, libnccl.so.2: as
 * much of it as plugins/cuda/nccl.cu asks for.
 *
 * Processes talk over the loopback interface: the rank that made the id listens, all
 * others connect to it, and everything goes by way of it.  Sums are in the order of
 * ranks.  A collective is what its stream does when its turn comes; with a rank that is
 * lost it never ends, and the group says so.
 *
 * NND_NCCL, parts between commas: "fail=N", the call of the N-th collective fails;
 * "full=N", it finds no memory;
 * "late=N", from the N-th on none ends; "gone=N", rank 1 ends in its N-th;
 * "count=FILE", a line at the end of the process: collectives of each kind.  Compiled
 * with NCCL_OLD, it lacks a function.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cuda_runtime.h"

/* Of ncclResult_t and ncclDataType_t, by NCCL's documentation. */
enum { OK = 0, CUDA = 1, SYSTEM = 2, ARGUMENT = 4, USAGE = 5, REMOTE = 6 };
enum { UINT8 = 1, FLOAT32 = 7, FLOAT64 = 8, BFLOAT16 = 9 };
enum { RANKS = 64 };

struct id {
    char bytes[128];
};

struct told {
    int port, listener;
};

struct comm {
    int rank, ranks, lost, aborted;
    int pending;     /* collectives that streams have yet to do */
    int peer[RANKS]; /* of the first rank: sockets of all others; else [0] */
};

static struct {
    int known;
    long fail, full, late, gone, calls;
    long reduces, broadcasts, scatters, gathers;
    const char *count;
} order;
static int depth; /* of groups of calls */
static const char *last = "";

#define EXPORT extern "C" __attribute__((visibility("default")))

static void tell_counts(void)
{
    FILE *f = fopen(order.count, "a");
    if (!f)
        return;
    fprintf(f, "reduce %ld broadcast %ld reduce_scatter %ld all_gather %ld\n",
            order.reduces, order.broadcasts, order.scatters, order.gathers);
    fclose(f);
}

static void know(void)
{
    if (order.known)
        return;
    order.known = 1;
    const char *s = getenv("NND_NCCL");
    for (; s && *s; s = strchr(s, ',') ? strchr(s, ',') + 1 : "") {
        if (strncmp(s, "fail=", 5) == 0)
            order.fail = strtol(s + 5, NULL, 10);
        if (strncmp(s, "full=", 5) == 0)
            order.full = strtol(s + 5, NULL, 10);
        if (strncmp(s, "late=", 5) == 0)
            order.late = strtol(s + 5, NULL, 10);
        if (strncmp(s, "gone=", 5) == 0)
            order.gone = strtol(s + 5, NULL, 10);
        if (strncmp(s, "count=", 6) == 0) {
            order.count = strndup(s + 6, strcspn(s + 6, ","));
            atexit(tell_counts);
        }
    }
}

static int fail(int result, const char *text)
{
    last = text;
    return result;
}

/* ---- bytes ---- */

static int send_all(int fd, const void *p, size_t n)
{
    const char *at = (const char *)p;
    while (n > 0) {
        ssize_t k = send(fd, at, n, MSG_NOSIGNAL);
        if (k <= 0)
            return fail(REMOTE, "a rank is gone");
        at += k;
        n -= (size_t)k;
    }
    return OK;
}

static int receive_all(int fd, void *p, size_t n)
{
    char *at = (char *)p;
    while (n > 0) {
        ssize_t k = recv(fd, at, n, 0);
        if (k <= 0)
            return fail(REMOTE, "a rank is gone");
        at += k;
        n -= (size_t)k;
    }
    return OK;
}

/* ---- meeting ---- */

static int loopback(int *port)
{
    struct sockaddr_in at = {};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons((uint16_t)*port);
    if (fd < 0)
        return -1;
    if (*port ? connect(fd, (struct sockaddr *)&at, n)
              : bind(fd, (struct sockaddr *)&at, n) || listen(fd, RANKS) ||
                    getsockname(fd, (struct sockaddr *)&at, &n)) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

EXPORT int ncclGetUniqueId(struct id *id)
{
    struct told t = {0, 0};
    t.listener = loopback(&t.port);
    memset(id, 0, sizeof *id);
    memcpy(id, &t, sizeof t);
    return t.listener < 0 ? fail(SYSTEM, "no socket") : OK;
}

static int accept_all(struct comm *c, int listener)
{
    for (int i = 1; i < c->ranks; i++) {
        int rank = 0, fd = accept(listener, NULL, NULL);
        if (fd < 0 || receive_all(fd, &rank, sizeof rank) || rank < 1 ||
            rank >= c->ranks || c->peer[rank] >= 0)
            return fail(SYSTEM, "somebody else called");
        c->peer[rank] = fd;
    }
    return OK;
}

EXPORT int ncclCommInitRank(struct comm **out, int ranks, struct id id, int rank)
{
    struct told t;
    if (ranks < 1 || ranks > RANKS || rank < 0 || rank >= ranks)
        return fail(ARGUMENT, "ranks");
    struct comm *c = (struct comm *)calloc(1, sizeof *c);
    int rc = OK;
    know();
    memcpy(&t, &id, sizeof t);
    c->rank = rank, c->ranks = ranks;
    for (int i = 0; i < RANKS; i++)
        c->peer[i] = -1;
    if (rank == 0) {
        rc = accept_all(c, t.listener);
        close(t.listener);
    } else {
        c->peer[0] = loopback(&t.port);
        rc = c->peer[0] < 0 ? fail(SYSTEM, "nobody listens")
                            : send_all(c->peer[0], &rank, sizeof rank);
    }
    *out = c;
    return rc;
}

/* What streams have yet to do is nothing from now on. */
EXPORT int ncclCommAbort(struct comm *c)
{
    for (int i = 0; i < RANKS; i++)
        if (c->peer[i] >= 0)
            close(c->peer[i]);
    c->aborted = 1;
    if (!c->pending)
        free(c);
    return OK;
}

/* As NCCL's may: once all do. */
EXPORT int ncclCommDestroy(struct comm *c)
{
    char bye = 0;
    for (int i = 0; i < RANKS; i++)
        if (c->peer[i] >= 0)
            send_all(c->peer[i], &bye, 1);
    for (int i = 0; i < RANKS; i++)
        if (c->peer[i] >= 0)
            receive_all(c->peer[i], &bye, 1);
    return ncclCommAbort(c);
}

EXPORT int ncclCommGetAsyncError(struct comm *c, int *error)
{
    *error = c->lost ? fail(REMOTE, "a rank is gone") : OK;
    return OK;
}

EXPORT const char *ncclGetErrorString(int result)
{
    switch (result) {
    case OK:
        return "no error";
    case CUDA:
        return "unhandled cuda error (run with NCCL_DEBUG=INFO for details)";
    case SYSTEM:
        return "unhandled system error";
    case REMOTE:
        return "remote process exited or there was a network error";
    default:
        return "invalid argument or usage";
    }
}

EXPORT const char *ncclGetLastError(struct comm *)
{
    return last;
}

EXPORT int ncclGroupStart(void)
{
    depth++;
    return OK;
}

EXPORT int ncclGroupEnd(void)
{
    return --depth < 0 ? fail(USAGE, "no group was begun") : OK;
}

/* ---- work ---- */

static size_t size_of(int type)
{
    return type == UINT8      ? 1
           : type == FLOAT32  ? 4
           : type == FLOAT64  ? 8
           : type == BFLOAT16 ? 2
                              : 0;
}

template <class T> static void add(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((T *)to)[i] += ((const T *)from)[i];
}

static float of_bf16(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float r;
    memcpy(&r, &bits, sizeof r);
    return r;
}

/* Rounded to nearest, even. */
static void add_bf16(void *to, const void *from, size_t n)
{
    uint16_t *y = (uint16_t *)to;
    for (size_t i = 0; i < n; i++) {
        float sum = of_bf16(y[i]) + of_bf16(((const uint16_t *)from)[i]);
        uint32_t bits;
        memcpy(&bits, &sum, sizeof bits);
        y[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

/* What was ordered for this call: < 0 to go on, else its result. */
static int ordered(struct comm *c, long *kind)
{
    ++*kind;
    order.calls++;
    if (order.calls == order.gone && c->rank == 1)
        _exit(7);
    if (order.calls == order.fail)
        return fail(SYSTEM, "Call to ibv_reg_mr failed");
    if (order.calls == order.full)
        return fail(CUDA, "Failed to CUDA calloc async 10485760 bytes");
    if (order.late && order.calls >= order.late)
        c->lost = 1;
    return -1;
}

/* work() when the stream comes to it, unless a rank is lost. */
template <class F> static int enqueue(struct comm *c, cudaStream_t s, F work)
{
    c->pending++;
    emu_do(s, [=]() {
        if (!c->aborted && !c->lost && work() != OK)
            c->lost = 1;
        if (!c->aborted && c->lost)
            return cudaErrorNotReady;
        if (--c->pending == 0 && c->aborted)
            free(c);
        return cudaSuccess;
    });
    return OK;
}

static int broadcast(const void *from, void *to, size_t bytes, int root, struct comm *c)
{
    int rc = OK;
    if (c->rank == root)
        memmove(to, from, bytes);
    if (c->rank != 0)
        return c->rank == root ? send_all(c->peer[0], from, bytes)
                               : receive_all(c->peer[0], to, bytes);
    if (root != 0)
        rc = receive_all(c->peer[root], to, bytes);
    for (int i = 1; !rc && i < c->ranks; i++)
        if (i != root)
            rc = send_all(c->peer[i], to, bytes);
    return rc;
}

/* At the first rank: everybody's, one by one. */
static int sum_here(const void *from, char *sum, char *other, size_t n, int type,
                    struct comm *c)
{
    int rc = OK;
    memcpy(sum, from, n * size_of(type));
    for (int i = 1; !rc && i < c->ranks; i++) {
        rc = receive_all(c->peer[i], other, n * size_of(type));
        if (!rc && type == FLOAT32)
            add<float>(sum, other, n);
        if (!rc && type == FLOAT64)
            add<double>(sum, other, n);
        if (!rc && type == BFLOAT16)
            add_bf16(sum, other, n);
    }
    return rc;
}

static int reduce(const void *from, void *to, size_t n, int type, int root,
                  struct comm *c)
{
    size_t bytes = n * size_of(type);
    if (c->rank != 0) {
        int rc = send_all(c->peer[0], from, bytes);
        return rc || c->rank != root ? rc : receive_all(c->peer[0], to, bytes);
    }
    char *sum = (char *)malloc(2 * bytes + 1);
    int rc = sum_here(from, sum, sum + bytes, n, type, c);
    if (!rc && root == 0)
        memcpy(to, sum, bytes);
    else if (!rc)
        rc = send_all(c->peer[root], sum, bytes);
    free(sum);
    return rc;
}

static bool sums(int type, int op)
{
    return op == 0 && type != UINT8 && size_of(type);
}

EXPORT int ncclBroadcast(const void *from, void *to, size_t n, int type, int root,
                         struct comm *c, cudaStream_t s)
{
    int rc = ordered(c, &order.broadcasts);
    if (!size_of(type))
        return fail(ARGUMENT, "type");
    return rc >= 0 ? rc : enqueue(c, s, [=]() {
        return broadcast(from, to, n * size_of(type), root, c);
    });
}

EXPORT int ncclReduce(const void *from, void *to, size_t n, int type, int op, int root,
                      struct comm *c, cudaStream_t s)
{
    int rc = ordered(c, &order.reduces);
    if (!sums(type, op))
        return fail(ARGUMENT, "type");
    return rc >= 0
               ? rc
               : enqueue(c, s, [=]() { return reduce(from, to, n, type, root, c); });
}

#ifndef NCCL_OLD
EXPORT int ncclReduceScatter(const void *from, void *to, size_t each, int type, int op,
                             struct comm *c, cudaStream_t s)
{
    int rc = ordered(c, &order.scatters);
    if (!sums(type, op))
        return fail(ARGUMENT, "type");
    return rc >= 0 ? rc : enqueue(c, s, [=]() {
        int rc = OK;
        for (int i = 0; !rc && i < c->ranks; i++)
            rc = reduce((const char *)from + (size_t)i * each * size_of(type), to, each,
                        type, i, c);
        return rc;
    });
}
#endif

EXPORT int ncclAllGather(const void *from, void *to, size_t each, int type,
                         struct comm *c, cudaStream_t s)
{
    int rc = ordered(c, &order.gathers);
    size_t bytes = each * size_of(type);
    if (!size_of(type))
        return fail(ARGUMENT, "type");
    return rc >= 0 ? rc : enqueue(c, s, [=]() {
        int rc = OK;
        for (int i = 0; !rc && i < c->ranks; i++)
            rc = broadcast(from, (char *)to + (size_t)i * bytes, bytes, i, c);
        return rc;
    });
}
