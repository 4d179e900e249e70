/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rpc_log.c - files of a job, handed out in pieces: its log, its metrics, its
 * kernels.  Ranks and shepherds write them; nnd keeps none of it in memory, and
 * an answer holds 64 KiB at most.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/attempt.h"
#include "daemon/launch.h"
#include "daemon/rpc.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

enum {
    PIECE = 64 << 10,      /* bytes of a file per answer                        */
    TAIL_SEARCH = 4 << 20, /* how far from its end the last lines are looked for */
};

/* The job as it is now; *stored must be destroyed after use. */
static int look_up(struct rpc_call *call, uint64_t id, const struct job **out,
                   struct job **stored, struct err *e)
{
    int rc;

    *stored = NULL;
    *out = hub_find(call->hub, id);
    if (*out)
        return 0;
    rc = store_job(call->hub->store, id, stored, e);
    *out = *stored;
    return rc;
}

/* Read up to max bytes at offset; 0 when the file is not there yet. */
static ssize_t read_at(const char *path, uint64_t offset, char *out, size_t max,
                       uint64_t *size)
{
    struct stat st;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *size = 0;
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = (uint64_t)st.st_size;
        if (offset < *size)
            n = pread(fd, out, max, (off_t)offset);
    }
    close(fd);
    return n > 0 ? n : 0;
}

/* --- metrics -------------------------------------------------------------- */

/* Where to read on: at the offset, if a line ends before it.  An attempt that goes
 * on from a checkpoint takes later steps out of the file; then all is given again. */
static uint64_t line_start(const char *path, uint64_t offset)
{
    uint64_t size;
    char before;

    if (offset == 0 || (read_at(path, offset - 1, &before, 1, &size) == 1 &&
                        before == '\n' && offset <= size))
        return offset;
    return 0;
}

static int on_metrics(struct rpc_call *call, struct err *e)
{
    const Wire__Metrics *m = (const Wire__Metrics *)call->request;
    Wire__MetricsReply *reply = RPC_REPLY(call, Wire__MetricsReply, metrics_reply);
    uint64_t offset = m->has_offset ? m->offset : 0, size;
    char dir[PATH_MAX], path[PATH_MAX + 20];
    const struct job *j;
    struct job *stored;
    bool over = false;
    ssize_t n;
    int rc = look_up(call, m->id, &j, &stored, e);

    if (rc < 0)
        return rc;
    over = state_is_final(j->state);
    job_destroy(stored);
    attempt_job_dir(call->hub, m->id, dir);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    reply->lines.data = arena_alloc(call->arena, PIECE);
    offset = line_start(path, offset);
    n = read_at(path, offset, (char *)reply->lines.data, PIECE, &size);
    while (n > 0 && reply->lines.data[n - 1] != '\n') /* whole lines only */
        n--;
    reply->has_lines = reply->has_next = reply->has_eof = reply->has_final = 1;
    reply->lines.len = (size_t)n;
    reply->next = offset + (uint64_t)n;
    reply->eof = n == 0 || reply->next >= size;
    reply->final = reply->eof && over;
    if (n == 0 && !over && !call->late)
        return RPC_WAIT_FILE;
    return 0;
}

/* --- log ------------------------------------------------------------------ */

/* What of a log is wanted. */
struct filter {
    const struct launcher *launcher; /* whose marks the lines have */
    bool one_rank, err_only;
    int rank;
};

/* Whose a line is, and how much of it is the launcher's mark. */
struct mark {
    int rank;
    bool err;
    size_t skip;
};

static bool wanted(const struct filter *f, int rank, bool err)
{
    return (!f->one_rank || rank == f->rank) && (!f->err_only || err);
}

/* Bytes of the line at p, its newline included; 0 when its end is not there. */
static size_t line_length(const char *p, size_t left)
{
    const char *nl = memchr(p, '\n', left);

    return nl ? (size_t)(nl - p) + 1 : 0;
}

/* Offset at which the last `lines` wanted lines begin; of none, the end of the last
 * line that has one. */
static uint64_t find_tail(struct rpc_call *call, const char *path, uint32_t lines,
                          const struct filter *f)
{
    char *text = NULL;
    uint64_t size, from, *starts;
    size_t n = 0, at = 0, len;
    bool err;
    int rank;

    read_at(path, 0, NULL, 0, &size);
    from = size > TAIL_SEARCH ? size - TAIL_SEARCH : 0;
    text = arena_alloc(call->arena, (size_t)(size - from) + 1);
    starts = arena_calloc(call->arena, lines, sizeof *starts);
    size = from + (uint64_t)read_at(path, from, text, (size_t)(size - from), &size);
    if (from > 0) /* begin with a whole line */
        at = line_length(text, (size_t)(size - from));
    for (;
         at < size - from && (len = line_length(text + at, (size_t)(size - from) - at));
         at += len) {
        f->launcher->line(text + at, len, &rank, &err);
        if (lines > 0 && wanted(f, rank, err))
            starts[n++ % lines] = from + at;
    }
    if (n == 0)
        return from + at;
    return n < lines ? starts[0] : starts[n % lines];
}

static struct mark mark_of(const struct filter *f, const char *p, size_t len)
{
    struct mark k;

    k.skip = f->launcher->line(p, len, &k.rank, &k.err);
    return k;
}

/* The rest of a line that was cut has no mark: that is where the line begins.  False
 * where a line begins at the offset, or too far before it. */
static bool find_mark(struct rpc_call *call, const char *path, uint64_t offset,
                      const struct filter *f, struct mark *out)
{
    char *p = arena_alloc(call->arena, PIECE), *nl = NULL;
    uint64_t from = offset, size;
    size_t n = 0;

    while (from > 0 && !nl && offset - from < TAIL_SEARCH) {
        n = from < PIECE ? (size_t)from : PIECE;
        from -= n;
        if (read_at(path, from, p, n, &size) != (ssize_t)n)
            return false;
        nl = memrchr(p, '\n', n);
    }
    from += nl ? (uint64_t)(nl + 1 - p) : 0;
    if (from == offset || (!nl && from > 0))
        return false;
    n = (size_t)read_at(path, from, p, PIECE, &size);
    *out = mark_of(f, p, n);
    out->skip = 0;
    return true;
}

static void add_line(struct rpc_call *call, Wire__LogReply *reply, const char *p,
                     size_t len, const struct filter *f, const struct mark *k, bool cut)
{
    Wire__LogLine *m;

    if (!wanted(f, k->rank, k->err))
        return;
    if (len > k->skip && p[len - 1] == '\n')
        len--;
    m = rpc_message(call->arena, &wire__log_line__descriptor);
    m->has_rank = m->has_err = m->has_text = 1;
    m->rank = k->rank;
    m->err = k->err;
    m->text.data = (uint8_t *)p + k->skip;
    m->text.len = len - k->skip;
    m->has_cut = m->cut = cut;
    reply->lines[reply->n_lines++] = m;
}

/* Split a piece into lines; what of it was used.  A line without an end is kept
 * back until it has one, or nothing will come any more, or it fills the piece.  The
 * first is whose `rest` says, unless that is NULL. */
static size_t split(struct rpc_call *call, Wire__LogReply *reply, const char *p,
                    size_t n, const struct filter *f, const struct mark *rest,
                    bool over, bool full)
{
    size_t at = 0, count = 1, len;

    for (size_t i = 0; i < n; i++)
        count += p[i] == '\n';
    reply->lines = arena_calloc(call->arena, count, sizeof *reply->lines);
    while (at < n) {
        bool cut = false;
        struct mark own;

        len = line_length(p + at, n - at);
        if (len == 0 && at == 0 && full)
            cut = true;
        if (len == 0 && (over || cut))
            len = n - at;
        if (len == 0)
            break;
        own = at == 0 && rest ? *rest : mark_of(f, p + at, len);
        add_line(call, reply, p + at, len, f, &own, cut);
        at += len;
    }
    return at;
}

/* The attempt asked for, and whether its log can still grow. */
static int pick_attempt(const struct job *j, const Wire__Log *m, uint32_t *number,
                        bool *over, struct err *e)
{
    *number = m->has_attempt && m->attempt ? m->attempt : j->attempt;
    if (*number > j->attempt)
        return err_set(e, ERR_NOTFOUND, "job %llu: has no attempt %u, the newest is %u",
                       (unsigned long long)j->id, *number, j->attempt);
    *over = *number < j->attempt || !state_is_live(j->state);
    return 0;
}

static int read_log(struct rpc_call *call, const struct job *j, const Wire__Log *m,
                    struct err *e)
{
    Wire__LogReply *reply = RPC_REPLY(call, Wire__LogReply, log_reply);
    struct filter f = {NULL, m->has_rank, m->has_err_only && m->err_only, m->rank};
    uint64_t offset = m->has_offset ? m->offset : 0, size;
    char dir[PATH_MAX], path[PATH_MAX + 8], *piece = arena_alloc(call->arena, PIECE);
    size_t max = PIECE, used;
    struct mark rest;
    bool over = false, is_rest;
    ssize_t n;
    int rc = pick_attempt(j, m, &reply->attempt, &over, e);

    if (rc < 0)
        return rc;
    attempt_dir(call->hub, j->id, reply->attempt, dir);
    f.launcher = launch_noted(dir);
    snprintf(path, sizeof path, "%s/log", dir);
    if (m->has_tail)
        offset = find_tail(call, path, m->tail < 100000 ? m->tail : 100000, &f);
    if (m->has_max_bytes && m->max_bytes >= 1024 && m->max_bytes < PIECE)
        max = m->max_bytes;
    n = read_at(path, offset, piece, max, &size);
    is_rest = n > 0 && find_mark(call, path, offset, &f, &rest);
    used = split(call, reply, piece, (size_t)n, &f, is_rest ? &rest : NULL,
                 over && offset + (size_t)n >= size, (size_t)n == max);
    reply->has_next = reply->has_attempt = reply->has_eof = 1;
    reply->has_final = reply->has_last = 1;
    reply->next = offset + used;
    reply->eof = reply->next >= size || used == 0;
    reply->final = reply->eof && over && (j->attempt > 0 || state_is_final(j->state));
    reply->last =
        reply->final && state_is_final(j->state) && reply->attempt == j->attempt;
    if (used == 0 && !reply->final && !call->late)
        return RPC_WAIT_FILE;
    return 0;
}

static int on_log(struct rpc_call *call, struct err *e)
{
    const Wire__Log *m = (const Wire__Log *)call->request;
    const struct job *j;
    struct job *stored;
    int rc = look_up(call, m->id, &j, &stored, e);

    if (rc == 0)
        rc = read_log(call, j, m, e);
    job_destroy(stored);
    return rc;
}

/* --- kernels -------------------------------------------------------------- */

/* Copy what was unpacked into the arena, by packing it once more. */
static int parse_kernels(struct rpc_call *call, const char *path, struct err *e)
{
    struct arena *a = call->arena;
    char *bytes = arena_alloc(a, CHAN_MAX_MESSAGE);
    Wire__KernelsReply *reply = RPC_REPLY(call, Wire__KernelsReply, kernels_reply), *m;
    ProtobufCMessage *unpacked;
    uint64_t size;
    ssize_t n = read_at(path, 0, bytes, CHAN_MAX_MESSAGE, &size);
    int rc = chan_unpack(reply->base.descriptor, bytes, (size_t)n, &unpacked, e);

    if (rc < 0)
        return rc;
    m = (Wire__KernelsReply *)unpacked;
    reply->has_attempt = m->has_attempt;
    reply->attempt = m->attempt;
    reply->n_kernels = m->n_kernels;
    reply->kernels = arena_calloc(a, m->n_kernels + 1, sizeof *reply->kernels);
    for (size_t i = 0; i < m->n_kernels; i++) {
        Wire__Kernel *k = arena_memdup(a, m->kernels[i], sizeof *k);

        k->base.n_unknown_fields = 0;
        k->base.unknown_fields = NULL;
        k->op = arena_strdup(a, k->op);
        k->name = arena_strdup(a, k->name);
        k->plugin = arena_strdup(a, k->plugin);
        k->device = arena_strdup(a, k->device);
        k->dtype = arena_strdup(a, k->dtype);
        k->why = arena_strdup(a, k->why);
        reply->kernels[i] = k;
    }
    chan_free(unpacked);
    return 0;
}

static int on_kernels(struct rpc_call *call, struct err *e)
{
    const Wire__Kernels *m = (const Wire__Kernels *)call->request;
    char dir[PATH_MAX], path[PATH_MAX + 16];
    const struct job *j;
    struct job *stored;
    uint32_t attempt = 0;
    int rc = look_up(call, m->id, &j, &stored, e);

    if (rc < 0)
        return rc;
    attempt = j->attempt;
    job_destroy(stored);
    for (; attempt > 0; attempt--) { /* the newest attempt that got so far */
        attempt_dir(call->hub, m->id, attempt, dir);
        snprintf(path, sizeof path, "%s/kernels", dir);
        if (access(path, R_OK) == 0)
            return parse_kernels(call, path, e);
    }
    return err_set(e, ERR_NOTFOUND, "job %llu: has not selected its kernels yet",
                   (unsigned long long)m->id);
}

const struct rpc_row rpc_log_rows[] = {
    {WIRE__TYPE__METRICS, on_metrics},
    {WIRE__TYPE__LOG, on_log},
    {WIRE__TYPE__KERNELS, on_kernels},
};
const size_t rpc_log_nrows = sizeof rpc_log_rows / sizeof *rpc_log_rows;
