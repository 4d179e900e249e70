/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c - see work.h.
 */
#include "work.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "par.h"

/* need() is not told the number of threads; the host's setting "threads" says
 * it, and without one this many find room. */
#define THREADS_DEFAULT 16
#define THREADS_MAX     1024

/* Tasks that a worker has still to take: the first in the lower half, the one after the
 * last in the upper. */
typedef _Atomic uint64_t share_t;

struct queue {
    share_t shares[THREADS_MAX];
    int workers;
    size_t slot_size;
    char *room;
    work_f *fn;
    void *arg;
};

/* Take a task out of a share, the first one or the last; -1 if none is left. */
static int take_from(share_t *s, int last)
{
    uint64_t t = atomic_load_explicit(s, memory_order_relaxed), rest;

    do {
        if ((uint32_t)t == t >> 32)
            return -1;
        rest = last ? t - ((uint64_t)1 << 32) : t + 1;
    } while (!atomic_compare_exchange_weak_explicit(s, &t, rest, memory_order_relaxed,
                                                    memory_order_relaxed));
    return last ? (int)(rest >> 32) : (int)(uint32_t)t;
}

/* A worker's own tasks, then what others have left. */
static int take(struct queue *q, int number)
{
    int task = take_from(&q->shares[number], 0);

    for (int i = 1; task < 0 && i < q->workers; i++)
        task = take_from(&q->shares[(number + i) % q->workers], 1);
    return task;
}

static void worker(void *arg, int number)
{
    struct queue *q = arg;
    void *slot = q->room + q->slot_size * (size_t)number;

    for (int task = take(q, number); task >= 0; task = take(q, number))
        q->fn(q->arg, task, slot);
}

int work_run(const struct nnd_launch *l, int tasks, size_t slot_size, void *room,
             size_t size, work_f *fn, void *arg)
{
    int64_t workers = l->nthreads < tasks ? l->nthreads : tasks;
    struct queue q;

    if (slot_size && (size_t)workers > size / slot_size)
        workers = (int64_t)(size / slot_size);
    workers = workers < 1 ? 1 : workers > THREADS_MAX ? THREADS_MAX : workers;
    q.workers = (int)workers;
    q.slot_size = slot_size;
    q.room = room;
    q.fn = fn;
    q.arg = arg;
    for (int64_t w = 0; w < workers; w++)
        atomic_init(&q.shares[w], (uint64_t)(tasks * (w + 1) / workers) << 32 |
                                      (uint64_t)(tasks * w / workers));
    return par_tasks(l, q.workers, worker, &q);
}

size_t work_room(size_t slot_size)
{
    const struct nnd_host *host = par_host();
    const char *text = NULL;
    int n = THREADS_DEFAULT;

    if (NND_HAS(nnd_host, host, config) && host->config)
        text = host->config(host->h, "threads");
    if (text)
        n = atoi(text);
    n = n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
    return slot_size * (size_t)n;
}
