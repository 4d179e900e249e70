/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folder.c - numbers that are taken, and attempts that step aside.
 */
#include "daemon/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { DIGITS_MAX = 12 }; /* more are no number of a job's: numbers must last */

/* 0 with *out NULL when there is no such folder. */
static int open_folder(const char *path, DIR **out, struct err *e)
{
    *out = opendir(path);
    return *out || errno == ENOENT ? 0 : err_sys(e, ERR_FAILED, errno, "%s", path);
}

/* The next entry, or NULL at the end and where it cannot be read (*rc). */
static const char *next_name(DIR *d, const char *path, int *rc, struct err *e)
{
    const struct dirent *entry;

    errno = 0;
    entry = d && *rc == 0 ? readdir(d) : NULL;
    if (!entry && d && *rc == 0 && errno)
        *rc = err_sys(e, ERR_FAILED, errno, "%s", path);
    return entry ? entry->d_name : NULL;
}

/* --- numbers -------------------------------------------------------------- */

/* That of a job's folder, or 0. */
static uint64_t number_of(const char *name)
{
    size_t n = strspn(name, "0123456789");

    return *name == '0' || n > DIGITS_MAX || name[n] ? 0 : strtoull(name, NULL, 10);
}

int folder_open(const char *dir, struct store *s, struct err *e)
{
    char path[PATH_MAX];
    const char *name;
    uint64_t last = 0;
    bool skipped = false;
    DIR *d;
    int rc;

    snprintf(path, sizeof path, "%.4000s/jobs", dir);
    rc = open_folder(path, &d, e);
    while ((name = next_name(d, path, &rc, e)))
        last = number_of(name) > last ? number_of(name) : last;
    if (d)
        closedir(d);
    if (rc == 0)
        rc = store_skip(s, last, &skipped, e);
    if (skipped)
        log_warn("the database is older than the folders of jobs: their numbers are "
                 "not given again: last=%llu",
                 (unsigned long long)last);
    return rc == 0 ? store_commit(s, e) : rc;
}

/* --- attempts ------------------------------------------------------------- */

/* A shepherd holds the lock of the attempt in that folder. */
static bool is_running(const char *dir)
{
    char path[PATH_MAX];
    bool held;
    int fd;

    snprintf(path, sizeof path, "%.4000s/lock", dir);
    fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    held = flock(fd, LOCK_EX | LOCK_NB) < 0;
    close(fd);
    return held;
}

static int step_aside(const char *job_dir, const char *name, struct err *e)
{
    char from[PATH_MAX], to[PATH_MAX];

    snprintf(from, sizeof from, "%.3800s/%.200s", job_dir, name);
    snprintf(to, sizeof to, "%.4000s.old-%lld", from,
             (long long)(clock_wall_us() / 1000000));
    if (is_running(from))
        return err_set(e, ERR_FAILED, "%s: is running already", from);
    if (rename(from, to) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", to);
    log_warn("an attempt of another history stepped aside: path=%s", to);
    return 0;
}

int folder_clear(const char *job_dir, uint32_t number, struct err *e)
{
    const char *name;
    DIR *d;
    int rc = open_folder(job_dir, &d, e);

    while ((name = next_name(d, job_dir, &rc, e))) {
        uint64_t n = strncmp(name, "attempt-", 8) == 0 ? number_of(name + 8) : 0;

        if (n >= number)
            rc = step_aside(job_dir, name, e);
    }
    if (d)
        closedir(d);
    return rc;
}
