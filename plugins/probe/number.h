/* SPDX-License-Identifier: Apache-2.0 */
/*
 * number.h - one number of any type that has numbers: those of lib/tensor, and the
 * 8-bit ones, whose scales are tensors of their own here.
 */
#ifndef PROBE_NUMBER_H
#define PROBE_NUMBER_H

double number_get(int dtype, const void *from);
void number_put(int dtype, double x, void *to);

#endif
