/* SPDX-License-Identifier: Apache-2.0 */
/*
 * par.c - see par.h.
 */
#include "par.h"

/* Elements below which handing work to another thread costs more than it gives,
 * and the number of parts that each thread should find. */
#define SMALL_CALL   16384
#define PARTS_THREAD 4

static const struct nnd_host *the_host;

void par_init(const struct nnd_host *host)
{
    the_host = host;
}

const struct nnd_host *par_host(void)
{
    return the_host;
}

int par_tasks(const struct nnd_launch *l, int n, void (*fn)(void *arg, int i),
              void *arg)
{
    if (n > 1 && l->nthreads > 1)
        return the_host->parallel(the_host->h, n, fn, arg);
    for (int i = 0; i < n; i++)
        fn(arg, i);
    return NND_OK;
}

struct rows_job {
    rows_f *fn;
    const void *arg;
    int64_t rows;
    int parts;
};

static void rows_part(void *arg, int i)
{
    const struct rows_job *j = arg;

    j->fn(j->arg, j->rows * i / j->parts, j->rows * (i + 1) / j->parts);
}

int par_rows(const struct nnd_launch *l, int64_t rows, int64_t cost, rows_f *fn,
             const void *arg)
{
    int64_t parts = rows * cost / (SMALL_CALL / 2);
    int64_t most = (int64_t)l->nthreads * PARTS_THREAD;
    struct rows_job j = {fn, arg, rows, 1};

    if (rows <= 0)
        return NND_OK;
    if (parts > most)
        parts = most;
    if (parts > rows)
        parts = rows;
    if (l->nthreads > 1 && parts > 1)
        j.parts = (int)parts;
    return par_tasks(l, j.parts, rows_part, &j);
}
