/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare.h - two results of a call, by value or by bit.
 */
#ifndef PROBE_COMPARE_H
#define PROBE_COMPARE_H

#include "run.h"

/* Every output of r is as near to the oracle's as its slot allows, the same
 * elements are written, infinities are where the oracle's are; where the oracle
 * has a NaN anything goes.  0, or -1 with the first difference in e.  *used grows to
 * the largest part, 0 to 1, that an output needed of what it may be off. */
int compare_values(const struct call *c, const struct result *r,
                   const struct result *oracle, double *used, struct err *e);

/* Do compare_values, or the call itself, leave no choice of bits? */
bool compare_is_exact(const struct call *c);

/* Every output was written, in all of its elements. */
int compare_written(const struct call *c, const struct result *r, struct err *e);

/* How far output n may be off, relative to its norm. */
double compare_allowed(const struct call *c, int n, const struct result *r);

/* The outputs have the same bits (a NaN equals a NaN). */
int compare_bits(const struct call *c, const struct result *a, const struct result *b,
                 struct err *e);

/* The rows of call `b` that call `a` has as well, by id, have the same bits; so
 * have, when asked for, the outputs without row ids. */
int compare_rows(const struct call *ca, const struct result *a, const struct call *cb,
                 const struct result *b, bool sums, struct err *e);

#endif
