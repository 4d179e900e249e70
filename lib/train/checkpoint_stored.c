/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_stored.c - opening, hashing and comparing what is on disk.
 */
#include "train/checkpoint_stored.h"

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
#include "train/checkpoint_write.h"

static int file_path(const char *folder, const char *name, char *out, size_t size,
                     struct err *e)
{
    if (snprintf(out, size, "%s/%s", folder, name) >= (int)size)
        return err_sys(e, ERR_FAILED, ENAMETOOLONG, "folder %s", folder);
    return 0;
}

/* ---- hashing ------------------------------------------------------------- */

int stored_hash_tensor(const struct safetensors *s, const struct safetensors_tensor *t,
                       void *io, size_t size, struct meet *m, char *hex, struct err *e)
{
    struct sha256 *sum = sha256_create();
    uint64_t chunk = size / t->element_size;
    int rc = 0;

    for (uint64_t lo = 0; rc == 0 && lo < t->elements; lo += chunk) {
        uint64_t hi = t->elements - lo < chunk ? t->elements : lo + chunk;

        rc = safetensors_read(s, t, lo, hi, io, e);
        if (rc == 0)
            sha256_add(sum, io, (hi - lo) * t->element_size);
        if (m)
            meet_worked(m, (hi - lo) * t->element_size);
    }
    if (rc == 0)
        sha256_hex(sum, hex);
    sha256_destroy(sum);
    return rc;
}

static int hash_head(int fd, const char *path, uint64_t head, struct sha256 *sum,
                     struct err *e)
{
    char part[16384];

    while (head > 0) {
        ssize_t n = read(fd, part, head < sizeof part ? head : sizeof part);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, ERR_FAILED, errno, "read %s", path);
        if (n == 0)
            return err_set(e, ERR_SPEC,
                           "%s: wanted %" PRIu64 " more bytes, found its end", path,
                           head);
        sha256_add(sum, part, (size_t)n);
        head -= (uint64_t)n;
    }
    return 0;
}

int stored_hash_head(const char *path, uint64_t head, char *hex, struct err *e)
{
    struct sha256 *sum;
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc;

    if (fd < 0)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    sum = sha256_create();
    rc = hash_head(fd, path, head, sum, e);
    if (rc == 0)
        sha256_hex(sum, hex);
    sha256_destroy(sum);
    close(fd);
    return rc;
}

/* ---- files --------------------------------------------------------------- */

static const struct manifest_file *find_file(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->nfile; i++)
        if (strcmp(m->file[i].name, name) == 0)
            return &m->file[i];
    return NULL;
}

/* Size, and the bytes that are no tensor's. */
static int check_file(const char *folder, const struct manifest *m, const char *name,
                      struct err *e)
{
    const struct manifest_file *f = find_file(m, name);
    char path[PATH_MAX], hex[SHA256_HEX];
    struct stat st;
    int rc = file_path(folder, name, path, sizeof path, e);

    if (rc < 0)
        return rc;
    if (!f)
        return err_set(e, ERR_SPEC, "%s/" MANIFEST_NAME ": wanted file %s, found none",
                       folder, name);
    if (stat(path, &st) < 0)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a file of %" PRIu64 " bytes, found %lld", path,
                       f->size, (long long)st.st_size);
    rc = stored_hash_head(path, f->head, hex, e);
    if (rc == 0 && strcmp(hex, f->sha256) != 0)
        rc = err_set(e, ERR_SPEC,
                     "%s: first %" PRIu64 " bytes: wanted sha256 %s, found %s", path,
                     f->head, f->sha256, hex);
    return rc;
}

int stored_manifest(const char *path, struct arena *a, struct manifest *out,
                    struct err *e)
{
    char name[PATH_MAX];
    struct buf text = {0};
    int rc = file_path(path, MANIFEST_NAME, name, sizeof name, e);

    if (rc == 0)
        rc = fs_read(name, MANIFEST_MAX, &text, e);
    if (rc == 0)
        rc = manifest_parse(name, text.data ? text.data : "", text.len, a, out, e);
    buf_free(&text);
    return rc;
}

int stored_read(const char *path, const struct manifest *m, const char *name,
                struct buf *out, struct err *e)
{
    char full[PATH_MAX];
    int rc = check_file(path, m, name, e);

    if (rc == 0)
        rc = file_path(path, name, full, sizeof full, e);
    return rc < 0 ? rc : fs_read(full, 0, out, e);
}

/* ---- tensors ------------------------------------------------------------- */

static enum layout_file file_number(const char *name)
{
    enum layout_file f = 0;

    while (f < LAYOUT_FILES && strcmp(name, layout_file_name[f]) != 0)
        f++;
    return f;
}

/* The tensor of a file that an entry of the manifest speaks of. */
static int find_tensor(const struct stored *s, const struct manifest_tensor *m,
                       const struct safetensors_tensor **out, struct err *e)
{
    enum layout_file f = file_number(m->file);
    int rc;

    if (f == LAYOUT_FILES)
        return err_set(e, ERR_SPEC,
                       "%s/" MANIFEST_NAME ": tensor %.100s: wanted a file of the "
                       "checkpoint, found %.100s",
                       s->path, m->name, m->file);
    rc = safetensors_want(s->file[f], m->name, 0, m->ndim, m->dim, out, e);
    if (rc == 0 && strcmp((*out)->type, m->type) != 0)
        rc = err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted type %.16s, found %s",
                     safetensors_path(s->file[f]), m->name, m->type, (*out)->type);
    return rc;
}

/* Name a tensor that the files have and the manifest has not. */
static int extra(const struct stored *s, struct err *e)
{
    for (int f = 0; f < LAYOUT_FILES; f++)
        for (size_t i = 0; i < safetensors_count(s->file[f]); i++) {
            const char *name = safetensors_at(s->file[f], i)->name;
            size_t k = 0;

            while (k < s->manifest.ntensor &&
                   (strcmp(s->manifest.tensor[k].name, name) != 0 ||
                    strcmp(s->manifest.tensor[k].file, layout_file_name[f]) != 0))
                k++;
            if (k == s->manifest.ntensor)
                return err_set(e, ERR_SPEC,
                               "%s: tensor %.100s: wanted it in the manifest, found "
                               "none of this name",
                               safetensors_path(s->file[f]), name);
        }
    return 0;
}

static int check_tensors(const struct stored *s, struct err *e)
{
    const struct safetensors_tensor *t;
    size_t n = 0;

    for (size_t i = 0; i < s->manifest.ntensor; i++) {
        int rc = find_tensor(s, &s->manifest.tensor[i], &t, e);

        if (rc < 0)
            return rc;
    }
    for (int f = 0; f < LAYOUT_FILES; f++)
        n += safetensors_count(s->file[f]);
    return n == s->manifest.ntensor ? 0 : extra(s, e);
}

static int open_all(struct stored *s, struct err *e)
{
    char path[PATH_MAX];
    int rc = stored_manifest(s->path, s->mem, &s->manifest, e);

    if (rc == 0)
        rc = check_file(s->path, &s->manifest, CHECKPOINT_TOKENIZER, e);
    for (int f = 0; rc == 0 && f < LAYOUT_FILES; f++) {
        rc = check_file(s->path, &s->manifest, layout_file_name[f], e);
        if (rc == 0)
            rc = file_path(s->path, layout_file_name[f], path, sizeof path, e);
        if (rc == 0)
            rc = safetensors_open(path, &s->file[f], e);
    }
    return rc < 0 ? rc : check_tensors(s, e);
}

int stored_open(const char *path, struct stored **out, struct err *e)
{
    struct arena *mem = arena_create();
    struct stored *s = arena_alloc(mem, sizeof *s);
    int rc;

    s->mem = mem;
    s->path = arena_strdup(mem, path);
    rc = open_all(s, e);
    if (rc < 0)
        stored_close(s);
    else
        *out = s;
    return rc;
}

void stored_close(struct stored *s)
{
    if (!s)
        return;
    for (int f = 0; f < LAYOUT_FILES; f++)
        safetensors_close(s->file[f]);
    arena_destroy(s->mem);
}

const struct safetensors *stored_weight(const struct stored *s, const char *name,
                                        bool average,
                                        const struct safetensors_tensor **at)
{
    char full[400];

    snprintf(full, sizeof full, STORED_AVERAGE "%s", name);
    *at = average ? safetensors_find(s->file[LAYOUT_OPTIMIZER], full) : NULL;
    if (*at)
        return s->file[LAYOUT_OPTIMIZER];
    *at = safetensors_find(s->file[LAYOUT_MODEL], name);
    return s->file[LAYOUT_MODEL];
}

static int verify_tensor(const struct stored *s, const struct manifest_tensor *m,
                         void *io, struct err *e)
{
    const struct safetensors_tensor *t = NULL;
    const struct safetensors *file = s->file[file_number(m->file)];
    char hex[SHA256_HEX];
    int rc = find_tensor(s, m, &t, e);

    if (rc == 0)
        rc = stored_hash_tensor(file, t, io, CHECKPOINT_IO_BYTES, NULL, hex, e);
    if (rc == 0 && strcmp(hex, m->sha256) != 0)
        rc = err_set(e, ERR_SPEC, "%s: tensor %.100s: wanted sha256 %s, found %s",
                     safetensors_path(file), m->name, m->sha256, hex);
    return rc;
}

/* Is it one that inference reads? */
static bool is_model(const struct manifest_tensor *t)
{
    return file_number(t->file) == LAYOUT_MODEL ||
           strncmp(t->name, STORED_AVERAGE, sizeof STORED_AVERAGE - 1) == 0;
}

int stored_verify(const struct stored *s, bool model_only, int rank, int world,
                  struct err *e)
{
    void *io = malloc(CHECKPOINT_IO_BYTES);
    int rc = 0;

    if (!io)
        return err_set(e, ERR_NOMEM, "%s: no memory for %zu bytes", s->path,
                       CHECKPOINT_IO_BYTES);
    for (size_t i = (size_t)rank; rc == 0 && i < s->manifest.ntensor;
         i += (size_t)world)
        if (!model_only || is_model(&s->manifest.tensor[i]))
            rc = verify_tensor(s, &s->manifest.tensor[i], io, e);
    free(io);
    return rc;
}
