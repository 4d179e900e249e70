/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_load.c - finding the newest whole checkpoint, and reading from it
 * what this rank's mesh needs, whatever mesh wrote it.
 *
 * Ranks share the hashing.  An error on one rank is the error of all, in the same
 * words, so that no rank goes on alone.
 */
#include "train/checkpoint.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "tensor/dtype.h"
#include "train/checkpoint_folder.h"
#include "train/checkpoint_layout.h"
#include "train/checkpoint_stored.h"
#include "train/checkpoint_write.h"

/* ---- one outcome for all ranks ------------------------------------------- */

/* The error of the lowest rank that has one; c NULL: a rank alone. */
static int agree(struct comm *c, int rc, struct err *e)
{
    int64_t bad;
    int world, root;

    if (!c || comm_size(c) == 1)
        return rc;
    world = comm_size(c);
    bad = rc < 0 ? world - comm_rank(c) : 0;
    if (comm_allreduce(c, &bad, 1, COMM_MAX, e) < 0)
        return e->code;
    if (bad == 0)
        return 0;
    root = world - (int)bad;
    if (rc < 0)
        err_prefix(e, "rank %d", comm_rank(c));
    return comm_bcast(c, e, sizeof *e, root, e) < 0 ? ERR_FAILED : e->code;
}

static int rank_of(const struct comm *c)
{
    return c ? comm_rank(c) : 0;
}

static int size_of(const struct comm *c)
{
    return c ? comm_size(c) : 1;
}

/* Collective: open and hash; this rank's share of the tensors. */
static int open_verified(const char *path, bool model_only, struct comm *c,
                         struct stored **out, struct err *e)
{
    struct stored *s = NULL;
    int rc = stored_open(path, &s, e);

    if (rc == 0)
        rc = stored_verify(s, model_only, rank_of(c), size_of(c), e);
    rc = agree(c, rc, e);
    if (rc < 0)
        stored_close(s);
    else
        *out = s;
    return rc;
}

/* ---- finding ------------------------------------------------------------- */

/* Collective: rank 0's list of steps, newest first. */
static int share_list(const char *dir, struct comm *world, int64_t **steps, int64_t *n,
                      struct err *e)
{
    size_t found = 0;
    int rc = 0;

    *steps = NULL;
    if (comm_rank(world) == 0)
        rc = folder_list(dir, steps, &found, e);
    rc = agree(world, rc, e);
    *n = (int64_t)found;
    if (rc == 0)
        rc = comm_bcast(world, n, sizeof *n, 0, e);
    if (rc == 0 && !*steps)
        *steps = calloc((size_t)*n + 1, sizeof **steps);
    if (rc == 0)
        rc = agree(world,
                   *steps ? 0 : err_set(e, ERR_NOMEM, "%s: no memory for a list", dir),
                   e);
    return rc < 0 ? rc : comm_bcast(world, *steps, (size_t)*n * sizeof **steps, 0, e);
}

int checkpoint_find(const char *dir, struct comm *world, char *path, size_t size,
                    struct buf *notes, struct err *e)
{
    char found[PATH_MAX] = "";
    int64_t *steps, n;
    int rc = share_list(dir, world, &steps, &n, e);

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        struct stored *s = NULL;
        struct err why;

        rc = folder_path(dir, steps[i], found, sizeof found, e);
        if (rc < 0 || open_verified(found, false, world, &s, &why) == 0) {
            stored_close(s);
            break;
        }
        buf_printf(notes, "%s\n", why.text);
        found[0] = '\0';
    }
    free(steps);
    if (rc == 0 && strlen(found) >= size)
        rc = err_set(e, ERR_FAILED, "%s: wanted a path of less than %zu bytes", found,
                     size);
    if (rc == 0)
        strcpy(path, found);
    return rc;
}

int checkpoint_newest(const char *dir, struct comm *world, char *path, size_t size,
                      struct buf *notes, struct err *e)
{
    char sub[PATH_MAX + 32];
    int rc;

    if (strlen(dir) >= size || strlen(dir) >= PATH_MAX)
        return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", dir);
    snprintf(sub, sizeof sub, "%s/" MANIFEST_NAME, dir);
    if (fs_exists(sub)) {
        strcpy(path, dir);
        return 0;
    }
    snprintf(sub, sizeof sub, "%s/checkpoints", dir);
    rc = checkpoint_find(fs_exists(sub) ? sub : dir, world, path, size, notes, e);
    if (rc == 0 && !path[0])
        rc = err_set(e, ERR_NOTFOUND, "%s: wanted a checkpoint, found none", dir);
    return rc;
}

/* The file of the optimizer is empty: a model from elsewhere. */
static bool weights_only(const struct stored *s)
{
    return safetensors_count(s->file[LAYOUT_OPTIMIZER]) == 0;
}

/* ---- matching ------------------------------------------------------------ */

/* Every tensor of the model is in the file, in this shape. */
static int match_model(const struct layout *l, const struct stored *s,
                       enum layout_file last, struct err *e)
{
    const struct safetensors_tensor *found;

    for (int i = 0; i < l->ntensor; i++) {
        const struct layout_tensor *t = &l->tensor[i];
        int rc;

        if (t->file > last)
            continue;
        rc = safetensors_want(s->file[t->file], t->at->name, t->at->dtype, t->at->ndim,
                              t->at->dim, &found, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Every tensor of the files is in the model. */
static int match_files(const struct layout *l, const struct stored *s,
                       enum layout_file last, struct err *e)
{
    for (enum layout_file f = 0; f <= last; f++)
        for (size_t i = 0; i < safetensors_count(s->file[f]); i++) {
            const char *name = safetensors_at(s->file[f], i)->name;

            if (!safetensors_plan_find(l->plan[f], name))
                return err_set(e, ERR_SPEC,
                               "%s: tensor %.100s: wanted a counterpart in the model, "
                               "found none",
                               safetensors_path(s->file[f]), name);
        }
    return 0;
}

static int match(const struct layout *l, const struct stored *s, enum layout_file last,
                 struct err *e)
{
    int rc = match_model(l, s, last, e);

    return rc < 0 ? rc : match_files(l, s, last, e);
}

/* ---- reading ------------------------------------------------------------- */

/* Host memory for reading: a whole source, and a part of a tensor in f32. */
struct staging {
    char *value;
    float *part;
    bool average; /* of weights that have one, it is read */
    bool fresh;   /* there are weights alone              */
};

#define PART_ELEMENTS (CHECKPOINT_IO_BYTES / sizeof(float))

/* A slice's f32 elements to where it lies in a source of type dtype. */
static int read_slice(const struct safetensors *file,
                      const struct safetensors_tensor *t, const struct layout_slice *s,
                      int dtype, const struct staging *to, struct err *e)
{
    size_t each = dtype_size(dtype), n = (size_t)(s->hi - s->lo);
    char *out = to->value + (size_t)s->offset * each;

    if (dtype == NND_F32)
        return safetensors_read(file, t, (uint64_t)s->lo, (uint64_t)s->hi, out, e);
    for (size_t at = 0; at < n; at += PART_ELEMENTS) {
        size_t part = n - at < PART_ELEMENTS ? n - at : PART_ELEMENTS;
        uint64_t lo = (uint64_t)s->lo + at;
        int rc = safetensors_read(file, t, lo, lo + part, to->part, e);

        if (rc < 0)
            return rc;
        dtype_from_f32(dtype, to->part, out + at * each, part);
    }
    return 0;
}

/* The tensor of a file that a slice is read from; NULL: weights alone have none, and
 * zeros are what it begins with. */
static const struct safetensors *source_of(const struct stored *s,
                                           const struct staging *by,
                                           const struct layout_tensor *t,
                                           const struct safetensors_tensor **at)
{
    const char *name = t->at->name;
    size_t skip = strlen(STORED_AVERAGE);

    if (t->file == LAYOUT_MODEL)
        return stored_weight(s, name, by->average, at);
    if (!by->fresh) {
        *at = safetensors_find(s->file[t->file], name);
        return s->file[t->file];
    }
    /* an average of one is the one */
    return strncmp(name, STORED_AVERAGE, skip) == 0
               ? stored_weight(s, name + skip, false, at)
               : NULL;
}

static int read_source(const struct layout *l, const struct layout_source *source,
                       const struct stored *from, struct exec *x,
                       const struct staging *by, struct err *e)
{
    int rc = 0;

    for (int i = source->first; rc == 0 && i < source->end; i++) {
        const struct layout_slice *s = &l->slice[i];
        const struct safetensors_tensor *at;
        const struct safetensors *file =
            source_of(from, by, &l->tensor[s->tensor], &at);
        size_t each = dtype_size(source->value->dtype);

        if (file)
            rc = read_slice(file, at, s, source->value->dtype, by, e);
        else
            memset(by->value + (size_t)s->offset * each, 0,
                   (size_t)(s->hi - s->lo) * each);
    }
    return rc < 0 ? rc : exec_write(x, source->value, by->value, e);
}

static int read_sources(const struct layout *l, const struct stored *from, bool average,
                        struct exec *x, struct err *e)
{
    struct staging by;
    size_t most = 1;
    int rc = 0;

    for (int i = 0; i < l->nsource; i++)
        if (value_bytes(l->source[i].value) > most)
            most = value_bytes(l->source[i].value);
    by = (struct staging){.value = malloc(most),
                          .part = malloc(CHECKPOINT_IO_BYTES),
                          .average = average,
                          .fresh = weights_only(from)};
    if (!by.value || !by.part)
        rc = err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", from->path,
                     most + CHECKPOINT_IO_BYTES);
    for (int i = 0; rc == 0 && i < l->nsource; i++)
        rc = read_source(l, &l->source[i], from, x, &by, e);
    free(by.value);
    free(by.part);
    return rc;
}

/* Match a verified checkpoint with the model and read this rank's part. */
static int read_into(const struct stored *s, struct exec *x, const struct update *u,
                     struct err *e)
{
    struct layout *l = NULL;
    int rc = layout_create(exec_graph(x), u, &l, e);
    enum layout_file last = u && !weights_only(s) ? LAYOUT_OPTIMIZER : LAYOUT_MODEL;

    if (rc == 0)
        rc = match(l, s, last, e);
    if (rc == 0)
        rc = read_sources(l, s, !u, x, e);
    layout_destroy(l);
    return rc;
}

int checkpoint_load(const char *path, struct trainer *t, struct err *e)
{
    struct exec *x = trainer_exec(t);
    struct comm *world = exec_comms_of(x)->world;
    struct train_state state;
    struct stored *s;
    bool fresh;
    int rc = open_verified(path, false, world, &s, e);

    if (rc < 0)
        return rc;
    state = s->manifest.state;
    if (!s->manifest.scaled)
        state.loss_scale = 0;
    fresh = weights_only(s);
    rc = agree(world, read_into(s, x, trainer_update(t), e), e);
    stored_close(s);
    if (rc < 0)
        return rc;
    return fresh ? trainer_begin(t, e) : trainer_resume(t, &state, e);
}

int checkpoint_load_weights(const char *path, struct exec *x, struct err *e)
{
    struct comm *world = exec_comms_of(x)->world;
    struct stored *s;
    int rc = open_verified(path, true, world, &s, e);

    if (rc < 0)
        return rc;
    rc = agree(world, read_into(s, x, NULL, e), e);
    stored_close(s);
    return rc;
}

/* The folder that a checkpoint lies in. */
static int folder_of(const char *path, char *out, size_t size, struct err *e)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n + 2 > size)
        return err_set(e, ERR_FAILED, "%s: wanted a shorter path", path);
    snprintf(out, size, "%.*s%s", (int)n, path, n ? "." : "./.");
    return 0;
}

int checkpoint_best(const char *path, char *out, size_t size, struct err *e)
{
    struct arena *mem = arena_create();
    struct manifest m = {0};
    char dir[PATH_MAX], best[PATH_MAX];
    int rc = stored_manifest(path, mem, &m, e);

    arena_destroy(mem);
    if (rc == 0 && m.state.best_step == 0)
        rc = err_set(e, ERR_NOTFOUND,
                     "%s: wanted a best checkpoint, found a job without train.best, or "
                     "not validated yet",
                     path);
    if (rc == 0)
        rc = folder_of(path, dir, sizeof dir, e);
    if (rc == 0)
        rc = folder_path(dir, m.state.best_step, best, sizeof best, e);
    if (rc == 0 && !fs_exists(best))
        rc = err_set(e, ERR_NOTFOUND, "%s: the best checkpoint is gone", best);
    if (rc == 0 && strlen(best) >= size)
        rc = err_set(e, ERR_FAILED, "%s: wanted a shorter path", best);
    if (rc == 0)
        strcpy(out, best);
    return rc;
}

int checkpoint_read_job(const char *path, struct buf *job, struct buf *tokenizer,
                        struct err *e)
{
    struct arena *mem = arena_create();
    struct manifest m = {0};
    int rc = stored_manifest(path, mem, &m, e);

    if (rc == 0)
        rc = stored_read(path, &m, CHECKPOINT_TOKENIZER, tokenizer, e);
    if (rc == 0)
        buf_puts(job, m.job);
    arena_destroy(mem);
    return rc;
}
