/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.h - the kernels that a job was given, for people and nnd to read.
 */
#ifndef WORKER_KERNELS_H
#define WORKER_KERNELS_H

#include "base/arena.h"
#include "graph/exec.h"
#include "kernel/kernel.h"
#include "proto/wire.pb-c.h"

/* The rows of a table's text, in arena a; *n of them.  `want`: the calls of a graph,
 * to count the nodes that each row serves. */
Wire__Kernel **kernels_rows(const char *table, const char *device,
                            const struct kernel_want *want, size_t nwant,
                            struct arena *a, size_t *n);

/* How gradients go between ranks with devices: a row, or NULL where none go. */
Wire__Kernel *kernels_way(const struct exec_way *way, const char *device,
                          struct arena *a);

#endif
