/* SPDX-License-Identifier: Apache-2.0 */
/*
 * manifest.c - a checkpoint's manifest as text, and back.
 */
#include "train/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

/* The last line: its hash in the middle, of all that stands before it. */
#define SEAL_OPEN  "\"sha256\": \""
#define SEAL_CLOSE "\"\n}\n"
#define SEAL_LEN   (sizeof SEAL_OPEN - 1 + SHA256_HEX - 1 + sizeof SEAL_CLOSE - 1)

/* ---- writing ------------------------------------------------------------- */

static void put_json(struct buf *out, json_t *value)
{
    char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    buf_puts(out, text ? text : "null");
    free(text);
    json_decref(value);
}

static void put_state(struct buf *out, const struct train_state *s)
{
    buf_printf(out, "\"step\": %" PRId64 ", \"applied\": %" PRId64 ", \"loss_scale\": ",
               s->step, s->applied);
    put_json(out, json_real(s->loss_scale));
    buf_printf(out, ", \"clean\": %" PRId64 ",\n", s->clean);
    if (s->best_step == 0 && s->stale == 0)
        return;
    buf_puts(out, "\"best\": ");
    put_json(out, json_real(s->best));
    buf_printf(out, ", \"best_step\": %" PRId64 ", \"stale\": %" PRId64 ",\n",
               s->best_step, s->stale);
}

static void put_files(struct buf *out, const struct manifest *m)
{
    buf_puts(out, "\"files\": {");
    for (size_t i = 0; i < m->nfile; i++) {
        const struct manifest_file *f = &m->file[i];

        buf_puts(out, i ? ",\n" : "\n");
        put_json(out, json_string(f->name));
        buf_printf(
            out, ": {\"size\": %" PRIu64 ", \"head\": %" PRIu64 ", \"sha256\": \"%s\"}",
            f->size, f->head, f->sha256);
    }
    buf_puts(out, "},\n");
}

static void put_tensor(struct buf *out, const struct manifest_tensor *t)
{
    put_json(out, json_string(t->name));
    buf_puts(out, ": {\"file\": ");
    put_json(out, json_string(t->file));
    buf_printf(out, ", \"dtype\": \"%s\", \"shape\": [", t->type);
    for (uint32_t i = 0; i < t->ndim; i++)
        buf_printf(out, "%s%" PRId64, i ? ", " : "", t->dim[i]);
    buf_printf(out, "], \"sha256\": \"%s\"}", t->sha256);
}

void manifest_print(const struct manifest *m, struct buf *out)
{
    size_t start = out->len;
    char hex[SHA256_HEX];

    buf_printf(out, "{\n\"v\": %d,\n", MANIFEST_VERSION);
    put_state(out, &m->state);
    buf_printf(out, "\"seed\": %s,\n\"nparams\": %" PRId64 ",\n\"job\": %s,\n", m->seed,
               m->nparams, m->job);
    put_files(out, m);
    buf_puts(out, "\"tensors\": {");
    for (size_t i = 0; i < m->ntensor; i++) {
        buf_puts(out, i ? ",\n" : "\n");
        put_tensor(out, &m->tensor[i]);
    }
    buf_puts(out, "},\n");
    sha256_bytes(out->data + start, out->len - start, hex);
    buf_printf(out, SEAL_OPEN "%s" SEAL_CLOSE, hex);
}

/* ---- reading ------------------------------------------------------------- */

/* Where an error is: the text's path and the member that is read. */
struct reader {
    const char *path, *member;
    struct arena *mem;
};

static int wanted(const struct reader *r, const char *key, const char *what,
                  const json_t *found, struct err *e)
{
    char *text = found ? json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    int rc =
        err_set(e, ERR_SPEC, "%s: %.100s%s%s: wanted %s, found %.100s", r->path,
                r->member, *r->member ? ": " : "", key, what, text ? text : "nothing");

    free(text);
    return rc;
}

static int read_count(const struct reader *r, const json_t *in, const char *key,
                      int64_t *out, struct err *e)
{
    const json_t *value = json_object_get(in, key);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return wanted(r, key, "a whole number", value, e);
    *out = json_integer_value(value);
    return 0;
}

static int read_text(const struct reader *r, const json_t *in, const char *key,
                     const char **out, struct err *e)
{
    const json_t *value = json_object_get(in, key);

    if (!json_is_string(value))
        return wanted(r, key, "a text", value, e);
    *out = arena_strdup(r->mem, json_string_value(value));
    return 0;
}

static int read_sha256(const struct reader *r, const json_t *in, char *hex,
                       struct err *e)
{
    const json_t *value = json_object_get(in, "sha256");
    const char *text = json_string_value(value);

    if (!text || strlen(text) != SHA256_HEX - 1 ||
        strspn(text, "0123456789abcdef") != SHA256_HEX - 1)
        return wanted(r, "sha256", "64 hexadecimal digits", value, e);
    memcpy(hex, text, SHA256_HEX);
    return 0;
}

/* What validations found, where there were any. */
static int read_best(const struct reader *r, const json_t *root,
                     struct train_state *out, struct err *e)
{
    const json_t *best = json_object_get(root, "best");
    int rc;

    if (!best)
        return 0;
    if (!json_is_number(best))
        return wanted(r, "best", "a number", best, e);
    out->best = json_number_value(best);
    rc = read_count(r, root, "best_step", &out->best_step, e);
    if (rc == 0)
        rc = read_count(r, root, "stale", &out->stale, e);
    if (rc == 0 && out->best_step > out->step)
        rc = wanted(r, "best_step", "at most step", json_object_get(root, "best_step"),
                    e);
    return rc;
}

static int read_state(const struct reader *r, const json_t *root,
                      struct train_state *out, struct err *e)
{
    const json_t *scale = json_object_get(root, "loss_scale");
    int rc = read_count(r, root, "step", &out->step, e);

    if (rc == 0)
        rc = read_count(r, root, "applied", &out->applied, e);
    if (rc == 0)
        rc = read_count(r, root, "clean", &out->clean, e);
    if (rc == 0 && (!json_is_number(scale) || !(json_number_value(scale) > 0)))
        rc = wanted(r, "loss_scale", "a positive number", scale, e);
    out->loss_scale = json_number_value(scale);
    return rc < 0 ? rc : read_best(r, root, out, e);
}

/* A value as text of its own. */
static int keep_json(const struct reader *r, const json_t *value, const char **out,
                     struct err *e)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    if (!text)
        return err_set(e, ERR_NOMEM, "%s: no memory", r->path);
    *out = arena_strdup(r->mem, text);
    free(text);
    return 0;
}

static int read_seed(const struct reader *r, const json_t *root, const char **out,
                     struct err *e)
{
    const json_t *seed = json_object_get(root, "seed");

    if (!json_is_integer(seed))
        return wanted(r, "seed", "a whole number", seed, e);
    return keep_json(r, seed, out, e);
}

static int read_job(const struct reader *r, const json_t *root, struct manifest *out,
                    struct err *e)
{
    const json_t *job = json_object_get(root, "job"), *precision;

    if (!json_is_object(job))
        return wanted(r, "job", "an object", job, e);
    precision = json_object_get(json_object_get(job, "train"), "precision");
    out->scaled =
        json_is_string(precision) && strcmp(json_string_value(precision), "fp16") == 0;
    return keep_json(r, job, &out->job, e);
}

static int read_file(const struct reader *r, const char *name, const json_t *in,
                     struct manifest_file *out, struct err *e)
{
    int64_t size = 0, head = 0;
    int rc = read_count(r, in, "size", &size, e);

    if (rc == 0)
        rc = read_count(r, in, "head", &head, e);
    if (rc == 0)
        rc = read_sha256(r, in, out->sha256, e);
    if (rc == 0 && head > size)
        rc = wanted(r, "head", "at most its size", json_object_get(in, "head"), e);
    out->name = arena_strdup(r->mem, name);
    out->size = (uint64_t)size;
    out->head = (uint64_t)head;
    return rc;
}

static int read_shape(const struct reader *r, const json_t *in,
                      struct manifest_tensor *out, struct err *e)
{
    const json_t *shape = json_object_get(in, "shape");

    if (!json_is_array(shape) || json_array_size(shape) > SAFETENSORS_DIMS)
        return wanted(r, "shape", "a list of dimensions", shape, e);
    out->ndim = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < out->ndim; i++) {
        const json_t *dim = json_array_get(shape, i);

        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return wanted(r, "shape", "whole numbers", shape, e);
        out->dim[i] = json_integer_value(dim);
    }
    return 0;
}

static int read_tensor(const struct reader *r, const char *name, const json_t *in,
                       struct manifest_tensor *out, struct err *e)
{
    int rc = read_text(r, in, "file", &out->file, e);

    out->name = arena_strdup(r->mem, name);
    if (rc == 0)
        rc = read_text(r, in, "dtype", &out->type, e);
    if (rc == 0)
        rc = read_shape(r, in, out, e);
    if (rc == 0)
        rc = read_sha256(r, in, out->sha256, e);
    return rc;
}

static int read_files(struct reader *r, json_t *root, struct manifest *out,
                      struct err *e)
{
    json_t *files = json_object_get(root, "files"), *value;
    const char *key;
    int rc = 0;

    if (!json_is_object(files))
        return wanted(r, "files", "an object", files, e);
    out->file = arena_calloc(r->mem, json_object_size(files) + 1, sizeof *out->file);
    json_object_foreach(files, key, value)
    {
        r->member = key;
        rc = read_file(r, key, value, &out->file[out->nfile++], e);
        if (rc < 0)
            break;
    }
    r->member = "";
    return rc;
}

static int read_tensors(struct reader *r, json_t *root, struct manifest *out,
                        struct err *e)
{
    json_t *tensors = json_object_get(root, "tensors"), *value;
    const char *key;
    int rc = 0;

    if (!json_is_object(tensors))
        return wanted(r, "tensors", "an object", tensors, e);
    out->tensor =
        arena_calloc(r->mem, json_object_size(tensors) + 1, sizeof *out->tensor);
    json_object_foreach(tensors, key, value)
    {
        r->member = key;
        rc = read_tensor(r, key, value, &out->tensor[out->ntensor++], e);
        if (rc < 0)
            break;
    }
    r->member = "";
    return rc;
}

static int read_members(struct reader *r, json_t *root, struct manifest *out,
                        struct err *e)
{
    json_t *v = json_object_get(root, "v");
    int rc;

    if (!json_is_integer(v) || json_integer_value(v) != MANIFEST_VERSION)
        return wanted(r, "v", "version 1", v, e);
    rc = read_state(r, root, &out->state, e);
    if (rc == 0)
        rc = read_count(r, root, "nparams", &out->nparams, e);
    if (rc == 0)
        rc = read_seed(r, root, &out->seed, e);
    if (rc == 0)
        rc = read_job(r, root, out, e);
    if (rc == 0)
        rc = read_files(r, root, out, e);
    if (rc == 0)
        rc = read_tensors(r, root, out, e);
    return rc;
}

/* Hold the text against the hash that it ends with. */
static int check_seal(const char *path, const char *text, size_t len, struct err *e)
{
    const char *seal = len < SEAL_LEN ? NULL : text + len - SEAL_LEN, *found;
    char hex[SHA256_HEX];

    found = seal ? seal + sizeof SEAL_OPEN - 1 : NULL;
    if (!seal || memcmp(seal, SEAL_OPEN, sizeof SEAL_OPEN - 1) != 0 ||
        memcmp(found + SHA256_HEX - 1, SEAL_CLOSE, sizeof SEAL_CLOSE - 1) != 0)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a last line with the sha256 of the others, found "
                       "none in %zu bytes",
                       path, len);
    sha256_bytes(text, len - SEAL_LEN, hex);
    if (memcmp(hex, found, SHA256_HEX - 1) != 0)
        return err_set(e, ERR_SPEC,
                       "%s: wanted sha256 %.64s by its last line, found %s", path,
                       found, hex);
    return 0;
}

int manifest_parse(const char *path, const char *text, size_t len, struct arena *a,
                   struct manifest *out, struct err *e)
{
    struct reader r = {.path = path, .member = "", .mem = a};
    struct manifest m = {0};
    json_error_t why;
    json_t *root;
    int rc = check_seal(path, text, len, e);

    if (rc < 0)
        return rc;
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return err_set(e, ERR_SPEC, "%s:%d:%d: wanted JSON: %.200s", path, why.line,
                       why.column, why.text);
    rc = read_members(&r, root, &m, e);
    json_decref(root);
    if (rc == 0)
        *out = m;
    return rc;
}

int manifest_job(const char *json, struct arena *a, const char **seed, const char **job,
                 struct err *e)
{
    struct reader r = {.path = "job", .member = "", .mem = a};
    const char *number = NULL, *text = NULL;
    json_error_t why;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &why);
    int rc;

    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(e, ERR_SPEC, "job: wanted an object of JSON: %.200s", why.text);
    }
    rc = read_seed(&r, root, &number, e);
    json_object_del(root, "parallel");
    if (rc == 0)
        rc = keep_json(&r, root, &text, e);
    json_decref(root);
    if (rc < 0)
        return rc;
    *seed = number;
    *job = text;
    return 0;
}
