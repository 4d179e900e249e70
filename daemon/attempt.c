/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempt.c - an attempt from its start to the moment when none of its processes
 * is left.  What its end means for the job is outcome.c's.
 */
#include "daemon/attempt_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/oom.h"
#include "daemon/catchup.h"
#include "daemon/hang.h"
#include "daemon/limit.h"
#include "daemon/outcome.h"
#include "daemon/sweep.h"
#include "daemon/proc.h"
#include "proto/line.h"

#define MS 1000000LL /* nanoseconds */

enum {
    LOOK_EVERY_MS = 50, /* while a shepherd has not told its pid            */
    LOOK_MAX_MS = 30000,
    QUEUED_EVERY_MS = 1000, /* while the launcher has no nodes yet            */
    LOST_GRACE_MS = 3000,   /* for mpirun to end by itself after a rank's death */
    LISTEN_MS = 500,        /* for what ranks said before they left to come in  */
};

void attempt_job_dir(const struct hub *h, uint64_t job, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/jobs/%llu", h->opt.dir, (unsigned long long)job);
}

void attempt_dir(const struct hub *h, uint64_t job, uint32_t number, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/jobs/%llu/attempt-%u", h->opt.dir,
             (unsigned long long)job, number);
}

/* The marker names the store too: ids of another daemon's jobs are the same. */
struct attempt *attempt_create(struct hub *h, struct job *j)
{
    struct attempt *a = oom_calloc(1, sizeof *a);
    struct stat st;

    a->ranks = oom_calloc(j->ranks, sizeof *a->ranks);
    a->job = j;
    a->launcher = &launch_local;
    a->was_up = j->state != WIRE__STATE__STARTING;
    a->fd = -1;
    a->first_bad = -1;
    a->since = a->moved_at = a->began = h->now;
    for (uint32_t i = 0; i < j->ranks; i++)
        a->ranks[i].fd = -1;
    attempt_dir(h, j->id, j->attempt, a->dir);
    snprintf(a->marker, sizeof a->marker, "%.12s.%llu.%u.%llu", store_uuid(h->store),
             (unsigned long long)j->id, j->attempt, (unsigned long long)j->epoch);
    if (stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode) &&
        access("/dev/shm", W_OK) == 0)
        snprintf(a->shm, sizeof a->shm, "/dev/shm/nnd.%s", a->marker);
    j->live = a;
    return a;
}

void attempt_destroy(struct attempt *a)
{
    if (!a)
        return;
    for (uint32_t i = 0; i < a->job->ranks; i++)
        if (a->ranks[i].fd >= 0)
            close(a->ranks[i].fd);
    if (a->fd >= 0)
        close(a->fd);
    a->job->live = NULL;
    free(a->ranks);
    free(a);
}

/* --- watching ------------------------------------------------------------- */

/* Event data: the job's number and, from 1, the rank; 0 is the shepherd. */
static void watch(struct hub *h, const struct attempt *a, int fd, uint32_t who)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = a->job->id << 16 | who};

    if (epoll_ctl(h->watch_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        log_warn("cannot watch a process: job=%llu error=\"%s\"",
                 (unsigned long long)a->job->id, strerror(errno));
}

void attempt_stage(struct hub *h, struct attempt *a, enum attempt_stage stage)
{
    a->stage = stage;
    a->since = h->now;
    hub_wake(h, h->now);
}

void attempt_watch(struct hub *h, struct attempt *a, const struct proc_id *id)
{
    a->pid = id->pid;
    a->fd = proc_open(id);
    if (a->fd < 0) {
        attempt_ended(h, a);
        return;
    }
    watch(h, a, a->fd, 0);
    attempt_stage(h, a, ATTEMPT_RUNNING);
}

void attempt_ended(struct hub *h, struct attempt *a)
{
    if (a->stage >= ATTEMPT_SWEEPING)
        return;
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
    if (a->child)
        waitpid(a->pid, NULL, WNOHANG);
    a->told = status_read(a->dir, &a->status) == 0 && a->status.ended;
    attempt_stage(h, a, ATTEMPT_SWEEPING);
}

void attempt_rank_gone(struct hub *h, struct attempt *a, uint32_t rank)
{
    struct rank *r = &a->ranks[rank];

    close(r->fd);
    r->fd = -1;
    r->gone = true;
    a->ngone++;
    if (a->first_bad < 0 && !r->ended && r->phase != WIRE__PHASE__DONE &&
        a->stop == WIRE__STOP__GO_ON)
        a->first_bad = (int)rank;
    hub_changed(h, a->job);
    hub_wake(h, h->now);
}

void attempt_rank_up(struct hub *h, struct attempt *a, uint32_t rank, uint32_t pid,
                     const char *host)
{
    struct rank *r = &a->ranks[rank];
    struct proc_id id = {.pid = (pid_t)pid};

    if (!r->up) {
        r->up = true;
        a->nup++;
        a->moved_at = r->beat_at = r->phase_at = h->now;
        hub_wake(h, h->now);
    }
    if (host)
        snprintf(r->host, sizeof r->host, "%s", host);
    if (r->pid == pid || pid == 0)
        return;
    r->pid = pid;
    if (*r->host && strcmp(r->host, h->host) != 0)
        return; /* that machine's pids are not this one's */
    memcpy(id.boot, h->boot, sizeof id.boot);
    if (!proc_start(id.pid, &id.start) || !proc_has_marker(id.pid, a->marker))
        return;
    r->fd = proc_open(&id);
    if (r->fd >= 0)
        watch(h, a, r->fd, rank + 1);
}

/* --- taking up after a restart -------------------------------------------- */

/* Nobody holds the lock: it ended, or was killed, while nnd was away. */
static void adopt_ended(struct hub *h, struct attempt *a)
{
    bool known = status_read(a->dir, &a->status) == 0;

    a->told = known && a->status.ended;
    a->swept_boot = known && strcmp(a->status.boot, h->boot) != 0;
    attempt_stage(h, a, ATTEMPT_SWEEPING);
}

/* Somebody holds it: the shepherd, which writes its pid first of all. */
static void adopt_running(struct hub *h, struct attempt *a)
{
    struct proc_id id = {0};

    if (status_read(a->dir, &a->status) < 0) {
        if (h->now - a->since > LOOK_MAX_MS * MS)
            log_warn("a shepherd tells no pid: dir=%s", a->dir);
        hub_wake(h, h->now + LOOK_EVERY_MS * MS);
        return;
    }
    memcpy(id.boot, a->status.boot, sizeof id.boot);
    id.pid = a->status.pid;
    id.start = a->status.start;
    a->began = h->now - proc_age_ns(id.start);
    attempt_watch(h, a, &id);
}

/* In a folder that an attempt of another history has left, under a database that was
 * put back from a copy, there is nothing to be learnt. */
static void look(struct hub *h, struct attempt *a)
{
    struct err e;
    int fd, rc;

    if (line_is_another(a->dir, a->job->epoch)) {
        attempt_stage(h, a, ATTEMPT_SWEEPING);
        return;
    }
    rc = fs_exists(a->dir) ? attempt_lock(a, &fd, &e) : 0;
    if (rc == 1) {
        adopt_running(h, a);
        return;
    }
    if (rc < 0)
        log_warn("cannot look at an attempt: error=\"%s\"", e.text);
    adopt_ended(h, a);
    if (rc == 0 && fs_exists(a->dir))
        close(fd);
}

/* What the ranks did while nobody listened, or nnd was too busy to hear it before they
 * left, is in their job's folder.  A checkpoint beyond the attempt's last step is of
 * an attempt before, and it found that one damaged. */
static void catch_up(struct hub *h, struct attempt *a)
{
    struct event ev = {.kind = EVENT_SAVED, .bad_rank = -1};
    struct job *j = a->job;
    char dir[PATH_MAX], path[PATH_MAX];
    struct err e;
    bool known;

    attempt_job_dir(h, j->id, dir);
    known = catchup_metrics(dir, &j->metric) == j->attempt && j->metric.has_step;
    if (known)
        a->step = j->metric.step;
    if (!catchup_checkpoint(dir, path, &ev.step) ||
        (j->checkpoint && ev.step <= j->checkpoint_step) ||
        (known && ev.step > a->step))
        return;
    ev.first_step = j->first_step;
    ev.text = path;
    hub_post(h, j, &ev, &e);
}

static void find_cgroup(struct attempt *a)
{
    char path[PATH_MAX];
    ssize_t n;

    snprintf(path, sizeof path, "%.4000s/cgroup", a->dir);
    n = readlink(path, a->cgroup, sizeof a->cgroup - 1);
    a->cgroup[n > 0 ? n : 0] = '\0';
}

void attempt_adopt(struct hub *h, struct job *j)
{
    struct attempt *a = attempt_create(h, j);
    struct err e;

    a->launcher = launch_noted(a->dir);
    a->queued = a->launcher->queues;
    /* whether it was told to go on is not known: it is told again */
    a->paused = j->state == WIRE__STATE__RUNNING;
    find_cgroup(a);
    if (fs_exists(a->dir) && attempt_give_way(h, a, &e) < 0)
        log_warn("ranks elsewhere cannot come back: error=\"%s\"", e.text);
    catch_up(h, a);
    a->saved = j->checkpoint_step;
    a->stage = ATTEMPT_LOOKING;
    look(h, a);
    log_info("took up: job=%llu attempt=%u %s pid=%d", (unsigned long long)j->id,
             j->attempt, a->stage == ATTEMPT_SWEEPING ? "ended" : "running",
             (int)a->pid);
}

/* --- stopping ------------------------------------------------------------- */

void attempt_ask(struct attempt *a, enum launch_ask ask)
{
    int sig = a->launcher->signal(ask);

    if (sig && a->stage == ATTEMPT_RUNNING && a->fd >= 0)
        syscall(SYS_pidfd_send_signal, a->fd, sig, NULL, 0);
}

void attempt_stop(struct hub *h, struct attempt *a, Wire__Stop how)
{
    if (a->stop == WIRE__STOP__GO_ON)
        attempt_ask(a, LAUNCH_GO_ON);
    if (how > a->stop)
        a->stop = how;
    if (!a->term_at)
        a->term_at =
            a->was_up ? h->now + (int64_t)(h->opt.conf->grace * 1000 * MS) : h->now;
    hub_wake(h, a->term_at);
}

/* --- acting --------------------------------------------------------------- */

/* The time in which a launcher waits for nodes is none of the attempt's: it hangs in
 * nothing then, and its own time has not begun. */
static void act_queued(struct hub *h, struct attempt *a)
{
    int64_t age;

    if (!a->queued)
        return;
    if (launch_began(a->dir, &age)) {
        a->began = h->now - age;
        a->queued = false;
    } else if (a->nup || a->was_up) {
        a->queued = false; /* a launcher of before it said so */
    } else {
        a->began = h->now;
        hub_wake(h, h->now + QUEUED_EVERY_MS * MS);
    }
    a->moved_at = h->now;
}

static void act_up(struct hub *h, struct attempt *a)
{
    struct event ev = {.kind = EVENT_UP, .bad_rank = -1};
    struct err e;

    if (a->job->state == WIRE__STATE__STARTING && a->nup == a->job->ranks)
        a->was_up = hub_post(h, a->job, &ev, &e) == 0;
}

/* What was asked of the job and is on disk by now is done to its processes. */
static void act_asked(struct hub *h, struct attempt *a)
{
    bool paused = a->job->state == WIRE__STATE__SUSPENDED;

    if (a->job->state == WIRE__STATE__STOPPING && a->stop == WIRE__STOP__GO_ON) {
        if (a->job->failure == WIRE__FAILURE__HANG)
            a->term_at = h->now; /* who hangs cannot save */
        if (a->job->failure == WIRE__FAILURE__TIME_LIMIT)
            a->term_at = limit_end(h, a);
        attempt_stop(h, a, WIRE__STOP__SAVE_AND_LEAVE);
    }
    if (paused != a->paused && a->stop == WIRE__STOP__GO_ON) {
        attempt_ask(a, paused ? LAUNCH_PAUSE : LAUNCH_GO_ON);
        a->moved_at = h->now;
    }
    a->paused = paused;
}

/* A rank died: note it at once; mpirun notices too and ends within a second or
 * two, and is asked to when it does not. */
static void act_lost(struct hub *h, struct attempt *a)
{
    struct event ev = {.kind = EVENT_LOST, .bad_rank = a->first_bad};
    char text[128];
    struct err e;

    if (a->first_bad < 0 || a->lost_posted || !a->ranks[a->first_bad].gone)
        return;
    snprintf(text, sizeof text, "rank %d (pid %u) is gone", a->first_bad,
             a->ranks[a->first_bad].pid);
    ev.text = text;
    ev.step = a->ranks[a->first_bad].step;
    a->lost_posted = hub_post(h, a->job, &ev, &e) == 0;
    if (!a->term_at)
        a->term_at = h->now + LOST_GRACE_MS * MS;
}

static void act_term(struct hub *h, struct attempt *a)
{
    if (!a->term_at && a->ngone == a->job->ranks) /* something holds mpirun up */
        a->term_at = h->now + LOST_GRACE_MS * MS;
    if (!a->term_at)
        return;
    if (h->now < a->term_at) {
        hub_wake(h, a->term_at);
        return;
    }
    attempt_ask(a, LAUNCH_END);
    a->term_at = h->now + 5000 * MS; /* again, should it have been missed */
    hub_wake(h, a->term_at);
}

/* A rank that is gone and did not say why may have: an nnd that was kept from listening
 * finds out that it is gone before it hears it. */
static bool is_heard(struct hub *h, const struct attempt *a)
{
    int64_t until = a->since + LISTEN_MS * MS;
    bool heard = true;

    for (uint32_t i = 0; i < a->job->ranks && heard; i++)
        heard = !a->ranks[i].up || a->ranks[i].ended;
    if (heard || h->now >= until)
        return true;
    hub_wake(h, until);
    return false;
}

void attempt_settle(struct attempt *a, bool done)
{
    if (done) {
        a->durable.lost_posted = a->lost_posted;
        a->durable.noted = a->noted;
        a->durable.saved = a->saved;
    } else {
        a->lost_posted = a->durable.lost_posted;
        a->noted = a->durable.noted;
        a->saved = a->durable.saved;
    }
}

void attempt_act(struct hub *h, struct attempt *a)
{
    if (a->stage == ATTEMPT_LOOKING)
        look(h, a);
    if (a->stage == ATTEMPT_RUNNING) {
        act_queued(h, a);
        act_asked(h, a);
        act_up(h, a);
        act_lost(h, a);
        hang_act(h, a);
        limit_act(h, a);
        act_term(h, a);
    }
    if (a->stage == ATTEMPT_SWEEPING && sweep_act(h, a) && is_heard(h, a)) {
        line_end(a->dir);
        attempt_stage(h, a, ATTEMPT_OVER);
    }
    if (a->stage == ATTEMPT_OVER && state_is_live(a->job->state)) {
        catch_up(h, a);
        outcome_post(h, a);
    }
}
