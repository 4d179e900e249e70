/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - what plugins/cuda/hw/layer.h writes in PTX, in plain C: the tensor
 * cores' products by the layouts of the PTX manual, copies that are done as late as
 * they may be.
 */
#ifndef EMU_LAYER_H
#define EMU_LAYER_H

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"
#include "emu.h"

/* The block's dynamic shared memory. */
extern unsigned char *emu_dynamic;
static inline unsigned char *shared_dynamic(void)
{
    return emu_dynamic;
}

template <bool BF16> static inline float emu_half(uint32_t word, int high)
{
    uint16_t bits = (uint16_t)(high ? word >> 16 : word);
    return BF16 ? __bfloat162float({bits}) : __half2float({bits});
}

/* d += a b of a warp: a [16,16] by rows, b [16,8] by columns, d f32 [16,8]. */
template <bool BF16>
static inline void mma_16816(float (&d)[4], const uint32_t (&a)[4],
                             const uint32_t (&b)[2])
{
    struct words {
        uint32_t a[4], b[2];
    } mine;
    memcpy(mine.a, a, sizeof mine.a);
    memcpy(mine.b, b, sizeof mine.b);
    const char *all =
        (const char *)emu_exchange(0xffffffffu, __LINE__, &mine, sizeof mine);
    int lane = EMU_LANE_ID;
    float row[2][16], col[2][16]; /* of a, two rows; of b, two columns */
    for (int k = 0; k < 16; k += 2)
        for (int i = 0; i < 2; i++) {
            /* A's word: rows by 8, columns by 8; B's word: rows by 8. */
            const struct words *of_a =
                (const struct words *)(all + (lane / 4 * 4 + k % 8 / 2) * EMU_SLOT);
            const struct words *of_b =
                (const struct words *)(all +
                                       ((lane % 4 * 2 + i) * 4 + k % 8 / 2) * EMU_SLOT);
            for (int e = 0; e < 2; e++) {
                row[i][k + e] = emu_half<BF16>(of_a->a[i + k / 8 * 2], e);
                col[i][k + e] = emu_half<BF16>(of_b->b[k / 8], e);
            }
        }
    for (int i = 0; i < 4; i++) {
        float sum = 0;
        for (int k = 0; k < 16; k++)
            sum += row[i / 2][k] * col[i % 2][k];
        d[i] += sum;
    }
}

/* Four 8x8 matrices of 16-bit numbers out of shared memory, one a word; lane i gives
 * the address of row i % 8 of matrix i / 8.  trans: each matrix turned. */
template <bool TRANS>
static inline void load_matrices(uint32_t (&r)[4], const void *row)
{
    if ((uintptr_t)row % 16)
        emu_die("a matrix's row at an odd place", (int)((uintptr_t)row % 16), 0);
    const char *from =
        (const char *)emu_exchange(0xffffffffu, __LINE__, &row, sizeof row);
    int lane = EMU_LANE_ID;
    for (int m = 0; m < 4; m++) {
        uint16_t half[2];
        for (int h = 0; h < 2; h++) {
            int at_row = TRANS ? lane % 4 * 2 + h : lane / 4;
            int at_col = TRANS ? lane / 4 : lane % 4 * 2 + h;
            const uint16_t *p;
            memcpy(&p, from + (size_t)(m * 8 + at_row) * EMU_SLOT, sizeof p);
            half[h] = p[at_col];
        }
        r[m] = (uint32_t)half[0] | (uint32_t)half[1] << 16;
    }
}

/* Two numbers rounded to 16 bits, in a word. */
template <bool BF16> static inline uint32_t emu_round(float v)
{
    uint16_t bits;
    if constexpr (BF16) {
        __nv_bfloat16 x = __float2bfloat16_rn(v);
        memcpy(&bits, &x, sizeof bits);
    } else {
        __half x = __float2half_rn(v);
        memcpy(&bits, &x, sizeof bits);
    }
    return bits;
}

template <bool BF16> static inline uint32_t half_pack(float low, float high)
{
    return emu_round<BF16>(low) | emu_round<BF16>(high) << 16;
}

/* 16 bytes of global memory to shared memory, zeros when not `take`; in groups that
 * are waited for in order.  Both addresses are multiples of 16 in any case. */
void emu_copy(void *to, const void *from, bool take);
void emu_copy_wait(int left);
static inline void copy_async(void *to, const void *from, bool take)
{
    if (((uintptr_t)to | (uintptr_t)from) % 16)
        emu_die("a copy of 16 bytes between odd places", (int)((uintptr_t)to % 16),
                (int)((uintptr_t)from % 16));
    emu_copy(to, from, take);
}
void copy_commit(void);
template <int LEFT> static inline void copy_wait(void)
{
    emu_copy_wait(LEFT);
}

static inline float exp2_fast(float x)
{
    return exp2f(x);
}

#endif
