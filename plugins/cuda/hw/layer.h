/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - the instructions that CUDA C++ has no words for, for kernels.
 *
 * tests/cuda/layer.h has the same functions in plain C, so that kernels run
 * without a GPU; nothing else of them is written twice.
 */
#ifndef CUDA_LAYER_H
#define CUDA_LAYER_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <stdint.h>

/* The block's dynamic shared memory. */
static __device__ __forceinline__ unsigned char *shared_dynamic()
{
    extern __shared__ __align__(1024) unsigned char nnd_shared_dynamic[];
    return nnd_shared_dynamic;
}

/* d += a b of a warp: a [16,16] by rows, b [16,8] by columns, d f32 [16,8] (PTX
 * manual, mma.m16n8k16). */
template <bool BF16>
static __device__ __forceinline__ void mma_16816(float (&d)[4], const uint32_t (&a)[4],
                                                 const uint32_t (&b)[2])
{
    if constexpr (BF16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
                       "r"(b[1]));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
                       "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit numbers out of shared memory, one a word; lane i gives
 * the address of row i % 8 of matrix i / 8.  trans: each matrix turned. */
template <bool TRANS>
static __device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    if constexpr (TRANS)
        asm volatile(
            "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
            : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
            : "r"(at)
            : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
}

/* Two numbers rounded to 16 bits, in a word. */
template <bool BF16>
static __device__ __forceinline__ uint32_t half_pack(float low, float high)
{
    uint32_t r;
    if constexpr (BF16)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

/* 16 bytes of global memory to shared memory, zeros when not `take`; in groups that
 * are waited for in order.  Both addresses are multiples of 16 in any case. */
static __device__ __forceinline__ void copy_async(void *to, const void *from, bool take)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    int size = take ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                 "r"(size)
                 : "memory");
}

static __device__ __forceinline__ void copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* All groups but the last LEFT have landed, for this thread. */
template <int LEFT> static __device__ __forceinline__ void copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

/* 2^x; below 2^-126 zero, which is three instructions less. */
static __device__ __forceinline__ float exp2_fast(float x)
{
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}

#endif
