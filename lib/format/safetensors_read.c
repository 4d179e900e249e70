/* SPDX-License-Identifier: Apache-2.0 */
/*
 * safetensors_read.c - a file that anyone may have written, read with care.
 */
#include "format/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/str.h"
#include "format/safetensors_type.h"

struct safetensors {
    struct arena *arena;
    const char *path;
    int fd;
    uint64_t data, size;               /* where tensors begin and the file ends */
    struct safetensors_tensor *tensor; /* [count], by offset */
    size_t count;
    struct map *names, *meta;
};

/* The caller puts the names in front of the error. */
static int read_all(int fd, void *data, uint64_t len, uint64_t at, struct err *e)
{
    char *to = data;

    while (len > 0) {
        ssize_t n = pread(fd, to, len, (off_t)at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, ERR_FAILED, errno,
                           "cannot read %" PRIu64 " bytes at %" PRIu64, len, at);
        if (n == 0)
            return err_set(e, ERR_SPEC,
                           "wanted %" PRIu64 " more bytes at %" PRIu64
                           ", found the end of the file",
                           len, at);
        to += n;
        at += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return ERR_OK;
}

/* ---- the header ---------------------------------------------------------- */

static int open_file(struct safetensors *s, struct err *e)
{
    struct stat st;

    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (s->fd < 0)
        return err_sys(e,
                       errno == ENOENT   ? ERR_NOTFOUND
                       : errno == EACCES ? ERR_DENIED
                                         : ERR_FAILED,
                       errno, "%s: cannot open", s->path);
    if (fstat(s->fd, &st) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s: cannot read", s->path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_SPEC, "%s: wanted a file, found something else", s->path);
    s->size = (uint64_t)st.st_size;
    return ERR_OK;
}

static int read_length(const struct safetensors *s, uint64_t *len, struct err *e)
{
    uint64_t n = 0, most;
    int rc;

    if (s->size < SAFETENSORS_PREFIX)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a safetensors file, found %" PRIu64 " bytes",
                       s->path, s->size);
    rc = read_all(s->fd, &n, SAFETENSORS_PREFIX, 0, e);
    if (rc < 0)
        return err_prefix(e, "%s: header length", s->path);
    most = s->size - SAFETENSORS_PREFIX;
    if (most > SAFETENSORS_HEADER_MAX)
        most = SAFETENSORS_HEADER_MAX;
    if (n > most)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a header of at most %" PRIu64
                       " bytes, found %" PRIu64,
                       s->path, most, n);
    *len = n;
    return ERR_OK;
}

static int read_header(const struct safetensors *s, char **text, uint64_t *len,
                       struct err *e)
{
    char *header;
    uint64_t n = 0;
    int rc = read_length(s, &n, e);

    if (rc < 0)
        return rc;
    header = malloc(n + 1);
    if (!header)
        return err_set(e, ERR_NOMEM, "%s: no memory for a header of %" PRIu64 " bytes",
                       s->path, n);
    rc = read_all(s->fd, header, n, SAFETENSORS_PREFIX, e);
    if (rc < 0)
        err_prefix(e, "%s: header", s->path);
    else if (n == 0 || header[0] != '{')
        rc = err_set(e, ERR_SPEC, "%s: wanted a header that begins with {, found none",
                     s->path);
    if (rc < 0) {
        free(header);
        return rc;
    }
    *text = header;
    *len = n;
    return ERR_OK;
}

static int parse(const struct safetensors *s, const char *text, uint64_t len,
                 json_t **out, struct err *e)
{
    json_error_t why;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

    if (!root)
        return err_set(e, ERR_SPEC, "%s: header: wanted JSON, at byte %d: %.200s",
                       s->path, why.position, why.text);
    *out = root;
    return ERR_OK;
}

static int read_meta(struct safetensors *s, const json_t *meta, struct err *e)
{
    const char *key;
    json_t *value;

    if (!json_is_object(meta))
        return err_set(e, ERR_SPEC, "%s: __metadata__: wanted an object, found none",
                       s->path);
    json_object_foreach((json_t *)meta, key, value)
    {
        if (!json_is_string(value))
            return err_set(e, ERR_SPEC,
                           "%s: __metadata__: %.100s: wanted a string, found none",
                           s->path, key);
        map_put(s->meta, key, arena_strdup(s->arena, json_string_value(value)));
    }
    return ERR_OK;
}

/* ---- entries ------------------------------------------------------------- */

static int wanted(const struct safetensors *s, const char *name, const char *what,
                  const json_t *found, struct err *e)
{
    char *text = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    int rc = err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted %s, found %.100s", s->path,
                     name, what, text ? text : "nothing");

    free(text);
    return rc;
}

static int read_shape(const struct safetensors *s, const json_t *shape,
                      struct safetensors_tensor *t, struct err *e)
{
    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_DIMS)
        return wanted(s, t->name, "\"shape\" of at most 6 dimensions", shape, e);
    t->ndim = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < t->ndim; i++) {
        const json_t *dim = json_array_get(shape, i);

        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return wanted(s, t->name, "\"shape\" of whole numbers", shape, e);
        t->dim[i] = json_integer_value(dim);
    }
    return ERR_OK;
}

static int read_offsets(const struct safetensors *s, const json_t *offsets,
                        struct safetensors_tensor *t, struct err *e)
{
    const json_t *from = json_array_get(offsets, 0), *to = json_array_get(offsets, 1);
    uint64_t bytes = t->elements * t->element_size;
    json_int_t lo = json_integer_value(from), hi = json_integer_value(to);

    if (json_array_size(offsets) != 2 || !json_is_integer(from) ||
        !json_is_integer(to) || lo < 0 || hi < lo)
        return wanted(s, t->name, "\"data_offsets\" of two rising numbers", offsets, e);
    if ((uint64_t)hi > s->size - s->data)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %.100s: wanted an end within the %" PRIu64
                       " bytes of data, found %" PRIu64,
                       s->path, t->name, s->size - s->data, (uint64_t)hi);
    if ((uint64_t)(hi - lo) != bytes)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %.100s: wanted %" PRIu64
                       " bytes by type and shape, found %" PRIu64 " by offsets",
                       s->path, t->name, bytes, (uint64_t)(hi - lo));
    t->offset = s->data + (uint64_t)lo;
    return ERR_OK;
}

static int read_entry(const struct safetensors *s, const json_t *entry,
                      struct safetensors_tensor *t, struct err *e)
{
    const json_t *dtype = json_object_get(entry, "dtype");
    const char *name = json_string_value(dtype);
    const struct safetensors_type *type = name ? safetensors_type_named(name) : NULL;
    int rc;

    if (json_object_size(entry) != 3)
        return wanted(s, t->name, "dtype, shape and data_offsets", entry, e);
    if (!type)
        return wanted(s, t->name, "a known \"dtype\"", dtype, e);
    rc = read_shape(s, json_object_get(entry, "shape"), t, e);
    if (rc == 0)
        rc = safetensors_measure(t, type, s->path, e);
    if (rc == 0)
        rc = read_offsets(s, json_object_get(entry, "data_offsets"), t, e);
    return rc;
}

/* By offset; an empty tensor stands before the one that shares its offset. */
static int by_offset(const void *pa, const void *pb)
{
    const struct safetensors_tensor *a = pa, *b = pb;

    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return (a->elements > 0) - (b->elements > 0);
}

/* Sort the tensors and see that they cover the data, each byte once. */
static int check_cover(struct safetensors *s, struct err *e)
{
    uint64_t end = s->data;

    if (s->count)
        qsort(s->tensor, s->count, sizeof *s->tensor, by_offset);
    for (size_t i = 0; i < s->count; i++) {
        const struct safetensors_tensor *t = &s->tensor[i];

        if (t->offset != end)
            return err_set(e, ERR_SPEC,
                           "%s: tensor %.100s: wanted its data to begin at %" PRIu64
                           ", where the one before ends, found %" PRIu64,
                           s->path, t->name, end - s->data, t->offset - s->data);
        end += t->elements * t->element_size;
    }
    if (end != s->size)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a file of %" PRIu64
                       " bytes by its header, found %" PRIu64,
                       s->path, end, s->size);
    return ERR_OK;
}

static int read_entries(struct safetensors *s, json_t *root, struct err *e)
{
    const char *key;
    json_t *value;
    int rc;

    s->tensor = arena_calloc(s->arena, json_object_size(root) + 1, sizeof *s->tensor);
    json_object_foreach(root, key, value)
    {
        struct safetensors_tensor *t = &s->tensor[s->count];

        if (strcmp(key, "__metadata__") == 0) {
            rc = read_meta(s, value, e);
        } else {
            t->name = arena_strdup(s->arena, key);
            rc = read_entry(s, value, t, e);
            s->count++;
        }
        if (rc < 0)
            return rc;
    }
    rc = check_cover(s, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->count; i++)
        map_put(s->names, s->tensor[i].name, &s->tensor[i]);
    return ERR_OK;
}

static int load(struct safetensors *s, struct err *e)
{
    json_t *root = NULL;
    char *text = NULL;
    uint64_t len = 0;
    int rc = open_file(s, e);

    if (rc == 0)
        rc = read_header(s, &text, &len, e);
    if (rc < 0)
        return rc;
    s->data = SAFETENSORS_PREFIX + len;
    rc = parse(s, text, len, &root, e);
    free(text);
    if (rc == 0)
        rc = read_entries(s, root, e);
    json_decref(root);
    return rc;
}

int safetensors_open(const char *path, struct safetensors **out, struct err *e)
{
    struct arena *a = arena_create();
    struct safetensors *s = arena_alloc(a, sizeof *s);
    int rc;

    s->arena = a;
    s->path = arena_strdup(a, path);
    s->fd = -1;
    s->names = map_create();
    s->meta = map_create();
    rc = load(s, e);
    if (rc < 0)
        safetensors_close(s);
    else
        *out = s;
    return rc;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    map_destroy(s->names);
    map_destroy(s->meta);
    arena_destroy(s->arena);
}

/* ---- an open file -------------------------------------------------------- */

const char *safetensors_path(const struct safetensors *s)
{
    return s->path;
}

size_t safetensors_count(const struct safetensors *s)
{
    return s->count;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *s, size_t i)
{
    return &s->tensor[i];
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *s,
                                                  const char *name)
{
    return map_get(s->names, name);
}

const char *safetensors_meta(const struct safetensors *s, const char *key)
{
    return map_get(s->meta, key);
}

static int missing(const struct safetensors *s, const char *name, struct err *e)
{
    const char **names = calloc(s->count + 1, sizeof *names);
    const char *near = NULL;

    for (size_t i = 0; names && i < s->count; i++)
        names[i] = s->tensor[i].name;
    if (names)
        near = str_nearest(name, names, s->count);
    free(names);
    return err_set(e, ERR_NOTFOUND,
                   "%s: wanted tensor %.100s, found %zu others%s%.100s", s->path, name,
                   s->count, near ? ", nearest " : "", near ? near : "");
}

int safetensors_want(const struct safetensors *s, const char *name, int dtype,
                     uint32_t ndim, const int64_t *dim,
                     const struct safetensors_tensor **out, struct err *e)
{
    const struct safetensors_tensor *t = safetensors_find(s, name);
    const struct safetensors_type *type = safetensors_type_of(dtype);
    char want[160], found[160];

    if (!t)
        return missing(s, name, e);
    if (dtype != 0 && t->dtype != dtype)
        return err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted type %s, found %s",
                       s->path, name, type ? type->name : "?", t->type);
    if (t->ndim != ndim || (ndim && memcmp(t->dim, dim, ndim * sizeof *dim) != 0))
        return err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted shape %s, found %s",
                       s->path, name, safetensors_shape(ndim, dim, want, sizeof want),
                       safetensors_shape(t->ndim, t->dim, found, sizeof found));
    *out = t;
    return ERR_OK;
}

int safetensors_read(const struct safetensors *s, const struct safetensors_tensor *t,
                     uint64_t lo, uint64_t hi, void *data, struct err *e)
{
    int rc = safetensors_slice(t, s->path, lo, hi, e);

    if (rc < 0)
        return rc;
    rc = read_all(s->fd, data, (hi - lo) * t->element_size,
                  t->offset + lo * t->element_size, e);
    return rc < 0 ? err_prefix(e, "%s: tensor %.100s", s->path, t->name) : rc;
}
