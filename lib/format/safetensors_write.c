/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_write.c - planning a file and writing its pieces.
 */
#include "format/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/str.h"
#include "format/safetensors_type.h"

struct safetensors_plan {
    struct arena *arena;
    const char *name;
    struct map *names, *meta;           /* values: tensors, texts */
    struct safetensors_tensor **tensor; /* [count], in file order once sealed */
    size_t count, cap;
    struct buf header; /* with its length in front; empty until sealed */
    uint64_t size;
};

struct safetensors_plan *safetensors_plan_create(const char *name)
{
    struct arena *a = arena_create();
    struct safetensors_plan *p = arena_alloc(a, sizeof *p);

    p->arena = a;
    p->name = arena_strdup(a, name);
    p->names = map_create();
    p->meta = map_create();
    map_put(p->meta, "format", arena_strdup(a, "pt"));
    return p;
}

void safetensors_plan_destroy(struct safetensors_plan *p)
{
    if (!p)
        return;
    map_destroy(p->names);
    map_destroy(p->meta);
    buf_free(&p->header);
    arena_destroy(p->arena);
}

static int check_name(const struct safetensors_plan *p, const char *name, struct err *e)
{
    if (p->header.len)
        return err_set(e, ERR_FAILED, "%s: tensor %.100s: the plan is sealed", p->name,
                       name);
    if (!*name || strcmp(name, "__metadata__") == 0 || !str_is_utf8(name, strlen(name)))
        return err_set(e, ERR_SPEC, "%s: wanted a tensor's name, found \"%.100s\"",
                       p->name, name);
    if (map_has(p->names, name))
        return err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted once, found twice",
                       p->name, name);
    return ERR_OK;
}

static void append(struct safetensors_plan *p, struct safetensors_tensor *t)
{
    if (p->count == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct safetensors_tensor **grown = arena_calloc(p->arena, cap, sizeof *grown);

        if (p->count)
            memcpy(grown, p->tensor, p->count * sizeof *grown);
        p->tensor = grown;
        p->cap = cap;
    }
    p->tensor[p->count++] = t;
    map_put(p->names, t->name, t);
}

int safetensors_plan_add(struct safetensors_plan *p, const char *name, int dtype,
                         uint32_t ndim, const int64_t *dim, struct err *e)
{
    const struct safetensors_type *type = safetensors_type_of(dtype);
    struct safetensors_tensor t = {.name = name, .ndim = ndim};
    struct safetensors_tensor *kept;
    int rc = check_name(p, name, e);

    if (rc < 0)
        return rc;
    if (!type)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %.100s: wanted a type that files can hold, found %d",
                       p->name, name, dtype);
    if (ndim > SAFETENSORS_DIMS)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %.100s: wanted at most %d dimensions, found %u",
                       p->name, name, SAFETENSORS_DIMS, ndim);
    for (uint32_t i = 0; i < ndim; i++)
        t.dim[i] = dim[i];
    rc = safetensors_measure(&t, type, p->name, e);
    if (rc < 0)
        return rc;
    kept = arena_memdup(p->arena, &t, sizeof t);
    kept->name = arena_strdup(p->arena, name);
    append(p, kept);
    return ERR_OK;
}

int safetensors_plan_meta(struct safetensors_plan *p, const char *key,
                          const char *value, struct err *e)
{
    if (p->header.len || map_has(p->meta, key))
        return err_set(e, ERR_FAILED, "%s: metadata %.100s: wanted once, before seal",
                       p->name, key);
    if (!str_is_utf8(key, strlen(key)) || !str_is_utf8(value, strlen(value)))
        return err_set(e, ERR_SPEC, "%s: metadata %.100s: wanted UTF-8", p->name, key);
    map_put(p->meta, key, arena_strdup(p->arena, value));
    return ERR_OK;
}

/* Larger elements first, otherwise as added; and the offsets that follow from it,
 * counted from the first tensor. */
static int place(struct safetensors_plan *p, uint64_t *data_bytes, struct err *e)
{
    struct safetensors_tensor **sorted =
        arena_calloc(p->arena, p->count + 1, sizeof *sorted);
    uint64_t at = 0;
    size_t n = 0;

    for (uint64_t size = 8; size > 0; size /= 2)
        for (size_t i = 0; i < p->count; i++) {
            struct safetensors_tensor *t = p->tensor[i];

            if (t->element_size != size)
                continue;
            sorted[n++] = t;
            t->offset = at;
            at += t->elements * size;
            if (at > INT64_MAX)
                return err_set(e, ERR_SPEC,
                               "%s: tensor %.100s: wanted less than 2^63 bytes in all",
                               p->name, t->name);
        }
    p->tensor = sorted;
    p->cap = p->count + 1;
    *data_bytes = at;
    return ERR_OK;
}

static json_t *entry(const struct safetensors_tensor *t)
{
    json_t *shape = json_array();

    for (uint32_t i = 0; shape && i < t->ndim; i++)
        json_array_append_new(shape, json_integer(t->dim[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->type, "shape", shape,
                     "data_offsets", (json_int_t)t->offset,
                     (json_int_t)(t->offset + t->elements * t->element_size));
}

/* The header's text; NULL when memory is short. */
static char *describe(const struct safetensors_plan *p)
{
    json_t *root = json_object(), *meta = json_object();
    char *text = NULL;
    int bad = 0;

    for (size_t i = 0; i < map_count(p->meta); i++)
        bad |= json_object_set_new(meta, map_key(p->meta, i),
                                   json_string(map_value(p->meta, i)));
    bad |= json_object_set_new(root, "__metadata__", meta);
    for (size_t i = 0; i < p->count; i++)
        bad |= json_object_set_new(root, p->tensor[i]->name, entry(p->tensor[i]));
    if (!bad)
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

int safetensors_plan_seal(struct safetensors_plan *p, struct err *e)
{
    uint64_t data_bytes = 0, len;
    char *text;
    int rc = place(p, &data_bytes, e);

    if (rc < 0)
        return rc;
    text = describe(p);
    if (!text)
        return err_set(e, ERR_NOMEM, "%s: no memory for the header", p->name);
    len = (strlen(text) + 7) / 8 * 8;
    if (len > SAFETENSORS_HEADER_MAX) {
        free(text);
        return err_set(e, ERR_SPEC,
                       "%s: wanted a header of at most %u bytes, found %" PRIu64,
                       p->name, SAFETENSORS_HEADER_MAX, len);
    }
    buf_add(&p->header, &len, SAFETENSORS_PREFIX);
    buf_puts(&p->header, text);
    free(text);
    while (p->header.len < SAFETENSORS_PREFIX + len)
        buf_puts(&p->header, " ");
    for (size_t i = 0; i < p->count; i++)
        p->tensor[i]->offset += p->header.len;
    p->size = p->header.len + data_bytes;
    return ERR_OK;
}

uint64_t safetensors_plan_size(const struct safetensors_plan *p)
{
    return p->size;
}

const char *safetensors_plan_header(const struct safetensors_plan *p, size_t *len)
{
    *len = p->header.len;
    return p->header.data;
}

size_t safetensors_plan_count(const struct safetensors_plan *p)
{
    return p->count;
}

const struct safetensors_tensor *safetensors_plan_at(const struct safetensors_plan *p,
                                                     size_t i)
{
    return p->tensor[i];
}

const struct safetensors_tensor *safetensors_plan_find(const struct safetensors_plan *p,
                                                       const char *name)
{
    return map_get(p->names, name);
}

/* The caller puts the names in front of the error. */
static int write_all(int fd, const char *data, uint64_t len, uint64_t at, struct err *e)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_sys(e, ERR_FAILED, n < 0 ? errno : EIO,
                           "cannot write %" PRIu64 " bytes at %" PRIu64, len, at);
        data += n;
        at += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return ERR_OK;
}

int safetensors_write_header(const struct safetensors_plan *p, int fd, struct err *e)
{
    off_t size = (off_t)p->size;
    int rc;

    if (ftruncate(fd, size) < 0 ||
        (fallocate(fd, 0, 0, size) < 0 && errno != EOPNOTSUPP && errno != ENOSYS))
        return err_sys(e, ERR_FAILED, errno,
                       "%s: cannot make room for %" PRIu64 " bytes", p->name, p->size);
    rc = write_all(fd, p->header.data, p->header.len, 0, e);
    return rc < 0 ? err_prefix(e, "%s: header", p->name) : rc;
}

int safetensors_write(const struct safetensors_plan *p, int fd,
                      const struct safetensors_tensor *t, uint64_t lo, uint64_t hi,
                      const void *data, struct err *e)
{
    int rc = safetensors_slice(t, p->name, lo, hi, e);

    if (rc < 0)
        return rc;
    rc = write_all(fd, data, (hi - lo) * t->element_size,
                   t->offset + lo * t->element_size, e);
    return rc < 0 ? err_prefix(e, "%s: tensor %.100s", p->name, t->name) : rc;
}
