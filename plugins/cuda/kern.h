/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kern.h - what the kernels of this plugin share: matrices as a kernel sees them,
 * eight numbers at a time, sums over a row's threads, and launches.
 *
 * Numbers are read and written in groups of eight, 16 bytes at once where addresses
 * allow, and computed in f32.  A template's DT is the type of the large tensors when
 * they share one, or 0: then each is asked.  Sums go in an order that a row's length
 * alone decides, so that rows do not depend on each other.
 */
#ifndef CUDA_KERN_H
#define CUDA_KERN_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdint.h>

#include "layer.h"

extern "C" {
#include "plugins/cpu/op.h"
}

#define DEVICE [[maybe_unused]] static __device__ __forceinline__

/* ---- matrices ---- */

/* A tensor as rows of columns; step is bytes from row to row. */
struct mat {
    char *data;
    int64_t step;
    int32_t dtype, wide; /* wide: rows are aligned to 16 bytes */
};

static inline int size_of(int dtype)
{
    return dtype == NND_F64 || dtype == NND_I64    ? 8
           : dtype == NND_F32 || dtype == NND_I32  ? 4
           : dtype == NND_BF16 || dtype == NND_F16 ? 2
                                                   : 1;
}

/* A tensor of 2 axes, or of 1 as one row; absent: data is NULL. */
static inline struct mat mat_of(const struct nnd_tensor *t)
{
    struct mat m = {NULL, 0, t->dtype, 0};
    if (!t->ndim)
        return m;
    m.data = (char *)t->data;
    m.step = t->ndim > 1 ? t->stride[0] * size_of(t->dtype) : 0;
    m.wide = (uintptr_t)m.data % 16 == 0 && m.step % 16 == 0;
    return m;
}

/* One row after the other without gaps? */
static inline bool is_packed(const struct nnd_tensor *t)
{
    return !t->ndim || t->dim[0] <= 1 || t->ndim == 1 || t->stride[0] == t->dim[1];
}

/* The type that all given tensors have, if it has kernels of its own; else 0. */
static inline int common_type(const struct nnd_tensor *const *t, int n)
{
    int dtype = 0;
    for (int i = 0; i < n; i++) {
        if (!t[i]->ndim)
            continue;
        if (dtype && t[i]->dtype != dtype)
            return 0;
        dtype = t[i]->dtype;
    }
    return dtype == NND_BF16 || dtype == NND_F32 ? dtype : 0;
}

/* ---- numbers ---- */

DEVICE float half_get(int dtype, unsigned bits)
{
    uint16_t h = (uint16_t)bits;
    if (dtype == NND_BF16)
        return __uint_as_float(bits << 16);
    __half x;
    memcpy(&x, &h, sizeof x);
    return __half2float(x);
}

DEVICE unsigned half_put(int dtype, float v)
{
    uint16_t h;
    if (dtype == NND_BF16) {
        __nv_bfloat16 x = __float2bfloat16_rn(v);
        memcpy(&h, &x, sizeof h);
    } else {
        __half x = __float2half_rn(v);
        memcpy(&h, &x, sizeof h);
    }
    return h;
}

DEVICE float get_at(int dtype, const void *p, int64_t i)
{
    if (dtype == NND_F32)
        return ((const float *)p)[i];
    return half_get(dtype, ((const uint16_t *)p)[i]);
}

DEVICE void put_at(int dtype, void *p, int64_t i, float v)
{
    if (dtype == NND_F32)
        ((float *)p)[i] = v;
    else
        ((uint16_t *)p)[i] = (uint16_t)half_put(dtype, v);
}

/* v as the type would hold it. */
DEVICE float rounded(int dtype, float v)
{
    return dtype == NND_F32 ? v : half_get(dtype, half_put(dtype, v));
}

/* Eight numbers from p on, `left` of which there are; `other` for the rest. */
template <int DT>
DEVICE void load8(int dtype, const void *p, bool wide, int64_t left, float other,
                  float (&v)[8])
{
    const int d = DT ? DT : dtype;
    if (!wide || left < 8) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = i < left ? get_at(d, p, i) : other;
    } else if (d == NND_F32) {
        float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
    } else {
        uint4 u = *(const uint4 *)p;
        const unsigned w[4] = {u.x, u.y, u.z, u.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i] = half_get(d, w[i] & 0xffff);
            v[2 * i + 1] = half_get(d, w[i] >> 16);
        }
    }
}

template <int DT>
DEVICE void store8(int dtype, void *p, bool wide, int64_t left, const float (&v)[8])
{
    const int d = DT ? DT : dtype;
    if (!wide || left < 8) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < left)
                put_at(d, p, i, v[i]);
    } else if (d == NND_F32) {
        ((float4 *)p)[0] = make_float4(v[0], v[1], v[2], v[3]);
        ((float4 *)p)[1] = make_float4(v[4], v[5], v[6], v[7]);
    } else {
        unsigned w[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            w[i] = half_put(d, v[2 * i]) | half_put(d, v[2 * i + 1]) << 16;
        *(uint4 *)p = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

DEVICE int bytes_of(int dtype)
{
    return dtype == NND_F32 || dtype == NND_I32 ? 4 : 2;
}

/* An address of 16 bytes for copies that take nothing from it. */
template <class T> DEVICE const T *aligned(const T *p)
{
    return (const T *)((uintptr_t)p & ~(uintptr_t)15);
}

/* Columns [c, c + 8) of row r; c is a multiple of 8. */
template <int DT>
DEVICE void get8(const struct mat &m, int64_t r, int64_t c, int64_t left, float (&v)[8],
                 float other = 0)
{
    const char *p = m.data + r * m.step + c * bytes_of(DT ? DT : m.dtype);
    load8<DT>(m.dtype, p, m.wide, left, other, v);
}

template <int DT>
DEVICE void put8(const struct mat &m, int64_t r, int64_t c, int64_t left,
                 const float (&v)[8])
{
    char *p = m.data + r * m.step + c * bytes_of(DT ? DT : m.dtype);
    store8<DT>(m.dtype, p, m.wide, left, v);
}

/* Two numbers next to each other, of which `left` are there. */
DEVICE void get2(int dtype, const char *p, bool wide, int left, float (&v)[2])
{
    v[0] = v[1] = 0;
    if (wide && left > 1 && dtype != NND_F32) {
        uint32_t two = *(const uint32_t *)p;
        v[0] = half_get(dtype, two & 0xffff);
        v[1] = half_get(dtype, two >> 16);
    } else if (wide && left > 1) {
        float2 two = *(const float2 *)p;
        v[0] = two.x, v[1] = two.y;
    } else {
        if (left > 0)
            v[0] = get_at(dtype, p, 0);
        if (left > 1)
            v[1] = get_at(dtype, p, 1);
    }
}

DEVICE void put2(float *p, bool wide, int left, float v0, float v1)
{
    if (wide && left > 1) {
        *(float2 *)p = make_float2(v0, v1);
        return;
    }
    if (left > 0)
        p[0] = v0;
    if (left > 1)
        p[1] = v1;
}

DEVICE float get1(const struct mat &m, int64_t r, int64_t c)
{
    return get_at(m.dtype, m.data + r * m.step, c);
}

/* 1 / x of a finite, normal x, without the division's slow path. */
DEVICE float inverse(float x)
{
    float r = __fdividef(1.0f, x);
    return r * (2.0f - x * r);
}

DEVICE float sigmoid_of(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* ---- dropout ---- */

/* Philox4x32-10 (Salmon et al. 2011). */
DEVICE void philox(uint64_t key, uint32_t (&c)[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint32_t hi0 = __umulhi(0xd2511f53u, c[0]), lo0 = 0xd2511f53u * c[0];
        uint32_t hi1 = __umulhi(0xcd9e8d57u, c[2]), lo1 = 0xcd9e8d57u * c[2];
        c[0] = hi1 ^ c[1] ^ k0;
        c[1] = lo1;
        c[2] = hi0 ^ c[3] ^ k1;
        c[3] = lo0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
}

/* plugin.h's nnd_rng_key, which the device compiler does not see as its own. */
DEVICE uint64_t rng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

DEVICE uint64_t rng_key(const uint64_t *state, uint32_t op)
{
    return rng_mix(rng_mix(state[0]) ^ rng_mix(state[1] + op * 0x10001u));
}

/* A dropout made ready by the host: what a word is held against. */
struct drop {
    const uint64_t *state;
    const int32_t *sample, *pos;
    uint32_t op, threshold;
    float scale;
    int32_t on;
};

static inline struct drop drop_of(const struct nnd_dropout *d)
{
    struct drop r = {d->state, d->sample, d->pos, d->op, 0, 1, d->p > 0};
    if (d->p > 0) {
        r.threshold = (uint32_t)ceil((double)d->p * 4294967296.0);
        r.scale = 1.0f / (1.0f - d->p);
    }
    return r;
}

/* What to multiply columns [c, c + 4) by, c a multiple of 4. */
DEVICE void drop_factors(const struct drop &d, uint64_t key, int64_t row, uint32_t head,
                         int64_t c, float (&factor)[4])
{
    uint32_t word[4] = {(uint32_t)d.sample[row], head, (uint32_t)d.pos[row],
                        (uint32_t)(c / 4)};
    philox(key, word);
#pragma unroll
    for (int i = 0; i < 4; i++)
        factor[i] = word[i] >= d.threshold ? d.scale : 0;
}

/* ---- sums over a row's threads ---- */

/* All lanes get the same bits: each level adds the same pairs. */
template <class T> DEVICE T warp_sum(T v)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, i);
    return v;
}

DEVICE float warp_max(float v)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, i));
    return v;
}

/* The sum over a team of 32 threads, or of the whole block, for all of it.  room is
 * shared, [TEAM / 32]. */
template <int TEAM, class T> DEVICE T team_sum(T v, T *room)
{
    v = warp_sum(v);
    if constexpr (TEAM == 32)
        return v;
    __syncthreads(); /* the room may still be read from before */
    if (threadIdx.x % 32 == 0)
        room[threadIdx.x / 32] = v;
    __syncthreads();
    T sum = room[0];
#pragma unroll
    for (int i = 1; i < TEAM / 32; i++)
        sum += room[i];
    return sum;
}

template <int TEAM> DEVICE float team_max(float v, float *room)
{
    v = warp_max(v);
    if constexpr (TEAM == 32)
        return v;
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        room[threadIdx.x / 32] = v;
    __syncthreads();
    float most = room[0];
#pragma unroll
    for (int i = 1; i < TEAM / 32; i++)
        most = fmaxf(most, room[i]);
    return most;
}

/* The sum of eight numbers, pairs first. */
DEVICE float sum8(const float (&v)[8])
{
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

/* ---- a row in its threads' registers ---- */

/* Rows of up to this many columns are a warp's. */
#define WARP_COLS 1024

/* Groups of eight that a thread keeps. */
template <int DT> constexpr int KEPT = DT ? 4 : 1;

/* f(group, column) for this thread's groups of a row: kept ones, then others. */
template <int TEAM, int KEEP, class L, class F>
DEVICE void over_row(float (&kept)[KEEP][8], int64_t n, L reload, F f)
{
    const int t = threadIdx.x % TEAM;
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = ((int64_t)k * TEAM + t) * 8;
        if (c < n)
            f(kept[k], c);
    }
    for (int64_t c = ((int64_t)KEEP * TEAM + t) * 8; c < n; c += TEAM * 8) {
        float v[8];
        reload(v, c);
        f(v, c);
    }
}

/* ---- launches ---- */

/* What a failed call of the runtime is to the host; the text is kept for the thread
 * and goes into nnd_error when the launch ends. */
int cuda_status(int error, const char *what);

/* The same with words of our own; returns status. */
int cuda_refuse(int status, const char *what);

/* NND_OK, or a refusal: a block needs more shared memory than
 * the device that this thread's calls go to gives to one. */
int cuda_shared_check(size_t need, struct nnd_error *e);

static inline int64_t blocks_for(int64_t items, int64_t per)
{
    return (items + per - 1) / per;
}

/* Enqueue kernel<<<grid, block, shared>>>(args...); an empty grid is nothing. */
template <class... P, class... A>
static int launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                  const struct nnd_launch *l, A... a)
{
    if (!grid.x || !grid.y || !grid.z)
        return NND_OK;
    if (shared > 48 << 10) {
        cudaError_t rc = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
        if (rc != cudaSuccess)
            return cuda_status(rc, "shared memory");
    }
    auto call = [&](P... p) {
        void *args[] = {(void *)&p..., NULL};
        return cudaLaunchKernel(kernel, grid, block, args, shared,
                                (cudaStream_t)l->stream.native);
    };
    return cuda_status(call(a...), "launch");
}

#define EACH_THREADS 256

/* f(row, column, left) for groups of eight columns of rows x cols. */
template <class F>
__global__ void __launch_bounds__(EACH_THREADS)
    each_kernel(F f, int64_t items, int64_t groups, int64_t cols)
{
    int64_t i = (int64_t)blockIdx.x * EACH_THREADS + threadIdx.x;
    if (i >= items)
        return;
    int64_t r =
        items <= 0x7fffffff ? (int64_t)((uint32_t)i / (uint32_t)groups) : i / groups;
    int64_t c = (i - r * groups) * 8;
    f(r, c, cols - c);
}

template <class F>
static int each(const struct nnd_launch *l, int64_t rows, int64_t cols, F f)
{
    int64_t groups = (cols + 7) / 8;
    return launch(each_kernel<F>,
                  dim3((unsigned)blocks_for(rows * groups, EACH_THREADS)),
                  dim3(EACH_THREADS), 0, l, f, rows * groups, groups, cols);
}

/* The same with a functor template over the common type. */
template <template <int> class F, class A>
static int each_typed(const struct nnd_launch *l, int dtype, int64_t rows, int64_t cols,
                      const A &a)
{
    switch (dtype) {
    case NND_BF16:
        return each(l, rows, cols, F<NND_BF16>{a});
    case NND_F32:
        return each(l, rows, cols, F<NND_F32>{a});
    default:
        return each(l, rows, cols, F<0>{a});
    }
}

/* Rows that lie one after another are one long row, when all of them do. */
struct extent {
    int64_t rows, cols;
};

static inline struct extent extent_of(const struct nnd_tensor *const *t, int n)
{
    int last = t[0]->ndim > 1 ? 1 : 0;
    struct extent e = {last ? t[0]->dim[0] : 1, t[0]->dim[last]};
    for (int i = 0; i < n; i++)
        if (!is_packed(t[i]))
            return e;
    return {1, e.rows * e.cols};
}

#endif
