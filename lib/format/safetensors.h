/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors.h - files of named tensors: 8 bytes of header length, a header of
 * JSON, the tensors' bytes one after the other.
 *
 * Format: https://github.com/huggingface/safetensors#format.  Writing starts
 * from a plan, which every process computes alike from names, types and shapes:
 * then each writes its own slices into the one file.  Reading trusts nothing.
 * Elements are little-endian, as this machine's are.
 */
#ifndef FORMAT_SAFETENSORS_H
#define FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include <nnd/plugin.h>

#include "base/err.h"

#define SAFETENSORS_DIMS       NND_MAX_DIMS
#define SAFETENSORS_HEADER_MAX 100000000u /* bytes; as the format's own library */

/* One tensor of a file; owned by the plan or the open file. */
struct safetensors_tensor {
    const char *name;
    const char *type; /* as in the file: "F32", "BF16" */
    int dtype;        /* enum nnd_dtype; 0: one that this house has no use for */
    uint32_t ndim;    /* 0: a scalar, one element */
    int64_t dim[SAFETENSORS_DIMS];
    uint64_t elements, element_size; /* element_size in bytes */
    uint64_t offset;                 /* of its first byte in the file */
};

/* ---- planning and writing ------------------------------------------------ */

struct safetensors_plan;

/* An empty plan; `name` is the file's name for errors. */
struct safetensors_plan *safetensors_plan_create(const char *name);
void safetensors_plan_destroy(struct safetensors_plan *p);

/* Add a tensor.  ERR_SPEC: a name twice, empty or not UTF-8, a type that cannot
 * be stored, a negative dimension, more bytes than 2^63. */
int safetensors_plan_add(struct safetensors_plan *p, const char *name, int dtype,
                         uint32_t ndim, const int64_t *dim, struct err *e);

/* Add a pair to __metadata__, which starts with {"format":"pt"}. */
int safetensors_plan_meta(struct safetensors_plan *p, const char *key,
                          const char *value, struct err *e);

/* Fix header and offsets; nothing can be added afterwards.  Tensors stand in the
 * order of adding, but those with larger elements first, so that every element
 * is aligned to its size; the header is padded to a multiple of 8.  The result
 * depends on what was added, and in which order, alone. */
int safetensors_plan_seal(struct safetensors_plan *p, struct err *e);

/* Of a sealed plan: the bytes of the file; the first of them, up to the tensors;
 * the tensors in file order; one by its name, or NULL. */
uint64_t safetensors_plan_size(const struct safetensors_plan *p);
const char *safetensors_plan_header(const struct safetensors_plan *p, size_t *len);
size_t safetensors_plan_count(const struct safetensors_plan *p);
const struct safetensors_tensor *safetensors_plan_at(const struct safetensors_plan *p,
                                                     size_t i);
const struct safetensors_tensor *safetensors_plan_find(const struct safetensors_plan *p,
                                                       const char *name);

/* Give the open file its size, with blocks behind it (a full disk shows now),
 * and write the header.  One process does this, before or after the others. */
int safetensors_write_header(const struct safetensors_plan *p, int fd, struct err *e);

/* Write elements [lo, hi) of a tensor of the plan.  Any number of threads and
 * processes may do so at once. */
int safetensors_write(const struct safetensors_plan *p, int fd,
                      const struct safetensors_tensor *t, uint64_t lo, uint64_t hi,
                      const void *data, struct err *e);

/* ---- reading ------------------------------------------------------------- */

struct safetensors;

/* Open and check: header length, JSON, every entry's type, shape and offsets;
 * together they must cover the file without gap or overlap.  ERR_NOTFOUND,
 * ERR_DENIED, ERR_SPEC; the text names file, tensor, wanted, found. */
int safetensors_open(const char *path, struct safetensors **out, struct err *e);
void safetensors_close(struct safetensors *s);

const char *safetensors_path(const struct safetensors *s);

/* The tensors in file order, and one by its name, or NULL. */
size_t safetensors_count(const struct safetensors *s);
const struct safetensors_tensor *safetensors_at(const struct safetensors *s, size_t i);
const struct safetensors_tensor *safetensors_find(const struct safetensors *s,
                                                  const char *name);

/* A value of __metadata__, or NULL. */
const char *safetensors_meta(const struct safetensors *s, const char *key);

/* The tensor of this name, type (0: any) and shape.  ERR_NOTFOUND with the
 * nearest name, or ERR_SPEC with the shape wanted and found. */
int safetensors_want(const struct safetensors *s, const char *name, int dtype,
                     uint32_t ndim, const int64_t *dim,
                     const struct safetensors_tensor **out, struct err *e);

/* Read elements [lo, hi) of a tensor of this file into `data`.  Threads may read
 * at the same time. */
int safetensors_read(const struct safetensors *s, const struct safetensors_tensor *t,
                     uint64_t lo, uint64_t hi, void *data, struct err *e);

#endif
