/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch_local.c - ranks on this machine, by Open MPI's mpirun.
 */
#include "daemon/launch.h"

#include <ctype.h>
#include <string.h>
#include <sys/wait.h>

enum { MAX_ARGS = 64 };

struct args {
    struct arena *arena;
    char **v;
    size_t n;
};

static void add(struct args *a, const char *text)
{
    if (a->n < MAX_ARGS - 1)
        a->v[a->n++] = arena_strdup(a->arena, text);
}

static void add_mca(struct args *a, const char *name, const char *value)
{
    add(a, "--mca");
    add(a, name);
    add(a, value);
}

static void add_number(struct args *a, const char *option, unsigned long long v)
{
    add(a, option);
    add(a, arena_printf(a->arena, "%llu", v));
}

/* pml ob1 saves 0.2 s of probing for networks that one machine has no use for.
 * Nothing listens beyond the loopback interface.  Ranks bind their own threads,
 * and nnd has already counted the slots.  All files stay in the attempt's own
 * folders, which the shepherd removes whatever happens. */
static void add_mpirun(struct args *a, const struct launch *l)
{
    add(a, l->mpirun);
    if (l->root)
        add(a, "--allow-run-as-root");
    add_number(a, "-np", l->ranks);
    add(a, "--tag-output");
    add(a, "--oversubscribe");
    add(a, "--bind-to");
    add(a, "none");
    add(a, "--wdir");
    add(a, l->attempt_dir);
    add_mca(a, "pml", "ob1");
    add_mca(a, "btl", "self,vader,tcp");
    add_mca(a, "btl_tcp_if_include", "lo");
    add_mca(a, "oob_tcp_if_include", "lo");
    add_mca(a, "odls_base_sigkill_timeout", "1");
    add_mca(a, "orte_tmpdir_base", l->tmp_dir);
    if (l->shm_dir)
        add_mca(a, "btl_vader_backing_directory", l->shm_dir);
}

static void add_worker(struct args *a, const struct launch *l)
{
    add(a, l->worker);
    add(a, "train");
    add(a, "--job");
    add(a, l->job_file);
    add(a, "--dir");
    add(a, l->job_dir);
    add_number(a, "--attempt", l->attempt);
    add_number(a, "--epoch", l->epoch);
    add_number(a, "--threads", l->threads);
    add(a, "--uri");
    add(a, l->uri);
}

static char **local_argv(const struct launch *l, struct arena *arena)
{
    struct args a = {arena, arena_calloc(arena, MAX_ARGS, sizeof(char *)), 0};

    add_mpirun(&a, l);
    add_worker(&a, l);
    return a.v;
}

/* mpirun's own code is that of the lowest rank which failed; 128 + N: by signal. */
static void local_understand(int wait, struct launch_exit *out)
{
    *out = (struct launch_exit){0};
    if (WIFSIGNALED(wait)) {
        out->signal = WTERMSIG(wait);
        out->self = true;
        return;
    }
    out->code = WEXITSTATUS(wait);
    if (out->code > 128 && out->code < 128 + 65) {
        out->signal = out->code - 128;
        out->code = 0;
    }
}

/* --tag-output puts "[1,RANK]<stdout>:" or "[1,RANK]<stderr>:" before a line. */
static size_t local_line(const char *text, size_t len, int *rank, bool *err)
{
    size_t i = 3;
    int r = 0;

    *rank = -1;
    *err = true;
    if (len < 13 || memcmp(text, "[1,", 3) != 0)
        return 0;
    for (; i < len && i < 9 && isdigit((unsigned char)text[i]); i++)
        r = 10 * r + (text[i] - '0');
    if (i == 3 || len - i < 10 || text[i] != ']')
        return 0;
    if (memcmp(text + i, "]<stdout>:", 10) == 0)
        *err = false;
    else if (memcmp(text + i, "]<stderr>:", 10) != 0)
        return 0;
    *rank = r;
    return i + 10;
}

/* The number after `before` in a line, or -1. */
static int number_after(const char *text, size_t len, const char *before)
{
    const char *p = memmem(text, len, before, strlen(before));
    const char *end = text + len;
    int v = 0;

    if (!p)
        return -1;
    p += strlen(before);
    if (p == end || !isdigit((unsigned char)*p))
        return -1;
    for (int digits = 0; p < end && isdigit((unsigned char)*p) && digits < 6; digits++)
        v = 10 * v + (*p++ - '0');
    return v;
}

/* "mpirun noticed that process rank 1 with PID 123 on node X exited on signal 9"
 * "  Process name: [[52143,1],1]" */
static bool local_blame(const char *text, size_t len, int *rank)
{
    static const char name[] = "Process name: [[";
    const char *p = memmem(text, len, name, sizeof name - 1);
    int r = number_after(text, len, "noticed that process rank ");

    if (r < 0 && p)
        r = number_after(p, len - (size_t)(p - text), ",1],");
    if (r < 0)
        return false;
    *rank = r;
    return true;
}

const struct launcher launch_local = {
    .name = "local",
    .argv = local_argv,
    .understand = local_understand,
    .line = local_line,
    .blame = local_blame,
};
