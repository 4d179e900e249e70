/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nccl.cu - sums and copies between the GPUs of several ranks, by NCCL.
 *
 * The library is opened when a job of several ranks asks for the first time; nothing
 * of it is needed to build this.  Names, numbers and meanings are those of NCCL's own
 * documentation (https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html),
 * which keeps them from version to version.
 */
#include <cuda_runtime.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "families.h"
#include "kern.h"
#include "lazy.h"

enum { NCCL_OK = 0, NCCL_IN_PROGRESS = 7, NCCL_SUM = 0, NCCL_BYTES = 1 };
struct nccl_id {
    char bytes[NND_GROUP_ID];
};
typedef void *nccl_comm;

/* The library's functions, in the order of their names below. */
static struct {
    int (*unique_id)(struct nccl_id *id);
    int (*init)(nccl_comm *comm, int ranks, struct nccl_id id, int rank);
    int (*destroy)(nccl_comm comm);
    int (*abort)(nccl_comm comm);
    int (*async_error)(nccl_comm comm, int *error);
    const char *(*error)(int result);
    const char *(*last)(nccl_comm comm);
    int (*begin)(void);
    int (*end)(void);
    int (*reduce)(const void *from, void *to, size_t n, int type, int op, int root,
                  nccl_comm comm, cudaStream_t s);
    int (*broadcast)(const void *from, void *to, size_t n, int type, int root,
                     nccl_comm comm, cudaStream_t s);
    int (*reduce_scatter)(const void *from, void *to, size_t each, int type, int op,
                          nccl_comm comm, cudaStream_t s);
    int (*all_gather)(const void *from, void *to, size_t each, int type, nccl_comm comm,
                      cudaStream_t s);
} nccl;

static const char *const functions[] = {"ncclGetUniqueId",       "ncclCommInitRank",
                                        "ncclCommDestroy",       "ncclCommAbort",
                                        "ncclCommGetAsyncError", "ncclGetErrorString",
                                        "ncclGetLastError",      "ncclGroupStart",
                                        "ncclGroupEnd",          "ncclReduce",
                                        "ncclBroadcast",         "ncclReduceScatter",
                                        "ncclAllGather",         NULL};

static char why[200]; /* the library cannot be used, or "" */

struct group {
    nccl_comm comm; /* NULL: aborted */
    int dev, rank, ranks;
    struct group *next;
};

/* Groups that this process is in. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct group *groups;

static void nccl_open(void)
{
    static const char *const names[] = {"libnccl.so.2", NULL};
    lazy_open(names, functions, (void **)&nccl, why, sizeof why);
}

/* "nccl: CALL: its name for the error (number): what it says of the last one". */
static void describe(nccl_comm comm, const char *call, int rc, char *text, size_t len)
{
    const char *more = nccl.last(comm);
    int n = snprintf(text, len, "nccl: %s: %s (%d)", call, nccl.error(rc), rc);
    if (more && *more && n > 0 && (size_t)n < len)
        snprintf(text + n, len - (size_t)n, ": %s", more);
    for (; *text; text++)
        if (*text == '\n')
            *text = ' ';
}

/* There is no number for it: it says so in one way or the other. */
static bool is_memory(const char *text)
{
    return strstr(text, "out of memory") || strstr(text, "Failed to CUDA calloc") ||
           strstr(text, "Failed to CUDA malloc");
}

static int check(nccl_comm comm, const char *call, int rc, struct nnd_error *e)
{
    if (rc == NCCL_OK || rc == NCCL_IN_PROGRESS)
        return NND_OK;
    describe(comm, call, rc, e->text, sizeof e->text);
    return is_memory(e->text) ? NND_ENOMEM : NND_EDEVICE;
}

static int said(int r, struct nnd_error *e)
{
    if (r != NND_OK)
        snprintf(e->text, sizeof e->text, "%s", cuda_last_text());
    return r;
}

/* ---- meeting ---- */

/* Which machine this is, whatever containers on it are called. */
static void name_machine(char *text, size_t len)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (!f || !fgets(text, (int)len, f))
        gethostname(text, len);
    if (f)
        fclose(f);
    text[len - 1] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

static int nccl_place(int dev, char *text, size_t len, struct nnd_error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char bus[32] = "", machine[64] = "";
    pthread_once(&once, nccl_open);
    if (why[0]) {
        snprintf(e->text, sizeof e->text, "%s", why);
        return NND_EUNSUPPORTED;
    }
    int r = said(cuda_status(cudaDeviceGetPCIBusId(bus, sizeof bus, dev), "device"), e);
    name_machine(machine, sizeof machine);
    if (r == NND_OK)
        snprintf(text, len, "%s/%s", machine, bus);
    return r;
}

static int nccl_make_id(void *id, struct nnd_error *e)
{
    return check(NULL, "ncclGetUniqueId", nccl.unique_id((struct nccl_id *)id), e);
}

static int nccl_join(int dev, const void *id, int rank, int ranks, void **out,
                     struct nnd_error *e)
{
    struct group *g = (struct group *)calloc(1, sizeof *g);
    struct nccl_id mine;
    int r = g ? said(cuda_enter(dev), e) : NND_ENOMEM;
    memcpy(&mine, id, sizeof mine);
    if (r == NND_OK)
        r = check(NULL, "ncclCommInitRank", nccl.init(&g->comm, ranks, mine, rank), e);
    if (r != NND_OK) {
        free(g);
        return r;
    }
    g->dev = dev, g->rank = rank, g->ranks = ranks;
    pthread_mutex_lock(&lock);
    g->next = groups;
    groups = g;
    pthread_mutex_unlock(&lock);
    *out = g;
    return NND_OK;
}

static int nccl_leave(void *group, int at_once)
{
    struct group *g = (struct group *)group;
    int rc = NCCL_OK;
    pthread_mutex_lock(&lock);
    for (struct group **p = &groups; *p; p = &(*p)->next)
        if (*p == g) {
            *p = g->next;
            break;
        }
    pthread_mutex_unlock(&lock);
    cuda_enter(g->dev);
    if (g->comm)
        rc = at_once ? nccl.abort(g->comm) : nccl.destroy(g->comm);
    free(g);
    return rc == NCCL_OK ? NND_OK : NND_EDEVICE;
}

/* ---- faults ---- */

extern "C" int cuda_groups_fault(void)
{
    char text[192] = "";
    pthread_mutex_lock(&lock);
    for (struct group *g = groups; g && !text[0]; g = g->next) {
        int error = NCCL_OK;
        if (!g->comm || nccl.async_error(g->comm, &error) || error == NCCL_OK ||
            error == NCCL_IN_PROGRESS)
            continue;
        describe(g->comm, "between ranks", error, text, sizeof text);
        nccl.abort(g->comm); /* or what is enqueued would wait for ever */
        g->comm = NULL;
    }
    pthread_mutex_unlock(&lock);
    return text[0] ? cuda_lost(text) : NND_OK;
}

extern "C" int cuda_groups_any(void)
{
    pthread_mutex_lock(&lock);
    int any = groups != NULL;
    pthread_mutex_unlock(&lock);
    return any;
}

/* ---- work ---- */

static int type_of(int32_t dtype, size_t *size)
{
    static const struct {
        int32_t dtype;
        int type, size;
    } all[] = {{NND_F16, 6, 2}, {NND_F32, 7, 4}, {NND_F64, 8, 8}, {NND_BF16, 9, 2}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].dtype == dtype) {
            *size = (size_t)all[i].size;
            return all[i].type;
        }
    return -1;
}

/* Are all parts as long, and one behind the other?  One part alone goes the way that
 * most models' do, so that it is gone where there is one GPU. */
static bool is_even(const struct group *g, const size_t *len, const size_t *off)
{
    if (g->ranks == 1)
        return false;
    for (int r = 1; r < g->ranks; r++)
        if (len[r] != len[0] || off[r] != off[0] + (size_t)r * len[0])
            return false;
    return true;
}

static int ready(const struct group *g, struct nnd_error *e)
{
    if (!g->comm) {
        snprintf(e->text, sizeof e->text, "nccl: the group has lost a rank");
        return NND_EDEVICE;
    }
    return said(cuda_enter(g->dev), e);
}

static int nccl_reduce(void *group, const struct nnd_stream *s, void *buf,
                       int32_t dtype, const size_t *len, const size_t *off,
                       struct nnd_error *e)
{
    const struct group *g = (const struct group *)group;
    cudaStream_t stream = (cudaStream_t)s->native;
    size_t size = 1;
    int type = type_of(dtype, &size), rc = NCCL_OK, r = ready(g, e);
    char *at = (char *)buf;
    if (r != NND_OK)
        return r;
    if (type < 0) {
        snprintf(e->text, sizeof e->text, "nccl: no sums of element type %d", dtype);
        return NND_EUNSUPPORTED;
    }
    if (is_even(g, len, off))
        return check(g->comm, "ncclReduceScatter",
                     nccl.reduce_scatter(at + off[0], at + off[g->rank], len[0] / size,
                                         type, NCCL_SUM, g->comm, stream),
                     e);
    nccl.begin();
    for (int i = 0; rc == NCCL_OK && i < g->ranks; i++)
        if (len[i])
            rc = nccl.reduce(at + off[i], at + off[i], len[i] / size, type, NCCL_SUM, i,
                             g->comm, stream);
    int end = nccl.end();
    return check(g->comm, "ncclReduce", rc ? rc : end, e);
}

static int nccl_gather(void *group, const struct nnd_stream *s, void *buf,
                       const size_t *len, const size_t *off, struct nnd_error *e)
{
    const struct group *g = (const struct group *)group;
    cudaStream_t stream = (cudaStream_t)s->native;
    int rc = NCCL_OK, r = ready(g, e);
    char *at = (char *)buf;
    if (r != NND_OK)
        return r;
    if (is_even(g, len, off))
        return check(g->comm, "ncclAllGather",
                     nccl.all_gather(at + off[g->rank], at + off[0], len[0], NCCL_BYTES,
                                     g->comm, stream),
                     e);
    nccl.begin();
    for (int i = 0; rc == NCCL_OK && i < g->ranks; i++)
        if (len[i])
            rc = nccl.broadcast(at + off[i], at + off[i], len[i], NCCL_BYTES, i,
                                g->comm, stream);
    int end = nccl.end();
    return check(g->comm, "ncclBroadcast", rc ? rc : end, e);
}

/*
 * Rings alone are used, whose channels each have a neighbour to receive from, with
 * buffers for three protocols (NCCL_BUFFSIZE, 4 MiB by NCCL's documentation, with those
 * of LL and LL128 10 MiB, as NCCL_DEBUG_SUBSYS=ALLOC shows them), and one to send to
 * (2 MiB).  It opens 32 channels where links are fastest, fewer elsewhere
 * (NCCL_MAX_CTAS).
 */
static size_t nccl_bytes(int ranks)
{
    const size_t channels = 32, channel = (size_t)(10 + 2) << 20;
    return ranks > 1 ? channels * channel : 0;
}

extern "C" const struct nnd_collectives cuda_collectives = {
    .struct_size = sizeof(struct nnd_collectives),
    .name = "nccl",
    .place = nccl_place,
    .make_id = nccl_make_id,
    .join = nccl_join,
    .leave = nccl_leave,
    .reduce = nccl_reduce,
    .gather = nccl_gather,
    .bytes = nccl_bytes,
};
