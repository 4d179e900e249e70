/* SPDX-License-Identifier: Apache-2.0 */
/*
 * families_bf16.c - the tables of what multiplies pairs of bf16, for plugin.c.
 */
#include "op.h"

extern const struct op OPS(gemm)[], OPS(grouped)[];
extern const struct op *const OPS(all)[];

const struct op *const OPS(all)[] = {OPS(gemm), OPS(grouped), NULL};
