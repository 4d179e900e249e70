/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_export.c - counting the tensors of a checkpoint, dealing them out to files, and
 * the texts beside them.
 */
#include "exchange/hf_export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "exchange/hf_config.h"
#include "exchange/hf_tensor.h"
#include "exchange/origin.h"
#include "tensor/dtype.h"
#include "train/checkpoint_stored.h"

struct export
{
    const struct hf_export *x;
    struct arena *mem;
    struct stored *from;
    struct safetensors *model; /* of it */
    json_t *config;
    struct outline outline;
    struct hf_tensors *tensors;
    char folder[PATH_MAX]; /* in the making */
    int dtype;
};

/* ---- counting ------------------------------------------------------------- */

/* The checkpoint has the model's tensors, all of them and no others. */
static int match(struct export *x, struct err *e)
{
    const struct safetensors_tensor *found;
    const struct safetensors_plan *plan = x->outline.layout->plan[LAYOUT_MODEL];

    for (int i = 0; i < outline_count(&x->outline); i++) {
        const struct safetensors_tensor *t = outline_at(&x->outline, i);

        if (safetensors_want(x->model, t->name, NND_F32, t->ndim, t->dim, &found, e) <
            0)
            return e->code;
    }
    for (size_t i = 0; i < safetensors_count(x->model); i++) {
        const char *name = safetensors_at(x->model, i)->name;

        if (!safetensors_plan_find(plan, name))
            return err_set(e, ERR_SPEC,
                           "%s: tensor %.100s: is left over: the model has no such "
                           "weight",
                           safetensors_path(x->model), name);
    }
    return 0;
}

static int count(struct export *x, struct err *e)
{
    const char *type = NULL;
    const struct hf_arch *arch = NULL;
    int rc = hf_config_write(x->x->job_json, x->x->vocab, &type, &x->config, e);

    if (rc == 0)
        rc = hf_arch_find(type, &arch, e);
    if (rc == 0)
        rc = stored_open(x->x->checkpoint, &x->from, e);
    if (rc == 0)
        rc = stored_verify(x->from, true, 0, 1, e);
    if (rc == 0)
        rc = outline_make(x->x->job, x->x->vocab, &x->outline, e);
    if (rc < 0)
        return rc;
    x->model = x->from->file[LAYOUT_MODEL];
    rc = match(x, e);
    return rc < 0 ? rc : hf_tensors_create(&x->outline, arch, &x->tensors, e);
}

/* ---- tensors -------------------------------------------------------------- */

/* One of theirs as f32; the caller frees it. */
static int gather(const struct export *x, const struct hf_tensor *t, float **out,
                  struct err *e)
{
    size_t part = (size_t)(t->rows * t->cols);
    float *all = malloc((t->elements + 1) * sizeof *all);
    float *one = malloc((part + 1) * sizeof *one);
    int rc = all && one ? 0 : err_set(e, ERR_NOMEM, "%s: no memory", t->name);

    for (int k = 0; rc == 0 && k < t->parts; k++) {
        const char *name = outline_at(&x->outline, t->part[k])->name;
        const struct safetensors_tensor *at;
        const struct safetensors *file = stored_weight(x->from, name, true, &at);

        rc = safetensors_read(file, at, 0, part, one, e);
        if (rc == 0)
            hf_tensor_give(t, k, one, all);
    }
    free(one);
    if (rc < 0)
        free(all);
    else
        *out = all;
    return rc;
}

/* The same in the type that a file has it in; in place where that is f32. */
static int gather_as(const struct export *x, const struct hf_tensor *t, int dtype,
                     void **out, struct err *e)
{
    float *f = NULL;
    void *narrow;
    int rc = gather(x, t, &f, e);

    if (rc < 0 || dtype == NND_F32) {
        *out = f;
        return rc;
    }
    narrow = malloc((t->elements + 1) * dtype_size(dtype));
    if (narrow)
        dtype_from_f32(dtype, f, narrow, t->elements);
    else
        rc = err_set(e, ERR_NOMEM, "%s: no memory", t->name);
    free(f);
    *out = narrow;
    return rc;
}

static int open_file(const struct export *x, const char *name, int *fd, struct err *e)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof path, "%s/%s", x->folder, name) >= (int)sizeof path)
        return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", x->folder);
    *fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (*fd < 0)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    return 0;
}

static int close_file(int fd, const char *name, int rc, struct err *e)
{
    if (rc == 0 && fsync(fd) < 0)
        rc = err_sys(e, err_code_of(errno), errno, "sync %s", name);
    if (close(fd) < 0 && rc == 0)
        rc = err_sys(e, err_code_of(errno), errno, "close %s", name);
    return rc;
}

static int write_text(const struct export *x, const char *name, const char *text,
                      size_t len, struct err *e)
{
    int fd, rc = open_file(x, name, &fd, e);
    size_t at = 0;

    while (rc == 0 && at < len) {
        ssize_t n = write(fd, text + at, len - at);

        if (n < 0 && errno != EINTR)
            rc = err_sys(e, err_code_of(errno), errno, "write %s", name);
        else if (n > 0)
            at += (size_t)n;
    }
    return rc < 0 && at == 0 ? rc : close_file(fd, name, rc, e);
}

/* As `transformers` writes it: sorted, two spaces, a line at the end. */
static int write_json(const struct export *x, const char *name, const json_t *j,
                      struct err *e)
{
    struct buf b = {0};
    char *text = json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII |
                                   JSON_REAL_PRECISION(15));
    int rc;

    if (!text)
        return err_set(e, ERR_NOMEM, "%s: no memory", name);
    buf_printf(&b, "%s\n", text);
    free(text);
    rc = write_text(x, name, b.data, b.len, e);
    buf_free(&b);
    return rc;
}

/* ---- new files ------------------------------------------------------------ */

/* Files of tensors [first, end) by name. */
struct deal {
    size_t first, end;
};

static uint64_t bytes_of(const struct export *x, const struct hf_tensor *t)
{
    return t->elements * dtype_size(x->dtype);
}

/* A file is full when the next tensor would make it larger than that. */
static size_t deal_out(const struct export *x, uint64_t most, struct deal *out)
{
    size_t n = 0;
    uint64_t size = 0;

    for (size_t i = 0; i < x->tensors->n; i++) {
        uint64_t more = bytes_of(x, x->tensors->at[i]);

        if (n == 0 || size + more > most) {
            out[n++] = (struct deal){i, i};
            size = 0;
        }
        size += more;
        out[n - 1].end = i + 1;
    }
    return n;
}

static int write_tensor(const struct export *x, const struct safetensors_plan *p,
                        int fd, const struct hf_tensor *t, struct err *e)
{
    const struct safetensors_tensor *s = safetensors_plan_find(p, t->name);
    void *data = NULL;
    int rc = gather_as(x, t, x->dtype, &data, e);

    if (rc == 0)
        rc = safetensors_write(p, fd, s, 0, s->elements, data, e);
    free(data);
    return rc;
}

static int write_shard(const struct export *x, const char *name, const struct deal *s,
                       struct err *e)
{
    struct safetensors_plan *p = safetensors_plan_create(name);
    int fd = -1, rc = 0;

    for (size_t i = s->first; rc == 0 && i < s->end; i++) {
        const struct hf_tensor *t = x->tensors->at[i];

        rc = safetensors_plan_add(p, t->name, x->dtype, t->ndim, t->dim, e);
    }
    if (rc == 0)
        rc = safetensors_plan_seal(p, e);
    if (rc == 0)
        rc = open_file(x, name, &fd, e);
    if (rc == 0)
        rc = safetensors_write_header(p, fd, e);
    for (size_t i = s->first; rc == 0 && i < s->end; i++)
        rc = write_tensor(x, p, fd, x->tensors->at[i], e);
    if (fd >= 0)
        rc = close_file(fd, name, rc, e);
    safetensors_plan_destroy(p);
    return rc;
}

static void name_shard(char *out, size_t size, size_t i, size_t n)
{
    if (n == 1)
        snprintf(out, size, HF_WHOLE);
    else
        snprintf(out, size, "model-%05zu-of-%05zu.safetensors", i + 1, n);
}

static int write_index(const struct export *x, const struct deal *s, size_t n,
                       struct err *e)
{
    json_t *names = json_object(), *root;
    uint64_t bytes = 0, elements = 0;
    char file[80];
    int rc;

    for (size_t i = 0; i < n; i++)
        for (size_t k = s[i].first; k < s[i].end; k++) {
            const struct hf_tensor *t = x->tensors->at[k];

            name_shard(file, sizeof file, i, n);
            json_object_set_new(names, t->name, json_string(file));
            bytes += bytes_of(x, t);
            elements += t->elements;
        }
    root = json_pack("{s:{s:I, s:I}, s:o}", "metadata", "total_parameters",
                     (json_int_t)elements, "total_size", (json_int_t)bytes,
                     "weight_map", names);
    rc = write_json(x, HF_INDEX, root, e);
    json_decref(root);
    return rc;
}

static int write_shards(const struct export *x, struct err *e)
{
    uint64_t most = x->x->shard_bytes ? x->x->shard_bytes : HF_SHARD_BYTES;
    struct deal *s = arena_calloc(x->mem, x->tensors->n + 1, sizeof *s);
    size_t n = deal_out(x, most, s);
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        char name[80];

        name_shard(name, sizeof name, i, n);
        rc = write_shard(x, name, &s[i], e);
    }
    return rc < 0 || n < 2 ? rc : write_index(x, s, n, e);
}

static void put_id(json_t *j, const char *key, int64_t id)
{
    json_object_set_new(j, key, id < 0 ? json_null() : json_integer(id));
}

/* The added token that has the id, or NULL. */
static const char *added_token(const json_t *tokens, int64_t id)
{
    const json_t *list = json_object_get(tokens, "added_tokens");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i);

        if (json_integer_value(json_object_get(token, "id")) == id)
            return json_string_value(json_object_get(token, "content"));
    }
    return NULL;
}

static json_t *place_of(const char *name, int type)
{
    return json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", name, "type_id", type);
}

/* Put what stands before a text into a template that has the texts alone, A, or A and
 * B. -1: one is no added token, which a template cannot name. */
static int add_begins(const Nnd__Model *m, const json_t *tokens, json_t *template)
{
    json_t *single = json_object_get(template, "single"),
           *pair = json_object_get(template, "pair"),
           *special = json_object_get(template, "special_tokens");

    for (size_t i = 0; i < m->n_begins; i++) {
        const char *name = added_token(tokens, m->begins[i]);

        if (!name)
            return -1;
        json_array_insert_new(single, i, place_of(name, 0));
        json_array_insert_new(pair, i, place_of(name, 0));
        json_array_insert_new(pair, json_array_size(pair) - 1, place_of(name, 1));
        json_object_set_new(special, name,
                            json_pack("{s:s, s:[I], s:[s]}", "id", name, "ids",
                                      (json_int_t)m->begins[i], "tokens", name));
    }
    return 0;
}

/* The tokenizer as others read it, with what it puts before a text. */
static int write_theirs(struct export *x, struct err *e)
{
    const char *text = x->x->theirs;
    const Nnd__Model *m = x->x->job->model;
    json_t *tokens, *template;
    int rc;

    if (m->n_begins == 0)
        return write_text(x, HF_TOKENS, text, strlen(text), e);
    if (hf_parse(HF_TOKENS, text, strlen(text), &tokens, e) < 0)
        return e->code;
    template =
        json_pack("{s:s, s:[{s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], "
                  "s:{}}",
                  "type", "TemplateProcessing", "single", "Sequence", "id", "A",
                  "type_id", 0, "pair", "Sequence", "id", "A", "type_id", 0, "Sequence",
                  "id", "B", "type_id", 1, "special_tokens");
    if (add_begins(m, tokens, template) == 0)
        json_object_set(tokens, "post_processor", template);
    rc = write_json(x, HF_TOKENS, tokens, e);
    json_decref(template);
    json_decref(tokens);
    return rc;
}

static int write_tokenizer(struct export *x, struct err *e)
{
    const char *own = x->x->tokenizer;
    int rc = write_text(x, "nnd_tokenizer.json", own, strlen(own), e);
    json_t *j;

    if (rc < 0 || !x->x->theirs)
        return rc;
    j = json_pack("{s:s, s:b, s:[s, s], s:I}", "tokenizer_class",
                  "PreTrainedTokenizerFast", "clean_up_tokenization_spaces", 0,
                  "model_input_names", "input_ids", "attention_mask",
                  "model_max_length", (json_int_t)x->x->job->model->context);
    rc = write_theirs(x, e);
    if (rc == 0)
        rc = write_json(x, "tokenizer_config.json", j, e);
    json_decref(j);
    return rc;
}

/* That of the marks, or the first that the job names. */
static void put_begin(const struct export *x, json_t *j)
{
    const Nnd__Model *m = x->x->job->model;

    put_id(j, "bos_token_id", m->n_begins ? m->begins[0] : x->x->bos);
}

/* That of the marks, or what the job names: a number, or a list of several. */
static void put_ends(const struct export *x, json_t *j)
{
    const Nnd__Model *m = x->x->job->model;
    json_t *list;

    if (m->n_ends < 2) {
        put_id(j, "eos_token_id", m->n_ends ? m->ends[0] : x->x->eos);
        return;
    }
    list = json_array();
    for (size_t i = 0; i < m->n_ends; i++)
        json_array_append_new(list, json_integer(m->ends[i]));
    json_object_set_new(j, "eos_token_id", list);
}

static int write_config(struct export *x, struct err *e)
{
    static const char *const names[] = {
        [NND_F32] = "float32", [NND_BF16] = "bfloat16", [NND_F16] = "float16"};
    json_t *j = x->config, *generation = json_object();
    int rc;

    json_object_set_new(j, "dtype", json_string(names[x->dtype]));
    json_object_set_new(j, "torch_dtype", json_string(names[x->dtype]));
    put_begin(x, j);
    put_ends(x, j);
    put_id(j, "pad_token_id", x->x->pad);
    put_begin(x, generation);
    put_ends(x, generation);
    put_id(generation, "pad_token_id", x->x->pad);
    rc = write_json(x, HF_CONFIG, j, e);
    if (rc == 0)
        rc = write_json(x, HF_WRITES, generation, e);
    if (rc == 0)
        rc = write_tokenizer(x, e);
    json_decref(generation);
    return rc;
}

static int write_new(struct export *x, struct err *e)
{
    x->dtype = x->x->dtype ? x->x->dtype : NND_F32;
    return write_shards(x, e) < 0 ? e->code : write_config(x, e);
}

/* ---- the files that it came from ------------------------------------------ */

/* Which of theirs a name of such a file is: those of GPT-2 may lack their prefix. */
static const struct hf_tensor *named(const struct export *x, const char *name)
{
    const struct hf_tensor *t = map_get(x->tensors->named, name);
    char full[300];

    if (t || snprintf(full, sizeof full, "transformer.%s", name) >= (int)sizeof full)
        return t;
    return map_get(x->tensors->named, full);
}

static int rewrite_tensor(const struct export *x, int fd, const struct origin_file *f,
                          const struct origin_tensor *o, struct err *e)
{
    const struct hf_tensor *t = named(x, o->name);
    void *data = NULL;
    ssize_t n;
    int rc;

    if (!t || t->elements * dtype_size(o->dtype) != o->bytes)
        return err_set(e, ERR_SPEC,
                       ORIGIN_NAME ": %.100s: %.100s: is no tensor of the "
                                   "model",
                       f->name, o->name);
    rc = gather_as(x, t, o->dtype, &data, e);
    for (uint64_t at = 0; rc == 0 && at < o->bytes; at += (uint64_t)n) {
        n = pwrite(fd, (char *)data + at, o->bytes - at, (off_t)(o->offset + at));
        if (n <= 0)
            rc = err_sys(e, err_code_of(errno), n < 0 ? errno : EIO, "write %s",
                         f->name);
    }
    free(data);
    return rc;
}

static int rewrite_file(const struct export *x, const struct origin_file *f,
                        struct err *e)
{
    uint64_t len = f->head_len;
    struct buf head = {0};
    int fd, rc;

    buf_add(&head, &len, sizeof len);
    buf_add(&head, f->head, f->head_len);
    rc = write_text(x, f->name, head.data, head.len, e);
    buf_free(&head);
    if (rc < 0)
        return rc;
    char path[PATH_MAX + 256];
    snprintf(path, sizeof path, "%s/%s", x->folder, f->name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    for (size_t i = 0; rc == 0 && i < f->n; i++)
        rc = rewrite_tensor(x, fd, f, &f->tensor[i], e);
    return close_file(fd, f->name, rc, e);
}

static int write_again(const struct export *x, const struct origin *o, struct err *e)
{
    const char *name;
    json_t *text;
    size_t n = 0;
    int rc = 0;

    for (size_t i = 0; i < o->n; i++)
        n += o->file[i].n;
    if (n != x->tensors->n)
        return err_set(e, ERR_SPEC, ORIGIN_NAME ": wanted %zu tensors, found %zu",
                       x->tensors->n, n);
    json_object_foreach((json_t *)o->texts, name, text)
    {
        rc = write_text(x, name, json_string_value(text), json_string_length(text), e);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; rc == 0 && i < o->n; i++)
        rc = rewrite_file(x, &o->file[i], e);
    return rc;
}

/* ---- all ------------------------------------------------------------------ */

static bool came_from_elsewhere(const struct export *x)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/" ORIGIN_NAME, x->x->checkpoint);
    return !x->x->dtype && !x->x->shard_bytes && fs_exists(path);
}

static int write_files(struct export *x, struct err *e)
{
    struct origin origin = {0};
    struct buf text = {0};
    int rc;

    if (!came_from_elsewhere(x))
        return write_new(x, e);
    rc = stored_read(x->x->checkpoint, &x->from->manifest, ORIGIN_NAME, &text, e);
    if (rc == 0)
        rc = origin_read(text.data ? text.data : "", text.len, x->mem, &origin, e);
    if (rc == 0)
        rc = write_again(x, &origin, e);
    origin_free(&origin);
    buf_free(&text);
    return rc;
}

static int make_folder(struct export *x, struct err *e)
{
    if (fs_exists(x->x->to))
        return err_set(e, ERR_USAGE, "%s: is there already", x->x->to);
    if (snprintf(x->folder, sizeof x->folder, "%s.part.%ld", x->x->to,
                 (long)getpid()) >= (int)sizeof x->folder)
        return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", x->x->to);
    if (mkdir(x->folder, 0777) < 0)
        return err_sys(e, err_code_of(errno), errno, "make folder %s", x->folder);
    return 0;
}

static int publish(struct export *x, struct err *e)
{
    if (fs_sync_dir(x->folder, e) < 0)
        return e->code;
    if (rename(x->folder, x->x->to) < 0)
        return err_sys(e, err_code_of(errno), errno, "rename %s to %s", x->folder,
                       x->x->to);
    return 0;
}

int hf_export(const struct hf_export *x, struct err *e)
{
    struct export k = {.x = x, .mem = arena_create()};
    int rc = count(&k, e);

    if (rc == 0 && (rc = make_folder(&k, e)) == 0) {
        rc = write_files(&k, e);
        if (rc == 0)
            rc = publish(&k, e);
        if (rc < 0)
            fs_remove_tree(k.folder, NULL);
    }
    hf_tensors_destroy(k.tensors);
    outline_free(&k.outline);
    stored_close(k.from);
    json_decref(k.config);
    arena_destroy(k.mem);
    return rc;
}
