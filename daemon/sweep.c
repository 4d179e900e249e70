/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.c - finds processes by control group, mark, session and descent, and asks
 * the launcher for what is on other machines.
 *
 * A shepherd that ended by itself has swept already; one that was killed has not,
 * and its children are nnd's then (nnd adopts what its children leave, as long as it
 * is the one that started them).
 */
#include "daemon/sweep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/oom.h"
#include "daemon/attempt_impl.h"
#include "daemon/cgroup.h"
#include "daemon/child.h"
#include "daemon/proc.h"
#include "daemon/rules.h"

#define MS 1000000LL

enum { AGAIN_MS = 20, CLEAN_AGAIN_MS = 1000, CLEAN_MAX_MS = 30000 };

/* --- on this machine ------------------------------------------------------ */

/* The session that the shepherd led, unless its number may be another's by now: as
 * long as a session has members its number is not given out as a pid again. */
static pid_t session_of(const struct hub *h, const struct attempt *a)
{
    pid_t pid = a->pid ? a->pid : a->status.pid;
    uint64_t start;

    if (a->status.pid && strcmp(a->status.boot, h->boot) != 0)
        return 0;
    return pid > 1 && !proc_start(pid, &start) ? pid : 0;
}

/* Take the ends of all children; the cleaners' are looked at. */
static void reap(struct hub *h)
{
    int raw;
    pid_t pid;

    while ((pid = waitpid(-1, &raw, WNOHANG)) > 0)
        for (size_t i = 0; i < h->njobs; i++) {
            struct attempt *a = h->jobs[i]->live;

            if (!a || a->cleaner != pid)
                continue;
            a->cleaner = 0;
            a->cleaned = raw == 0;
            if (!a->cleaned && !a->clean_warned)
                log_warn("cannot end what is left elsewhere, trying on: job=%llu",
                         (unsigned long long)a->job->id);
            a->clean_warned |= !a->cleaned;
        }
}

/* Whoever is nnd's child and was not started by itself was left by a shepherd. */
static pid_t *own_children(const struct hub *h, size_t *n)
{
    pid_t *list = oom_calloc(2 * h->njobs + RULES_CHILDREN, sizeof *list);

    *n = rules_children(h->rules, list);
    for (size_t i = 0; i < h->njobs; i++) {
        const struct attempt *a = h->jobs[i]->live;

        if (a && a->pid && a->stage < ATTEMPT_SWEEPING)
            list[(*n)++] = a->pid;
        if (a && a->cleaner)
            list[(*n)++] = a->cleaner;
    }
    return list;
}

static bool sweep_here(struct hub *h, struct attempt *a)
{
    struct proc_match m = {.marker = a->marker, .session = session_of(h, a)};
    pid_t *mine = NULL;
    int found;

    reap(h);
    if (a->child && !a->told) {
        mine = own_children(h, &m.nexcept);
        m.except = mine;
        m.parent = getpid();
    }
    found = proc_signal_all(&m, SIGKILL);
    free(mine);
    return cgroup_end(a->cgroup) && found == 0;
}

/* --- elsewhere ------------------------------------------------------------ */

/* Only what ended well by itself is known to have taken everything with it, and what
 * could not be run at all to have left nothing. */
static bool may_be_elsewhere(const struct attempt *a)
{
    bool nothing = a->told && (a->status.wait == 0 || a->status.exec_errno);

    return a->launcher->clean && !a->cleaned && !*a->start_error && !nothing;
}

static void start_cleaner(struct hub *h, struct attempt *a)
{
    struct arena *arena = arena_create();
    struct launch l = attempt_launch(h, a, arena);
    char **argv = a->launcher->clean(&l, arena);

    a->clean_at = h->now;
    a->cleaner = fork();
    if (a->cleaner == 0) {
        int null = open("/dev/null", O_RDWR);

        child_reset();
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    if (a->cleaner < 0) {
        log_warn("cannot clean up: job=%llu error=\"%s\"",
                 (unsigned long long)a->job->id, strerror(errno));
        a->cleaner = 0;
    }
    arena_destroy(arena);
}

static bool sweep_elsewhere(struct hub *h, struct attempt *a)
{
    if (!may_be_elsewhere(a))
        return true;
    if (a->cleaner && h->now - a->clean_at > CLEAN_MAX_MS * MS)
        kill(a->cleaner, SIGKILL);
    else if (!a->cleaner &&
             (!a->clean_at || h->now - a->clean_at > CLEAN_AGAIN_MS * MS))
        start_cleaner(h, a);
    return false;
}

bool sweep_act(struct hub *h, struct attempt *a)
{
    struct err e;
    bool here = sweep_here(h, a);

    if (!here || !sweep_elsewhere(h, a)) {
        hub_wake(h, h->now + (here ? 5 : 1) * AGAIN_MS * MS);
        return false;
    }
    if (!a->told && *a->shm)
        fs_remove_tree(a->shm, &e);
    return true;
}
