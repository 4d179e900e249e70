/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub.c - the jobs, the loop, and what happens around a commit.  hub_open.c opens and
 * closes.
 */
#include "daemon/hub_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <zmq.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/oom.h"
#include "daemon/attempt.h"
#include "daemon/exporter.h"
#include "daemon/failpoint.h"
#include "daemon/notify.h"
#include "daemon/purge.h"
#include "daemon/queue.h"
#include "daemon/rpc.h"

#define SECOND 1000000000LL

enum { IDLE_S = 10 };

/* --- jobs ----------------------------------------------------------------- */

/* Where the job is, or would be. */
static size_t hub_index(const struct hub *h, uint64_t id)
{
    size_t low = 0, high = h->njobs;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (h->jobs[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct job *hub_find(const struct hub *h, uint64_t id)
{
    size_t at = hub_index(h, id);

    return at < h->njobs && h->jobs[at]->id == id ? h->jobs[at] : NULL;
}

int hub_owner(const struct hub *h, uint64_t id, uint32_t *uid, struct err *e)
{
    struct job *j = hub_find(h, id);
    int rc;

    if (j) {
        *uid = j->uid;
        return 0;
    }
    rc = store_job(h->store, id, &j, e);
    if (rc < 0)
        return rc;
    *uid = j->uid;
    job_destroy(j);
    return 0;
}

void hub_add(struct hub *h, struct job *j)
{
    size_t at = h->njobs;

    if (h->njobs == h->cap) {
        h->cap = h->cap ? 2 * h->cap : 64;
        h->jobs = oom_realloc(h->jobs, h->cap * sizeof *h->jobs);
    }
    while (at > 0 && h->jobs[at - 1]->id > j->id) {
        h->jobs[at] = h->jobs[at - 1];
        at--;
    }
    h->jobs[at] = j;
    h->njobs++;
}

static void remember(struct hub *h, struct job *j)
{
    if (j->dirty)
        return;
    j->dirty = true;
    if (h->ndirty == h->dirty_cap) {
        h->dirty_cap = h->dirty_cap ? 2 * h->dirty_cap : 64;
        h->dirty = oom_realloc(h->dirty, h->dirty_cap * sizeof *h->dirty);
    }
    h->dirty[h->ndirty++] = j;
}

int hub_post(struct hub *h, struct job *j, struct event *ev, struct err *e)
{
    int rc;

    remember(h, j);
    rc = store_post(h->store, j, ev, e);
    if (rc < 0 && rc != ERR_FAILED && !h->refused_until)
        log_warn("cannot store: job=%llu event=%s error=\"%s\"",
                 (unsigned long long)j->id, event_name(ev->kind), e->text);
    queue_note(h, j);
    hub_wake(h, h->now); /* act on it in the next round */
    return rc;
}

void hub_wake(struct hub *h, int64_t at)
{
    if (at < h->wake)
        h->wake = at;
}

void hub_changed(struct hub *h, struct job *j)
{
    job_touch(j);
    h->change++;
}

/* --- the commit ----------------------------------------------------------- */

bool hub_reread(struct hub *h, struct job *j)
{
    struct job *stored, old;
    struct err e;
    int rc = store_job(h->store, j->id, &stored, &e);

    if (rc == ERR_NOTFOUND)
        return false;
    if (rc < 0) { /* not even readable: end before anything untrue is said */
        log_error("cannot read back: job=%llu error=\"%s\"", (unsigned long long)j->id,
                  e.text);
        exit(1);
    }
    job_measure(&stored->metric, &j->metric);
    stored->live = j->live;
    stored->version = j->version + 1;
    stored->place = j->place;
    stored->dirty = j->dirty;
    old = *j;
    *j = *stored;
    *stored = old;
    job_destroy(stored);
    return true;
}

/* Out of the list of those that have not ended. */
static void hub_remove(struct hub *h, struct job *j)
{
    size_t at = hub_index(h, j->id);

    queue_gone(h, j);
    h->njobs--;
    memmove(h->jobs + at, h->jobs + at + 1, (h->njobs - at) * sizeof *h->jobs);
}

/* The disk refused: nothing of this round has happened. */
static void roll_back(struct hub *h)
{
    for (size_t i = 0; i < h->ndirty; i++) {
        struct job *j = h->dirty[i];

        j->dirty = false;
        if (j->live)
            attempt_settle(j->live, false);
        if (hub_reread(h, j)) {
            queue_note(h, j);
        } else {
            hub_remove(h, j);
            job_destroy(j);
        }
    }
}

void hub_live(struct hub *h, struct job *j)
{
    if (h->nlive == h->live_cap) {
        h->live_cap = h->live_cap ? 2 * h->live_cap : 16;
        h->live = oom_realloc(h->live, h->live_cap * sizeof *h->live);
    }
    h->live[h->nlive++] = j;
}

static void live_remove(struct hub *h, const struct job *j)
{
    size_t at = 0;

    while (h->live[at] != j)
        at++;
    h->nlive--;
    memmove(h->live + at, h->live + at + 1, (h->nlive - at) * sizeof *h->live);
}

/* What is durable may be acted on: processes started, the ended forgotten. */
static void act_on_commit(struct hub *h, struct job *j)
{
    if (j->live)
        attempt_settle(j->live, true);
    if (j->live && !state_is_live(j->state)) {
        log_info("end: job=%llu attempt=%u state=%s failure=%s text=\"%s\"",
                 (unsigned long long)j->id, j->attempt, state_name(j->state),
                 failure_name(j->failure), j->reason ? j->reason : "");
        attempt_destroy(j->live);
        live_remove(h, j);
        purge_attempts(h, j);
        queue_look(h);
        hub_wake(h, h->now);
    }
    if (j->state == WIRE__STATE__STARTING && !j->live) {
        attempt_start(h, j);
        hub_live(h, j);
    }
    if (state_is_final(j->state)) {
        h->nended++;
        hub_remove(h, j);
        job_destroy(j);
    }
}

/* For a while only those who ask find out whether the disk accepts again: what nnd has
 * to write itself it would try in every round. */
static void note_disk(struct hub *h, bool dirty, const struct err *refused)
{
    if (refused) {
        if (!h->refused_until)
            log_warn("disk refused: error=\"%s\"", refused->text);
        if (h->now >= h->refused_until)
            h->refused_until = h->now + SECOND;
    } else if (h->refused_until && (dirty || h->now >= h->refused_until)) {
        if (dirty)
            log_info("the disk accepts again");
        h->refused_until = 0;
    } else {
        return;
    }
    hub_wake(h, h->now);
}

static void commit(struct hub *h)
{
    struct err e;
    bool dirty = store_dirty(h->store);
    size_t n = h->ndirty;
    int rc;

    if (dirty)
        failpoint("before-commit");
    rc = store_commit(h->store, &e);
    if (dirty)
        failpoint("after-commit");
    if (rc < 0)
        roll_back(h);
    note_disk(h, dirty, rc < 0 ? &e : NULL);
    if (dirty)
        h->change++;
    if (dirty)
        failpoint("before-answer");
    rpc_flush(h->rpc, rc < 0 ? &e : NULL);
    h->ndirty = 0;
    if (dirty)
        failpoint("after-answer");
    purge_committed(h, rc == 0);
    for (size_t i = 0; i < n && rc == 0; i++) {
        h->dirty[i]->dirty = false;
        act_on_commit(h, h->dirty[i]);
    }
}

/* --- the loop ------------------------------------------------------------- */

/* Processes that ended. */
static void take_endings(struct hub *h)
{
    struct epoll_event ev[64];
    int n = epoll_wait(h->watch_fd, ev, 64, 0);

    for (int i = 0; i < n; i++) {
        struct job *j = hub_find(h, ev[i].data.u64 >> 16);
        uint32_t who = ev[i].data.u64 & 0xffff;

        if (!j || !j->live)
            continue;
        if (who == 0)
            attempt_ended(h, j->live);
        else if (j->live->ranks[who - 1].fd >= 0)
            attempt_rank_gone(h, j->live, who - 1);
    }
    if (n == 64)
        hub_wake(h, h->now);
}

static int reload_options(struct hub *h, struct err *e)
{
    struct hub_options new;
    int rc = h->opt.reload(h->opt.reload_arg, &new, e);

    if (rc < 0)
        return rc;
    new.reload = h->opt.reload;
    new.reload_arg = h->opt.reload_arg;
    h->opt = new;
    h->change++;
    queue_look(h); /* who was at a limit may start */
    log_info("configuration read again");
    return 0;
}

/* A configuration that is wrong changes nothing. */
int hub_reload(struct hub *h, struct err *e)
{
    int rc, other_key = 0;

    notify_say("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(clock_mono_ns() / 1000));
    rc = h->opt.reload ? reload_options(h, e) : 0;
    if (rc == 0)
        rc = other_key = rpc_rekey(h->rpc, h, e);
    if (rc == 0 && !h->opt.reload && !other_key)
        rc = err_set(e, ERR_USAGE,
                     "nnd was started without --config, and its key is "
                     "the one it had");
    notify_say("READY=1");
    if (rc < 0)
        log_warn("configuration not read again: error=\"%s\"", e->text);
    return rc < 0 ? rc : 0;
}

static void take_signals(struct hub *h)
{
    struct signalfd_siginfo info;
    struct err e;

    while (read(h->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        if (info.ssi_signo == SIGHUP && h->opt.reload) {
            hub_reload(h, &e);
            continue;
        }
        log_info("leaving: signal=%u", info.ssi_signo);
        h->leaving = true;
    }
}

static void act(struct hub *h)
{
    for (size_t i = 0; i < h->nlive; i++)
        attempt_act(h, h->live[i]->live);
}

/* Leaving with --stop: every attempt is asked to save and end, and queued again. */
static void stop_jobs(struct hub *h)
{
    for (size_t i = 0; i < h->nlive; i++) {
        struct job *j = h->live[i];
        struct event ev = {.kind = EVENT_STOP,
                           .failure = WIRE__FAILURE__PREEMPT,
                           .bad_rank = -1,
                           .text = "nnd is shutting down"};
        struct err e;

        if (state_is_live(j->state) && j->state != WIRE__STATE__STOPPING)
            hub_post(h, j, &ev, &e);
    }
}

/* True when the loop may end. */
static bool is_done(struct hub *h)
{
    if (h->leaving)
        return !h->stop_jobs || h->nlive == 0;
    if (!h->opt.conf->exit_when_idle)
        return false;
    if (h->njobs > 0 || rpc_waiting(h->rpc) > 0)
        h->busy_at = h->now;
    hub_wake(h, h->busy_at + IDLE_S * SECOND);
    return h->now >= h->busy_at + IDLE_S * SECOND;
}

static int wait_for_news(struct hub *h, struct err *e)
{
    zmq_pollitem_t items[3 + RPC_SOCKETS] = {
        {.fd = h->watch_fd, .events = ZMQ_POLLIN},
        {.fd = h->signal_fd, .events = ZMQ_POLLIN},
    };
    size_t n = 2 + rpc_poll(h->rpc, items + 2);

    if (h->exporter)
        items[n++] =
            (zmq_pollitem_t){.fd = exporter_fd(h->exporter), .events = ZMQ_POLLIN};
    int64_t left = h->wake - clock_mono_ns();
    long ms = h->wake == INT64_MAX ? -1
              : left <= 0          ? 0
                                   : (long)((left + 999999) / 1000000);

    if (zmq_poll(items, (int)n, ms) < 0 && zmq_errno() != EINTR)
        return err_set(e, ERR_FAILED, "waiting for news: %s",
                       zmq_strerror(zmq_errno()));
    return 0;
}

/* Answer Prometheus; tell the service manager that this thread lives. */
static void serve_others(struct hub *h)
{
    int64_t every = notify_watchdog_ns();
    long ms = h->exporter ? exporter_run(h->exporter) : -1;

    if (ms >= 0)
        hub_wake(h, h->now + ms * 1000000LL);
    if (every == 0)
        return;
    if (h->now >= h->sign_at + every) {
        notify_say("WATCHDOG=1\nSTATUS=%zu jobs, %u of %u slots used", h->njobs,
                   h->slots_used, h->slots);
        h->sign_at = h->now;
    }
    hub_wake(h, h->sign_at + every);
}

/* After the disk refused, what nnd has to write itself is tried once a second, in a
 * round without anybody else's requests: those are answered by what becomes of them. */
static void round_once(struct hub *h)
{
    bool ours, theirs;

    h->now = clock_mono_ns();
    h->wake = INT64_MAX;
    ours = h->now >= h->refused_until;
    theirs = !ours || !h->refused_until;
    take_signals(h);
    if (ours)
        act(h);
    else
        hub_wake(h, h->refused_until);
    if (theirs)
        rpc_receive(h->rpc, h);
    take_endings(h); /* what ranks said before they left is heard first */
    if (ours && h->leaving && h->stop_jobs)
        stop_jobs(h);
    if (ours)
        queue_act(h);
    if (ours)
        purge_act(h);
    commit(h);
    serve_others(h);
}

int hub_run(struct hub *h, struct err *e)
{
    /* libzmq drops what a client has not read yet when the connection ends */
    const struct timespec last = {0, 200000000};
    int rc = 0;

    h->busy_at = clock_mono_ns();
    h->wake = 0;
    while (rc == 0) {
        rc = wait_for_news(h, e);
        if (rc == 0)
            round_once(h);
        if (is_done(h))
            break;
    }
    notify_say("STOPPING=1");
    rpc_flush(h->rpc, NULL);
    nanosleep(&last, NULL);
    log_info("end: jobs=%zu", h->njobs);
    return rc;
}
