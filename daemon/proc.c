/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proc.c - reads /proc.  A process may be gone at any moment, so a file that
 * cannot be read means "not this one", never an error.
 */
#include "daemon/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Read up to size - 1 bytes of /proc/PID/NAME; -1 when it cannot be read. */
static ssize_t read_proc(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    size_t len = 0;
    ssize_t n = 0;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    out[len] = '\0';
    return n < 0 ? -1 : (ssize_t)len;
}

struct stat_line {
    char state;
    pid_t parent, session;
    uint64_t start, memory; /* memory: 0 once it has begun to end */
};

/* proc(5): pid (comm) state ppid pgrp session ...; comm may hold anything, so
 * fields are counted from the last parenthesis. */
static bool read_stat(pid_t pid, struct stat_line *out)
{
    char text[1024], *p;
    int parent, session;
    unsigned long long start, memory;

    if (read_proc(pid, "stat", text, sizeof text) <= 0)
        return false;
    p = strrchr(text, ')');
    if (!p ||
        sscanf(p + 1,
               " %c %d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
               "%*d %*d %llu %llu",
               &out->state, &parent, &session, &start, &memory) != 5)
        return false;
    out->parent = parent;
    out->session = session;
    out->start = start;
    out->memory = memory;
    return true;
}

bool proc_boot(char out[40])
{
    char text[64];
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool ok = f && fgets(text, sizeof text, f);

    if (f)
        fclose(f);
    if (!ok)
        return false;
    text[strcspn(text, "\n")] = '\0';
    snprintf(out, 40, "%.39s", text);
    return *out != '\0';
}

bool proc_start(pid_t pid, uint64_t *ticks)
{
    struct stat_line s;

    if (!read_stat(pid, &s))
        return false;
    *ticks = s.start;
    return true;
}

int64_t proc_age_ns(uint64_t ticks)
{
    long hz = sysconf(_SC_CLK_TCK);
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec -
           (int64_t)(ticks * (1000000000ULL / (uint64_t)(hz > 0 ? hz : 100)));
}

bool proc_alive(const struct proc_id *id)
{
    struct stat_line s;
    char boot[40];

    return id->pid > 0 && proc_boot(boot) && strcmp(boot, id->boot) == 0 &&
           read_stat(id->pid, &s) && s.start == id->start && s.state != 'Z' &&
           s.state != 'X' && s.memory > 0;
}

bool proc_stopped(pid_t pid)
{
    struct stat_line s;

    return read_stat(pid, &s) && (s.state == 'T' || s.state == 't');
}

int proc_open(const struct proc_id *id)
{
    int fd;

    if (id->pid <= 0)
        return -1;
    fd = (int)syscall(SYS_pidfd_open, id->pid, 0);
    if (fd >= 0 && !proc_alive(id)) { /* the pid had come again before the open */
        close(fd);
        return -1;
    }
    return fd;
}

/* --- an attempt's processes ----------------------------------------------- */

bool proc_has_marker(pid_t pid, const char *marker)
{
    static char env[256 << 10];
    char wanted[256];
    size_t len;
    ssize_t n = read_proc(pid, "environ", env, sizeof env);

    len = (size_t)snprintf(wanted, sizeof wanted, "%s=%s", PROC_MARKER, marker);
    for (char *p = env; n > 0 && p < env + n; p += strlen(p) + 1)
        if (strlen(p) == len && memcmp(p, wanted, len) == 0)
            return true;
    return false;
}

static bool is_excepted(const struct proc_match *m, pid_t pid)
{
    for (size_t i = 0; i < m->nexcept; i++)
        if (m->except[i] == pid)
            return true;
    return false;
}

static bool matches(const struct proc_match *m, pid_t pid)
{
    struct stat_line s;

    if (!read_stat(pid, &s) || s.state == 'Z' || s.state == 'X')
        return false;
    if (m->session && s.session == m->session)
        return true;
    if (m->parent && s.parent == m->parent && !is_excepted(m, pid))
        return true;
    return m->marker && proc_has_marker(pid, m->marker);
}

int proc_signal_all(const struct proc_match *m, int sig)
{
    DIR *d = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    if (!d)
        return 1; /* "none" would be a promise */
    while ((entry = readdir(d))) {
        pid_t pid = isdigit((unsigned char)*entry->d_name) ? atoi(entry->d_name) : 0;

        if (pid <= 1 || pid == getpid() || !matches(m, pid))
            continue;
        count++;
        if (sig)
            kill(pid, sig);
    }
    closedir(d);
    return count;
}
