/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper_layer.h - what only Hopper has, for kernels: barriers in shared memory that
 * count bytes, tiles that the memory unit fetches, products of four warps, registers
 * that move between them (PTX manual 9.0, for sm_90a).
 *
 * tests/cuda/hopper_layer.h has the same functions on the host.  Code for other devices
 * is empty: kernels that use them begin with `if constexpr (HOPPER)`.
 */
#ifndef CUDA_HOPPER_LAYER_H
#define CUDA_HOPPER_LAYER_H

#include <cuda.h>
#include <cuda_runtime.h>

#include <stdint.h>

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HOPPER     1
#define SM90A(...) asm volatile(__VA_ARGS__)
#else
#define HOPPER 0
#define SM90A(...)
#endif

/* Where p, which is shared, is for instructions that take 32 bits. */
static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* ---- barriers ---- */

/* A phase ends when `arrivals` have come and no bytes are awaited. */
static __device__ __forceinline__ void barrier_init(uint64_t *b, uint32_t arrivals)
{
    SM90A("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)),
          "r"(arrivals)
          : "memory");
}

/* What barrier_init wrote is there for the memory unit as well. */
static __device__ __forceinline__ void barrier_publish()
{
    SM90A("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    SM90A("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b))
          : "memory");
}

/* Arrive, and await so many bytes in this phase. */
static __device__ __forceinline__ void barrier_expect(uint64_t *b, uint32_t bytes)
{
    SM90A("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
              shared_address(b)),
          "r"(bytes)
          : "memory");
}

/* Until the phase of that parity has ended: 0 the first, 1 the second... */
static __device__ __forceinline__ void barrier_wait(uint64_t *b, uint32_t parity)
{
    SM90A("{\n"
          ".reg .pred done;\n"
          "again:\n"
          "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
          "@done bra end;\n"
          "bra again;\n"
          "end:\n"
          "}" ::"r"(shared_address(b)),
          "r"(parity)
          : "memory");
}

/* Barrier `id` (1 to 15) of `threads` threads, whole warps: one that waits for the
 * others, one that only says that it was there. */
static __device__ __forceinline__ void group_sync(int id, int threads)
{
    SM90A("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

static __device__ __forceinline__ void group_arrive(int id, int threads)
{
    SM90A("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* ---- tiles ---- */

/* A map is about to be used. */
static __device__ __forceinline__ void map_prefetch(const CUtensorMap *map)
{
    SM90A("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* The tile of a map with its first element at (x, y, z), to shared memory at `to`, a
 * multiple of 1024; `b` counts its bytes, those outside the tensor too, which are 0. */
static __device__ __forceinline__ void tile_load(void *to, const CUtensorMap *map,
                                                 uint64_t *b, int x, int y, int z)
{
    SM90A("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
          "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
          "l"(map), "r"(shared_address(b)), "r"(x), "r"(y), "r"(z)
          : "memory");
}

/* What threads wrote to shared memory is there for products and the memory unit. */
static __device__ __forceinline__ void shared_publish()
{
    SM90A("fence.proxy.async.shared::cta;" ::: "memory");
}

/* ---- registers ---- */

template <int N> static __device__ __forceinline__ void registers_more()
{
    SM90A("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> static __device__ __forceinline__ void registers_less()
{
    SM90A("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* ---- products ---- */

/* Before the first product, and when registers of one were touched. */
static __device__ __forceinline__ void product_fence()
{
    SM90A("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void product_commit()
{
    SM90A("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* All groups of products but the last LEFT are done. */
template <int LEFT> static __device__ __forceinline__ void product_wait()
{
    SM90A("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define D_8(i)                                                                         \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]),        \
        "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define D_32(i) D_8(i), D_8(i + 8), D_8(i + 16), D_8(i + 24)
#define NAMES_32                                                                       \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,"   \
    "%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_64                                                                       \
    NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,"   \
             "%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"

/* d = a b + (add ? d : 0) of four warps, d f32 [64,N], in flight until it is waited
 * for.  a: 16 columns of 64 rows in shared memory, as shared_matrix says.  b: N columns
 * of 16 rows, columns one after another; TURNED: rows one after another.  A_TURNED:
 * a's columns one after another. */
template <bool BF16, bool TURNED, int N, bool A_TURNED = false>
static __device__ __forceinline__ void product(float (&d)[N / 2], uint64_t a,
                                               uint64_t b, int add)
{
    static_assert(N == 64 || N == 128, "sizes that are written out");
    if constexpr (N == 64 && BF16)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32
              "}, %32, %33, p, 1, 1, %36, %35;\n}"
              : D_32(0)
              : "l"(a), "l"(b), "r"(add), "n"(TURNED), "n"(A_TURNED));
    else if constexpr (N == 64)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" NAMES_32
              "}, %32, %33, p, 1, 1, %36, %35;\n}"
              : D_32(0)
              : "l"(a), "l"(b), "r"(add), "n"(TURNED), "n"(A_TURNED));
    else if constexpr (BF16)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64
              "}, %64, %65, p, 1, 1, %68, %67;\n}"
              : D_32(0), D_32(32)
              : "l"(a), "l"(b), "r"(add), "n"(TURNED), "n"(A_TURNED));
    else
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" NAMES_64
              "}, %64, %65, p, 1, 1, %68, %67;\n}"
              : D_32(0), D_32(32)
              : "l"(a), "l"(b), "r"(add), "n"(TURNED), "n"(A_TURNED));
}

/* The same with a in registers, each warp its 16 rows as in mma_16816; they may not
 * change either until it is waited for. */
template <bool BF16, bool TURNED, int N>
static __device__ __forceinline__ void
product(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int add)
{
    static_assert(N == 64 || N == 128, "sizes that are written out");
    if constexpr (N == 64 && BF16)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32
              "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
              : D_32(0)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                "n"(TURNED));
    else if constexpr (N == 64)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" NAMES_32
              "}, {%32,%33,%34,%35}, %36, p, 1, 1, %38;\n}"
              : D_32(0)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                "n"(TURNED));
    else if constexpr (BF16)
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64
              "}, {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n}"
              : D_32(0), D_32(32)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                "n"(TURNED));
    else
        SM90A("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
              "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" NAMES_64
              "}, {%64,%65,%66,%67}, %68, p, 1, 1, %70;\n}"
              : D_32(0), D_32(32)
              : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add),
                "n"(TURNED));
}

#undef D_8
#undef D_32
#undef NAMES_32
#undef NAMES_64

#endif
