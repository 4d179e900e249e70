/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu.h - between the emulation's own sources: fibers that wait for something, and
 * shared memory by its addresses.
 */
#ifndef EMU_H
#define EMU_H

#include "cuda_runtime.h"

/* The dynamic shared memory begins at this address, and is so long. */
enum { EMU_SHARED_BASE = 1024, EMU_SHARED = 227 << 10 };
extern unsigned char *emu_dynamic;

/* This thread goes on when ready(arg) is not 0. */
void emu_until(int (*ready)(void *arg), void *arg);

/* A line about a mistake of the kernel's, and the end. */
[[noreturn]] void emu_die(const char *what, int a, int b);

/* A block has ended: nothing may be left in flight (warpgroup.cc). */
void emu_hopper_end(void);

#endif
