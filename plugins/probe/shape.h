/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.h - a call of an operator from sizes that a person names: "T=1024,N=512".
 */
#ifndef PROBE_SHAPE_H
#define PROBE_SHAPE_H

#include "base/err.h"
#include "call.h"

/* What a call takes, for rates; 0: not known. */
struct shape_work {
    double flops, bytes;
};

/* Build a call of `op`; `text` NULL: of a middling size.  Sizes that are not named are
 * those of the middling one.  ERR_USAGE names the letters that the operator has. */
int shape_call(const char *op, const char *text, struct call *c,
               struct shape_work *work, struct err *e);

/* The middling call with a sixteenth of its first large size, or of `all` of them, as
 * text: for what takes long.  "" where no size is large. */
void shape_smaller(const char *op, bool all, char *text, size_t size);

#endif
