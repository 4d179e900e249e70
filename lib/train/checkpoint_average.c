/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_average.c - the mean of several checkpoints' weights, as one checkpoint of
 * weights alone.
 *
 * Weights and the states of the model are averaged in f64, in the order of the steps,
 * and rounded once.
 */
#include "train/checkpoint.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "train/checkpoint_folder.h"
#include "train/checkpoint_layout.h"
#include "train/checkpoint_stored.h"
#include "train/checkpoint_write.h"

struct average {
    struct arena *mem;
    struct stored **from; /* [n], newest first */
    size_t n;
    struct layout layout;
    float *data; /* all tensors of the model, one behind the other */
    struct buf tokenizer;
};

/* ---- which ones ---------------------------------------------------------- */

/* The newest whole checkpoints below dir. */
static int open_newest(struct average *a, const char *dir, size_t least, size_t most,
                       struct err *e)
{
    int64_t *steps = NULL;
    size_t n = 0;
    int rc = folder_list(dir, &steps, &n, e);

    a->from = arena_calloc(a->mem, most, sizeof(struct stored *));
    for (size_t i = 0; rc == 0 && i < n && a->n < most; i++) {
        char path[PATH_MAX];

        if (!folder_is_whole(dir, steps[i]))
            continue;
        rc = folder_path(dir, steps[i], path, sizeof path, e);
        if (rc == 0)
            rc = stored_open(path, &a->from[a->n], e);
        a->n += rc == 0;
    }
    free(steps);
    if (rc == 0 && a->n < least)
        rc = err_set(e, ERR_NOTFOUND, "%s: wanted %s%zu checkpoints, found %zu", dir,
                     least < most ? "at least " : "", least, a->n);
    return rc;
}

static const char *tokenizer_hash(const struct manifest *m)
{
    for (size_t i = 0; i < m->nfile; i++)
        if (strcmp(m->file[i].name, CHECKPOINT_TOKENIZER) == 0)
            return m->file[i].sha256;
    return "";
}

/* They are of one model: ids mean the same, and weights have the same shapes. */
static int check_alike(const struct average *a, struct err *e)
{
    const struct stored *first = a->from[0];
    const struct safetensors *file = first->file[LAYOUT_MODEL];

    for (size_t i = 0; i < a->n; i++) {
        const struct stored *s = a->from[i];
        const struct safetensors_tensor *found;
        int rc = stored_verify(s, true, 0, 1, e);

        for (size_t k = 0; rc == 0 && k < safetensors_count(file); k++) {
            const struct safetensors_tensor *t = safetensors_at(file, k);

            rc = safetensors_want(s->file[LAYOUT_MODEL], t->name, NND_F32, t->ndim,
                                  t->dim, &found, e);
        }
        if (rc < 0)
            return rc;
        if (safetensors_count(s->file[LAYOUT_MODEL]) != safetensors_count(file) ||
            strcmp(tokenizer_hash(&s->manifest), tokenizer_hash(&first->manifest)) != 0)
            return err_set(e, ERR_SPEC,
                           "%s: wanted the weights and the tokenizer of %s, found "
                           "others",
                           s->path, first->path);
    }
    return 0;
}

/* ---- their mean ---------------------------------------------------------- */

static int average_tensor(const struct average *a, const struct safetensors_tensor *t,
                          double *sum, float *out, struct err *e)
{
    memset(sum, 0, t->elements * sizeof *sum);
    for (size_t i = a->n; i-- > 0;) {
        const struct safetensors *file = a->from[i]->file[LAYOUT_MODEL];
        int rc = safetensors_read(file, safetensors_find(file, t->name), 0, t->elements,
                                  out, e);

        if (rc < 0)
            return rc;
        for (uint64_t k = 0; k < t->elements; k++)
            sum[k] += (double)out[k];
    }
    for (uint64_t k = 0; k < t->elements; k++)
        out[k] = (float)(sum[k] / (double)a->n);
    return 0;
}

/* Every tensor is a source of its own, and a slice of it. */
static void add_tensor(struct average *a, float **at)
{
    struct layout *l = &a->layout;
    const struct safetensors_tensor *t = l->tensor[l->nsource].at;
    struct value *v = arena_calloc(a->mem, 1, sizeof *v);
    int i = l->nsource;

    v->shape = shape_of(1, (int64_t)t->elements);
    v->dtype = NND_F32;
    l->slice[l->nslice++] =
        (struct layout_slice){.tensor = i, .hi = (int64_t)t->elements};
    l->source[l->nsource++] =
        (struct layout_source){.value = v, .owned = true, .first = i, .end = i + 1};
    *at += t->elements;
}

static int plan_files(struct average *a, size_t *elements, struct err *e)
{
    const struct safetensors *file = a->from[0]->file[LAYOUT_MODEL];
    struct layout *l = &a->layout;
    int rc = 0;

    for (int f = 0; f < LAYOUT_FILES; f++)
        l->plan[f] = safetensors_plan_create(layout_file_name[f]);
    for (size_t i = 0; rc == 0 && i < safetensors_count(file); i++) {
        const struct safetensors_tensor *t = safetensors_at(file, i);

        rc = safetensors_plan_add(l->plan[LAYOUT_MODEL], t->name, NND_F32, t->ndim,
                                  t->dim, e);
        *elements += t->elements;
    }
    for (int f = 0; rc == 0 && f < LAYOUT_FILES; f++)
        rc = safetensors_plan_seal(l->plan[f], e);
    return rc;
}

static int average_all(struct average *a, struct err *e)
{
    struct layout *l = &a->layout;
    size_t elements = 0, n = safetensors_count(a->from[0]->file[LAYOUT_MODEL]);
    int rc = plan_files(a, &elements, e);
    double *sum = malloc(elements * sizeof *sum + 1);
    float *at = a->data = malloc(elements * sizeof *a->data + 1);

    if (rc == 0 && (!sum || !a->data))
        rc = err_set(e, ERR_NOMEM, "memory: %zu numbers", elements);
    l->tensor = arena_calloc(a->mem, n + 1, sizeof *l->tensor);
    l->source = arena_calloc(a->mem, n + 1, sizeof *l->source);
    l->slice = arena_calloc(a->mem, n + 1, sizeof *l->slice);
    for (; rc == 0 && l->ntensor < (int)n; l->ntensor++) {
        struct layout_tensor *t = &l->tensor[l->ntensor];

        *t = (struct layout_tensor){
            LAYOUT_MODEL,
            safetensors_plan_at(l->plan[LAYOUT_MODEL], (size_t)l->ntensor)};
        rc = average_tensor(a, t->at, sum, at, e);
        add_tensor(a, &at);
    }
    l->nparams = a->from[0]->manifest.nparams;
    free(sum);
    return rc;
}

/* ---- the whole ----------------------------------------------------------- */

static int write_average(struct average *a, const char *into, struct err *e)
{
    const struct manifest *m = &a->from[0]->manifest;
    struct checkpoint_part part = {.dir = into,
                                   .attempt = 1,
                                   .serial = 1,
                                   .keep = INT_MAX,
                                   .world = 1,
                                   .patience = 1,
                                   .layout = &a->layout,
                                   .data = a->data,
                                   .io = arena_alloc(a->mem, CHECKPOINT_IO_BYTES),
                                   .state = m->state,
                                   .seed = m->seed,
                                   .job = m->job};
    int rc = stored_read(a->from[0]->path, m, CHECKPOINT_TOKENIZER, &a->tokenizer, e);

    part.tokenizer = a->tokenizer.data;
    part.state.best = 0; /* what was measured was not this */
    part.state.best_step = part.state.stale = 0;
    if (rc == 0)
        rc = fs_mkdirs(into, e);
    return rc < 0 ? rc : checkpoint_write(&part, e);
}

static void close_all(struct average *a)
{
    for (size_t i = 0; i < a->n; i++)
        stored_close(a->from[i]);
    for (int f = 0; f < LAYOUT_FILES; f++)
        safetensors_plan_destroy(a->layout.plan[f]);
    free(a->data);
    buf_free(&a->tokenizer);
    arena_destroy(a->mem);
}

int checkpoint_average(const char *dir, size_t least, size_t most, const char *into,
                       char *path, size_t size, size_t *taken, struct err *e)
{
    struct average a = {.mem = arena_create()};
    int rc = open_newest(&a, dir, least, most, e);

    if (rc == 0)
        rc = check_alike(&a, e);
    if (rc == 0)
        rc = average_all(&a, e);
    if (rc == 0)
        rc = folder_path(into, a.from[0]->manifest.state.step, path, size, e);
    if (rc == 0 && fs_exists(path))
        rc = err_set(e, ERR_FAILED, "%s: is there already", path);
    if (rc == 0)
        rc = write_average(&a, into, e);
    if (rc == 0)
        *taken = a.n;
    close_all(&a);
    return rc;
}
