/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.c - listing folders in name order; reading lines of checked UTF-8.
 */
#include "data/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "data/utf8.h"

#define TEXT_DEPTH 2 /* a folder named in the job, and the folders in it */

/* A list that grows, and what was seen in the folder being listed. */
struct finder {
    struct arena *arena;
    const char **path;
    struct file_id {
        dev_t dev;
        ino_t ino;
    } * id;
    size_t count, cap;
    size_t folder; /* count when the folder began: links are followed once in it */
};

static enum err_code code_of(int sys)
{
    return sys == ENOENT || sys == ENOTDIR ? ERR_NOTFOUND
           : sys == EACCES || sys == EPERM ? ERR_DENIED
                                           : ERR_FAILED;
}

static void add_file(struct finder *f, const char *path, const struct stat *st)
{
    for (size_t i = f->folder; i < f->count; i++)
        if (f->id[i].dev == st->st_dev && f->id[i].ino == st->st_ino)
            return;
    if (f->count == f->cap) {
        size_t cap = f->cap ? 2 * f->cap : 16;
        const char **grown = arena_calloc(f->arena, cap, sizeof *grown);
        struct file_id *ids = arena_calloc(f->arena, cap, sizeof *ids);

        if (f->count) {
            memcpy(grown, f->path, f->count * sizeof *grown);
            memcpy(ids, f->id, f->count * sizeof *ids);
        }
        f->path = grown;
        f->id = ids;
        f->cap = cap;
    }
    f->id[f->count] = (struct file_id){st->st_dev, st->st_ino};
    f->path[f->count++] = path;
}

static int not_dot(const struct dirent *d)
{
    return strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_path(struct finder *f, const char *path, int depth, struct err *e);

static int add_folder(struct finder *f, const char *path, int depth, struct err *e)
{
    struct dirent **names;
    size_t before = f->count;
    int n, rc = ERR_OK;

    if (depth == TEXT_DEPTH)
        return err_set(e, ERR_SPEC,
                       "%s: wanted a file, found a folder; folders are read %d deep",
                       path, TEXT_DEPTH);
    n = scandir(path, &names, not_dot, by_name);
    if (n < 0)
        return err_sys(e, code_of(errno), errno, "%s: cannot list the folder", path);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = add_path(f, arena_printf(f->arena, "%s/%s", path, names[i]->d_name),
                          depth + 1, e);
        free(names[i]);
    }
    free(names);
    if (rc == 0 && depth == 0 && f->count == before)
        return err_set(e, ERR_SPEC, "%s: wanted text files, found none in the folder",
                       path);
    return rc;
}

static int add_path(struct finder *f, const char *path, int depth, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(e, code_of(errno), errno, "%s: cannot read", path);
    if (S_ISDIR(st.st_mode))
        return add_folder(f, path, depth, e);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_SPEC,
                       "%s: wanted a text file or a folder, found something else",
                       path);
    add_file(f, path, &st);
    return ERR_OK;
}

int text_find(char *const *paths, size_t n, struct arena *a, struct text_files *out,
              struct err *e)
{
    struct finder f = {.arena = a};

    for (size_t i = 0; i < n; i++) {
        f.folder = f.count;
        int rc = add_path(&f, arena_strdup(a, paths[i]), 0, e);
        if (rc < 0)
            return rc;
    }
    out->path = f.path;
    out->count = f.count;
    return ERR_OK;
}

/* A regular file, open; a FIFO must not make us wait. */
static int open_regular(const char *path, struct err *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc;

    if (fd < 0)
        return err_sys(e, code_of(errno), errno, "%s: cannot read", path);
    if (fstat(fd, &st) < 0)
        rc = err_sys(e, ERR_FAILED, errno, "%s: cannot read", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_SPEC, "%s: wanted a text file, found something else", path);
    else
        return fd;
    close(fd);
    return rc;
}

int text_open(struct text_reader *r, const char *path, struct err *e)
{
    int fd = open_regular(path, e);
    FILE *file;

    if (fd < 0)
        return fd;
    file = fdopen(fd, "r");
    if (!file) {
        close(fd);
        return err_sys(e, ERR_NOMEM, ENOMEM, "%s: cannot read", path);
    }
    *r = (struct text_reader){.path = path, .file = file};
    return ERR_OK;
}

void text_close(struct text_reader *r)
{
    if (r->file)
        fclose(r->file);
    free(r->line);
    *r = (struct text_reader){0};
}

static int check_line(const struct text_reader *r, size_t len, struct err *e)
{
    size_t good = utf8_valid(r->line, len);
    const char *nul = memchr(r->line, '\0', good);

    if (nul)
        return err_set(e, ERR_SPEC,
                       "%s:%" PRIu64 ": wanted text, found a NUL at byte %zu", r->path,
                       r->number, (size_t)(nul - r->line) + 1);
    if (good < len)
        return err_set(e, ERR_SPEC,
                       "%s:%" PRIu64 ": wanted UTF-8, found 0x%02x at byte %zu",
                       r->path, r->number, (unsigned char)r->line[good], good + 1);
    return 1;
}

/* 0 where there is nothing but the mark. */
static int skip_mark(struct text_reader *r, size_t *len)
{
    size_t mark = str_mark(r->line, *len);

    *len -= mark;
    memmove(r->line, r->line + mark, *len);
    return mark == 0 || *len > 0;
}

int text_next(struct text_reader *r, size_t *len, struct err *e)
{
    ssize_t n;
    int rc;

    errno = 0;
    n = getline(&r->line, &r->cap, r->file);
    if (n < 0 && (ferror(r->file) || errno == ENOMEM))
        return err_sys(e, ERR_FAILED, errno, "%s:%" PRIu64 ": cannot read", r->path,
                       r->number + 1);
    if (n < 0)
        return 0;
    r->number++;
    *len = (size_t)n;
    rc = check_line(r, (size_t)n, e);
    return rc == 1 && r->number == 1 ? skip_mark(r, len) : rc;
}

static int each_line_of(const char *path, text_line_f *fn, void *arg, struct err *e)
{
    struct text_reader r;
    size_t len;
    int rc = text_open(&r, path, e);

    if (rc < 0)
        return rc;
    while ((rc = text_next(&r, &len, e)) > 0) {
        rc = fn(arg, r.line, len, e);
        if (rc < 0) {
            err_prefix(e, "%s:%" PRIu64, path, r.number);
            break;
        }
    }
    text_close(&r);
    return rc;
}

int text_each_line(const struct text_files *files, text_line_f *fn, void *arg,
                   struct err *e)
{
    for (size_t i = 0; i < files->count; i++) {
        int rc = each_line_of(files->path[i], fn, arg, e);
        if (rc < 0)
            return rc;
    }
    return ERR_OK;
}
