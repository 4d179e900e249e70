/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad_outside.h - the gradient of an operator that a plugin brings, against
 * differences of the plugin's own forward kernel.
 */
#ifndef PROBE_GRAD_OUTSIDE_H
#define PROBE_GRAD_OUTSIDE_H

#include "kernel/kernel.h"
#include "run.h"

/* Is `op` what `d` names as its gradient? */
bool grad_is_outside(const struct nnd_op_def *d, const char *op);

/* Kernel k of plugin p, whose op is d->backward, in the number-th call of
 * family_outside: in f64 where k and a forward kernel of p take it, else in f32.  0;
 * RUN_REFUSED, with the reason in e; < 0 with the first gradient that disagrees.  What
 * is computed lives in `arena`. */
int grad_outside(const struct nnd_plugin *p, const struct nnd_kernel *k,
                 const struct nnd_device_ops *device, const struct nnd_op_def *d,
                 int number, struct arena *arena, struct err *e);

#endif
