/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.cc - streams, events and graphs of the emulated device.
 *
 * What a stream is given is done at once, unless something before it cannot go on, or
 * NND_EMU says that the stream is late: then nobody does it before somebody waits for
 * it, and only as much of it.  So a stream that does not wait for another which it
 * depends on computes from what is not there yet, each time.
 */
#include "emu.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* What a captured stream was given, first to last. */
struct task {
    cudaError_t (*run)(void *work, bool last);
    void *work;
};
struct emu_graph {
    struct task *task;
    int n, room;
};

/* What a stream has to do yet. */
struct queue : emu_stream {
    struct emu_graph *into; /* NULL: it is not captured */
    bool late, running;
    struct task *task;
    int first, end, room;
    struct queue *next; /* of all */
};
static struct queue *queues;
static pthread_mutex_t queues_lock = PTHREAD_MUTEX_INITIALIZER;

struct emu_event {
    struct timespec at;
    struct queue *on;
    long asked, recorded, done; /* how often */
};

/* ---- streams ---- */

static struct queue *queue_of(cudaStream_t s)
{
    return static_cast<struct queue *>(s);
}

static void add_task(struct task **list, int *n, int *room, struct task t)
{
    if (*n == *room) {
        *room = *room ? 2 * *room : 64;
        *list = (struct task *)realloc((void *)*list, (size_t)*room * sizeof **list);
    }
    (*list)[(*n)++] = t;
}

static void set_now(struct queue *q)
{
    q->now = !q->late && !q->into && q->first == q->end;
}

/* Do what is to be done, or until an event is recorded for the n-th time.  False: what
 * comes next cannot go on. */
static bool drain(struct queue *q, const struct emu_event *until = NULL, long n = 0)
{
    if (q->running)
        emu_die("streams that wait for each other", 0, 0);
    while (q->first < q->end && !(until && until->done >= n)) {
        struct task t = q->task[q->first];
        q->running = true;
        cudaError_t rc = t.run(t.work, true);
        q->running = false;
        if (rc == cudaErrorNotReady)
            return false;
        if (rc)
            emu_device.sticky = rc;
        q->first++;
    }
    if (q->first == q->end)
        q->first = q->end = 0;
    set_now(q);
    return true;
}

/* A stream that is not late has done all it can, and may be another thread's, which
 * fills it just now. */
void emu_finish(void)
{
    if (!emu_device.late_main && !emu_device.late_side)
        return;
    for (struct queue *q = queues; q; q = q->next)
        drain(q);
}

static cudaError_t put(struct emu_stream *s, cudaError_t (*run)(void *, bool),
                       void *work)
{
    struct queue *q = queue_of(s);
    if (q->into) {
        add_task(&q->into->task, &q->into->n, &q->into->room, {run, work});
        return cudaSuccess;
    }
    add_task(&q->task, &q->end, &q->room, {run, work});
    set_now(q);
    if (!q->late)
        drain(q);
    return emu_answer(cudaSuccess);
}

static bool is_captured(cudaStream_t s)
{
    return s && queue_of(s)->into;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned, int prio)
{
    struct queue *q = (struct queue *)calloc(1, sizeof *q);
    emu_know();
    if (!q)
        return emu_answer(cudaErrorMemoryAllocation);
    q->put = put;
    q->late = prio < 0 ? emu_device.late_side : emu_device.late_main;
    pthread_mutex_lock(&queues_lock);
    q->next = queues;
    queues = q;
    pthread_mutex_unlock(&queues_lock);
    set_now(q);
    *s = q;
    return emu_answer(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    struct queue *q = queue_of(s), **p = &queues;
    drain(q);
    pthread_mutex_lock(&queues_lock);
    while (*p != q)
        p = &(*p)->next;
    *p = q->next;
    pthread_mutex_unlock(&queues_lock);
    free((void *)q->task);
    free(q);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    if (is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    emu_device.waits++;
    if (!drain(queue_of(s)))
        emu_die("a wait that never ends", 0, 0);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    if (is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    return emu_answer(drain(queue_of(s)) ? cudaSuccess : cudaErrorNotReady);
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = (cudaEvent_t)calloc(1, sizeof **e);
    return emu_answer(*e ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    emu_finish();
    free(e);
    return emu_answer(cudaSuccess);
}

/* Graphs with events in them are nobody's wish here. */
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    long n = ++e->recorded;
    if (is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    e->on = queue_of(s);
    return emu_do(s, [=]() {
        clock_gettime(CLOCK_MONOTONIC, &e->at);
        e->done = n;
        return emu_answer(cudaSuccess);
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    long n = e->recorded;
    struct queue *on = e->on;
    if (is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    return emu_do(s, [=]() {
        bool done = e->done >= n || drain(on, e, n);
        return done ? emu_answer(cudaSuccess) : cudaErrorNotReady;
    });
}

/* Who asks a late stream once knows nothing yet. */
cudaError_t cudaEventQuery(cudaEvent_t e)
{
    if (e->done >= e->recorded)
        return emu_answer(cudaSuccess);
    if (e->on->late && ++e->asked % 2)
        return emu_answer(cudaErrorNotReady);
    return emu_answer(drain(e->on, e, e->recorded) ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    if (a->done < a->recorded || b->done < b->recorded)
        return emu_answer(cudaErrorNotReady);
    *ms = (float)((double)(b->at.tv_sec - a->at.tv_sec) * 1e3 +
                  (double)(b->at.tv_nsec - a->at.tv_nsec) * 1e-6);
    return emu_answer(cudaSuccess);
}

/* ---- graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode)
{
    if (!s || is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    queue_of(s)->into = (struct emu_graph *)calloc(1, sizeof(struct emu_graph));
    set_now(queue_of(s));
    emu_device.capturing++;
    return emu_answer(cudaSuccess);
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    *g = queue_of(s)->into;
    queue_of(s)->into = NULL;
    set_now(queue_of(s));
    emu_device.capturing--;
    return emu_answer(emu_device.nograph ? cudaErrorStreamCaptureUnsupported
                                         : cudaSuccess);
}

/* The one that runs is the one that was captured; it goes with it. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    *x = g;
    return emu_answer(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t)
{
    return emu_answer(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x)
{
    emu_finish();
    free((void *)x->task);
    free(x);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    if (is_captured(s))
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    emu_device.graphs++;
    return emu_do(s, [=]() {
        cudaError_t rc = cudaSuccess;
        for (int i = 0; i < x->n && !rc; i++)
            rc = x->task[i].run(x->task[i].work, false);
        return emu_answer(rc);
    });
}
