/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim.c - a plugin with a device that is none: memory that the host cannot touch,
 * and streams that run behind it.
 *
 * An address of the device is one of a range without access; what runs on a stream
 * sees the same memory elsewhere.  So a host that reads or writes the device's
 * memory, or hands a kernel its own, does not go unnoticed.  A stream is a thread
 * and a queue.  Kernels are those of plugins/ref, enqueued: params and addresses
 * are taken when they are launched.  What is enqueued can be kept, and run later.
 *
 * With FAULT_CAPTURE one of them computes at once what it should enqueue: it is right
 * until its launch is kept.  With FAULT_MEMORY the device has no room for large blocks,
 * with FAULT_STREAMS for one stream alone: others are in its place.  With SIM_UNREAD=N
 * in the environment what is N bytes long is not copied to the host.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "plugins/ref/ref.h"

#define SIZE       ((size_t)256 << 20)
#define QUEUE      256
#define PARAMS_MAX 4096
#define KERNELS    256

/* ---- memory ---- */

static char *outside, *inside; /* what the host has, what streams have */
static size_t used;
static int blocks;
static pthread_mutex_t memory = PTHREAD_MUTEX_INITIALIZER;

static int memory_open(struct nnd_error *e)
{
    inside = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (inside != MAP_FAILED)
        outside = mremap(inside, 0, SIZE, MREMAP_MAYMOVE); /* the same pages again */
    if (!outside || !inside || outside == MAP_FAILED || inside == MAP_FAILED ||
        mprotect(outside, SIZE, PROT_NONE)) {
        snprintf(e->text, sizeof e->text, "unavailable: no memory to map twice");
        return -1;
    }
    return 0;
}

/* An address as streams have it. */
static void *seen(const void *p)
{
    const char *at = p;
    return at >= outside && at < outside + SIZE ? inside + (at - outside) : (char *)at;
}

static int sim_alloc(int dev, size_t size, void **p)
{
    size_t whole = (size + 511) / 256 * 256; /* a gap behind every block */
    (void)dev;
    pthread_mutex_lock(&memory);
    int fits = whole <= SIZE - used;
#if defined FAULT_MEMORY
    fits = size <= 100000;
#endif
    if (fits) {
        *p = outside + used;
        used += whole;
        blocks++;
    }
    pthread_mutex_unlock(&memory);
    return fits ? NND_OK : NND_ENOMEM;
}

static int sim_free(int dev, void *p)
{
    (void)dev, (void)p;
    pthread_mutex_lock(&memory);
    if (--blocks == 0)
        used = 0;
    pthread_mutex_unlock(&memory);
    return NND_OK;
}

static int sim_alloc_pinned(size_t size, void **p)
{
    *p = malloc(size ? size : 1);
    return *p ? NND_OK : NND_ENOMEM;
}

static int sim_free_pinned(void *p)
{
    free(p);
    return NND_OK;
}

/* ---- streams ---- */

struct event {
    atomic_long asked, done; /* records so far */
    struct timespec at;
};

enum kind { COPY, FILL, LAUNCH, RECORD, WAIT };

struct task {
    enum kind kind;
    void *to;
    const void *from;
    size_t size;
    int byte;
    struct event *event;
    long record; /* of the event */
    const struct nnd_kernel *kernel;
    struct nnd_launch launch;
    _Alignas(64) char params[PARAMS_MAX];
};

/* What was enqueued while a stream kept it. */
struct graph {
    struct task *task;
    size_t n, room;
    int broken;
};

struct stream {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, less;
    struct task task[QUEUE];
    unsigned long put, got; /* got: ended */
    int stop, status;
    struct graph *keeps; /* NULL: what is enqueued is run */
};

static struct nnd_error fault; /* the first one; sticky */

/* Every word of the params that is an address of the device, as streams have it.
 * Params hold no other large numbers. */
static void translate(char *params, size_t size)
{
    for (size_t i = 0; i + sizeof(void *) <= size; i += sizeof(void *)) {
        void *p;
        memcpy(&p, params + i, sizeof p);
        p = seen(p);
        memcpy(params + i, &p, sizeof p);
    }
}

static int run_kernel(struct task *t)
{
    struct nnd_error e = {{0}};
    int rc = t->kernel->launch(t->kernel->self, NULL, t->params, &t->launch, &e);
    if (rc != NND_OK && !fault.text[0])
        snprintf(fault.text, sizeof fault.text, "%s: %.200s", t->kernel->name, e.text);
    return rc;
}

/* Not sched_yield, which starves others under some kernels (lib/comm/comm_mpi.c). */
static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

static int run_task(struct task *t)
{
    switch (t->kind) {
    case COPY:
        memmove(seen(t->to), seen(t->from), t->size);
        return NND_OK;
    case FILL:
        memset(seen(t->to), t->byte, t->size);
        return NND_OK;
    case LAUNCH:
        return run_kernel(t);
    case RECORD:
        clock_gettime(CLOCK_MONOTONIC, &t->event->at);
        atomic_store(&t->event->done, t->record);
        return NND_OK;
    case WAIT:
        while (atomic_load(&t->event->done) < t->record)
            nap();
        return NND_OK;
    }
    return NND_EDEVICE;
}

static void *work(void *arg)
{
    struct stream *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (s->put == s->got && !s->stop)
            pthread_cond_wait(&s->more, &s->lock);
        if (s->put == s->got)
            break;
        struct task *t = &s->task[s->got % QUEUE];
        pthread_mutex_unlock(&s->lock);
        if (s->got % 64 == 0) /* let the host run ahead; on a busy machine that costs */
            nap();
        int rc = run_task(t);
        pthread_mutex_lock(&s->lock);
        if (rc != NND_OK)
            s->status = NND_EDEVICE;
        s->got++;
        pthread_cond_broadcast(&s->less);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static struct task *task_kept(struct graph *g, enum kind kind)
{
    static struct task nowhere;
    if (g->n == g->room) {
        size_t room = g->room ? 2 * g->room : 64;
        struct task *more = realloc(g->task, room * sizeof *more);
        g->broken |= !more;
        if (!more)
            return &nowhere;
        g->task = more;
        g->room = room;
    }
    g->task[g->n].kind = kind;
    return &g->task[g->n++];
}

/* Room for a task; the stream is locked until it is put. */
static struct task *task_begin(struct stream *s, enum kind kind)
{
    pthread_mutex_lock(&s->lock);
    if (s->keeps)
        return task_kept(s->keeps, kind);
    while (s->put - s->got == QUEUE)
        pthread_cond_wait(&s->less, &s->lock);
    struct task *t = &s->task[s->put % QUEUE];
    t->kind = kind;
    return t;
}

static int task_end(struct stream *s)
{
    s->put += !s->keeps;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    return NND_OK;
}

static int sim_stream_new(int dev, int prio, struct nnd_stream *out)
{
    struct stream *s = calloc(1, sizeof *s);
    (void)prio;
#if defined FAULT_STREAMS
    static int made;
    if (made++ > 0) {
        free(s);
        return NND_EDEVICE;
    }
#endif
    if (!s)
        return NND_ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    pthread_cond_init(&s->less, NULL);
    if (pthread_create(&s->thread, NULL, work, s)) {
        free(s);
        return NND_EDEVICE;
    }
    *out = (struct nnd_stream){.device = dev, .native = s};
    return NND_OK;
}

static int sim_stream_del(struct nnd_stream *stream)
{
    struct stream *s = stream->native;
    pthread_mutex_lock(&s->lock);
    s->stop = 1;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    free(s);
    return NND_OK;
}

static int sim_stream_sync(const struct nnd_stream *stream)
{
    struct stream *s = stream->native;
    pthread_mutex_lock(&s->lock);
    while (s->put != s->got)
        pthread_cond_wait(&s->less, &s->lock);
    if (s->keeps)
        s->keeps->broken = 1; /* there is nothing to wait for yet */
    int rc = s->keeps ? NND_EINVAL : s->status;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static int sim_copy(const struct nnd_stream *stream, void *dst, const void *src,
                    size_t size)
{
    const char *unread = getenv("SIM_UNREAD");
    int to_host = seen(dst) == dst;
    if (unread && to_host && size == strtoul(unread, NULL, 10))
        return NND_EDEVICE;
    struct task *t = task_begin(stream->native, COPY);
    t->to = dst, t->from = src, t->size = size;
    return task_end(stream->native);
}

static int sim_fill(const struct nnd_stream *stream, void *dst, int32_t byte,
                    size_t size)
{
    struct task *t = task_begin(stream->native, FILL);
    t->to = dst, t->byte = byte, t->size = size;
    return task_end(stream->native);
}

/* ---- keeping what is enqueued ---- */

static int sim_graph_begin(const struct nnd_stream *stream)
{
    struct stream *s = stream->native;
    struct graph *g = calloc(1, sizeof *g);
    pthread_mutex_lock(&s->lock);
    if (g && !s->keeps)
        s->keeps = g;
    else
        free(g), g = NULL;
    pthread_mutex_unlock(&s->lock);
    return g ? NND_OK : NND_EINVAL;
}

static int sim_graph_del(void *graph)
{
    struct graph *g = graph;
    free(g->task);
    free(g);
    return NND_OK;
}

static int sim_graph_end(const struct nnd_stream *stream, void **graph)
{
    struct stream *s = stream->native;
    pthread_mutex_lock(&s->lock);
    struct graph *g = s->keeps;
    s->keeps = NULL;
    pthread_mutex_unlock(&s->lock);
    if (!g || g->broken) {
        if (g)
            sim_graph_del(g);
        return NND_EINVAL;
    }
    *graph = g;
    return NND_OK;
}

static int sim_graph_launch(const struct nnd_stream *stream, void *graph)
{
    const struct graph *g = graph;
    for (size_t i = 0; i < g->n; i++) {
        *task_begin(stream->native, g->task[i].kind) = g->task[i];
        task_end(stream->native);
    }
    return NND_OK;
}

/* ---- events ---- */

static int sim_event_new(int dev, void **ev)
{
    (void)dev;
    *ev = calloc(1, sizeof(struct event));
    return *ev ? NND_OK : NND_ENOMEM;
}

static int sim_event_del(void *ev)
{
    free(ev);
    return NND_OK;
}

static int sim_event_record(void *ev, const struct nnd_stream *stream)
{
    struct event *event = ev;
    struct task *t = task_begin(stream->native, RECORD);
    t->event = event;
    t->record = atomic_fetch_add(&event->asked, 1) + 1;
    return task_end(stream->native);
}

static int sim_event_wait(const struct nnd_stream *stream, void *ev)
{
    struct task *t = task_begin(stream->native, WAIT);
    t->event = ev;
    t->record = atomic_load(&t->event->asked);
    return task_end(stream->native);
}

static int sim_event_query(void *ev)
{
    const struct event *event = ev;
    return atomic_load(&event->done) >= atomic_load(&event->asked);
}

static int sim_event_ms(void *a, void *b, float *ms)
{
    const struct event *x = a, *y = b;
    *ms = (float)((double)(y->at.tv_sec - x->at.tv_sec) * 1e3 +
                  (double)(y->at.tv_nsec - x->at.tv_nsec) * 1e-6);
    return NND_OK;
}

static int sim_count(void)
{
    return 1;
}

static int sim_info(int dev, char *json, size_t len)
{
    (void)dev;
    snprintf(json, len, "{\"name\":\"sim\",\"arch\":\"none\",\"bytes\":%zu}", SIZE);
    return NND_OK;
}

static int sim_health(int dev, struct nnd_error *e)
{
    (void)dev;
    *e = fault;
    return fault.text[0] ? NND_EDEVICE : NND_OK;
}

static const struct nnd_device_ops device = {
    .struct_size = sizeof device,
    .type = "sim",
    .count = sim_count,
    .info = sim_info,
    .alloc = sim_alloc,
    .free = sim_free,
    .alloc_pinned = sim_alloc_pinned,
    .free_pinned = sim_free_pinned,
    .copy = sim_copy,
    .fill = sim_fill,
    .stream_new = sim_stream_new,
    .stream_del = sim_stream_del,
    .stream_sync = sim_stream_sync,
    .event_new = sim_event_new,
    .event_del = sim_event_del,
    .event_record = sim_event_record,
    .event_wait = sim_event_wait,
    .event_query = sim_event_query,
    .event_ms = sim_event_ms,
    .health = sim_health,
    .graph_begin = sim_graph_begin,
    .graph_end = sim_graph_end,
    .graph_launch = sim_graph_launch,
    .graph_del = sim_graph_del,
};

/* ---- kernels ---- */

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_kernel *k = self;
    return k->supports(k->self, params, e);
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_kernel *k = self;
    int rc = k->need(k->self, params, out);
    if (NND_HAS(nnd_need, out, packed))
        out->packed = 0; /* there is no pack() here */
    return rc;
}

static void fill_launch(struct task *t, const struct nnd_kernel *k, const void *params,
                        size_t size, const struct nnd_launch *l)
{
    memcpy(t->params, params, size);
    translate(t->params, size);
    t->kernel = k;
    t->launch = *l;
    t->launch.workspace = seen(l->workspace);
}

#if defined FAULT_CAPTURE
/* All is there before the launch, but that nobody promises. */
static int launch_at_once(const struct nnd_kernel *k, const void *params, size_t size,
                          const struct nnd_launch *l)
{
    static _Thread_local struct task now;
    struct stream *s = l->stream.native;
    pthread_mutex_lock(&s->lock);
    while (s->put != s->got)
        pthread_cond_wait(&s->less, &s->lock);
    pthread_mutex_unlock(&s->lock);
    fill_launch(&now, k, params, size, l);
    return run_kernel(&now);
}
#elif defined FAULT_WAIT
/* Nothing may wait for a stream that keeps. */
static int wait_for(struct stream *s, struct nnd_error *e)
{
    pthread_mutex_lock(&s->lock);
    int kept = s->keeps != NULL;
    if (kept)
        s->keeps->broken = 1;
    pthread_mutex_unlock(&s->lock);
    if (kept)
        snprintf(e->text, sizeof e->text, "operation not permitted");
    return kept ? NND_EUNSUPPORTED : NND_OK;
}
#endif

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    size_t size;
    (void)plan;
    memcpy(&size, params, sizeof size);
    if (size > PARAMS_MAX || !l->stream.native) {
        snprintf(e->text, sizeof e->text, "no stream, or params of %zu bytes", size);
        return NND_EINVAL;
    }
#if defined FAULT_CAPTURE
    if (strcmp(((const struct nnd_kernel *)self)->op, "act.gelu.fwd") == 0)
        return launch_at_once(self, params, size, l);
#elif defined FAULT_WAIT
    if (strcmp(((const struct nnd_kernel *)self)->op, "act.swiglu.fwd") == 0 &&
        wait_for(l->stream.native, e) != NND_OK)
        return NND_EUNSUPPORTED;
#endif
    struct task *t = task_begin(l->stream.native, LAUNCH);
    fill_launch(t, self, params, size, l);
    return task_end(l->stream.native);
}

static struct nnd_kernel kernels[KERNELS];
static const struct nnd_kernel *list[KERNELS];
static const struct nnd_device_ops *const devices[] = {&device};

static struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "sim",
    .version = "1",
    .license = "Apache-2.0",
    .build = __VERSION__,
    .kernels = list,
    .devices = devices,
    .ndevices = 1,
};

nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    const struct nnd_plugin *ref = ref_plugin(host, e);
    if (!ref || memory_open(e))
        return NULL;
    for (uint32_t i = 0; i < ref->nkernels && i < KERNELS; i++) {
        kernels[i] = *ref->kernels[i];
        kernels[i].device = "sim";
        kernels[i].self = ref->kernels[i];
        kernels[i].supports = supports;
        kernels[i].need = need;
        kernels[i].launch = launch;
        kernels[i].pack = NULL;
        kernels[i].flags |= NND_K_CAPTURABLE;
        list[i] = &kernels[i];
    }
    plugin.nkernels = ref->nkernels;
    return &plugin;
}
