/* SPDX-License-Identifier: Apache-2.0 */
/*
 * purge.c - out of the store, into the trash, off the disk.
 */
#include "daemon/purge.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/oom.h"
#include "daemon/attempt.h"
#include "daemon/need.h"

enum { BATCH = 200, EVERY_S = 60, KEYS_EVERY_S = 3600, TRASH_S = 1, TRASH_TWICE = 12 };

/* --- the trash ------------------------------------------------------------ */

/* Beside the folders of jobs: these may be on another disk than all else.  Before, it
 * was beside the store. */
static const char *const trashes[] = {"jobs/trash", "trash"};

static atomic_bool emptying;
static atomic_uint failures; /* in a row */

static bool remove_trash(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct err e;

    snprintf(path, sizeof path, "%.4000s/%s", dir, name);
    if (fs_remove_all(path, &e) == 0)
        return true;
    log_warn("cannot empty the trash: error=\"%s\"", e.text);
    return false;
}

static void *empty(void *arg)
{
    bool first = remove_trash(arg, trashes[0]), second = remove_trash(arg, trashes[1]);

    free(arg);
    atomic_store(&failures, first && second ? 0 : atomic_load(&failures) + 1);
    atomic_store(&emptying, false);
    return NULL;
}

static bool is_trash(const struct hub *h)
{
    char path[PATH_MAX];

    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%.4000s/%s", h->opt.dir, trashes[i]);
        if (fs_exists(path))
            return true;
    }
    return false;
}

/* One thread at a time; what comes meanwhile is found by the next look.  What cannot be
 * removed is tried again, later each time. */
static void empty_trash(struct hub *h)
{
    unsigned failed = atomic_load(&failures);
    int64_t wait_s = TRASH_S << (failed < TRASH_TWICE ? failed : TRASH_TWICE);
    bool busy;
    pthread_t thread;
    char *dir;

    h->trash_at = 0;
    if (!is_trash(h))
        return;
    busy = atomic_exchange(&emptying, true);
    h->trash_at = h->now + (busy ? TRASH_S : wait_s) * 1000000000LL;
    hub_wake(h, h->trash_at);
    if (busy)
        return;
    dir = oom_calloc(1, strlen(h->opt.dir) + 1);
    strcpy(dir, h->opt.dir);
    if (pthread_create(&thread, NULL, empty, dir) == 0) {
        pthread_detach(thread);
        return;
    }
    free(dir);
    atomic_store(&emptying, false);
}

/* True when it is not there any more.  The name is new each time: the thread may be
 * removing one that was, or the trash itself, which is then made once more. */
static bool throw_away(struct hub *h, const char *path)
{
    static unsigned count;
    char to[PATH_MAX];
    struct err e;

    for (int i = 0; i < 2; i++) {
        if (!fs_exists(path))
            return true;
        snprintf(to, sizeof to, "%.4000s/%s", h->opt.dir, trashes[0]);
        if (fs_mkdirs(to, &e) < 0) {
            log_warn("cannot remove: path=%s error=\"%s\"", path, e.text);
            return false;
        }
        snprintf(to, sizeof to, "%.3900s/%s/%lld-%u", h->opt.dir, trashes[0],
                 (long long)clock_wall_us(), count++);
        if (rename(path, to) == 0)
            return true;
        if (errno != ENOENT)
            break;
    }
    log_warn("cannot remove: path=%s error=\"%s\"", path, strerror(errno));
    return false;
}

/* --- jobs ----------------------------------------------------------------- */

bool purge_allowed(struct hub *h, const struct job *j)
{
    if (!state_is_final(j->state) || hub_find(h, j->id))
        return false;
    for (size_t i = 0; i < h->njobs; i++)
        if (h->jobs[i]->needs && need_has(h->jobs[i], j))
            return false;
    return true;
}

static void take_up(void *arg, uint64_t id)
{
    struct hub *h = arg;

    h->purged = oom_realloc(h->purged, (h->npurged + 1) * sizeof *h->purged);
    h->purged[h->npurged++] = id;
}

int purge_job(struct hub *h, uint64_t id, struct err *e)
{
    int rc = store_forget(h->store, id, e);

    if (rc < 0)
        return rc;
    take_up(h, id);
    return 0;
}

int purge_excess(struct hub *h, uint64_t keep, uint64_t *out, struct err *e)
{
    uint64_t n;
    int rc = store_count_ended(h->store, &n, e);

    if (rc == 0)
        *out = n > keep ? n - keep : 0;
    return rc;
}

/* The oldest that are too old or too many. */
struct sweep {
    struct hub *hub;
    int64_t before_us;
    uint64_t excess;
    uint64_t ids[BATCH];
    size_t n;
};

static bool sweep_one(void *arg, const struct job *j)
{
    struct sweep *s = arg;

    if (j->ended_us >= s->before_us && s->excess == 0)
        return false;
    if (purge_allowed(s->hub, j))
        s->ids[s->n++] = j->id;
    s->excess -= s->excess > 0;
    return s->n < BATCH;
}

static void sweep(struct hub *h)
{
    uint32_t most = h->opt.conf->keep->jobs;
    struct sweep s = {.hub = h};
    struct err e;
    int rc = 0;

    if (h->opt.conf->keep->age > 0)
        s.before_us = clock_wall_us() - (int64_t)(h->opt.conf->keep->age * 1e6);
    if (s.before_us <= 0 && (!most || h->nended <= most))
        return;
    h->sweep_at = h->now + EVERY_S * 1000000000LL; /* whatever the disk says */
    if (most)
        rc = purge_excess(h, most, &s.excess, &e);
    if (rc == 0)
        rc = store_ended(h->store, 0, sweep_one, &s, &e);
    for (size_t i = 0; i < s.n && rc == 0; i++)
        rc = purge_job(h, s.ids[i], &e);
    if (rc < 0)
        log_warn("cannot forget old jobs: error=\"%s\"", e.text);
    else if (s.n == BATCH)
        hub_wake(h, h->sweep_at = h->now);
}

void purge_act(struct hub *h)
{
    bool limits = h->opt.conf->keep->age > 0 || h->opt.conf->keep->jobs;
    struct err e;

    if (limits && h->now >= h->sweep_at)
        sweep(h);
    if (h->now >= h->keys_at) {
        h->keys_at = h->now + KEYS_EVERY_S * 1000000000LL;
        store_forget_keys(h->store, &e);
    }
    hub_wake(h, h->keys_at);
    if (h->trash_at && h->now >= h->trash_at)
        empty_trash(h);
    if (h->trash_at)
        hub_wake(h, h->trash_at);
    if (limits && h->sweep_at > h->now)
        hub_wake(h, h->sweep_at);
}

/* --- folders -------------------------------------------------------------- */

/* What is there is looked at, not what should be: some may have stayed before. */
void purge_attempts(struct hub *h, const struct job *j)
{
    char dir[PATH_MAX], part[PATH_MAX];
    struct dirent *entry;
    uint32_t n;
    DIR *d;

    attempt_job_dir(h, j->id, dir);
    d = j->attempt > h->opt.conf->keep->attempts ? opendir(dir) : NULL;
    while (d && (entry = readdir(d))) {
        if (sscanf(entry->d_name, "attempt-%" SCNu32, &n) != 1 || n > j->attempt ||
            j->attempt - n < h->opt.conf->keep->attempts)
            continue;
        attempt_dir(h, j->id, n, part);
        throw_away(h, part);
    }
    if (d)
        closedir(d);
    empty_trash(h);
}

/* What could not be moved, or is not forgotten: once more at the next start. */
static void throw_away_job(struct hub *h, uint64_t id)
{
    char dir[PATH_MAX];
    struct err e;

    attempt_job_dir(h, id, dir);
    if (throw_away(h, dir))
        store_folder_gone(h->store, id, &e);
}

void purge_committed(struct hub *h, bool done)
{
    if (h->npurged && done) {
        for (size_t i = 0; i < h->npurged; i++)
            throw_away_job(h, h->purged[i]);
        h->nended -= h->npurged < h->nended ? h->npurged : h->nended;
        log_info("purged: jobs=%zu", h->npurged);
        empty_trash(h);
        hub_wake(h, h->now);
    }
    h->npurged = 0;
}

int purge_open(struct hub *h, struct err *e)
{
    int rc = store_folders(h->store, take_up, h, e);

    for (size_t i = 0; i < h->npurged && rc == 0; i++)
        throw_away_job(h, h->purged[i]);
    h->npurged = 0;
    empty_trash(h);
    return rc;
}
