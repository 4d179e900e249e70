/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shepherd.c - nnd-shepherd, which stays with one attempt from its first process
 * to its last, whatever happens to nnd meanwhile.
 *
 * It leads a session, adopts what its children leave behind, appends what they
 * print to DIR/log, and writes DIR/status (see daemon/status.h) when the launcher
 * is started and when all is over.  It needs libc alone, so that there is little
 * in it that could fail.  Why an attempt ended, and what comes next, is for nnd.
 *
 * Signals: TERM asks the launcher to stop, and kills after the grace time; TSTP
 * and CONT are handed to the launcher; all else is left to the kernel, which ends
 * the launcher with its shepherd (PR_SET_PDEATHSIG).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/cgroup.h"
#include "daemon/failpoint.h"
#include "daemon/proc.h"
#include "daemon/shortage.h"
#include "daemon/status.h"

enum { MAX_TMP = 4, SWEEP_MS = 20, SWEEP_ROUNDS = 500, STATUS_TRIES = 3600 };

struct shepherd {
    const char *dir;          /* the attempt's folder                         */
    const char *marker;       /* NND_ATTEMPT of its processes                 */
    const char *sweep;        /* only end the processes of this marker        */
    const char *tmp[MAX_TMP]; /* folders to remove at the end                 */
    int ntmp;
    const char *cgroup; /* for the launcher and all it starts, or ""    */
    int grace_ms;       /* between asking and killing                   */
    int lock_fd;        /* held as long as this process lives, or -1    */
    char **argv;        /* the launcher                                 */
    struct status status;
    pid_t child;
    struct shortage shortage; /* what there is of it on this machine    */
    int64_t kill_at;          /* monotonic ms, 0 while nobody asked to stop */
};

static void die(const char *what)
{
    dprintf(STDERR_FILENO, "nnd-shepherd: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t wall_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- options -------------------------------------------------------------- */

static const char usage_text[] =
    "usage: nnd-shepherd --dir DIR --marker TEXT [--grace MS] [--tmp DIR]...\n"
    "                    [--lock-fd N] [--cgroup DIR] -- LAUNCHER [ARGUMENT]...\n"
    "Runs LAUNCHER for nnd(8); see nnd-shepherd(8).\n";

static const struct option options[] = {
    {"dir", required_argument, NULL, 'd'},
    {"marker", required_argument, NULL, 'm'},
    {"grace", required_argument, NULL, 'g'},
    {"tmp", required_argument, NULL, 't'},
    {"lock-fd", required_argument, NULL, 'l'},
    {"cgroup", required_argument, NULL, 'c'},
    {"sweep", required_argument, NULL, 's'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {"failpoint", required_argument, NULL, 'f'},
    {NULL, 0, NULL, 0},
};

static void usage(int fd, int status)
{
    dprintf(fd, "%s", usage_text);
    exit(status);
}

static int number(const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);

    if (*end || end == text || v < 0 || v > 86400000)
        usage(STDERR_FILENO, 2);
    return (int)v;
}

static void parse(struct shepherd *s, int argc, char **argv)
{
    int c;

    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (c == 'd')
            s->dir = optarg;
        else if (c == 'm')
            s->marker = optarg;
        else if (c == 'g')
            s->grace_ms = number(optarg);
        else if (c == 't' && s->ntmp < MAX_TMP)
            s->tmp[s->ntmp++] = optarg;
        else if (c == 'l')
            s->lock_fd = number(optarg);
        else if (c == 'c')
            s->cgroup = optarg;
        else if (c == 's')
            s->sweep = optarg;
        else if (c == 'f')
            failpoint_set(optarg);
        else if (c == 'h')
            usage(STDOUT_FILENO, 0);
        else if (c == 'V')
            exit(printf("nnd-shepherd %s\n", PACKAGE_VERSION) < 0);
        else
            usage(STDERR_FILENO, 2);
    }
    s->argv = argv + optind;
    if (s->sweep && !*s->argv)
        return;
    if (!s->dir || !s->marker || !*s->argv)
        usage(STDERR_FILENO, 2);
}

/* --- start ---------------------------------------------------------------- */

static void take_lock(const struct shepherd *s)
{
    int flags = s->lock_fd < 0 ? 0 : fcntl(s->lock_fd, F_GETFD);

    if (flags < 0 ||
        (s->lock_fd >= 0 && fcntl(s->lock_fd, F_SETFD, flags | FD_CLOEXEC) < 0))
        die("--lock-fd");
}

/* Become the attempt's root: own session, parent of orphans, and no tie to nnd. */
static void settle(const struct shepherd *s, int log)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    take_lock(s);
    setsid(); /* fails only where it leads a session already */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        die("adopting orphans");
    if (chdir("/") < 0 && errno != EACCES)
        die("/");
    if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
        die("/dev/null");
    close(fd);
    if (dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        die("log");
}

static int open_log(const struct shepherd *s)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof path, "%s/log", s->dir);
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        die(path);
    return fd;
}

static void write_start(struct shepherd *s)
{
    s->status.pid = getpid();
    proc_boot(s->status.boot);
    proc_start(getpid(), &s->status.start);
    s->status.started_us = wall_us();
    if (status_write(s->dir, &s->status) < 0)
        die("writing the status file");
}

/* How the attempt ended must not be lost to a full disk: wait for space. */
static void write_end(struct shepherd *s)
{
    s->status.ended = 1;
    s->status.ended_us = wall_us();
    for (int i = 0; i < STATUS_TRIES && status_write(s->dir, &s->status) < 0; i++)
        sleep(1);
}

static void execvp_launcher(const struct shepherd *s)
{
    failpoint("shepherd-before-exec");
    execvp(s->argv[0], s->argv);
}

/* In the child: die with the shepherd, become the launcher. */
static void exec_launcher(const struct shepherd *s, pid_t parent, int report)
{
    sigset_t none;
    int sys;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (*s->cgroup)
        cgroup_enter(s->cgroup); /* where that fails marks have to do */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
        setenv(PROC_MARKER, s->marker, 1) == 0)
        execvp_launcher(s);
    sys = errno;
    if (write(report, &sys, sizeof sys) < 0)
        _exit(126);
    _exit(127);
}

/* Start the launcher; errno of a failed exec, or 0. */
static int launch(struct shepherd *s)
{
    pid_t self = getpid();
    int report[2], sys = 0;
    ssize_t n;

    if (pipe2(report, O_CLOEXEC) < 0)
        die("pipe");
    failpoint("shepherd-before-fork");
    s->child = fork();
    if (s->child < 0)
        die("fork");
    if (s->child == 0)
        exec_launcher(s, self, report[1]);
    failpoint("shepherd-after-fork");
    close(report[1]);
    do
        n = read(report[0], &sys, sizeof sys);
    while (n < 0 && errno == EINTR);
    close(report[0]);
    return n == (ssize_t)sizeof sys ? sys : 0;
}

/* --- watch ---------------------------------------------------------------- */

/* Reap whoever ended; true once the launcher is among them. */
static bool reap(struct shepherd *s)
{
    bool ended = false;
    int raw;
    pid_t pid;

    while ((pid = waitpid(-1, &raw, WNOHANG)) > 0) {
        if (pid != s->child)
            continue;
        s->status.wait = raw;
        ended = true;
    }
    return ended;
}

static void on_signal(struct shepherd *s, int sig)
{
    if (sig == SIGTERM && !s->kill_at) {
        kill(s->child, SIGCONT);
        kill(s->child, SIGTERM);
        s->kill_at = now_ms() + s->grace_ms;
        s->status.asked = 1;
    } else if (sig == SIGTSTP || sig == SIGCONT) {
        kill(s->child, sig);
    }
}

/* How long to wait for a signal; where the group does not say who died for want of
 * memory, the machine is looked at now and then. */
static int patience_ms(struct shepherd *s)
{
    int64_t left = s->kill_at ? s->kill_at - now_ms() : -1;

    if (cgroup_oom(s->cgroup) >= 0)
        return (int)left;
    shortage_look(&s->shortage, shortage_count(), now_ms());
    return left >= 0 && left < SHORTAGE_LOOK_MS ? (int)left : SHORTAGE_LOOK_MS;
}

/* Was it for want of memory that a process of the attempt's died by KILL? */
static bool was_short(struct shepherd *s)
{
    long own = cgroup_oom(s->cgroup);

    if (own >= 0)
        return own > 0;
    shortage_look(&s->shortage, shortage_count(), now_ms());
    return shortage_is_near(&s->shortage, now_ms());
}

static void watch(struct shepherd *s, int signals)
{
    struct pollfd p = {.fd = signals, .events = POLLIN};

    for (;;) {
        struct signalfd_siginfo info;

        if (s->kill_at && now_ms() >= s->kill_at) {
            kill(s->child, SIGKILL);
            s->kill_at = now_ms() + 1000;
            continue;
        }
        poll(&p, 1, patience_ms(s));
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            on_signal(s, (int)info.ssi_signo);
        if (reap(s))
            return;
    }
}

/* --- end ------------------------------------------------------------------ */

/* Kill what is left.  Orphans become children of this process, so that even one
 * which left the session and dropped the marker is found in a later round. */
static int sweep(const struct shepherd *s)
{
    struct proc_match m = {
        .marker = s->marker, .session = getsid(0), .parent = getpid()};
    struct timespec pause = {0, SWEEP_MS * 1000000L};
    int left = 0;

    for (int i = 0; i < SWEEP_ROUNDS; i++) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        left = proc_signal_all(&m, SIGKILL);
        if (cgroup_end(s->cgroup) && left == 0)
            return 0;
        nanosleep(&pause, NULL);
    }
    return left > 0 ? left : 1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)st;
    (void)type;
    (void)w;
    return remove(path) < 0 && errno != ENOENT;
}

/* nnd-shepherd --sweep: for a machine on which no shepherd stays with the attempt. */
static int sweep_other(const char *marker)
{
    struct proc_match m = {.marker = marker};
    struct timespec pause = {0, SWEEP_MS * 1000000L};

    for (int i = 0; i < SWEEP_ROUNDS; i++) {
        if (proc_signal_all(&m, SIGKILL) == 0)
            return 0;
        nanosleep(&pause, NULL);
    }
    return 1;
}

static void remove_tmp(const struct shepherd *s)
{
    for (int i = 0; i < s->ntmp; i++)
        nftw(s->tmp[i], remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* Signals are read from a descriptor; block them before the first child. */
static int block_signals(void)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        die("signalfd");
    return fd;
}

int main(int argc, char **argv)
{
    struct shepherd s = {.grace_ms = 2000, .lock_fd = -1, .cgroup = ""};
    int signals;

    parse(&s, argc, argv);
    if (s.sweep)
        return sweep_other(s.sweep);
    failpoint("shepherd-after-exec");
    signals = block_signals();
    settle(&s, open_log(&s));
    write_start(&s);
    shortage_begin(&s.shortage, shortage_count());
    s.status.exec_errno = launch(&s);
    if (s.status.exec_errno)
        dprintf(STDERR_FILENO, "nnd-shepherd: cannot run %s: %s\n", s.argv[0],
                strerror(s.status.exec_errno));
    watch(&s, signals);
    s.status.oom = was_short(&s);
    s.status.left = sweep(&s);
    remove_tmp(&s);
    write_end(&s);
    return 0;
}
