/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_folder.c - naming, publishing, listing and removing.
 */
#include "train/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "train/manifest.h"

static int named(int n, size_t size, const char *dir, struct err *e)
{
    return n < (int)size ? 0 : err_sys(e, ERR_FAILED, ENAMETOOLONG, "folder %s", dir);
}

int folder_path(const char *dir, int64_t step, char *out, size_t size, struct err *e)
{
    return named(snprintf(out, size, "%s/step-%09" PRId64, dir, step), size, dir, e);
}

int folder_temporary(const char *dir, int64_t step, int attempt, char *out, size_t size,
                     struct err *e)
{
    int n = snprintf(out, size, "%s/.step-%09" PRId64 ".attempt-%d.tmp", dir, step,
                     attempt);

    return named(n, size, dir, e);
}

/* ---- appearing ----------------------------------------------------------- */

/* Where two names cannot change places at once, the old one steps aside. */
static int swap_slowly(const char *from, const char *to, struct err *e)
{
    char aside[PATH_MAX];
    int rc =
        named(snprintf(aside, sizeof aside, "%s.old", from), sizeof aside, from, e);

    if (rc < 0)
        return rc;
    if (rename(to, aside) < 0 || rename(from, to) < 0)
        return err_sys(e, err_code_of(errno), errno, "rename %s to %s", from, to);
    return fs_remove_tree(aside, e);
}

static int swap(const char *from, const char *to, struct err *e)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
        return fs_remove_tree(from, e);
    if (errno == EINVAL || errno == ENOSYS)
        return swap_slowly(from, to, e);
    return err_sys(e, err_code_of(errno), errno, "rename %s to %s", from, to);
}

int folder_publish(const char *dir, const char *from, const char *to, struct err *e)
{
    int rc = fs_sync_dir(from, e);

    if (rc < 0)
        return rc;
    if (rename(from, to) < 0) {
        if (errno != EEXIST && errno != ENOTEMPTY)
            return err_sys(e, err_code_of(errno), errno, "rename %s to %s", from, to);
        rc = swap(from, to, e);
        if (rc < 0)
            return rc;
    }
    return fs_sync_dir(dir, e);
}

/* ---- listing ------------------------------------------------------------- */

/* The step that a folder's name tells, when it is exactly as we write it. */
static bool step_of(const char *name, int64_t *step)
{
    char again[64], *end;

    if (strncmp(name, "step-", 5) != 0)
        return false;
    *step = strtoll(name + 5, &end, 10);
    snprintf(again, sizeof again, "step-%09" PRId64, *step);
    return strcmp(name, again) == 0;
}

/* The attempt in the name of an unfinished one. */
static bool attempt_of(const char *name, int *attempt)
{
    int64_t step;
    int n = 0;

    return sscanf(name, ".step-%" SCNd64 ".attempt-%d.tmp%n", &step, attempt, &n) ==
               2 &&
           n > 0;
}

static int newest_first(const void *pa, const void *pb)
{
    const int64_t a = *(const int64_t *)pa, b = *(const int64_t *)pb;

    return (a < b) - (a > b);
}

/* Open the folder; *out NULL when there is none. */
static int open_dir(const char *dir, DIR **out, struct err *e)
{
    *out = opendir(dir);
    if (!*out && errno != ENOENT)
        return err_sys(e, err_code_of(errno), errno, "open %s", dir);
    return 0;
}

int folder_list(const char *dir, int64_t **out, size_t *n, struct err *e)
{
    struct buf steps = {0};
    const struct dirent *entry;
    DIR *d;
    int rc = open_dir(dir, &d, e);

    if (rc < 0)
        return rc;
    while (d && (entry = readdir(d))) {
        int64_t step;

        if (step_of(entry->d_name, &step))
            buf_add(&steps, &step, sizeof step);
    }
    if (d)
        closedir(d);
    *out = (int64_t *)(void *)steps.data;
    *n = steps.len / sizeof **out;
    if (*n)
        qsort(*out, *n, sizeof **out, newest_first);
    return 0;
}

/* ---- going --------------------------------------------------------------- */

static int remove_in(const char *dir, const char *name, struct err *e)
{
    char path[PATH_MAX];
    int rc =
        named(snprintf(path, sizeof path, "%s/%s", dir, name), sizeof path, dir, e);

    return rc < 0 ? rc : fs_remove_tree(path, e);
}

int folder_clean(const char *dir, int attempt, struct err *e)
{
    const struct dirent *entry;
    DIR *d;
    int rc = open_dir(dir, &d, e), of;

    if (rc < 0 || !d)
        return rc;
    while (rc == 0 && (entry = readdir(d)))
        if (attempt_of(entry->d_name, &of) && of <= attempt)
            rc = remove_in(dir, entry->d_name, e);
    closedir(d);
    return rc;
}

static int manifest_path(const char *dir, int64_t step, char *out, size_t size,
                         struct err *e)
{
    int n = snprintf(out, size, "%s/step-%09" PRId64 "/" MANIFEST_NAME, dir, step);

    return named(n, size, dir, e);
}

bool folder_is_whole(const char *dir, int64_t step)
{
    char path[PATH_MAX];

    return manifest_path(dir, step, path, sizeof path, NULL) == 0 && fs_exists(path);
}

/* Without its manifest it is no checkpoint any more, whenever we are stopped. */
static int remove_checkpoint(const char *dir, int64_t step, struct err *e)
{
    char path[PATH_MAX], manifest[PATH_MAX];
    int rc = folder_path(dir, step, path, sizeof path, e);

    if (rc == 0)
        rc = manifest_path(dir, step, manifest, sizeof manifest, e);
    if (rc < 0)
        return rc;
    if (unlink(manifest) < 0 && errno != ENOENT)
        return err_sys(e, err_code_of(errno), errno, "remove %s", manifest);
    return fs_remove_tree(path, e);
}

int folder_prune(const char *dir, int64_t step, int keep, int64_t best, struct err *e)
{
    int64_t *steps = NULL;
    size_t n = 0;
    int rc = folder_list(dir, &steps, &n, e), kept = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (steps[i] > step)
            continue;
        bool whole = folder_is_whole(dir, steps[i]);

        if (whole && (kept++ < (keep > 1 ? keep : 1) || steps[i] == best))
            continue;
        rc = remove_checkpoint(dir, steps[i], e);
    }
    free(steps);
    return rc;
}
