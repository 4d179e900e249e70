/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt_start.c - an attempt's folder, its lock, its launcher and its command,
 * and the fork.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "daemon/attempt_impl.h"
#include "daemon/failpoint.h"
#include "daemon/cgroup.h"
#include "daemon/child.h"
#include "daemon/folder.h"
#include "daemon/rpc.h"
#include "proto/conf.h"
#include "proto/line.h"
#include "proto/spec.h"

int attempt_launcher(const struct hub *h, Nnd__Launcher wish,
                     const struct launcher **out, struct err *e)
{
    static const struct launcher *const wishes[] = {
        [NND__LAUNCHER__LOCAL] = &launch_local,
        [NND__LAUNCHER__SSH] = &launch_ssh,
        [NND__LAUNCHER__SLURM] = &launch_slurm,
    };
    static const struct launcher *const settings[] = {
        [NND__CONFIG__LAUNCHER__LOCAL] = &launch_local,
        [NND__CONFIG__LAUNCHER__SSH] = &launch_ssh,
        [NND__CONFIG__LAUNCHER__SLURM] = &launch_slurm,
    };
    const struct launcher *l = wishes[wish];

    if (!l)
        l = settings[h->opt.conf->launcher];
    if (l == &launch_ssh && !h->nodes.listed)
        return err_set(e, ERR_SPEC, "launcher: ssh: nnd has no file of nodes");
    if (l == &launch_local && h->nodes.listed)
        return err_set(e, ERR_SPEC,
                       "launcher: local: nnd has a file of nodes, where ssh or slurm "
                       "starts ranks");
    if (l->clean && conf_listens_anywhere(h->opt.conf))
        return err_set(e, ERR_SPEC,
                       "launcher: %s: ranks on other machines cannot connect to nnd's "
                       "access.listen, %s",
                       l->name, h->opt.conf->access->listen);
    *out = l;
    return 0;
}

static int choose_launcher(struct hub *h, struct attempt *a, struct err *e)
{
    struct buf b = {0};
    struct spec *spec;
    int rc = store_spec(h->store, a->job->id, &b, e);

    if (rc == 0)
        rc = spec_unpack(b.data, b.len, &spec, e);
    buf_free(&b);
    if (rc < 0)
        return rc;
    rc = attempt_launcher(h, spec_job(spec)->launcher, &a->launcher, e);
    spec_destroy(spec);
    a->queued = a->launcher->queues;
    return rc == 0 ? launch_note(a->dir, a->launcher, e) : rc;
}

/* Where there is none, marks and sessions have to do.  A later nnd finds it by the
 * link. */
static void make_cgroup(struct attempt *a)
{
    char path[PATH_MAX], name[160];

    snprintf(name, sizeof name, "nnd.%s", a->marker);
    if (!cgroup_make(name, a->cgroup, sizeof a->cgroup))
        return;
    snprintf(path, sizeof path, "%.4000s/cgroup", a->dir);
    if (symlink(a->cgroup, path) == 0)
        return;
    cgroup_end(a->cgroup);
    *a->cgroup = '\0';
}

/* What is elsewhere has to be cleaned there: so launchers say where ranks may be. */
static bool may_be_elsewhere(const struct hub *h, const struct attempt *a)
{
    return a->launcher->clean && *h->opt.conf->access->listen;
}

/* An nnd that takes an attempt up may not listen yet, or have moved: attempts are
 * taken up first, and hub_open says where it listens afterwards. */
void attempt_say_server(const struct hub *h, const struct attempt *a)
{
    const char *public = h->rpc ? rpc_public(h->rpc) : NULL;
    struct err e;

    if (public && *a->public &&
        line_say_server(a->dir, h->opt.conf->access->listen, public, &e) < 0)
        log_warn("ranks do not hear of the server's key: error=\"%s\"", e.text);
}

int attempt_give_way(const struct hub *h, struct attempt *a, struct err *e)
{
    int rc = may_be_elsewhere(h, a) ? line_give_key(a->dir, a->public, e) : 0;

    if (rc == 0)
        attempt_say_server(h, a);
    return rc;
}

/* Ranks read what was submitted, and nothing that lies there instead of it. */
static int check_spec(const char *path, const struct buf *spec, struct err *e)
{
    struct buf there = {0};
    int rc = fs_read(path, 0, &there, e);

    if (rc == 0 && (there.len != spec->len ||
                    (spec->len && memcmp(there.data, spec->data, spec->len) != 0)))
        rc = err_set(e, ERR_FAILED,
                     "%s: wanted what was submitted, found another job; move its "
                     "folder away",
                     path);
    buf_free(&there);
    return rc;
}

static int write_spec(struct hub *h, const struct attempt *a, struct err *e)
{
    char path[PATH_MAX];
    struct buf spec = {0};
    int rc = store_spec(h->store, a->job->id, &spec, e);

    snprintf(path, sizeof path, "%.3900s/jobs/%llu/job.pb", h->opt.dir,
             (unsigned long long)a->job->id);
    if (rc == 0 && fs_exists(path)) {
        rc = check_spec(path, &spec, e);
    } else if (rc == 0) {
        failpoint("before-rename");
        rc = fs_replace(path, spec.data, spec.len, e);
        failpoint("after-rename");
    }
    buf_free(&spec);
    return rc;
}

static int make_dirs(struct hub *h, struct attempt *a, struct err *e)
{
    char path[PATH_MAX];
    int rc;

    attempt_job_dir(h, a->job->id, path);
    rc = folder_clear(path, a->job->attempt, e);
    snprintf(path, sizeof path, "%.4000s/tmp", a->dir);
    if (rc == 0)
        rc = fs_mkdirs(path, e);
    if (rc == 0)
        rc = choose_launcher(h, a, e);
    if (rc == 0)
        rc = line_say_home(a->dir, a->job->epoch, h->boot, h->host, e);
    if (rc == 0)
        rc = attempt_give_way(h, a, e);
    if (rc == 0)
        make_cgroup(a);
    if (rc == 0 && *a->shm && mkdir(a->shm, 0700) < 0 && errno != EEXIST)
        *a->shm = '\0';
    snprintf(path, sizeof path, "%.3900s/jobs/%llu/checkpoints", h->opt.dir,
             (unsigned long long)a->job->id);
    if (rc == 0)
        rc = fs_mkdirs(path, e);
    return rc == 0 ? write_spec(h, a, e) : rc;
}

int attempt_lock(const struct attempt *a, int *fd, struct err *e)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%.4000s/lock", a->dir);
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", path);
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    close(*fd);
    return 1;
}

static const char *text_or_null(const char *text)
{
    return *text ? text : NULL;
}

struct launch attempt_launch(const struct hub *h, const struct attempt *a,
                             struct arena *arena)
{
    const struct hub_options *o = &h->opt;
    char job_dir[PATH_MAX];

    attempt_job_dir(h, a->job->id, job_dir);
    return (struct launch){
        .mpirun = o->mpirun,
        .worker = o->worker,
        .shepherd = o->shepherd,
        .helper = o->slurm,
        .rsh = text_or_null(o->conf->ssh->program),
        .net = text_or_null(o->conf->ssh->network),
        .nodes = a->job->nodes,
        .extra = text_or_null(o->conf->slurm->arguments),
        .marker = a->marker,
        .job_file = arena_printf(arena, "%s/job.pb", job_dir),
        .job_dir = arena_strdup(arena, job_dir),
        .attempt_dir = a->dir,
        .tmp_dir = arena_printf(arena, "%s/tmp", a->dir),
        .shm_dir = *a->shm ? a->shm : NULL,
        .uri = may_be_elsewhere(h, a) ? o->conf->access->listen : o->uri,
        .ranks = a->job->ranks,
        .threads = a->job->threads,
        .attempt = a->job->attempt,
        .epoch = a->job->epoch,
        .root = h->uid == 0,
        .inside = getenv("SLURM_JOB_ID") != NULL,
    };
}

static char **command(struct hub *h, struct attempt *a, int lock_fd,
                      struct arena *arena)
{
    struct launch_args args = launch_args_create(arena);
    struct launch l = attempt_launch(h, a, arena);

    launch_add(&args, h->opt.shepherd);
    launch_add_pair(&args, "--dir", a->dir);
    launch_add_pair(&args, "--marker", a->marker);
    launch_add_number(&args, "--grace", (uint64_t)a->launcher->grace_ms);
    launch_add_number(&args, "--lock-fd", (uint64_t)lock_fd);
    if (*a->cgroup)
        launch_add_pair(&args, "--cgroup", a->cgroup);
    if (a->job->attempt == 1 && failpoint_of_shepherd())
        launch_add_pair(&args, "--failpoint", failpoint_of_shepherd());
    launch_add_pair(&args, "--tmp", l.tmp_dir);
    if (l.shm_dir)
        launch_add_pair(&args, "--tmp", l.shm_dir);
    launch_add(&args, "--");
    for (char **v = a->launcher->argv(&l, arena); *v; v++)
        launch_add(&args, *v);
    return args.v;
}

/* Only async-signal-safe calls between fork and exec: libzmq has threads. */
static void exec_shepherd(char **argv, int lock_fd)
{
    child_reset();
    fcntl(lock_fd, F_SETFD, 0);
    execv(argv[0], argv);
    _exit(127);
}

static int spawn(struct hub *h, struct attempt *a, struct err *e)
{
    struct arena *arena;
    struct proc_id id = {0};
    char **argv;
    int lock_fd, rc = attempt_lock(a, &lock_fd, e);

    if (rc != 0)
        return rc < 0 ? rc : err_set(e, ERR_FAILED, "%s: is running already", a->dir);
    if (access(h->opt.shepherd, X_OK) < 0) {
        rc = err_sys(e, ERR_FAILED, errno, "%s", h->opt.shepherd);
        close(lock_fd);
        return rc;
    }
    arena = arena_create();
    argv = command(h, a, lock_fd, arena);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* a killed shepherd's children come here */
    failpoint("before-fork");
    id.pid = fork();
    if (id.pid == 0) {
        if (a->job->attempt == 1)
            failpoint("child-before-exec");
        exec_shepherd(argv, lock_fd);
    }
    failpoint("after-fork");
    if (id.pid < 0)
        rc = err_sys(e, ERR_FAILED, errno, "starting %s", h->opt.shepherd);
    close(lock_fd); /* the shepherd's copy keeps it locked */
    arena_destroy(arena);
    if (rc < 0)
        return rc;
    a->child = true;
    memcpy(id.boot, h->boot, sizeof id.boot);
    proc_start(id.pid, &id.start);
    attempt_watch(h, a, &id);
    return 0;
}

void attempt_start(struct hub *h, struct job *j)
{
    struct attempt *a = attempt_create(h, j);
    struct err e;
    int rc = make_dirs(h, a, &e);

    if (rc == 0)
        rc = spawn(h, a, &e);
    if (rc < 0) {
        log_error("cannot start: job=%llu attempt=%u error=\"%s\"",
                  (unsigned long long)j->id, j->attempt, e.text);
        snprintf(a->start_error, sizeof a->start_error, "%.500s", e.text);
        attempt_stage(h, a, ATTEMPT_SWEEPING);
        return;
    }
    log_info("start: job=%llu attempt=%u ranks=%u threads=%u pid=%d",
             (unsigned long long)j->id, j->attempt, j->ranks, j->threads, (int)a->pid);
}
