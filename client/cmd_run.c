/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_run.c - a job in the foreground, for batch scripts and for trying out.
 */
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/follow.h"
#include "client/jobfile.h"
#include "client/private.h"
#include "client/term.h"

enum { AGAIN_MS = 2000 };

struct options {
    struct jobfile file;
    const char *dir;
    bool oversubscribe;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "dir", "DIR", offsetof(struct options, dir),
     "start a private nnd in folder DIR, even when one runs elsewhere"},
    {OPT_FLAG, 0, "oversubscribe", NULL, offsetof(struct options, oversubscribe),
     "start a private nnd, which may run more threads than there are processors"},
    {0},
};

/* A run under way. */
struct run {
    struct client *c;
    uint64_t id;
    bool is_private; /* nnd ends with us, so the job cannot be left alone */
    bool canceled;
    struct progress progress;
};

static int cancel(struct run *r, struct err *e)
{
    Wire__Change q = WIRE__CHANGE__INIT;
    Wire__ChangeReply *reply;
    int rc;

    if (r->canceled)
        return 0;
    q.has_id = q.has_action = true;
    q.id = r->id;
    q.action = WIRE__ACTION__CANCEL;
    rc = client_call(r->c, WIRE__TYPE__CHANGE, &q, 0, &reply, e);
    if (rc == 0)
        chan_free(&reply->base);
    r->canceled = rc == 0;
    return rc;
}

/* True when a second Ctrl-C follows the first soon enough. */
static bool asked_again(void)
{
    int64_t until = clock_mono_ns() + AGAIN_MS * INT64_C(1000000);

    while (clock_mono_ns() < until) {
        if (term_signal())
            return true;
        term_sleep_ms(50);
    }
    return false;
}

/* What a signal means.  1: go on following; 0: leave the job alone; or an error. */
static int on_signal(struct run *r, int sig, struct err *e)
{
    progress_break(&r->progress);
    if (sig == SIGHUP && !r->is_private)
        return 0;
    if (sig == SIGINT && !r->canceled) {
        client_say(r->c, "Ctrl-C again within 2 s cancels job %llu; else it %s",
                   (unsigned long long)r->id,
                   r->is_private ? "goes on" : "runs on alone");
        if (!asked_again())
            return r->is_private;
    }
    client_say(r->c, "canceling job %llu", (unsigned long long)r->id);
    return cancel(r, e) < 0 ? e->code : 1;
}

static int follow(struct run *r, struct err *e)
{
    int status, rc;

    for (;;) {
        rc = follow_job(r->c, r->id, &r->progress, FOLLOW_FOREVER, &status, e);
        if (rc != FOLLOW_SIGNAL)
            return rc < 0 ? rc : status;
        rc = on_signal(r, status, e);
        if (rc < 0)
            return rc;
        if (rc == 0) {
            client_leave(r->c, "watch", r->id);
            return EXIT_CANCELED;
        }
    }
}

/* Submit to the nnd that c is connected to, and stay until the end. */
static int submit_and_follow(struct client *c, const struct spec *s, bool is_private,
                             bool *accepted, struct err *e)
{
    struct run r = {.c = c, .is_private = is_private};
    bool known;
    const struct jobfile_terms terms = {0};
    int rc = jobfile_submit(c, &s, 1, &terms, &r.id, &known, e);

    if (rc < 0)
        return rc;
    *accepted = true;
    progress_init(&r.progress, c->opt.json ? stdout : stderr, c->opt.json);
    rc = follow(&r, e);
    if (rc < 0) { /* the job is there, and what became of it is not known */
        client_report(c, e);
        return EXIT_SELF;
    }
    return rc;
}

static int run_private(struct client *c, const struct options *o, const struct spec *s,
                       struct err *e)
{
    struct private_nnd p;
    bool accepted = false;
    int rc = private_start(c, o->dir, o->oversubscribe, &p, e);

    if (rc < 0)
        return rc;
    client_say(c, "started a private nnd in %s", p.dir);
    rc = submit_and_follow(c, s, true, &accepted, e);
    private_stop(c, &p);
    if (!accepted)
        private_discard(&p);
    else
        client_say(c, "logs and checkpoints stay in %s", p.dir);
    return rc;
}

/* Connect to an nnd that runs, if there is one to be expected. 1: there is none. */
static int find_nnd(struct client *c, const struct options *o, struct err *e)
{
    const char *uri = getenv("NND_URI");
    int rc;

    if (o->dir || o->oversubscribe)
        return 1;
    rc = client_connect(c, e);
    return rc == ERR_UNREACHABLE && !c->opt.uri && !(uri && *uri) ? 1 : rc;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    bool accepted;
    struct spec *s;
    int rc = jobfile_read(&o->file, argc, argv, &s, e);

    if (rc < 0)
        return rc;
    jobfile_hint(c, s);
    term_catch_signals();
    signal(SIGPIPE, SIG_IGN); /* a private nnd must be ended all the same */
    rc = find_nnd(c, o, e);
    if (rc == 1)
        rc = run_private(c, o, s, e);
    else if (rc == 0)
        rc = submit_and_follow(c, s, false, &accepted, e);
    spec_destroy(s);
    return rc;
}

const struct verb verb_run = {
    .name = "run",
    .args = "JOB.yaml",
    .max_args = 1,
    .brief = "run a job in the foreground and exit with its status",
    .text = "Uses the nnd that runs, or starts a private one, which ends with the job "
            "and leaves no process. Progress is on standard error. Ctrl-C twice within "
            "2 s cancels the job; once, it leaves the job to an nnd that was there "
            "before. TERM cancels the job.",
    .options = {jobfile_options, table},
    .size = sizeof(struct options),
    .run = run,
};
