/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.h - numbers of any type that has numbers: those of lib/tensor, and the
 * 8-bit ones, whose scales are tensors of their own here.
 */
#ifndef PROBE_NUMBER_H
#define PROBE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n numbers, one after the other, in or out of `dtype`; what is rounded is rounded to
 * the nearest, of two to the even one.  A type converted by blocks reads as 0. */
void number_get(int dtype, const void *from, size_t n, double *x);
void number_put(int dtype, const double *x, size_t n, void *to);

/* What an element holds that was not written: a NaN that nobody computes.  Of types
 * that have no number to spare any will do, and its complement, which `other` asks for.
 */
uint64_t number_canary(int dtype, bool other);

#endif
