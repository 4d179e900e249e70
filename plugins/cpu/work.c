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

struct queue {
    atomic_int next;
    int tasks;
    size_t slot_size;
    char *room;
    work_f *fn;
    void *arg;
};

static void worker(void *arg, int number)
{
    struct queue *q = arg;
    void *slot = q->room + q->slot_size * (size_t)number;

    for (;;) {
        int task = atomic_fetch_add_explicit(&q->next, 1, memory_order_relaxed);

        if (task >= q->tasks)
            return;
        q->fn(q->arg, task, slot);
    }
}

int work_run(const struct nnd_launch *l, int tasks, size_t slot_size, void *room,
             size_t size, work_f *fn, void *arg)
{
    struct queue q = {
        .tasks = tasks, .slot_size = slot_size, .room = room, .fn = fn, .arg = arg};
    int workers = l->nthreads < tasks ? l->nthreads : tasks;

    if (slot_size && (size_t)workers > size / slot_size)
        workers = (int)(size / slot_size);
    if (workers < 1)
        workers = 1;
    return par_tasks(l, workers, worker, &q);
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
