/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_write.c - a rank's part into the shared files; on rank 0 also their
 * headers, their hashes and the manifest.
 */
#include "train/checkpoint_write.h"

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
#include "base/log.h"
#include "train/checkpoint_folder.h"
#include "train/checkpoint_meet.h"
#include "train/checkpoint_stored.h"

/* Bytes on their way to the disk at a time: little, so that neither a sign of life
 * nor the training's own writing waits for long. */
#define SYNC_BYTES ((uint64_t)64 << 20)
#define CALL_BYTES ((int64_t)8 << 20) /* per write */

/* What one rank says that it has written: a part of a tensor. */
struct extent {
    int64_t tensor, lo, hi;
};

struct writing {
    const struct checkpoint_part *p;
    char folder[PATH_MAX], final[PATH_MAX];
    int fd[LAYOUT_FILES]; /* or -1 */
    uint64_t unsynced[LAYOUT_FILES];
    struct buf extents; /* struct extent; on rank 0 of all ranks, in the end */
    struct meet meet;
};

static int file_path(const struct writing *w, const char *name, char *out, size_t size,
                     struct err *e)
{
    if (snprintf(out, size, "%s/%s", w->folder, name) >= (int)size)
        return err_sys(e, ERR_FAILED, ENAMETOOLONG, "folder %s", w->folder);
    return 0;
}

/* ---- beginning ----------------------------------------------------------- */

/* Every rank makes the folder: who cannot knows it at once, without waiting for
 * one that could not either. */
static int make_folder(const struct writing *w, struct err *e)
{
    if (mkdir(w->folder, 0700) < 0 && errno != EEXIST)
        return err_sys(e, err_code_of(errno), errno, "make folder %s", w->folder);
    return 0;
}

static int open_files(struct writing *w, int flags, struct err *e)
{
    char path[PATH_MAX];

    for (int f = 0; f < LAYOUT_FILES; f++) {
        int rc = file_path(w, layout_file_name[f], path, sizeof path, e);

        if (rc < 0)
            return rc;
        w->fd[f] = open(path, O_WRONLY | O_CLOEXEC | flags, 0600);
        if (w->fd[f] < 0)
            return err_sys(e, err_code_of(errno), errno, "open %s", path);
    }
    return 0;
}

static int write_file(const struct writing *w, const char *name, const char *data,
                      size_t len, struct err *e)
{
    char path[PATH_MAX];
    int rc = file_path(w, name, path, sizeof path, e);

    return rc < 0 ? rc : fs_replace(path, data, len, e);
}

/* Rank 0: files of full size with headers, the tokenizer, and what goes along. */
static int prepare_files(struct writing *w, struct err *e)
{
    const char *text = w->p->tokenizer;
    int rc = open_files(w, O_CREAT | O_TRUNC, e);

    for (int f = 0; rc == 0 && f < LAYOUT_FILES; f++)
        rc = safetensors_write_header(w->p->layout->plan[f], w->fd[f], e);
    if (rc == 0)
        rc = write_file(w, CHECKPOINT_TOKENIZER, text, strlen(text), e);
    for (int i = 0; rc == 0 && i < w->p->nalso; i++)
        rc =
            write_file(w, w->p->also[i].name, w->p->also[i].data, w->p->also[i].len, e);
    return rc < 0 ? rc : meet_here(&w->meet, e);
}

static int join_files(struct writing *w, struct err *e)
{
    int rc = meet_wait_ready(&w->meet, e);

    if (rc == 0)
        rc = meet_here(&w->meet, e);
    return rc < 0 ? rc : open_files(w, 0, e);
}

/* ---- this rank's part ---------------------------------------------------- */

static int sync_file(struct writing *w, int f, struct err *e)
{
    w->unsynced[f] = 0;
    if (fdatasync(w->fd[f]) < 0)
        return err_sys(e, err_code_of(errno), errno, "sync %s", layout_file_name[f]);
    meet_touch(&w->meet);
    return 0;
}

static int write_slice(struct writing *w, const struct layout_slice *s,
                       const float *data, struct err *e)
{
    const struct layout_tensor *t = &w->p->layout->tensor[s->tensor];
    const int64_t chunk = CALL_BYTES / (int64_t)sizeof *data;

    for (int64_t lo = s->lo; lo < s->hi; lo += chunk) {
        int64_t hi = s->hi - lo < chunk ? s->hi : lo + chunk;
        int rc = safetensors_write(w->p->layout->plan[t->file], w->fd[t->file], t->at,
                                   (uint64_t)lo, (uint64_t)hi, data + (lo - s->lo), e);

        if (rc < 0)
            return rc;
        w->unsynced[t->file] += (uint64_t)(hi - lo) * sizeof *data;
        if (w->unsynced[t->file] >= SYNC_BYTES && (rc = sync_file(w, t->file, e)) < 0)
            return rc;
    }
    return 0;
}

static int write_source(struct writing *w, const struct layout_source *source,
                        const float *data, struct err *e)
{
    for (int i = source->first; i < source->end; i++) {
        const struct layout_slice *s = &w->p->layout->slice[i];
        struct extent x = {s->tensor, s->lo, s->hi};
        int rc = write_slice(w, s, data + s->offset, e);

        if (rc < 0)
            return rc;
        buf_add(&w->extents, &x, sizeof x);
    }
    return 0;
}

static int write_owned(struct writing *w, struct err *e)
{
    const struct layout *l = w->p->layout;
    const float *data = w->p->data;

    for (int i = 0; i < l->nsource; i++) {
        int rc;

        if (!l->source[i].owned)
            continue;
        rc = write_source(w, &l->source[i], w->p->at ? w->p->at[i] : data, e);
        if (rc < 0)
            return rc;
        if (!w->p->at)
            data += shape_elements(&l->source[i].value->shape);
    }
    return 0;
}

static int close_files(struct writing *w, struct err *e)
{
    int rc = 0;

    for (int f = 0; f < LAYOUT_FILES; f++) {
        if (w->fd[f] >= 0 && close(w->fd[f]) < 0 && rc == 0)
            rc = err_sys(e, err_code_of(errno), errno, "close %s", layout_file_name[f]);
        w->fd[f] = -1;
    }
    return rc;
}

/* Size and contents; closing is what shows them to other machines. */
static int finish_files(struct writing *w, struct err *e)
{
    for (int f = 0; f < LAYOUT_FILES; f++)
        if (fsync(w->fd[f]) < 0)
            return err_sys(e, err_code_of(errno), errno, "sync %s",
                           layout_file_name[f]);
    return close_files(w, e);
}

/* ---- all parts together -------------------------------------------------- */

static int gather(struct writing *w, struct err *e)
{
    for (int r = 1; r < w->p->world; r++) {
        size_t before = w->extents.len;
        int rc = meet_gather(&w->meet, r, &w->extents, e);

        if (rc < 0)
            return rc;
        if ((w->extents.len - before) % sizeof(struct extent))
            return err_set(e, ERR_FAILED,
                           "rank %d: wanted a list of extents, found %zu bytes", r,
                           w->extents.len - before);
    }
    return 0;
}

static int by_place(const void *pa, const void *pb)
{
    const struct extent *a = pa, *b = pb;

    if (a->tensor != b->tensor)
        return a->tensor < b->tensor ? -1 : 1;
    return (a->lo > b->lo) - (a->lo < b->lo);
}

/* What all ranks wrote is every element of every tensor, once. */
static int check_extents(struct writing *w, struct err *e)
{
    struct extent *x = (struct extent *)(void *)w->extents.data;
    size_t n = w->extents.len / sizeof *x, k = 0;

    if (n)
        qsort(x, n, sizeof *x, by_place);
    for (int i = 0; i < w->p->layout->ntensor; i++) {
        const struct safetensors_tensor *t = w->p->layout->tensor[i].at;
        int64_t at = 0;

        for (; k < n && x[k].tensor == i && x[k].lo == at; k++)
            at = x[k].hi;
        if (k < n && x[k].tensor == i)
            return err_set(e, ERR_FAILED,
                           "tensor %.100s: wanted element %" PRId64
                           " to be written next, found %" PRId64,
                           t->name, at, x[k].lo);
        if (at != (int64_t)t->elements)
            return err_set(e, ERR_FAILED,
                           "tensor %.100s: wanted %" PRIu64
                           " elements written, found %" PRId64,
                           t->name, t->elements, at);
    }
    if (k < n)
        return err_set(e, ERR_FAILED,
                       "wanted %d tensors written, found number %" PRId64,
                       w->p->layout->ntensor, x[k].tensor);
    return 0;
}

/* ---- the manifest -------------------------------------------------------- */

static int describe_file(const struct writing *w, const char *name, uint64_t size,
                         uint64_t head, struct manifest *m, struct err *e)
{
    struct manifest_file *f = &m->file[m->nfile];
    char path[PATH_MAX];
    int rc = file_path(w, name, path, sizeof path, e);

    if (rc == 0)
        rc = stored_hash_head(path, head, f->sha256, e);
    if (rc < 0)
        return rc;
    f->name = name;
    f->size = size;
    f->head = head;
    m->nfile++;
    return 0;
}

static int describe_files(const struct writing *w, struct manifest *m, struct err *e)
{
    size_t head, tokenizer = strlen(w->p->tokenizer);
    int rc = 0;

    for (int f = 0; rc == 0 && f < LAYOUT_FILES; f++) {
        const struct safetensors_plan *plan = w->p->layout->plan[f];

        safetensors_plan_header(plan, &head);
        rc = describe_file(w, layout_file_name[f], safetensors_plan_size(plan), head, m,
                           e);
    }
    if (rc == 0)
        rc = describe_file(w, CHECKPOINT_TOKENIZER, tokenizer, tokenizer, m, e);
    for (int i = 0; rc == 0 && i < w->p->nalso; i++)
        rc = describe_file(w, w->p->also[i].name, w->p->also[i].len, w->p->also[i].len,
                           m, e);
    return rc;
}

static int describe_tensor(struct writing *w, struct safetensors *file,
                           const struct layout_tensor *t, struct manifest *m,
                           struct err *e)
{
    struct manifest_tensor *out = &m->tensor[m->ntensor];
    const struct safetensors_tensor *found;
    int rc = safetensors_want(file, t->at->name, t->at->dtype, t->at->ndim, t->at->dim,
                              &found, e);

    if (rc == 0)
        rc = stored_hash_tensor(file, found, w->p->io, CHECKPOINT_IO_BYTES, &w->meet,
                                out->sha256, e);
    if (rc < 0)
        return rc;
    out->name = t->at->name;
    out->file = layout_file_name[t->file];
    out->type = t->at->type;
    out->ndim = t->at->ndim;
    memcpy(out->dim, t->at->dim, sizeof out->dim);
    m->ntensor++;
    return 0;
}

/* Read back what all ranks wrote. */
static int describe_tensors(struct writing *w, struct manifest *m, struct err *e)
{
    const struct layout *l = w->p->layout;
    int rc = 0;

    for (enum layout_file f = 0; rc == 0 && f < LAYOUT_FILES; f++) {
        struct safetensors *file = NULL;
        char path[PATH_MAX];

        rc = file_path(w, layout_file_name[f], path, sizeof path, e);
        if (rc == 0)
            rc = safetensors_open(path, &file, e);
        for (int i = 0; rc == 0 && i < l->ntensor; i++)
            if (l->tensor[i].file == f)
                rc = describe_tensor(w, file, &l->tensor[i], m, e);
        safetensors_close(file);
    }
    return rc;
}

static int write_manifest(struct writing *w, struct err *e)
{
    const struct layout *l = w->p->layout;
    struct arena *a = arena_create();
    struct manifest m = {.state = w->p->state,
                         .nparams = l->nparams,
                         .seed = w->p->seed,
                         .job = w->p->job};
    struct buf text = {0};
    char path[PATH_MAX];
    int rc;

    m.file = arena_calloc(a, (size_t)(LAYOUT_FILES + 1 + w->p->nalso), sizeof *m.file);
    m.tensor = arena_calloc(a, (size_t)l->ntensor + 1, sizeof *m.tensor);
    rc = describe_files(w, &m, e);
    if (rc == 0)
        rc = describe_tensors(w, &m, e);
    if (rc == 0)
        rc = file_path(w, MANIFEST_NAME, path, sizeof path, e);
    if (rc == 0) {
        manifest_print(&m, &text);
        rc = fs_replace(path, text.data, text.len, e);
    }
    buf_free(&text);
    arena_destroy(a);
    return rc;
}

/* ---- the whole ----------------------------------------------------------- */

static int write_part(struct writing *w, struct err *e)
{
    int rc = make_folder(w, e);

    if (rc == 0 && w->p->failed)
        rc = err_set(e, ERR_FAILED, "%s", w->p->failed);
    if (rc == 0)
        rc = w->p->rank == 0 ? prepare_files(w, e) : join_files(w, e);
    if (rc == 0)
        rc = write_owned(w, e);
    return rc < 0 ? rc : finish_files(w, e);
}

/* What hinders tidying up does not make the checkpoint worse.  This attempt's own
 * folders stay: the other ranks may have begun the next checkpoint. */
static void tidy(const struct writing *w)
{
    struct err e;

    if (folder_prune(w->p->dir, w->p->state.step, w->p->keep, w->p->state.best_step,
                     &e) < 0 ||
        folder_clean(w->p->dir, w->p->attempt - 1, &e) < 0)
        log_warn("old checkpoint: %s", e.text);
}

static int lead(struct writing *w, struct err *e)
{
    int rc = write_part(w, e);

    if (rc == 0)
        rc = gather(w, e);
    if (rc == 0)
        rc = check_extents(w, e);
    if (rc == 0)
        rc = write_manifest(w, e);
    if (rc == 0)
        rc = meet_clear(&w->meet, e);
    if (rc == 0)
        rc = folder_publish(w->p->dir, w->folder, w->final, e);
    if (rc == 0) {
        tidy(w);
        return 0;
    }
    close_files(w, NULL);
    meet_failed(&w->meet, e->text);
    meet_dismiss(&w->meet);
    fs_remove_tree(w->folder, NULL);
    return rc;
}

static int follow(struct writing *w, struct err *e)
{
    int rc = write_part(w, e);

    if (rc == 0)
        rc = meet_done(&w->meet, w->extents.data, w->extents.len, e);
    if (rc == 0)
        rc = meet_wait_end(&w->meet, e);
    if (rc < 0) {
        close_files(w, NULL);
        meet_failed(&w->meet, e->text);
    }
    return rc;
}

int checkpoint_write(const struct checkpoint_part *p, struct err *e)
{
    struct writing w = {.p = p, .fd = {-1, -1}};
    int64_t step = p->state.step;
    int rc = folder_path(p->dir, step, w.final, sizeof w.final, e);

    if (rc == 0)
        rc = folder_temporary(p->dir, step, p->attempt, w.folder, sizeof w.folder, e);
    w.meet = (struct meet){.folder = w.folder,
                           .serial = p->serial,
                           .rank = p->rank,
                           .world = p->world,
                           .patience = p->patience};
    if (rc == 0)
        rc = p->rank == 0 ? lead(&w, e) : follow(&w, e);
    buf_free(&w.extents);
    return rc < 0 ? err_prefix(e, "checkpoint of step %" PRId64 " in %s", step, p->dir)
                  : 0;
}
