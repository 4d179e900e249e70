/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_folder.c - opening a folder of `transformers`.
 */
#include "exchange/hf_folder.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/map.h"

/* ---- texts ---------------------------------------------------------------- */

static int full_path(const struct hf_folder *f, const char *name, char *out,
                     size_t size, struct err *e)
{
    if (snprintf(out, size, "%s/%s", f->path, name) < (int)size)
        return 0;
    return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", f->path);
}

int hf_folder_text(const struct hf_folder *f, const char *name, struct buf *out,
                   struct err *e)
{
    char path[PATH_MAX];
    int rc = full_path(f, name, path, sizeof path, e);

    if (rc == 0 && !fs_exists(path))
        return 1;
    return rc < 0 ? rc : fs_read(path, HF_TEXT_MAX, out, e);
}

int hf_parse(const char *name, const char *text, size_t len, json_t **out,
             struct err *e)
{
    json_error_t why;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);

    if (!j)
        return err_set(e, ERR_SPEC, "%s:%d:%d: wanted JSON: %.200s", name, why.line,
                       why.column, why.text);
    *out = j;
    return 0;
}

/* A file of the folder as JSON; 1: there is none. */
static int read_json(const struct hf_folder *f, const char *name, json_t **out,
                     struct err *e)
{
    struct buf text = {0};
    char path[PATH_MAX];
    int rc = full_path(f, name, path, sizeof path, e);

    if (rc == 0)
        rc = hf_folder_text(f, name, &text, e);
    if (rc == 0)
        rc = hf_parse(path, text.data ? text.data : "", text.len, out, e);
    buf_free(&text);
    return rc;
}

static void add_id(json_t *list, const json_t *id, int64_t vocab)
{
    json_int_t value = json_integer_value(id);

    if (json_is_integer(id) && value >= 0 && value < vocab)
        json_array_append_new(list, json_integer(value));
}

static bool has_id(const json_t *list, const json_t *id)
{
    size_t i = 0;

    while (i < json_array_size(list) && !json_equal(json_array_get(list, i), id))
        i++;
    return i < json_array_size(list);
}

/* A number, or one of a list of them, each once. */
static void add_end(json_t *list, const json_t *id, int64_t vocab)
{
    if (!has_id(list, id))
        add_id(list, id, vocab);
}

int hf_folder_ends(const struct hf_folder *f, int64_t vocab, json_t **out,
                   struct err *e)
{
    static const char key[] = "eos_token_id";
    json_t *writes = NULL;
    const json_t *found;

    if (read_json(f, HF_WRITES, &writes, e) < 0)
        return e->code;
    found = json_object_get(writes, key);
    if (!found || json_is_null(found))
        found = json_object_get(f->config, key);
    *out = json_array();
    add_end(*out, found, vocab);
    for (size_t i = 0; i < json_array_size(found) && i < HF_IDS_MAX; i++)
        add_end(*out, json_array_get(found, i), vocab);
    json_decref(writes);
    return 0;
}

/* The TemplateProcessing of a post-processor, which may be in a list. */
static const json_t *template_of(const json_t *post)
{
    const json_t *list = json_object_get(post, "processors");
    const char *type = json_string_value(json_object_get(post, "type"));
    const json_t *found = NULL;

    if (type && strcmp(type, "TemplateProcessing") == 0)
        return post;
    for (size_t i = 0; !found && i < json_array_size(list); i++) {
        const json_t *part = json_array_get(list, i);

        if (!json_object_get(part, "processors")) /* lists are not in lists */
            found = template_of(part);
    }
    return found;
}

int hf_folder_begins(const struct hf_folder *f, int64_t vocab, json_t **out,
                     struct err *e)
{
    json_t *tokens = NULL;
    const json_t *template, *places;

    if (read_json(f, HF_TOKENS, &tokens, e) < 0)
        return e->code;
    template = template_of(json_object_get(tokens, "post_processor"));
    places = json_object_get(template, "single");
    *out = json_array();
    for (size_t i = 0; i < json_array_size(places) && i < HF_IDS_MAX; i++) {
        const json_t *token =
            json_object_get(json_array_get(places, i), "SpecialToken");
        const char *name = json_string_value(json_object_get(token, "id"));
        const json_t *ids = json_object_get(
            json_object_get(json_object_get(template, "special_tokens"), name), "ids");

        if (!token)
            break;
        for (size_t k = 0; k < json_array_size(ids) && k < HF_IDS_MAX; k++)
            add_id(*out, json_array_get(ids, k), vocab);
    }
    json_decref(tokens);
    return 0;
}

/* ---- the index ------------------------------------------------------------ */

bool hf_is_file_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    return len > 0 && len < 200 && name[0] != '.' && !strchr(name, '/');
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different values of the map, in order. */
static int list_files(const char *path, const json_t *names, struct arena *a,
                      const char ***files, size_t *n, struct err *e)
{
    struct map *seen = map_create();
    const char *key;
    json_t *value;
    int rc = 0;

    json_object_foreach((json_t *)names, key, value)
    {
        const char *file = json_string_value(value);

        if (!hf_is_file_name(file)) {
            rc = err_set(e, ERR_SPEC,
                         "%s: weight_map: %.100s: wanted a file of this folder, found "
                         "\"%.100s\"",
                         path, key, file ? file : "");
            break;
        }
        map_put(seen, file, (void *)file);
    }
    *n = map_count(seen);
    *files = arena_calloc(a, *n + 1, sizeof **files);
    for (size_t i = 0; i < *n; i++)
        (*files)[i] = arena_strdup(a, map_key(seen, i));
    if (*n)
        qsort(*files, *n, sizeof **files, by_name);
    map_destroy(seen);
    return rc;
}

int hf_index_read(const char *path, const json_t *index, struct arena *a,
                  const char ***files, size_t *n, struct err *e)
{
    const json_t *names = json_object_get(index, "weight_map");
    int rc;

    if (!json_is_object(names) || json_object_size(names) == 0)
        return err_set(e, ERR_SPEC, "%s: weight_map: wanted names and their files",
                       path);
    rc = list_files(path, names, a, files, n, e);
    if (rc == 0 && *n > HF_SHARDS_MAX)
        rc = err_set(e, ERR_SPEC, "%s: weight_map: wanted at most %d files, found %zu",
                     path, HF_SHARDS_MAX, *n);
    return rc;
}

/* What the index says of every tensor is so, and it says it of every one. */
static int check_index(const struct hf_folder *f, const char *path, const json_t *index,
                       struct err *e)
{
    const json_t *names = json_object_get(index, "weight_map");
    size_t seen = 0;

    for (size_t k = 0; k < f->nshard; k++)
        for (size_t i = 0; i < safetensors_count(f->shard[k].file); i++) {
            const char *name = safetensors_at(f->shard[k].file, i)->name;
            const char *file = json_string_value(json_object_get(names, name));

            if (!file || strcmp(file, f->shard[k].name) != 0)
                return err_set(e, ERR_SPEC,
                               "%s: tensor %.100s: %s says it is in %.100s",
                               safetensors_path(f->shard[k].file), name, path,
                               file ? file : "no file");
            seen++;
        }
    if (seen == json_object_size(names))
        return 0;
    return err_set(e, ERR_SPEC, "%s: weight_map: names %zu tensors, the files have %zu",
                   path, json_object_size(names), seen);
}

/* ---- the tensors ---------------------------------------------------------- */

static int open_shard(struct hf_folder *f, const char *name, struct err *e)
{
    struct hf_shard *s = &f->shard[f->nshard];
    char path[PATH_MAX];
    int rc = full_path(f, name, path, sizeof path, e);

    if (rc == 0)
        rc = safetensors_open(path, &s->file, e);
    if (rc < 0)
        return rc;
    s->name = name;
    s->taken = arena_calloc(f->mem, safetensors_count(s->file) + 1, sizeof *s->taken);
    f->nshard++;
    return 0;
}

static int open_indexed(struct hf_folder *f, const json_t *index, struct err *e)
{
    const char **files = NULL;
    char path[PATH_MAX];
    size_t n = 0;
    int rc = full_path(f, HF_INDEX, path, sizeof path, e);

    if (rc == 0)
        rc = hf_index_read(path, index, f->mem, &files, &n, e);
    if (rc < 0)
        return rc;
    f->shard = arena_calloc(f->mem, n, sizeof *f->shard);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = open_shard(f, files[i], e);
    return rc < 0 ? rc : check_index(f, path, index, e);
}

static int open_tensors(struct hf_folder *f, struct err *e)
{
    json_t *index = NULL;
    char path[PATH_MAX];
    int rc = full_path(f, HF_WHOLE, path, sizeof path, e);

    if (rc < 0)
        return rc;
    if (fs_exists(path)) {
        f->shard = arena_calloc(f->mem, 1, sizeof *f->shard);
        return open_shard(f, HF_WHOLE, e);
    }
    rc = read_json(f, HF_INDEX, &index, e);
    if (rc == 1)
        return err_set(e, ERR_NOTFOUND,
                       "%s: wanted " HF_WHOLE " or " HF_INDEX ", found neither",
                       f->path);
    if (rc == 0)
        rc = open_indexed(f, index, e);
    json_decref(index);
    return rc;
}

/* GPT-2 as it was first published has no "transformer." before its names. */
static const char *missing_prefix(const struct hf_folder *f)
{
    size_t shard;

    return !hf_folder_find(f, "transformer.wte.weight", &shard) &&
                   hf_folder_find(f, "wte.weight", &shard)
               ? "transformer."
               : "";
}

int hf_folder_open(const char *path, struct hf_folder *out, struct err *e)
{
    int rc;

    *out = (struct hf_folder){.mem = arena_create(), .path = path, .prefix = ""};
    rc = read_json(out, HF_CONFIG, &out->config, e);
    if (rc == 1)
        return fs_exists(path)
                   ? err_set(e, ERR_NOTFOUND, "%s: wanted " HF_CONFIG ", found none",
                             path)
                   : err_set(e, ERR_NOTFOUND, "%s: wanted a folder, found none", path);
    if (rc == 0)
        rc = open_tensors(out, e);
    if (rc == 0)
        out->prefix = missing_prefix(out);
    return rc;
}

void hf_folder_close(struct hf_folder *f)
{
    for (size_t i = 0; i < f->nshard; i++)
        safetensors_close(f->shard[i].file);
    json_decref(f->config);
    arena_destroy(f->mem);
}

const struct safetensors_tensor *hf_folder_find(const struct hf_folder *f,
                                                const char *name, size_t *shard)
{
    size_t skip = strlen(f->prefix);

    if (skip && strncmp(name, f->prefix, skip) == 0)
        name += skip;
    for (size_t i = 0; i < f->nshard; i++) {
        const struct safetensors_tensor *t = safetensors_find(f->shard[i].file, name);

        if (t) {
            *shard = i;
            return t;
        }
    }
    return NULL;
}

void hf_folder_take(struct hf_folder *f, size_t shard,
                    const struct safetensors_tensor *t)
{
    const struct hf_shard *s = &f->shard[shard];

    s->taken[t - safetensors_at(s->file, 0)] = true;
}

bool hf_folder_left(const struct hf_folder *f, size_t *shard, size_t *i)
{
    for (; *shard < f->nshard; ++*shard, *i = 0)
        for (; *i < safetensors_count(f->shard[*shard].file); ++*i)
            if (!f->shard[*shard].taken[*i])
                return true;
    return false;
}
