/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu.h - between the emulation's own sources: fibers that wait for something, and
 * shared memory by its addresses.
 */
#ifndef EMU_H
#define EMU_H

#include "cuda_runtime.h"

/* The dynamic shared memory begins at this address, and is so long at most. */
enum { EMU_SHARED_BASE = 1024, EMU_SHARED = 227 << 10 };
extern unsigned char *emu_dynamic;

/* What was ordered (emu.cc), and what is counted. */
extern struct emu_device {
    int known, gpus, sm, nograph, late_main, late_side;
    size_t bytes, used, shared;
    long fault, launches, reads, waits, graphs;
    int capturing;
    char *count; /* file, or NULL */
    cudaError_t sticky, last;
} emu_device;
void emu_know(void);

/* Has this thread chosen a device, or used one? */
bool emu_has_context(void);

/* The result of a call, or the error that stays. */
cudaError_t emu_answer(cudaError_t e);

/* Have all streams do what they can: memory, events or graphs go. */
void emu_finish(void);

/* This thread goes on when ready(arg) is not 0. */
void emu_until(int (*ready)(void *arg), void *arg);

/* A line about a mistake of the kernel's, and the end. */
[[noreturn]] void emu_die(const char *what, int a, int b);

/* A block has ended: nothing may be left in flight (warpgroup.cc). */
void emu_hopper_end(void);

#endif
