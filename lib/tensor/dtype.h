/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dtype.h - the element types of <nnd/plugin.h>: names, sizes, conversion.
 *
 * Narrowing rounds to nearest, ties to even; overflow gives an infinity; a NaN
 * stays a NaN and becomes quiet.  For code that moves or prints tensors;
 * kernels bring conversions of their own.
 */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nnd/plugin.h>

/* Bytes per element; 0 for what is not a stored type (NND_TF32, unknown). */
size_t dtype_size(int dtype);

/* "f32", "bf16", "i32", ...; "?" when unknown. */
const char *dtype_name(int dtype);

/* The dtype of a name, or 0. */
int dtype_parse(const char *name);

/* Types from outside (<nnd/plugin.h>): the number of a new one, or of the same one
 * again; 0 when the name is taken, the definition unsound or the table full, and *why,
 * a constant, says which.  While plugins are loaded, from one thread. */
#define DTYPE_OUTSIDE_MAX 16
int dtype_register(const struct nnd_dtype_def *d, const char **why);

/* The definition of a type from outside, or NULL. */
const struct nnd_dtype_def *dtype_outside(int dtype);

/* f64, f32, bf16 or f16: what dtype_load and dtype_store take. */
bool dtype_is_float(int dtype);

/* Half the distance from 1 to the next number: 2^-24 for f32, 2^-8 for bf16;
 * 0 when not a float. */
double dtype_unit(int dtype);

/* One number. */
float dtype_bf16_to_f32(uint16_t bits);
uint16_t dtype_bf16_from_f32(float x);
float dtype_f16_to_f32(uint16_t bits);
uint16_t dtype_f16_from_f32(float x);

/* n contiguous numbers of a float dtype to and from f32 or f64.  src and dst
 * do not overlap.  From f64 each number is rounded once. */
void dtype_to_f32(int dtype, const void *src, float *dst, size_t n);
void dtype_from_f32(int dtype, const float *src, void *dst, size_t n);
void dtype_to_f64(int dtype, const void *src, double *dst, size_t n);
void dtype_from_f64(int dtype, const double *src, void *dst, size_t n);

/* Of n contiguous numbers of a float dtype the place of the first that is none, a NaN
 * or an infinity; n where all are numbers.  `low`: minus infinity counts as one. *most:
 * the largest of the numbers, without its sign; 0 where there are none. */
size_t dtype_scan(int dtype, const void *src, size_t n, bool low, double *most);

/* y += x, n contiguous numbers of f32 or f64, which do not overlap. */
void dtype_add(int dtype, void *y, const void *x, size_t n);

#endif
