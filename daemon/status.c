/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - a shepherd's status file, both ends of it.
 */
#include "daemon/status.h"

#include "daemon/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_VERSION = 1 };

static int write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            text += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : fsync(fd);

    if (fd >= 0)
        close(fd);
    return rc;
}

int status_write(const char *dir, const struct status *s)
{
    char path[4096], beside[4096 + 8], text[512];
    int len =
        snprintf(text, sizeof text,
                 "version %d\nboot %s\npid %d\nstart %llu\nstarted_us %lld\n"
                 "ended_us %lld\nended %d\nwait %d\nexec_errno %d\nasked %d\n"
                 "left %d\noom %d\n",
                 STATUS_VERSION, s->boot, (int)s->pid, (unsigned long long)s->start,
                 (long long)s->started_us, (long long)s->ended_us, s->ended, s->wait,
                 s->exec_errno, s->asked, s->left, s->oom);
    int fd, rc;

    snprintf(path, sizeof path, "%s/status", dir);
    snprintf(beside, sizeof beside, "%s.new", path);
    fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    rc = write_all(fd, text, (size_t)len);
    if (rc == 0)
        rc = fsync(fd);
    if (close(fd) < 0 || rc < 0)
        return -1;
    failpoint("shepherd-before-rename");
    if (rename(beside, path) < 0)
        return -1;
    failpoint("shepherd-after-rename");
    return sync_dir(dir);
}

/* --- reading ---------------------------------------------------------------- */

enum { FILE_MAX = 4096 };

/* What is left of a text. */
struct rest {
    const char *p, *end;
};

/* The value of the next line, which must be that of `key`; false when it is not, or is
 * not whole. */
static bool take(struct rest *r, const char *key, char *out, size_t size)
{
    const char *stop = memchr(r->p, '\n', (size_t)(r->end - r->p));
    size_t len = strlen(key), n;

    if (!stop || (size_t)(stop - r->p) <= len || memcmp(r->p, key, len) != 0 ||
        r->p[len] != ' ')
        return false;
    n = (size_t)(stop - r->p) - len - 1;
    if (n == 0 || n >= size || memchr(r->p + len + 1, '\0', n))
        return false;
    memcpy(out, r->p + len + 1, n);
    out[n] = '\0';
    r->p = stop + 1;
    return true;
}

static bool take_number(struct rest *r, const char *key, long long least,
                        long long most, long long *out)
{
    char text[24], *end;
    long long n;

    if (!take(r, key, text, sizeof text) ||
        !(text[0] == '-' || (text[0] >= '0' && text[0] <= '9')))
        return false;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (*end || errno || n < least || n > most)
        return false;
    *out = n;
    return true;
}

int status_parse(const char *text, size_t len, struct status *out)
{
    enum { PID, START, STARTED, ENDED_US, ENDED, WAIT, ERRNO, ASKED, LEFT, OOM, COUNT };
    static const struct {
        const char *key;
        long long least, most;
    } rows[COUNT] = {
        [PID] = {"pid", 1, INT_MAX},
        [START] = {"start", 0, 1LL << 39}, /* centuries: nanoseconds stay in 64 bits */
        [STARTED] = {"started_us", 0, LLONG_MAX},
        [ENDED_US] = {"ended_us", 0, LLONG_MAX},
        [ENDED] = {"ended", 0, 1},
        [WAIT] = {"wait", INT_MIN, INT_MAX},
        [ERRNO] = {"exec_errno", 0, INT_MAX},
        [ASKED] = {"asked", 0, 1},
        [LEFT] = {"left", 0, INT_MAX},
        [OOM] = {"oom", 0, 1},
    };
    struct rest r = {text, text + len};
    struct status s = {.pid = 0};
    long long version, n[COUNT] = {0};

    if (!take_number(&r, "version", STATUS_VERSION, STATUS_VERSION, &version) ||
        !take(&r, "boot", s.boot, sizeof s.boot))
        return -1;
    for (int i = 0; i < COUNT; i++)
        if (!take_number(&r, rows[i].key, rows[i].least, rows[i].most, &n[i]) &&
            i != OOM) /* files of before 0.2 end in front of it */
            return -1;
    s.pid = (pid_t)n[PID];
    s.start = (uint64_t)n[START];
    s.started_us = n[STARTED];
    s.ended_us = n[ENDED_US];
    s.ended = (int)n[ENDED];
    s.wait = (int)n[WAIT];
    s.exec_errno = (int)n[ERRNO];
    s.asked = (int)n[ASKED];
    s.left = (int)n[LEFT];
    s.oom = (int)n[OOM];
    *out = s;
    return 0;
}

int status_read(const char *dir, struct status *out)
{
    char path[4096], text[FILE_MAX];
    size_t len = 0;
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%s/status", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    while (len < sizeof text && (n = read(fd, text + len, sizeof text - len)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    return n == 0 ? status_parse(text, len, out) : -1;
}
