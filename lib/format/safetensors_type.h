/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_type.h - the element types of the format; for the files
 * safetensors*.c alone.
 */
#ifndef FORMAT_SAFETENSORS_TYPE_H
#define FORMAT_SAFETENSORS_TYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "format/safetensors.h"

#define SAFETENSORS_PREFIX 8u /* bytes of the header's length */

struct safetensors_type {
    const char *name;
    int dtype; /* enum nnd_dtype, or 0 */
    uint64_t size;
};

/* NULL when there is none. */
const struct safetensors_type *safetensors_type_named(const char *name);
const struct safetensors_type *safetensors_type_of(int dtype);

/* Set elements and element_size from type and dim; ERR_SPEC, naming file and
 * tensor, for a negative dimension or more than 2^63 - 1 bytes. */
int safetensors_measure(struct safetensors_tensor *t,
                        const struct safetensors_type *type, const char *file,
                        struct err *e);

/* "[2,3]" for messages, cut when it does not fit. */
const char *safetensors_shape(uint32_t ndim, const int64_t *dim, char *out,
                              size_t size);

/* ERR_SPEC unless lo <= hi <= t->elements. */
int safetensors_slice(const struct safetensors_tensor *t, const char *file, uint64_t lo,
                      uint64_t hi, struct err *e);

#endif
