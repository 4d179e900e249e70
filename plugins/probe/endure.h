/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endure.h - what takes a device of its own: the same call very often, and calls whose
 * tensors have more elements than 32 bits count.
 */
#ifndef PROBE_ENDURE_H
#define PROBE_ENDURE_H

#include "judge.h"

/* Judge one kernel, as judge_kernel, at JUDGE_ENDURE or JUDGE_HUGE alone. */
void endure_kernel(const struct kernels *ks, const struct nnd_plugin *p,
                   const struct nnd_kernel *k, const struct nnd_device_ops *device,
                   const struct judge_scope *scope, struct verdict *v);

#endif
