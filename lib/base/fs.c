/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs.c - whole files and folders, through descriptors.
 */
#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The error of a failed call on path, from errno. */
static int failed(const char *verb, const char *path, struct err *e)
{
    int sys = errno;

    return err_sys(e, err_code_of(sys), sys, "%s %s", verb, path);
}

static int open_read(const char *path, int flags, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);

    return fd < 0 ? failed("open", path, e) : fd;
}

/* Read fd to its end; what is there is counted, not what fstat promises. */
static int read_all(int fd, const char *path, size_t max, struct buf *out,
                    struct err *e)
{
    size_t start = out->len;
    ssize_t n;

    do {
        if (!buf_try_reserve(out, out->cap - out->len > 4096 ? 0 : 65536))
            return err_sys(e, ERR_NOMEM, ENOMEM, "read %s", path);
        n = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (n < 0 && errno != EINTR)
            return failed("read", path, e);
        out->len += n > 0 ? (size_t)n : 0;
        if (max && out->len - start > max)
            return err_set(e, ERR_FAILED,
                           "read %s: wanted at most %zu bytes, found more", path, max);
    } while (n != 0);
    return 0;
}

int fs_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    size_t start = out->len;
    int fd = open_read(path, 0, e), rc;

    if (fd < 0)
        return fd;
    rc = read_all(fd, path, max, out, e);
    if (rc < 0)
        out->len = start;
    if (out->data)
        out->data[out->len] = '\0';
    close(fd);
    return rc;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The folder that holds path, into dir[PATH_MAX]. */
static int parent_of(const char *path, char *dir, struct err *e)
{
    const char *slash = strrchr(path, '/');
    size_t len = !slash ? 1 : slash == path ? 1 : (size_t)(slash - path);

    if (len >= PATH_MAX)
        return err_sys(e, ERR_FAILED, ENAMETOOLONG, "folder of %s", path);
    memcpy(dir, slash ? path : ".", len);
    dir[len] = '\0';
    return 0;
}

enum { MODE_NEW = 0600 }; /* that of mkostemp */

/* Write and sync the new file under its passing name. */
static int write_new(int fd, const char *name, const void *data, size_t len,
                     mode_t mode, struct err *e)
{
    int rc = 0;

    if (write_all(fd, data, len) < 0)
        rc = failed("write", name, e);
    else if (mode != MODE_NEW && fchmod(fd, mode) < 0)
        rc = failed("set the mode of", name, e);
    else if (fsync(fd) < 0)
        rc = failed("sync", name, e);
    if (close(fd) < 0 && rc == 0)
        rc = failed("close", name, e);
    return rc;
}

static int replace(const char *path, const void *data, size_t len, mode_t mode,
                   struct err *e)
{
    char dir[PATH_MAX], beside[PATH_MAX];
    int fd, rc;

    rc = parent_of(path, dir, e);
    if (rc < 0)
        return rc;
    if (snprintf(beside, sizeof beside, "%s.tmp.XXXXXX", path) >= (int)sizeof beside)
        return err_sys(e, ERR_FAILED, ENAMETOOLONG, "write %s", path);
    fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0)
        return failed("create", path, e);
    rc = write_new(fd, beside, data, len, mode, e);
    if (rc == 0 && rename(beside, path) < 0)
        rc = failed("rename to", path, e);
    if (rc < 0) {
        unlink(beside);
        return rc;
    }
    return fs_sync_dir(dir, e);
}

int fs_replace(const char *path, const void *data, size_t len, struct err *e)
{
    return replace(path, data, len, MODE_NEW, e);
}

int fs_publish(const char *path, const void *data, size_t len, struct err *e)
{
    mode_t mask = umask(077);

    umask(mask);
    return replace(path, data, len, 0666 & ~mask, e);
}

int fs_trim(const char *path, char *out, size_t size, struct err *e)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    if (len >= size)
        return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", path);
    memcpy(out, path, len);
    out[len] = '\0';
    return 0;
}

static int make_dir(const char *path, struct err *e)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return 0;
    if (errno != EEXIST)
        return failed("make folder", path, e);
    if (stat(path, &st) < 0)
        return failed("make folder", path, e);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_FAILED, "make folder %s: something else is there", path);
    return 0;
}

int fs_mkdirs(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (len >= sizeof part)
        return err_sys(e, ERR_FAILED, ENAMETOOLONG, "make folder %s", path);
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        int rc = make_dir(part, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int remove_entries(int fd, bool all);

/* The folder `name` in dirfd, to be emptied: with `all` also one that its owner may not
 * read or change. */
static int open_to_empty(int dirfd, const char *name, bool all)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dirfd, name, flags);

    if (all && fd < 0 && errno == EACCES &&
        fchmodat(dirfd, name, 0700, AT_SYMLINK_NOFOLLOW) == 0)
        fd = openat(dirfd, name, flags);
    if (all && fd >= 0)
        fchmod(fd, 0700);
    return fd;
}

/* Remove `name` in the folder dirfd; -1 with errno. */
static int remove_at(int dirfd, const char *name, bool all)
{
    int fd;

    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    fd = open_to_empty(dirfd, name, all);
    if (fd < 0)
        return -1;
    if (remove_entries(fd, all) < 0)
        return -1;
    return unlinkat(dirfd, name, AT_REMOVEDIR);
}

/* Remove all entries of the folder fd, and close it; the first failure is the end, or
 * with `all` what is said when the others are gone. */
static int remove_entries(int fd, bool all)
{
    DIR *dir = fdopendir(fd);
    struct dirent *entry;
    int sys = 0;

    if (!dir) {
        close(fd);
        return -1;
    }
    while ((sys == 0 || all) && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
            remove_at(fd, entry->d_name, all) < 0 && sys == 0)
            sys = errno;
    closedir(dir);
    errno = sys;
    return sys ? -1 : 0;
}

int fs_remove_tree(const char *path, struct err *e)
{
    return remove_at(AT_FDCWD, path, false) < 0 ? failed("remove", path, e) : 0;
}

int fs_remove_all(const char *path, struct err *e)
{
    return remove_at(AT_FDCWD, path, true) < 0 ? failed("remove", path, e) : 0;
}

int fs_sync_dir(const char *path, struct err *e)
{
    int fd = open_read(path, O_DIRECTORY, e), rc = 0;

    if (fd < 0)
        return fd;
    if (fsync(fd) < 0)
        rc = failed("sync", path, e);
    close(fd);
    return rc;
}

bool fs_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

/* The length of what two paths have in common, up to and with a '/'. */
static size_t common_folder(const char *a, const char *b)
{
    size_t n = 0;

    for (size_t i = 0; a[i] && a[i] == b[i]; i++)
        if (a[i] == '/')
            n = i + 1;
    return n;
}

void fs_installed(const char *own, const char *target, char *out, size_t size)
{
    size_t common = common_folder(own, target), tail = strlen(own) - common;
    char self[PATH_MAX], *slash;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    snprintf(out, size, "%s", target);
    self[n > 0 ? n : 0] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return;
    *slash = '\0';
    n = slash - self;
    if ((size_t)n <= tail || strcmp(self + n - tail, own + common) != 0 ||
        self[(size_t)n - tail - 1] != '/')
        return;
    if ((size_t)snprintf(out, size, "%.*s%s", (int)((size_t)n - tail), self,
                         target + common) >= size ||
        !fs_exists(out))
        snprintf(out, size, "%s", target);
}
