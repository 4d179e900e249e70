/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.c - stands between nnd and its files (LD_PRELOAD), for tests of what a power
 * cut leaves and of disks that refuse.  Looks at files below SHIM_DIR only.
 *
 *   SHIM_LOG=FILE   append every change and every sync, as struct record of shim.h
 *   SHIM_FAIL=N:E   the Nth of these calls fails with errno E; N:E:on  it and all
 *                   after it, until the file SHIM_HEAL is there
 *   SHIM_COUNT=FILE the number of calls so far, rewritten at each
 *   SHIM_MAGIC=M    statfs says that the file system is of type M
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/sys/shim.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned calls;
static int log_fd = -1;

/* --- which files ---------------------------------------------------------- */

static bool is_ours(const char *path)
{
    const char *dir = getenv("SHIM_DIR");

    return dir && strncmp(path, dir, strlen(dir)) == 0 && !strstr(path, "-shm") &&
           !strstr(path, "nnd.log");
}

static bool path_of(int fd, char out[PATH_MAX])
{
    char link[40];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, out, PATH_MAX - 1);
    if (n < 0)
        return false;
    out[n] = '\0';
    return is_ours(out);
}

/* --- what to do ----------------------------------------------------------- */

static void log_open(void)
{
    const char *path = getenv("SHIM_LOG");

    if (path && log_fd < 0)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Everything of a change, in one write, so that a log cut anywhere ends between. */
static void note(enum shim_op op, const char *path, const char *other, uint64_t offset,
                 const void *data, uint64_t size)
{
    struct shim_record r = {.op = op, .offset = offset, .size = size};
    struct iovec v[4] = {{&r, sizeof r}, {0}, {0}, {0}};

    log_open();
    if (log_fd < 0)
        return;
    r.path = (uint32_t)strlen(path) + 1;
    r.other = other ? (uint32_t)strlen(other) + 1 : 0;
    v[1] = (struct iovec){(void *)path, r.path};
    v[2] = (struct iovec){(void *)other, r.other};
    v[3] = (struct iovec){(void *)data, data ? size : 0};
    syscall(SYS_writev, log_fd, v, 4);
}

static void count(void)
{
    const char *path = getenv("SHIM_COUNT");
    char text[16];
    int fd, n = snprintf(text, sizeof text, "%u\n", ++calls);

    if (!path)
        return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT, 0600);
    syscall(SYS_pwrite64, fd, text, n, 0);
    syscall(SYS_close, fd);
}

/* True when this call is to fail; sets errno. */
static bool fails(void)
{
    const char *text = getenv("SHIM_FAIL"), *heal = getenv("SHIM_HEAL");
    unsigned n;
    int code, len = 0;
    bool on;

    count();
    if (!text || sscanf(text, "%u:%d%n", &n, &code, &len) != 2)
        return false;
    on = strcmp(text + len, ":on") == 0;
    if (calls != n && !(on && calls > n))
        return false;
    if (on && heal && access(heal, F_OK) == 0)
        return false;
    errno = code;
    return true;
}

/* --- writes --------------------------------------------------------------- */

static ssize_t write_at(int fd, const void *data, size_t size, off_t offset)
{
    char path[PATH_MAX];
    ssize_t n;

    if (!path_of(fd, path))
        return offset < 0 ? syscall(SYS_write, fd, data, size)
                          : syscall(SYS_pwrite64, fd, data, size, offset);
    pthread_mutex_lock(&lock);
    if (fails()) {
        pthread_mutex_unlock(&lock);
        return -1;
    }
    if (offset < 0)
        offset = lseek(fd, 0, SEEK_CUR);
    n = syscall(SYS_pwrite64, fd, data, size, offset);
    if (n > 0)
        note(SHIM_WRITE, path, NULL, (uint64_t)offset, data, (uint64_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    return write_at(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
{
    return write_at(fd, data, size, offset);
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t n = write_at(fd, data, size, -1);
    char path[PATH_MAX];

    if (n > 0 && path_of(fd, path))
        lseek(fd, n, SEEK_CUR);
    return n;
}

static int change_fd(int fd, enum shim_op op, uint64_t size, long (*call)(int, off_t))
{
    char path[PATH_MAX];
    int rc;

    if (!path_of(fd, path))
        return (int)call(fd, (off_t)size);
    pthread_mutex_lock(&lock);
    rc = fails() ? -1 : (int)call(fd, (off_t)size);
    if (rc == 0)
        note(op, path, NULL, size, NULL, 0);
    pthread_mutex_unlock(&lock);
    return rc;
}

static long do_truncate(int fd, off_t size)
{
    return syscall(SYS_ftruncate, fd, size);
}

static long do_sync(int fd, off_t unused)
{
    (void)unused; /* the tests' own power does not fail: waiting would prove nothing */
    return fcntl(fd, F_GETFD) < 0 ? -1 : 0;
}

int ftruncate(int fd, off_t size)
{
    return change_fd(fd, SHIM_TRUNCATE, (uint64_t)size, do_truncate);
}

int ftruncate64(int fd, off_t size)
{
    return change_fd(fd, SHIM_TRUNCATE, (uint64_t)size, do_truncate);
}

int fsync(int fd)
{
    return change_fd(fd, SHIM_SYNC, 0, do_sync);
}

int fdatasync(int fd)
{
    return change_fd(fd, SHIM_SYNC, 0, do_sync);
}

/* --- names ---------------------------------------------------------------- */

static int open_any(int dir, const char *path, int flags, mode_t mode)
{
    bool ours = is_ours(path) && (flags & O_CREAT), is_new;
    int fd;

    if (!ours)
        return (int)syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    is_new = access(path, F_OK) != 0;
    fd = is_new && fails() ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && is_new)
        note(SHIM_CREATE, path, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        mode_t mode = 0;                                                               \
        va_list ap;                                                                    \
                                                                                       \
        va_start(ap, flags);                                                           \
        if (flags & O_CREAT)                                                           \
            mode = va_arg(ap, mode_t);                                                 \
        va_end(ap);                                                                    \
        return open_any(AT_FDCWD, path, flags, mode);                                  \
    }
int open(const char *path, int flags, ...);
int open64(const char *path, int flags, ...);
OPEN(open)
OPEN(open64)

static int change_name(enum shim_op op, const char *path, const char *other)
{
    int rc;

    if (is_ours(path))
        pthread_mutex_lock(&lock);
    if (is_ours(path) && fails())
        rc = -1;
    else
        rc = other ? (int)syscall(SYS_rename, path, other)
                   : (int)syscall(SYS_unlink, path);
    if (rc == 0 && is_ours(path))
        note(op, path, other, 0, NULL, 0);
    if (is_ours(path))
        pthread_mutex_unlock(&lock);
    return rc;
}

int rename(const char *path, const char *other)
{
    return change_name(SHIM_RENAME, path, other);
}

int unlink(const char *path)
{
    return change_name(SHIM_UNLINK, path, NULL);
}

/* --- the kind of file system ---------------------------------------------- */

int statfs(const char *path, struct statfs *out)
{
    const char *magic = getenv("SHIM_MAGIC");
    int rc = (int)syscall(SYS_statfs, path, out);

    if (rc == 0 && magic)
        out->f_type = strtol(magic, NULL, 0);
    return rc;
}
