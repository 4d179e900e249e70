/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - what a power cut leaves, from a log of shim.c.
 *
 *   image LOG POSITION FROM TO SEED
 *
 * Plays the log up to POSITION bytes and writes into the folder TO the files that
 * would be below FROM after the power failed then: of each file what was synced, of
 * each folder the names that were synced.  With SEED > 0 some of the writes that were
 * not synced are there as well, as a disk is free to do; SEED chooses which.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/fs.h"
#include "tests/sys/shim.h"

enum { MOST_FILES = 4096, MOST_OPEN = 65536 };

/* A change since the last sync. */
struct change {
    uint64_t offset, size;
    const char *data; /* NULL: a truncation to offset */
};

struct file {
    const char *path;        /* its name now, in the log; NULL: none */
    const char *synced_path; /* its name after a power cut           */
    struct buf synced;
    struct change *open;
    size_t nopen;
};

static struct file files[MOST_FILES];
static size_t nfiles;
static unsigned seed;

static struct file *find(const char *path)
{
    for (size_t i = 0; i < nfiles; i++)
        if (files[i].path && strcmp(files[i].path, path) == 0)
            return &files[i];
    return NULL;
}

static void apply(struct file *f, const struct change *c)
{
    size_t end = c->data ? c->offset + c->size : c->offset;

    if (f->synced.len < end) {
        buf_reserve(&f->synced, end - f->synced.len);
        memset(f->synced.data + f->synced.len, 0, end - f->synced.len);
        f->synced.len = end;
    }
    if (c->data)
        memcpy(f->synced.data + c->offset, c->data, c->size);
    else
        f->synced.len = end;
}

static void sync_file(struct file *f)
{
    for (size_t i = 0; i < f->nopen; i++)
        apply(f, &f->open[i]);
    f->nopen = 0;
}

/* The names in a folder, and the names that are not there any more. */
static void sync_folder(const char *path)
{
    size_t n = strlen(path);

    for (size_t i = 0; i < nfiles; i++) {
        struct file *f = &files[i];
        const char *name = f->path ? f->path : f->synced_path;

        if (name && strncmp(name, path, n) == 0 && name[n] == '/' &&
            !strchr(name + n + 1, '/'))
            f->synced_path = f->path;
    }
}

static void change(struct file *f, uint64_t offset, uint64_t size, const char *data)
{
    if (!f || f->nopen == MOST_OPEN)
        return;
    if (!f->open)
        f->open = calloc(MOST_OPEN, sizeof *f->open);
    f->open[f->nopen++] = (struct change){offset, size, data};
}

static void create(const char *path)
{
    if (find(path) || nfiles == MOST_FILES)
        return;
    files[nfiles++] = (struct file){.path = path};
}

static void play(const struct shim_record *r, const char *path, const char *other,
                 const char *data)
{
    struct file *f = find(path);

    switch (r->op) {
    case SHIM_CREATE:
        create(path);
        break;
    case SHIM_WRITE:
        change(f, r->offset, r->size, data);
        break;
    case SHIM_TRUNCATE:
        change(f, r->offset, 0, NULL);
        break;
    case SHIM_SYNC:
        if (f)
            sync_file(f);
        else
            sync_folder(path);
        break;
    case SHIM_RENAME:
        if (find(other))
            find(other)->path = NULL;
        if (f)
            f->path = other;
        break;
    case SHIM_UNLINK:
        if (f)
            f->path = NULL;
        break;
    }
}

/* Some of what was not synced. */
static void add_luck(struct file *f)
{
    for (size_t i = 0; i < f->nopen; i++)
        if (rand_r(&seed) % 2)
            apply(f, &f->open[i]);
    if (f->path && rand_r(&seed) % 2)
        f->synced_path = f->path;
}

static int write_files(const char *from, const char *to)
{
    size_t n = strlen(from);
    char path[4096];
    struct err e;

    for (size_t i = 0; i < nfiles; i++) {
        struct file *f = &files[i];

        if (seed)
            add_luck(f);
        if (!f->synced_path || strncmp(f->synced_path, from, n) != 0)
            continue;
        if (strchr(f->synced_path + n + 1, '/'))
            continue; /* folders of jobs are made anew when needed */
        snprintf(path, sizeof path, "%s%s", to, f->synced_path + n);
        buf_add(&f->synced, "", 0);
        if (fs_replace(path, f->synced.data, f->synced.len, &e) < 0) {
            fprintf(stderr, "image: %s\n", e.text);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct buf log = {0};
    size_t at = 0, end;
    struct err e;

    if (argc != 6) {
        fprintf(stderr, "image: LOG POSITION FROM TO SEED\n");
        return 2;
    }
    if (fs_read(argv[1], 0, &log, &e) < 0 || fs_mkdirs(argv[4], &e) < 0) {
        fprintf(stderr, "image: %s\n", e.text);
        return 1;
    }
    end = strtoull(argv[2], NULL, 10);
    end = end < log.len ? end : log.len;
    seed = (unsigned)strtoul(argv[5], NULL, 10);
    while (at + sizeof(struct shim_record) <= end) {
        struct shim_record r;
        const char *path, *other, *data;

        memcpy(&r, log.data + at, sizeof r);
        path = log.data + at + sizeof r;
        other = path + r.path;
        data = other + r.other;
        at += sizeof r + r.path + r.other + (r.op == SHIM_WRITE ? r.size : 0);
        if (at > end)
            break;
        play(&r, path, other, data);
    }
    return write_files(argv[3], argv[4]);
}
