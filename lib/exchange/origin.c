/* SPDX-License-Identifier: Apache-2.0 */
/*
 * origin.c - origin.json: {"files":{NAME:TEXT,...},"heads":{NAME:TEXT,...}}.
 */
#include "exchange/origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "format/safetensors.h"

/* What may lie beside the tensors; other files are nobody's business here. */
static const char *const texts[] = {
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "nnd_tokenizer.json",
};

enum { TEXTS = sizeof texts / sizeof *texts, PREFIX = 8 };

/* ---- writing -------------------------------------------------------------- */

static int keep_text(const struct hf_folder *f, const char *name, json_t *out,
                     struct err *e)
{
    struct buf b = {0};
    int rc = hf_folder_text(f, name, &b, e);

    if (rc == 0 && str_is_utf8(b.data ? b.data : "", b.len))
        json_object_set_new(out, name, json_stringn(b.data ? b.data : "", b.len));
    buf_free(&b);
    return rc < 0 ? rc : 0;
}

/* The bytes before the first tensor, without their count, which they tell. */
static int keep_head(const struct hf_shard *s, json_t *out, struct err *e)
{
    size_t len = safetensors_count(s->file) ? safetensors_at(s->file, 0)->offset : 0;
    FILE *file = fopen(safetensors_path(s->file), "re");
    struct buf b = {0};
    bool good = file && buf_try_reserve(&b, len) && fread(b.data, 1, len, file) == len;

    if (good && len > PREFIX)
        good = json_object_set_new(out, s->name,
                                   json_stringn(b.data + PREFIX, len - PREFIX)) == 0;
    if (file)
        fclose(file);
    buf_free(&b);
    return good ? 0
                : err_set(e, ERR_FAILED, "%s: cannot be read again",
                          safetensors_path(s->file));
}

int origin_write(const struct hf_folder *f, struct buf *out, struct err *e)
{
    json_t *kept = json_object(), *heads = json_object(), *root;
    char *text;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < TEXTS; i++)
        rc = keep_text(f, texts[i], kept, e);
    for (size_t i = 0; rc == 0 && i < f->nshard; i++)
        rc = keep_head(&f->shard[i], heads, e);
    root = json_pack("{s:o, s:o}", "files", kept, "heads", heads);
    text = rc == 0 ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (rc < 0)
        return rc;
    if (!text)
        return err_set(e, ERR_NOMEM, "%s: no memory to remember it", f->path);
    buf_puts(out, text);
    free(text);
    return 0;
}

/* ---- reading -------------------------------------------------------------- */

static const struct {
    const char *name;
    int dtype;
} types[] = {{"F32", NND_F32}, {"BF16", NND_BF16}, {"F16", NND_F16}};

static int type_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].dtype;
    return 0;
}

static int bad(const char *file, const char *tensor, struct err *e)
{
    return err_set(e, ERR_SPEC, ORIGIN_NAME ": %.100s: %.100s: is damaged", file,
                   tensor);
}

static int read_tensor(const struct origin_file *f, const char *name,
                       const json_t *entry, struct origin_tensor *out, struct err *e)
{
    const json_t *ends = json_object_get(entry, "data_offsets");
    json_int_t lo = json_integer_value(json_array_get(ends, 0));
    json_int_t hi = json_integer_value(json_array_get(ends, 1));
    int dtype = type_of(json_string_value(json_object_get(entry, "dtype")));

    if (!dtype || lo < 0 || hi < lo || hi > INT64_MAX / 2)
        return bad(f->name, name, e);
    *out = (struct origin_tensor){.name = name,
                                  .dtype = dtype,
                                  .offset = PREFIX + f->head_len + (uint64_t)lo,
                                  .bytes = (uint64_t)(hi - lo)};
    return 0;
}

static int read_head(struct origin_file *f, struct arena *a, struct err *e)
{
    json_t *head = NULL, *entry;
    const char *name;
    int rc = hf_parse(ORIGIN_NAME, f->head, f->head_len, &head, e);

    if (rc < 0)
        return rc;
    f->tensor = arena_calloc(a, json_object_size(head) + 1, sizeof *f->tensor);
    json_object_foreach(head, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        rc = read_tensor(f, arena_strdup(a, name), entry, &f->tensor[f->n++], e);
        if (rc < 0)
            break;
    }
    json_decref(head);
    return rc;
}

/* Whoever wrote the checkpoint is not trusted: files of these names will be made. */
static int check_names(const json_t *files, struct err *e)
{
    const char *name;
    json_t *text;

    json_object_foreach((json_t *)files, name, text)
    {
        if (!hf_is_file_name(name))
            return err_set(e, ERR_SPEC, ORIGIN_NAME ": %.100s: is no name of a file",
                           name);
    }
    return 0;
}

int origin_read(const char *text, size_t len, struct arena *a, struct origin *out,
                struct err *e)
{
    struct origin o = {0};
    const json_t *heads;
    const char *name;
    json_t *head;
    int rc = hf_parse(ORIGIN_NAME, text, len, &o.root, e);

    if (rc < 0)
        return rc;
    o.texts = json_object_get(o.root, "files");
    heads = json_object_get(o.root, "heads");
    o.file = arena_calloc(a, json_object_size(heads) + 1, sizeof *o.file);
    if (check_names(o.texts, e) < 0 || check_names(heads, e) < 0) {
        origin_free(&o);
        return e->code;
    }
    json_object_foreach((json_t *)heads, name, head)
    {
        struct origin_file *f = &o.file[o.n++];

        f->name = name;
        f->head = json_string_value(head);
        f->head_len = json_string_length(head);
        rc = f->head ? read_head(f, a, e) : bad(name, "its head", e);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        origin_free(&o);
    else
        *out = o;
    return rc;
}

void origin_free(struct origin *o)
{
    json_decref(o->root);
    o->root = NULL;
}
