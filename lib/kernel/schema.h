/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.h - operators from outside: what their shape() says is not taken on trust.
 */
#ifndef KERNEL_SCHEMA_H
#define KERNEL_SCHEMA_H

#include <nnd/plugin.h>

#include "base/err.h"

/* Have d's shape() complete the outputs of a frame whose inputs and attributes are set.
 * ERR_SPEC: it refused, e begins with its reason.  ERR_FAILED: an output is none: 1 to
 * `axes` dimensions, of at least 0 elements each, in a type that there is. */
int schema_shape(const struct nnd_op_def *d, struct nnd_frame *f, int axes,
                 struct err *e);

#endif
