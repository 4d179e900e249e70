/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_import.c - counting every tensor, then converting them one by one.
 */
#include "exchange/hf_import.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "exchange/hf_tensor.h"
#include "exchange/origin.h"
#include "format/safetensors_type.h"
#include "tensor/dtype.h"
#include "train/checkpoint_write.h"

struct import {
    const struct hf_import *x;
    struct outline outline;
    struct hf_tensors *tensors;
    float *data; /* all sources of the layout, one after the other */
    size_t bytes;
    float **place; /* [tensors of ours] in it */
    bool whole;    /* every tensor of the folder is one of the model */
};

/* ---- counting ------------------------------------------------------------- */

static int check_tensor(struct import *i, const struct hf_tensor *t, struct err *e)
{
    char want[160], found[160];
    size_t shard;
    const struct safetensors_tensor *s = hf_folder_find(i->x->from, t->name, &shard);

    if (!s)
        return err_set(e, ERR_NOTFOUND, "%s: tensor %s: wanted, found none",
                       i->x->from->path, t->name);
    if (s->ndim != t->ndim || memcmp(s->dim, t->dim, t->ndim * sizeof *t->dim) != 0)
        return err_set(e, ERR_SPEC, "%s: tensor %s: wanted shape %s, found %s",
                       safetensors_path(i->x->from->shard[shard].file), t->name,
                       safetensors_shape(t->ndim, t->dim, want, sizeof want),
                       safetensors_shape(s->ndim, s->dim, found, sizeof found));
    if (s->dtype != NND_F32 && s->dtype != NND_BF16 && s->dtype != NND_F16)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %s: wanted type F32, BF16 or F16, "
                       "found %s",
                       safetensors_path(i->x->from->shard[shard].file), t->name,
                       s->type);
    hf_folder_take(i->x->from, shard, s);
    return 0;
}

/* What old versions saved besides weights: masks and angles, which follow from the
 * model. */
static bool is_buffer(const char *name)
{
    static const char *const ends[] = {".attn.bias", ".attn.masked_bias",
                                       ".rotary_emb.inv_freq"};
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(ends[i]);

        if (len > n && strcmp(name + len - n, ends[i]) == 0)
            return true;
    }
    return false;
}

/* All elements of a tensor as f32; the caller frees them. */
static int read_floats(const struct safetensors *file,
                       const struct safetensors_tensor *t, float **out, struct err *e)
{
    size_t n = (size_t)t->elements;
    float *x = malloc((n + 1) * sizeof *x);
    void *raw = t->dtype == NND_F32 ? x : malloc((n + 1) * t->element_size);
    int rc = 0;

    if (!x || !raw)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for %zu numbers", t->name, n);
    if (rc == 0)
        rc = safetensors_read(file, t, 0, t->elements, raw, e);
    if (rc == 0 && raw != x)
        dtype_to_f32(t->dtype, raw, x, n);
    if (raw != x)
        free(raw);
    if (rc < 0)
        free(x);
    else
        *out = x;
    return rc;
}

/* A head that is tied may be saved all the same, if it is the embedding. */
static int check_tied(struct import *i, size_t shard,
                      const struct safetensors_tensor *head, struct err *e)
{
    const struct hf_folder *f = i->x->from;
    const char *table = strcmp(i->x->model_type, "gpt2") == 0
                            ? "transformer.wte.weight"
                            : "model.embed_tokens.weight";
    size_t other;
    const struct safetensors_tensor *t = hf_folder_find(f, table, &other);
    float *a = NULL, *b = NULL;
    int rc = 0;

    if (!t || t->elements != head->elements || t->dtype != head->dtype)
        return err_set(e, ERR_SPEC,
                       "%s: tensor %s: wanted the same as %s, for tie_word_embeddings, "
                       "found another shape or type",
                       f->path, head->name, table);
    rc = read_floats(f->shard[shard].file, head, &a, e);
    if (rc == 0)
        rc = read_floats(f->shard[other].file, t, &b, e);
    if (rc == 0 && memcmp(a, b, (size_t)t->elements * sizeof *a) != 0)
        rc = err_set(e, ERR_SPEC,
                     "%s: tensor %s: wanted the same as %s, for tie_word_embeddings, "
                     "found other numbers",
                     f->path, head->name, table);
    free(a);
    free(b);
    return rc;
}

static int check_left(struct import *i, struct err *e)
{
    const struct hf_folder *f = i->x->from;
    int rc = 0;

    i->whole = true;
    for (size_t shard = 0, k = 0; hf_folder_left(f, &shard, &k); k++) {
        const struct safetensors_tensor *t = safetensors_at(f->shard[shard].file, k);

        i->whole = false;
        if (strcmp(t->name, "lm_head.weight") == 0 && i->x->job->model->tie_embeddings)
            rc = check_tied(i, shard, t, e);
        else if (!is_buffer(t->name))
            rc = err_set(e, ERR_SPEC,
                         "%s: tensor %.100s: is left over: the model has no such "
                         "weight",
                         safetensors_path(f->shard[shard].file), t->name);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int count(struct import *i, struct err *e)
{
    const struct hf_arch *arch;
    int rc = hf_arch_find(i->x->model_type, &arch, e);

    if (rc == 0)
        rc = outline_make(i->x->job, i->x->vocab, &i->outline, e);
    if (rc == 0)
        rc = hf_tensors_create(&i->outline, arch, &i->tensors, e);
    for (size_t k = 0; rc == 0 && k < i->tensors->n; k++)
        rc = check_tensor(i, i->tensors->at[k], e);
    return rc < 0 ? rc : check_left(i, e);
}

/* ---- converting ----------------------------------------------------------- */

/* Where each of our tensors begins: a source holds whole ones. */
static int make_room(struct import *i, struct err *e)
{
    const struct layout *l = i->outline.layout;
    float *at;
    void *room;

    i->bytes = layout_owned_bytes(l) + sizeof(float);
    room = mmap(NULL, i->bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", i->x->from->path,
                       i->bytes);
    i->data = at = room;
    i->place = arena_calloc(l->mem, (size_t)l->ntensor + 1, sizeof *i->place);
    for (int k = 0; k < l->nsource; k++) {
        for (int s = l->source[k].first; s < l->source[k].end; s++)
            i->place[l->slice[s].tensor] = at + l->slice[s].offset;
        at += shape_elements(&l->source[k].value->shape);
    }
    return 0;
}

static int convert(struct import *i, const struct hf_tensor *t, struct err *e)
{
    size_t shard = 0;
    const struct safetensors_tensor *s = hf_folder_find(i->x->from, t->name, &shard);
    float *x = NULL;
    int rc = read_floats(i->x->from->shard[shard].file, s, &x, e);

    for (int k = 0; rc == 0 && k < t->parts; k++)
        hf_tensor_take(t, k, x, i->place[t->part[k]]);
    free(x);
    return rc;
}

static int write_checkpoint(struct import *i, struct err *e)
{
    struct checkpoint_file origin = {.name = ORIGIN_NAME};
    struct arena *a = arena_create();
    struct buf text = {0};
    struct checkpoint_part p = {.dir = i->x->to,
                                .keep = 1,
                                .world = 1,
                                .layout = i->outline.layout,
                                .data = i->data,
                                .io = malloc(CHECKPOINT_IO_BYTES),
                                .state = {.loss_scale = 1},
                                .tokenizer = i->x->tokenizer,
                                .also = &origin};
    int rc = manifest_job(i->x->job_json, a, &p.seed, &p.job, e);

    if (rc == 0 && !p.io)
        rc = err_set(e, ERR_NOMEM, "%s: no memory to write it", i->x->to);
    if (rc == 0 && i->whole)
        rc = origin_write(i->x->from, &text, e);
    origin.data = text.data;
    origin.len = text.len;
    p.nalso = i->whole;
    if (rc == 0)
        rc = checkpoint_write(&p, e);
    free(p.io);
    buf_free(&text);
    arena_destroy(a);
    return rc;
}

int hf_import(const struct hf_import *x, struct err *e)
{
    struct import i = {.x = x};
    int rc = count(&i, e);

    if (rc == 0)
        rc = make_room(&i, e);
    for (size_t k = 0; rc == 0 && k < i.tensors->n; k++)
        rc = convert(&i, i.tensors->at[k], e);
    if (rc == 0)
        rc = write_checkpoint(&i, e);
    if (i.data)
        munmap(i.data, i.bytes);
    hf_tensors_destroy(i.tensors);
    outline_free(&i.outline);
    return rc;
}
