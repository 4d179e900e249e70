/* SPDX-License-Identifier: Apache-2.0 */
/*
 * device.cu - memory, streams and events of NVIDIA's GPUs, for the host.
 *
 * The runtime is linked in; it looks for the driver when it is first called, which
 * is when the host asks how many devices there are.  An error that the context does
 * not survive stays: whatever is asked next gives NND_EDEVICE, and health() says
 * what it was.
 */
#include <cuda_runtime.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "families.h"

static thread_local char last_text[192];
static thread_local int current = -1; /* the device that this thread's calls go to */

/* The first error that the context did not survive. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char sticky[192];

extern "C" const char *cuda_last_text(void)
{
    static thread_local char given[192];
    memcpy(given, last_text, sizeof given);
    last_text[0] = '\0';
    return given[0] ? given : "no reason given";
}

static void keep(const char *text)
{
    pthread_mutex_lock(&lock);
    if (!sticky[0])
        snprintf(sticky, sizeof sticky, "%s", text);
    pthread_mutex_unlock(&lock);
}

extern "C" int cuda_lost(const char *text)
{
    snprintf(last_text, sizeof last_text, "%s", text);
    keep(text);
    return NND_EDEVICE;
}

int cuda_status(int error, const char *what)
{
    cudaError_t rc = (cudaError_t)error;
    if (rc == cudaSuccess)
        return NND_OK;
    snprintf(last_text, sizeof last_text, "%s: %s", what, cudaGetErrorString(rc));
    cudaGetLastError(); /* what can be forgotten is */
    if (rc == cudaErrorMemoryAllocation)
        return NND_ENOMEM;
    if (rc == cudaErrorInvalidValue)
        return NND_EINVAL;
    if (rc >= cudaErrorStreamCaptureUnsupported &&
        rc <= cudaErrorStreamCaptureWrongThread)
        return NND_EUNSUPPORTED; /* the graph is lost, the device is not */
    keep(last_text);
    return NND_EDEVICE;
}

int cuda_refuse(int status, const char *what)
{
    snprintf(last_text, sizeof last_text, "%s", what);
    return status;
}

int cuda_shared_check(size_t need, struct nnd_error *e)
{
    const enum cudaDeviceAttr room = cudaDevAttrMaxSharedMemoryPerBlockOptin;
    int dev = 0, most = 0;
    cudaError_t rc = cudaGetDevice(&dev);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&most, room, dev);
    if (rc != cudaSuccess) {
        cudaGetLastError();
        return op_refuse(e, NND_EKERNEL, "no device: %s", cudaGetErrorString(rc));
    }
    if (need > (size_t)most)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%zu bytes of shared memory for a block, the device has %d",
                         need, most);
    return NND_OK;
}

extern "C" int cuda_enter(int dev)
{
    if (current == dev)
        return NND_OK;
    int r = cuda_status(cudaSetDevice(dev), "device");
    if (r == NND_OK)
        current = dev;
    return r;
}

static int device_count(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

static int device_info(int dev, char *json, size_t len)
{
    struct cudaDeviceProp p;
    char bus[32] = "", more[200];
    int r = cuda_status(cudaGetDeviceProperties(&p, dev), "properties");
    if (r == NND_OK)
        r = cuda_status(cudaDeviceGetPCIBusId(bus, sizeof bus, dev), "properties");
    if (r != NND_OK)
        return r;
    cuda_nvml(bus, more, sizeof more);
    snprintf(json, len,
             "{\"name\":\"%s\",\"arch\":\"sm_%d%d\",\"bytes\":%zu,\"units\":%d,%s}",
             p.name, p.major, p.minor, p.totalGlobalMem, p.multiProcessorCount, more);
    return r;
}

static int device_alloc(int dev, size_t size, void **p)
{
    int r = cuda_enter(dev);
    return r ? r : cuda_status(cudaMalloc(p, size ? size : 1), "memory");
}

static int device_free(int dev, void *p)
{
    int r = cuda_enter(dev);
    return r ? r : cuda_status(cudaFree(p), "memory");
}

static int device_alloc_pinned(size_t size, void **p)
{
    return cuda_status(cudaHostAlloc(p, size ? size : 1, cudaHostAllocPortable),
                       "the host's memory");
}

static int device_free_pinned(void *p)
{
    return cuda_status(cudaFreeHost(p), "the host's memory");
}

static cudaStream_t stream_of(const struct nnd_stream *s)
{
    return (cudaStream_t)s->native;
}

static int device_copy(const struct nnd_stream *s, void *to, const void *from,
                       size_t size)
{
    int r = cuda_enter(s->device);
    return r ? r
             : cuda_status(
                   cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, stream_of(s)),
                   "copy");
}

static int device_fill(const struct nnd_stream *s, void *to, int32_t byte, size_t size)
{
    int r = cuda_enter(s->device);
    return r ? r : cuda_status(cudaMemsetAsync(to, byte, size, stream_of(s)), "fill");
}

static int stream_new(int dev, int prio, struct nnd_stream *out)
{
    cudaStream_t s;
    int r = cuda_enter(dev);
    if (r == NND_OK)
        r = cuda_status(cudaStreamCreateWithPriority(&s, cudaStreamNonBlocking, prio),
                        "stream");
    if (r == NND_OK)
        *out = {dev, 0, s};
    return r;
}

static int stream_del(struct nnd_stream *s)
{
    int r = cuda_enter(s->device);
    return r ? r : cuda_status(cudaStreamDestroy(stream_of(s)), "stream");
}

/* What other ranks are waited for in ends when one of them is lost; the runtime would
 * wait on. */
static int watch(cudaStream_t s)
{
    const struct timespec nap = {.tv_sec = 0, .tv_nsec = 20000};
    int r = cuda_groups_fault();
    while (r == NND_OK && cudaStreamQuery(s) == cudaErrorNotReady) {
        cudaGetLastError();
        nanosleep(&nap, NULL);
        r = cuda_groups_fault();
    }
    return r;
}

static int stream_sync(const struct nnd_stream *s)
{
    int r = cuda_enter(s->device);
    if (r == NND_OK && cuda_groups_any())
        r = watch(stream_of(s));
    return r ? r : cuda_status(cudaStreamSynchronize(stream_of(s)), "stream");
}

static int event_new(int dev, void **ev)
{
    cudaEvent_t e;
    int r = cuda_enter(dev);
    if (r == NND_OK)
        r = cuda_status(cudaEventCreateWithFlags(&e, cudaEventDefault), "event");
    if (r == NND_OK)
        *ev = e;
    return r;
}

static int event_del(void *ev)
{
    return cuda_status(cudaEventDestroy((cudaEvent_t)ev), "event");
}

static int event_record(void *ev, const struct nnd_stream *s)
{
    int r = cuda_enter(s->device);
    return r ? r : cuda_status(cudaEventRecord((cudaEvent_t)ev, stream_of(s)), "event");
}

static int event_wait(const struct nnd_stream *s, void *ev)
{
    int r = cuda_enter(s->device);
    return r ? r
             : cuda_status(cudaStreamWaitEvent(stream_of(s), (cudaEvent_t)ev, 0),
                           "event");
}

static int event_query(void *ev)
{
    cudaError_t rc = cudaEventQuery((cudaEvent_t)ev);
    if (rc == cudaErrorNotReady) {
        cudaGetLastError();
        return cuda_groups_any() ? cuda_groups_fault() : 0;
    }
    return rc == cudaSuccess ? 1 : cuda_status(rc, "event");
}

/* Other threads may call what they like meanwhile. */
static int graph_begin(const struct nnd_stream *s)
{
    int r = cuda_enter(s->device);
    return r ? r
             : cuda_status(cudaStreamBeginCapture(stream_of(s),
                                                  cudaStreamCaptureModeThreadLocal),
                           "graph");
}

static int graph_end(const struct nnd_stream *s, void **graph)
{
    cudaGraph_t kept = NULL;
    cudaGraphExec_t ready = NULL;
    int r = cuda_status(cudaStreamEndCapture(stream_of(s), &kept), "graph");
    if (r == NND_OK)
        r = cuda_status(cudaGraphInstantiate(&ready, kept, 0), "graph");
    if (kept)
        cudaGraphDestroy(kept);
    if (r == NND_OK)
        *graph = ready;
    return r;
}

static int graph_launch(const struct nnd_stream *s, void *graph)
{
    int r = cuda_enter(s->device);
    return r ? r
             : cuda_status(cudaGraphLaunch((cudaGraphExec_t)graph, stream_of(s)),
                           "graph");
}

static int graph_del(void *graph)
{
    return cuda_status(cudaGraphExecDestroy((cudaGraphExec_t)graph), "graph");
}

static int event_ms(void *a, void *b, float *ms)
{
    return cuda_status(cudaEventElapsedTime(ms, (cudaEvent_t)a, (cudaEvent_t)b),
                       "event");
}

/* Without a device: why there is none. */
static int device_health(int dev, struct nnd_error *e)
{
    e->text[0] = '\0';
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc == cudaSuccess && dev < n)
        rc = cudaPeekAtLastError();
    else if (rc == cudaSuccess)
        rc = cudaErrorNoDevice;
    pthread_mutex_lock(&lock);
    if (sticky[0])
        snprintf(e->text, sizeof e->text, "%s", sticky);
    pthread_mutex_unlock(&lock);
    if (e->text[0])
        return NND_EDEVICE;
    if (rc == cudaSuccess)
        return NND_OK;
    snprintf(e->text, sizeof e->text, "%s", cudaGetErrorString(rc));
    return NND_EDEVICE;
}

extern "C" const struct nnd_device_ops cuda_device = {
    .struct_size = sizeof(struct nnd_device_ops),
    .type = "cuda",
    .count = device_count,
    .info = device_info,
    .alloc = device_alloc,
    .free = device_free,
    .alloc_pinned = device_alloc_pinned,
    .free_pinned = device_free_pinned,
    .copy = device_copy,
    .fill = device_fill,
    .stream_new = stream_new,
    .stream_del = stream_del,
    .stream_sync = stream_sync,
    .event_new = event_new,
    .event_del = event_del,
    .event_record = event_record,
    .event_wait = event_wait,
    .event_query = event_query,
    .event_ms = event_ms,
    .health = device_health,
    .graph_begin = graph_begin,
    .graph_end = graph_end,
    .graph_launch = graph_launch,
    .graph_del = graph_del,
    .collectives = &cuda_collectives,
};
