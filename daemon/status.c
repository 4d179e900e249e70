/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.c - a shepherd's status file, both ends of it.
 */
#include "daemon/status.h"

#include "daemon/failpoint.h"

#include <errno.h>
#include <fcntl.h>
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

int status_read(const char *dir, struct status *out)
{
    char path[4096];
    struct status s = {0};
    int version = 0, pid = 0, n;
    unsigned long long start = 0;
    long long started = 0, ended = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/status", dir);
    f = fopen(path, "re");
    if (!f)
        return -1;
    n = fscanf(f,
               "version %d\nboot %39s\npid %d\nstart %llu\nstarted_us %lld\n"
               "ended_us %lld\nended %d\nwait %d\nexec_errno %d\nasked %d\nleft %d\n"
               "oom %d",
               &version, s.boot, &pid, &start, &started, &ended, &s.ended, &s.wait,
               &s.exec_errno, &s.asked, &s.left, &s.oom);
    fclose(f);
    if (n < 11 || /* files of before 0.2 end there */ version != STATUS_VERSION)
        return -1;
    s.pid = pid;
    s.start = start;
    s.started_us = started;
    s.ended_us = ended;
    *out = s;
    return 0;
}
