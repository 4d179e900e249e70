/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.h - numbers of any type that has numbers: those of lib/tensor, and the
 * 8-bit ones, whose scales are tensors of their own here.
 */
#ifndef PROBE_NUMBER_H
#define PROBE_NUMBER_H

#include <stddef.h>

/* n numbers, one after the other, in or out of `dtype`; what is rounded is rounded to
 * the nearest, of two to the even one.  A type converted by blocks reads as 0. */
void number_get(int dtype, const void *from, size_t n, double *x);
void number_put(int dtype, const double *x, size_t n, void *to);

#endif
