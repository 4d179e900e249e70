/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad.h - a backward kernel against differences of the forward operator.
 */
#ifndef PROBE_GRAD_H
#define PROBE_GRAD_H

#include "run.h"

/* Does the suite know what `op` is the gradient of? */
bool grad_known(const char *op);

/* `r` is what a kernel of `op` made of call c.  For each gradient in it: its product
 * with a random direction, and the difference of the loss along that direction, with
 * the forward operator computed in f64 by `forward` (wide, its kernel set).  0, or -1
 * with the first that disagrees in e. */
int grad_check(const char *op, struct call *c, const struct result *r,
               const struct trial *forward, struct err *e);

#endif
