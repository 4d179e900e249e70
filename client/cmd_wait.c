/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_wait.c - wait until jobs have ended.
 */
#include <stddef.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/follow.h"
#include "client/term.h"

struct options {
    double timeout;
};

static const struct opt table[] = {
    {OPT_SPAN, 0, "timeout", "TIME", offsetof(struct options, timeout),
     "give up after so long in all, such as 90s or 1.5h, and exit 124; 0: look once"},
    {0},
};

static void preset(void *values)
{
    ((struct options *)values)->timeout = FOLLOW_FOREVER;
}

/* What is left of the time that there was at `start`, for all jobs. */
static double time_left(const struct options *o, int64_t start)
{
    double left = o->timeout - (double)(clock_mono_ns() - start) * 1e-9;

    return o->timeout < 0 ? FOLLOW_FOREVER : left > 0 ? left : 0;
}

/* Returns as follow_job does; *status is the exit status for this job. */
static int wait_one(struct client *c, const struct options *o, const char *text,
                    int64_t start, int *status, struct err *e)
{
    uint64_t id;
    int rc = client_id(text, &id, e);

    if (rc == 0)
        rc = follow_job(c, id, NULL, time_left(o, start), status, e);
    if (rc == FOLLOW_SIGNAL) {
        client_say(c, "job %llu still running; it was not canceled",
                   (unsigned long long)id);
        *status = EXIT_CANCELED;
    } else if (rc == FOLLOW_TIMEOUT) {
        client_say(c, "job %llu still running after %g s", (unsigned long long)id,
                   o->timeout);
        *status = EXIT_TIMEOUT;
    }
    return rc;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    int64_t start = clock_mono_ns();
    int worst = 0, rc = FOLLOW_ENDED;

    term_catch_signals();
    for (int i = 0; i < argc && rc == FOLLOW_ENDED; i++) {
        int status;

        rc = wait_one(c, values, argv[i], start, &status, e);
        if (rc < 0)
            return rc;
        worst = rc != FOLLOW_ENDED || status > worst ? status : worst;
    }
    if (c->opt.json && rc != FOLLOW_LOST) /* else the error was the answer */
        client_print_json(json_pack("{si}", "status", worst));
    return worst;
}

const struct verb verb_wait = {
    .name = "wait",
    .args = "ID...",
    .min_args = 1,
    .max_args = -1,
    .brief = "wait until jobs have ended",
    .text =
        "Exits with the job's status, of several jobs with the highest. Ctrl-C ends "
        "the wait for all of them.",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};
