/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cuda_runtime.h - as much of CUDA's language and runtime as plugins/cuda uses, on
 * the host, so that its own sources run where there is no GPU.
 *
 * A grid runs block by block when it is launched; the threads of a block are fibers
 * that hand over at __syncthreads, __syncwarp, shuffles and votes (emu.cc).  Blocks
 * of all streams run one at a time, so that what is __shared__ may be static.  What a
 * stream is given runs at once, or as late as its order lets it (NND_EMU, emu.cc), so
 * that a stream which does not wait for another is seen by what it computes.  Wrong
 * use stops the process with a line: threads of a block at different barriers, a
 * warp's lanes at different exchanges, a launch beyond a GPU's limits.
 */
#ifndef EMU_CUDA_RUNTIME_H
#define EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __shared__      static
#define __forceinline__ inline
#define __align__(n)    alignas(n)
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c)
    {
    }
};
struct uint3 {
    unsigned x, y, z;
};
struct alignas(8) int2 {
    int x, y;
};
static inline int2 make_int2(int x, int y)
{
    return {x, y};
}
struct alignas(8) float2 {
    float x, y;
};
static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

/* ---- threads ---- */

struct emu_thread {
    uint3 at; /* threadIdx */
    int id;   /* within the block */
};
extern struct emu_thread *emu_now;
extern uint3 emu_block;
extern dim3 emu_block_dim, emu_grid_dim;
#define threadIdx (emu_now->at)
#define blockIdx  emu_block
#define blockDim  emu_block_dim
#define gridDim   emu_grid_dim
#define warpSize  32

/* The barrier of a block; `where` sets one from another. */
void emu_sync(int where);
#define __syncthreads() emu_sync(__LINE__)

/* The barrier of a warp's lanes in `mask`; gives what each of them brought, to be
 * read before the next exchange. */
const void *emu_exchange(unsigned mask, int where, const void *mine, size_t size);
#define EMU_SLOT 32 /* bytes from one lane's to the next's */

static inline void emu_syncwarp(unsigned mask, int where)
{
    emu_exchange(mask, where, "", 1);
}
#define EMU_FIRST(a, ...) a
#define __syncwarp(...)                                                                \
    emu_syncwarp(EMU_FIRST(__VA_ARGS__ __VA_OPT__(, ) 0xffffffffu), __LINE__)

template <class T> static inline T emu_lane(unsigned mask, T v, int lane, int where)
{
    const char *all = (const char *)emu_exchange(mask, where, &v, sizeof v);
    T r;
    memcpy(&r, all + (size_t)lane * EMU_SLOT, sizeof r);
    return r;
}
#define EMU_LANE_ID                (emu_now->id & 31)
#define __shfl_sync(mask, v, lane) emu_lane(mask, v, (lane)&31, __LINE__)
#define __shfl_xor_sync(mask, v, bits)                                                 \
    emu_lane(mask, v, (EMU_LANE_ID ^ (bits)) & 31, __LINE__)
#define __shfl_down_sync(mask, v, n)                                                   \
    emu_lane(mask, v, EMU_LANE_ID + (n) > 31 ? EMU_LANE_ID : EMU_LANE_ID + (n),        \
             __LINE__)
#define __shfl_up_sync(mask, v, n)                                                     \
    emu_lane(mask, v, EMU_LANE_ID < (int)(n) ? EMU_LANE_ID : EMU_LANE_ID - (int)(n),   \
             __LINE__)

static inline unsigned emu_ballot(unsigned mask, int yes, int where)
{
    const char *all = (const char *)emu_exchange(mask, where, &yes, sizeof yes);
    unsigned r = 0;
    for (int i = 0; i < 32; i++) {
        int v;
        memcpy(&v, all + (size_t)i * EMU_SLOT, sizeof v);
        r |= (mask >> i & 1) && v ? 1u << i : 0;
    }
    return r;
}
#define __ballot_sync(mask, yes) emu_ballot(mask, (yes) != 0, __LINE__)
#define __any_sync(mask, yes)    (emu_ballot(mask, (yes) != 0, __LINE__) != 0)

static inline unsigned emu_match(unsigned mask, int v, int where)
{
    const char *all = (const char *)emu_exchange(mask, where, &v, sizeof v);
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= (mask >> i & 1) && memcmp(all + (size_t)i * EMU_SLOT, &v, sizeof v) == 0
                 ? 1u << i
                 : 0;
    return r;
}
#define __match_any_sync(mask, v) emu_match(mask, v, __LINE__)

/* ---- arithmetic ---- */

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __float_as_uint(float x)
{
    unsigned r;
    memcpy(&r, &x, sizeof r);
    return r;
}
static inline float __uint_as_float(unsigned x)
{
    float r;
    memcpy(&r, &x, sizeof r);
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline double __dmul_rn(double a, double b)
{
    return a * b;
}
static inline double __dadd_rn(double a, double b)
{
    return a + b;
}
static inline int min(int a, int b)
{
    return a < b ? a : b;
}
static inline int max(int a, int b)
{
    return a > b ? a : b;
}
static inline int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int atomicAdd(int *p, int v)
{
    int old = *p;
    *p += v;
    return old;
}
static inline unsigned atomicMax(unsigned *p, unsigned v)
{
    unsigned old = *p;
    *p = old > v ? old : v;
    return old;
}

/* ---- the runtime ---- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInitializationError = 3,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorNotReady = 600,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureWrongThread = 908
};
enum cudaMemcpyKind { cudaMemcpyDefault = 4 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaDriverEntryPointQueryResult {
    cudaDriverEntryPointSuccess = 0,
    cudaDriverEntryPointSymbolNotFound = 1
};
enum { cudaEnableDefault = 0 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
struct emu_stream;
struct emu_event;
struct emu_graph;
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_graph *cudaGraphExec_t;
struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};
enum { cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaHostAllocPortable = 1 };

cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int dev);
cudaError_t cudaGetDevice(int *dev);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int dev);
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int dev);
cudaError_t cudaDeviceGetPCIBusId(char *text, int len, int dev);
cudaError_t cudaMalloc(void **p, size_t n);
cudaError_t cudaFree(void *p);
cudaError_t cudaMemGetInfo(size_t *left, size_t *all);
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind k,
                            cudaStream_t s);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t n, cudaStream_t s);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int prio);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b);
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **at,
                                             unsigned version, unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *how);
cudaError_t cudaGetLastError(void);
cudaError_t cudaPeekAtLastError(void);
const char *cudaGetErrorString(cudaError_t e);

/* While a stream is captured what comes to it is kept, to be run by each launch of the
 * graph; waiting and allocating are errors meanwhile. */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g,
                                 unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);

/* A stream, as a library beside this one sees it too.  What put() is given may say that
 * it is not ready, and is asked again then; with `last` it frees what it holds. */
struct emu_stream {
    cudaError_t (*put)(struct emu_stream *s, cudaError_t (*run)(void *work, bool last),
                       void *work);
    bool now; /* nothing is to be done before what comes next */
};

/* f(), now, when its turn comes, or whenever the graph runs. */
template <class F> static inline cudaError_t emu_do(cudaStream_t s, F f)
{
    cudaError_t rc = cudaErrorNotReady;
    if (!s || s->now)
        rc = f();
    if (rc != cudaErrorNotReady)
        return rc;
    return s->put(
        s,
        [](void *work, bool last) {
            cudaError_t rc = (*(F *)work)();
            if (last && rc != cudaErrorNotReady)
                delete (F *)work;
            return rc;
        },
        new F(f));
}

/* Run body(arg) as every thread of the grid. */
cudaError_t emu_launch(void (*body)(void *), void *arg, dim3 grid, dim3 block,
                       size_t shared);

template <class... P> struct emu_call {
    void (*kernel)(P...);
    void **args;
    template <size_t... I> static void run(emu_call *c, std::index_sequence<I...>)
    {
        c->kernel(*(std::remove_reference_t<P> *)c->args[I]...);
    }
    static void body(void *c)
    {
        run((emu_call *)c, std::index_sequence_for<P...>{});
    }
};

template <class... P, size_t... I>
static inline cudaError_t emu_enqueue(void (*kernel)(P...), dim3 grid, dim3 block,
                                      void **args, size_t shared, cudaStream_t s,
                                      std::index_sequence<I...>)
{
    std::tuple<std::remove_reference_t<P>...> mine(
        *(std::remove_reference_t<P> *)args[I]...);
    return emu_do(s, [=]() mutable {
        void *at[] = {(void *)&std::get<I>(mine)..., NULL};
        emu_call<P...> c = {kernel, at};
        return emu_launch(emu_call<P...>::body, &c, grid, block, shared);
    });
}

template <class... P>
static inline cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block,
                                           void **args, size_t shared, cudaStream_t s)
{
    return emu_enqueue(kernel, grid, block, args, shared, s,
                       std::index_sequence_for<P...>{});
}

bool emu_shared_allows(int n); /* bytes, of a block */

template <class F>
static inline cudaError_t cudaFuncSetAttribute(F *, enum cudaFuncAttribute, int n)
{
    return emu_shared_allows(n) ? cudaSuccess : cudaErrorInvalidValue;
}

#endif
