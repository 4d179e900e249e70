/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.h - the names of the catalogue in <nnd/ops.h>, for checking what users
 * and plugins write.  What an op means is said there and in lib/graph.
 */
#ifndef KERNEL_OP_H
#define KERNEL_OP_H

#include <stdbool.h>
#include <stddef.h>

/* The version of every op of ABI v1. */
#define OP_VERSION 1

/* The catalogue's names in its order. */
size_t op_count(void);
const char *op_name(size_t i);
const char *const *op_names(void);

bool op_known(const char *name);

/* `op` is `prefix`, or begins with `prefix` and a dot: "attn" covers
 * "attn.fwd". */
bool op_matches(const char *op, const char *prefix);

#endif
