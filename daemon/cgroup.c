/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - the files of a control group.
 */
#include "daemon/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where cgroup2 is mounted: the fifth field of its line of mountinfo. */
static bool find_mount(char *out, size_t size)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[4096], at[1024];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f)) {
        const char *type = strstr(line, " - ");

        found = type && strncmp(type, " - cgroup2 ", 11) == 0 &&
                sscanf(line, "%*s %*s %*s %*s %1023s", at) == 1;
    }
    if (f)
        fclose(f);
    return found && (size_t)snprintf(out, size, "%s", at) < size;
}

/* This process's own group: the line "0::PATH". */
static bool find_own(char *out, size_t size)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[1024];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f))
        found = strncmp(line, "0::/", 4) == 0;
    if (f)
        fclose(f);
    line[found ? strcspn(line, "\n") : 0] = '\0';
    return found && (size_t)snprintf(out, size, "%s", line + 3) < size;
}

static bool put(const char *dir, const char *file, const char *text)
{
    char path[2048];
    int fd;
    bool ok;

    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, file) >= sizeof path)
        return false;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return ok;
}

bool cgroup_make(const char *name, char *out, size_t size)
{
    char mount[1024], own[1024], procs[2048];
    int n;

    *out = '\0';
    if (!find_mount(mount, sizeof mount) || !find_own(own, sizeof own))
        return false;
    n = snprintf(out, size, "%s%s/%s", mount, strcmp(own, "/") == 0 ? "" : own, name);
    if (n < 0 || (size_t)n >= size || (mkdir(out, 0755) < 0 && errno != EEXIST)) {
        *out = '\0';
        return false;
    }
    snprintf(procs, sizeof procs, "%.2000s/cgroup.procs", out);
    if (access(procs, W_OK) == 0)
        return true;
    rmdir(out);
    *out = '\0';
    return false;
}

bool cgroup_enter(const char *dir)
{
    return put(dir, "cgroup.procs", "0");
}

/* Kernels before 5.14 have no cgroup.kill: one after the other, in rounds. */
static void kill_each(const char *dir)
{
    char path[2048], line[32];
    FILE *f;

    snprintf(path, sizeof path, "%.2000s/cgroup.procs", dir);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (atoi(line) > 1)
            kill(atoi(line), SIGKILL);
    if (f)
        fclose(f);
}

/* A group with a process in it cannot be removed (EBUSY). */
bool cgroup_end(const char *dir)
{
    if (!*dir || rmdir(dir) == 0 || errno == ENOENT)
        return true;
    if (!put(dir, "cgroup.kill", "1"))
        kill_each(dir);
    return rmdir(dir) == 0 || errno == ENOENT;
}

long cgroup_oom(const char *dir)
{
    char path[2048], line[128];
    long n = -1;
    FILE *f;

    if (!*dir)
        return -1;
    snprintf(path, sizeof path, "%.2000s/memory.events", dir);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "oom_kill %ld", &n) == 1)
            break;
    if (f)
        fclose(f);
    return n;
}
