/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.c - an nnd for one job, started by nnctl and ended by it.
 *
 * It has a session of its own, so that Ctrl-C reaches nnctl alone, which then
 * decides.
 */
#include "client/private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "client/child.h"

enum { START_MS = 15000, STOP_MS = 30000, TERM_MS = 5000, ASK_MS = 1000, STEP_MS = 10 };

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000L};

    nanosleep(&t, NULL);
}

/* --- starting ------------------------------------------------------------- */

static int make_dir(struct private_nnd *p, struct err *e)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(p->dir, sizeof p->dir, "%s/nnd-XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp");
    if (!mkdtemp(p->dir))
        return err_sys(e, ERR_FAILED, errno, "%s: a folder for a private nnd", p->dir);
    p->made = true;
    return 0;
}

static int take_dir(struct private_nnd *p, const char *dir, struct err *e)
{
    int rc = fs_mkdirs(dir, e);

    if (rc < 0)
        return rc;
    if (!realpath(dir, p->dir))
        return err_sys(e, err_code_of(errno), errno, "%s", dir);
    return 0;
}

/* In the child: nothing of ours but the log. */
static void become_nnd(const char *path, char **argv, int log)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;

    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    close(null);
    execv(path, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", path, strerror(errno));
    _exit(127);
}

static int spawn(struct client *c, struct private_nnd *p, bool oversubscribe,
                 struct err *e)
{
    const char *worker = getenv("NND_WORKER");
    struct child_args a = {.arena = c->arena};
    char path[PATH_MAX], log_path[PATH_MAX + 16];
    int log, rc = child_find(CHILD_NND, path, e);

    if (rc < 0)
        return rc;
    child_arg(&a, "nnd");
    child_option(&a, "--dir", p->dir);
    child_option(&a, "--worker", worker && *worker ? worker : NULL);
    child_arg(&a, "--exit-when-idle");
    if (oversubscribe)
        child_arg(&a, "--oversubscribe");
    snprintf(log_path, sizeof log_path, "%s/nnd.log", p->dir);
    log = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log < 0)
        return err_sys(e, ERR_FAILED, errno, "%s", log_path);
    p->pid = fork();
    if (p->pid == 0)
        become_nnd(path, a.v, log);
    close(log);
    return p->pid < 0 ? err_sys(e, ERR_FAILED, errno, "%s", path) : 0;
}

/* The private nnd is gone: the last line of its log says why. */
static int explain(struct private_nnd *p, struct err *e)
{
    char path[PATH_MAX + 16], *line = NULL;
    struct buf text = {0};

    snprintf(path, sizeof path, "%s/nnd.log", p->dir);
    if (fs_read(path, 1 << 20, &text, NULL) == 0 && text.len > 1) {
        text.data[text.len - 1] = '\0';
        line = strrchr(text.data, '\n');
        line = line ? line + 1 : text.data;
    }
    err_set(e, ERR_FAILED, "private nnd: did not start: %s", line ? line : path);
    buf_free(&text);
    return e ? e->code : ERR_FAILED;
}

/* Whether it is ours that listens there.  In a folder that is in use it is another
 * nnd, whose jobs must not end with us; ours then says so and ends. */
static bool is_ours(struct client *c, const struct private_nnd *p)
{
    Wire__Hello q = WIRE__HELLO__INIT;
    ProtobufCMessage *reply;
    bool ours;

    if (chan_call(c->chan, WIRE__TYPE__HELLO, &q.base, ASK_MS, &reply, NULL) < 0)
        return false;
    ours = ((Wire__HelloReply *)reply)->pid == (uint32_t)p->pid;
    chan_free(reply);
    return ours;
}

static int await_socket(struct client *c, struct private_nnd *p, struct err *e)
{
    int64_t until = clock_mono_ns() + START_MS * INT64_C(1000000);
    int rc = chan_default_uri(p->dir, c->uri, sizeof c->uri, e);

    while (rc == 0 && clock_mono_ns() < until) {
        if (chan_open(c->uri, true, &c->chan, NULL) == 0) {
            if (is_ours(c, p))
                return 0;
            chan_close(c->chan);
            c->chan = NULL;
        }
        if (waitpid(p->pid, NULL, WNOHANG) == p->pid) {
            p->pid = 0;
            return explain(p, e);
        }
        sleep_ms(STEP_MS);
    }
    return rc < 0 ? rc
                  : err_set(e, ERR_UNREACHABLE,
                            "private nnd: did not listen at %s within %d s", c->uri,
                            START_MS / 1000);
}

int private_start(struct client *c, const char *dir, bool oversubscribe,
                  struct private_nnd *p, struct err *e)
{
    int rc;

    *p = (struct private_nnd){0};
    rc = dir ? take_dir(p, dir, e) : make_dir(p, e);
    if (rc == 0)
        rc = spawn(c, p, oversubscribe, e);
    if (rc == 0)
        rc = await_socket(c, p, e);
    if (rc < 0) {
        private_stop(c, p);
        private_discard(p);
    }
    return rc;
}

/* --- stopping ------------------------------------------------------------- */

/* True once the process is gone. */
static bool gone_within(struct private_nnd *p, int ms)
{
    for (; ms > 0; ms -= STEP_MS) {
        pid_t pid = waitpid(p->pid, NULL, WNOHANG);

        if (pid == p->pid || (pid < 0 && errno == ECHILD)) {
            p->pid = 0;
            return true;
        }
        sleep_ms(STEP_MS);
    }
    return false;
}

void private_stop(struct client *c, struct private_nnd *p)
{
    Wire__Shutdown q = WIRE__SHUTDOWN__INIT;
    ProtobufCMessage *reply;

    if (p->pid <= 0)
        return;
    q.has_stop_jobs = q.stop_jobs = true;
    if (!c->chan) /* it never listened */
        kill(p->pid, SIGTERM);
    else if (chan_call(c->chan, WIRE__TYPE__SHUTDOWN, &q.base, ASK_MS, &reply, NULL) ==
             0)
        chan_free(reply); /* that it is gone is seen, whatever was heard */
    if (gone_within(p, STOP_MS))
        return;
    client_say(c, "private nnd: does not end; it is killed");
    kill(p->pid, SIGTERM);
    if (gone_within(p, TERM_MS))
        return;
    kill(p->pid, SIGKILL);
    gone_within(p, TERM_MS);
}

void private_discard(struct private_nnd *p)
{
    if (p->made)
        fs_remove_tree(p->dir, NULL);
    p->made = false;
}
