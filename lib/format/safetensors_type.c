/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_type.c - names and sizes of elements, and the bytes of a shape.
 */
#include "format/safetensors_type.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "safetensors: little-endian");

static const struct safetensors_type types[] = {
    {"F64", NND_F64, 8},
    {"F32", NND_F32, 4},
    {"BF16", NND_BF16, 2},
    {"F16", NND_F16, 2},
    {"F8_E4M3", NND_E4M3, 1},
    {"F8_E5M2", NND_E5M2, 1},
    {"I64", NND_I64, 8},
    {"I32", NND_I32, 4},
    {"I8", NND_I8, 1},
    {"U8", NND_U8, 1},
    {"BOOL", NND_BOOL, 1},
    {"I16", 0, 2},
    {"U16", 0, 2},
    {"U32", 0, 4},
    {"U64", 0, 8},
};

#define TYPES (sizeof types / sizeof types[0])

const struct safetensors_type *safetensors_type_named(const char *name)
{
    for (size_t i = 0; i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const struct safetensors_type *safetensors_type_of(int dtype)
{
    for (size_t i = 0; i < TYPES; i++)
        if (types[i].dtype == dtype && dtype != 0)
            return &types[i];
    return NULL;
}

const char *safetensors_shape(uint32_t ndim, const int64_t *dim, char *out, size_t size)
{
    size_t len = (size_t)snprintf(out, size, "[");

    for (uint32_t i = 0; i < ndim && len < size; i++)
        len +=
            (size_t)snprintf(out + len, size - len, "%s%" PRId64, i ? "," : "", dim[i]);
    if (len < size)
        snprintf(out + len, size - len, "]");
    return out;
}

int safetensors_measure(struct safetensors_tensor *t,
                        const struct safetensors_type *type, const char *file,
                        struct err *e)
{
    int64_t bytes = (int64_t)type->size;
    bool empty = false, over = false;
    char shape[160];

    for (uint32_t i = 0; i < t->ndim; i++) {
        if (t->dim[i] < 0)
            return err_set(
                e, ERR_SPEC,
                "%s: tensor %.100s: wanted dimensions of 0 or more, found %s", file,
                t->name, safetensors_shape(t->ndim, t->dim, shape, sizeof shape));
        empty |= t->dim[i] == 0;
    }
    for (uint32_t i = 0; i < t->ndim && !empty; i++)
        over |= __builtin_mul_overflow(bytes, t->dim[i], &bytes);
    if (over)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %.100s: wanted less than 2^63 bytes, found %s %s",
                       file, t->name, type->name,
                       safetensors_shape(t->ndim, t->dim, shape, sizeof shape));
    t->type = type->name;
    t->dtype = type->dtype;
    t->element_size = type->size;
    t->elements = empty ? 0 : (uint64_t)bytes / type->size;
    return ERR_OK;
}

int safetensors_slice(const struct safetensors_tensor *t, const char *file, uint64_t lo,
                      uint64_t hi, struct err *e)
{
    if (lo <= hi && hi <= t->elements)
        return ERR_OK;
    return err_set(e, ERR_SPEC,
                   "%s: tensor %.100s: wanted a slice of its %" PRIu64
                   " elements, found [%" PRIu64 ", %" PRIu64 ")",
                   file, t->name, t->elements, lo, hi);
}
