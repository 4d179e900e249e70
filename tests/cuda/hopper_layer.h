/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper_layer.h - what hw/hopper_layer.h writes in PTX, on the host (warpgroup.cc).
 *
 * What is asynchronous is done as late as it may be: tiles arrive when somebody waits
 * for their barrier, and are NaN until then; products read shared memory and registers
 * when they are waited for.  Descriptors, swizzles and maps are read bit by bit.
 */
#ifndef EMU_HOPPER_LAYER_H
#define EMU_HOPPER_LAYER_H

#include "cuda.h"
#include "cuda_runtime.h"

#define HOPPER 1

uint32_t shared_address(const void *p);

void barrier_init(uint64_t *b, uint32_t arrivals);
void barrier_arrive(uint64_t *b);
void barrier_expect(uint64_t *b, uint32_t bytes);
void barrier_wait(uint64_t *b, uint32_t parity);
static inline void barrier_publish(void)
{
}

void group_sync(int id, int threads);
void group_arrive(int id, int threads);

static inline void map_prefetch(const CUtensorMap *)
{
}
void tile_load(void *to, const CUtensorMap *map, uint64_t *b, int x, int y, int z);
static inline void shared_publish(void)
{
}

void emu_registers(int n);
template <int N> static inline void registers_more(void)
{
    emu_registers(N);
}
template <int N> static inline void registers_less(void)
{
    emu_registers(N);
}

/* One thread's part of a product; a: a descriptor, or four registers. */
struct emu_product {
    float *d;
    uint64_t a, b;
    const uint32_t *registers;
    int n, bf16, turned, a_turned, add, group;
};
void emu_product(const struct emu_product *p);
void emu_product_wait(int left);

static inline void product_fence(void)
{
}
void product_commit(void);
template <int LEFT> static inline void product_wait(void)
{
    emu_product_wait(LEFT);
}

template <bool BF16, bool TURNED, int N, bool A_TURNED = false>
static inline void product(float (&d)[N / 2], uint64_t a, uint64_t b, int add)
{
    const struct emu_product p = {d, a, b, NULL, N, BF16, TURNED, A_TURNED, add, 0};
    emu_product(&p);
}

template <bool BF16, bool TURNED, int N>
static inline void product(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                           int add)
{
    const struct emu_product p = {d, 0, b, a, N, BF16, TURNED, 0, add, 0};
    emu_product(&p);
}

#endif
