/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_open.c - opening and closing: the folder's lock, signals, the jobs that had not
 * ended, and the look at a folder that nobody works in.
 */
#include "daemon/hub_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/attempt.h"
#include "daemon/child.h"
#include "daemon/exporter.h"
#include "daemon/folder.h"
#include "daemon/proc.h"
#include "daemon/purge.h"
#include "daemon/queue.h"
#include "daemon/rpc.h"
#include "daemon/rules.h"

static const unsigned not_final = (1u << WIRE__STATE__COMPLETED) - 1;

/* The pid in the lock file, as text; "" when there is none yet. */
static void lock_owner(int fd, char pid[32])
{
    ssize_t got = pread(fd, pid, 31, 0);

    pid[got > 0 ? got : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
}

static bool is_alive(const char *pid)
{
    struct proc_id id = {.pid = 0};
    int64_t number;

    if (!str_to_i64(pid, &number))
        return false;
    id.pid = (pid_t)number;
    return proc_boot(id.boot) && proc_start(id.pid, &id.start) && proc_alive(&id);
}

/* 0: locked.  An nnd that was killed while it started a shepherd leaves its lock
 * with the child for the moment between fork and exec: that is waited for. */
static int lock_or_owner(int fd, char pid[32])
{
    const struct timespec moment = {.tv_nsec = 20 * 1000000};

    for (int i = 0; i < 100; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        lock_owner(fd, pid);
        if (is_alive(pid))
            return -1;
        nanosleep(&moment, NULL);
    }
    return -1;
}

/* One nnd per folder: the second would take the first one's socket away, since
 * binding an ipc address removes what is there. */
static int take_lock(struct hub *h, struct err *e)
{
    char path[4096], pid[32];
    int n;

    snprintf(path, sizeof path, "%s/lock", h->opt.dir);
    h->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (h->lock_fd < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    if (lock_or_owner(h->lock_fd, pid) < 0)
        return err_set(e, ERR_FAILED, "%s: another nnd (pid %s) uses this folder",
                       h->opt.dir, *pid ? pid : "unknown");
    n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(h->lock_fd, 0) < 0 || pwrite(h->lock_fd, pid, (size_t)n, 0) != n)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    return 0;
}

static int check_dir(struct hub *h, struct err *e)
{
    struct stat st;
    int rc = fs_mkdirs(h->opt.dir, e);

    if (rc < 0)
        return rc;
    if (stat(h->opt.dir, &st) < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", h->opt.dir);
    if (st.st_uid != h->uid)
        return err_set(e, ERR_DENIED, "%s: must belong to user %u, belongs to %u",
                       h->opt.dir, (unsigned)h->uid, (unsigned)st.st_uid);
    if (st.st_mode & 0022)
        return err_set(e, ERR_DENIED,
                       "%s: others must not be able to write there, its mode is %03o",
                       h->opt.dir, (unsigned)st.st_mode & 0777);
    return 0;
}

static int open_signals(struct hub *h, struct err *e)
{
    sigset_t set;

    child_differ();
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL); /* before libzmq starts its threads */
    h->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    h->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->signal_fd < 0 || h->watch_fd < 0)
        return err_sys(e, ERR_FAILED, errno, "watching processes and signals");
    return 0;
}

static bool load_one(void *arg, const struct job *stored)
{
    struct hub *h = arg;
    struct job *j = job_create(stored->id), moved = *stored;

    /* the store's copy goes away with this call: keep its strings, leave ours */
    *(struct job *)stored = *j;
    *j = moved;
    hub_add(h, j);
    return true;
}

/* Whose events and row disagree is made whole, or set aside; the others go on. */
static int mend_job(struct hub *h, uint64_t id, bool *gone, struct err *e)
{
    struct err why;
    int rc = store_check(h->store, id, &why);
    bool lost = false;

    *gone = false;
    if (rc == 0 || rc == ERR_RETRY)
        return rc;
    rc = store_mend(h->store, id, why.text, &lost, e);
    if (rc == 0)
        rc = store_commit(h->store, e);
    if (rc < 0)
        return rc;
    log_error("%s: error=\"%s\"", lost ? "set aside" : "mended", why.text);
    *gone = lost;
    return 0;
}

static int mend_jobs(struct hub *h, struct err *e)
{
    size_t kept = 0;
    int rc = 0;

    for (size_t i = 0; i < h->njobs; i++) {
        struct job *j = h->jobs[i];
        bool gone = false;

        if (rc == 0)
            rc = mend_job(h, j->id, &gone, e);
        if (rc < 0 || (!gone && hub_reread(h, j) && !state_is_final(j->state)))
            h->jobs[kept++] = j;
        else
            job_destroy(j);
    }
    h->njobs = kept;
    return rc;
}

/* Everything that had not ended is known again before anyone may ask. */
static int load_jobs(struct hub *h, struct err *e)
{
    const struct store_filter all = {.states = not_final};
    int rc = store_each(h->store, &all, load_one, h, e);

    if (rc == 0)
        rc = mend_jobs(h, e);
    if (rc == 0)
        rc = store_count_ended(h->store, &h->nended, e);
    for (size_t i = 0; rc == 0 && i < h->njobs; i++) {
        queue_note(h, h->jobs[i]);
        if (state_is_live(h->jobs[i]->state)) {
            attempt_adopt(h, h->jobs[i]);
            hub_live(h, h->jobs[i]);
        }
    }
    return rc;
}

static int open_all(struct hub *h, struct err *e)
{
    int rc = check_dir(h, e);

    if (rc == 0)
        rc = take_lock(h, e);
    if (rc == 0)
        rc = open_signals(h, e);
    if (rc == 0)
        rc = store_open(h->opt.dir, &h->store, e);
    if (rc == 0)
        rc = folder_open(h->opt.dir, h->store, e);
    if (rc == 0)
        rc = *h->opt.conf->nodes
                 ? nodes_load(h->opt.conf->nodes, &h->nodes, e)
                 : nodes_local(h->host, h->opt.conf->slots, &h->nodes, e);
    h->slots = h->nodes.slots;
    if (rc == 0)
        rc = load_jobs(h, e);
    if (rc == 0)
        rc = purge_open(h, e);
    if (rc == 0)
        rc = rpc_open(h, &h->rpc, e);
    for (size_t i = 0; rc == 0 && i < h->nlive; i++)
        attempt_say_server(h, h->live[i]->live);
    if (rc == 0 && *h->opt.conf->metrics->listen)
        rc = exporter_open(h->opt.conf->metrics->listen, h, &h->exporter, e);
    return rc;
}

int hub_open(const struct hub_options *opt, struct hub *h, struct err *e)
{
    int rc;

    *h = (struct hub){.opt = *opt, .lock_fd = -1, .watch_fd = -1, .signal_fd = -1};
    h->uid = geteuid();
    h->queue = queue_create();
    h->rules = rules_create();
    h->started_us = clock_wall_us();
    h->now = clock_mono_ns();
    gethostname(h->host, sizeof h->host - 1);
    if (!proc_boot(h->boot))
        rc = err_set(e, ERR_FAILED, "/proc: cannot be read");
    else
        rc = open_all(h, e);
    if (rc < 0)
        hub_close(h);
    return rc;
}

struct check {
    struct store *store;
    store_complaint_f *fn;
    void *arg;
    unsigned found;
};

static void check_one(void *arg, uint64_t id, const char *text)
{
    struct check *c = arg;
    char line[1100];
    bool lost = false;
    struct err e;
    int rc = store_mend(c->store, id, text, &lost, &e);

    snprintf(line, sizeof line, "%s; %s", text,
             rc < 0 ? e.text
             : lost ? "it was set aside"
                    : "it was made anew from its events");
    c->found++;
    c->fn(c->arg, id, line);
}

static int check_store(struct check *c, struct err *e)
{
    uint64_t next = 0;
    unsigned seen;
    int rc = store_check_file(c->store, e);

    if (rc == ERR_FAILED) {
        c->found++;
        c->fn(c->arg, 0, e->text);
        rc = 0;
    }
    do {
        if (rc == 0)
            rc = store_check_all(c->store, next, 1000, check_one, c, &next, &seen, e);
        if (rc == 0)
            rc = store_commit(c->store, e);
    } while (rc == 0 && next);
    return rc;
}

/* A folder that was meant to be another one is left alone. */
static int check_there(const char *dir, struct err *e)
{
    if (store_exists(dir))
        return 0;
    return err_set(e, ERR_NOTFOUND, "%s/nnd.db: wanted a database, found none", dir);
}

int hub_check(const struct hub_options *opt, store_complaint_f *fn, void *arg,
              unsigned *found, struct err *e)
{
    struct hub h = {.opt = *opt, .lock_fd = -1, .uid = geteuid()};
    struct check c = {.fn = fn, .arg = arg};
    int rc = check_there(opt->dir, e);

    if (rc == 0)
        rc = check_dir(&h, e);
    if (rc == 0)
        rc = take_lock(&h, e);
    if (rc == 0)
        rc = store_open(opt->dir, &c.store, e);
    if (rc == 0 && store_was_salvaged(c.store)) {
        c.found++;
        fn(arg, 0,
           "the file was damaged; what could be read was copied into a new one");
    }
    if (rc == 0)
        rc = check_store(&c, e);
    store_close(c.store);
    if (h.lock_fd >= 0)
        close(h.lock_fd);
    *found = c.found;
    return rc;
}

void hub_close(struct hub *h)
{
    exporter_close(h->exporter);
    rpc_close(h->rpc);
    for (size_t i = 0; i < h->njobs; i++) {
        attempt_destroy(h->jobs[i]->live);
        job_destroy(h->jobs[i]);
    }
    free(h->jobs);
    free(h->live);
    free(h->dirty);
    free(h->purged);
    queue_destroy(h->queue);
    rules_destroy(h->rules);
    nodes_free(&h->nodes);
    store_close(h->store);
    if (h->signal_fd >= 0)
        close(h->signal_fd);
    if (h->watch_fd >= 0)
        close(h->watch_fd);
    if (h->lock_fd >= 0)
        close(h->lock_fd);
}
