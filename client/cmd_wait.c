/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_wait.c - wait until jobs have ended.
 */
#include <stddef.h>

#include "client/cmd.h"
#include "client/follow.h"
#include "client/term.h"

struct options {
    double timeout;
};

static const struct opt table[] = {
    {OPT_SPAN, 0, "timeout", "TIME", offsetof(struct options, timeout),
     "give up after so long, such as 90s or 1.5h, and exit 124"},
    {0},
};

/* The exit status of having waited for one job. */
static int wait_one(struct client *c, const char *text, double timeout, struct err *e)
{
    uint64_t id;
    int status, rc = client_id(text, &id, e);

    if (rc == 0)
        rc = follow_job(c, id, NULL, timeout, &status, e);
    switch (rc) {
    case FOLLOW_ENDED:
    case FOLLOW_LOST:
        return status;
    case FOLLOW_SIGNAL:
        client_say(c, "job %llu still running; it was not canceled",
                   (unsigned long long)id);
        return EXIT_CANCELED;
    case FOLLOW_TIMEOUT:
        client_say(c, "job %llu still running after %g s", (unsigned long long)id,
                   timeout);
        return EXIT_TIMEOUT;
    default:
        return rc;
    }
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    int worst = 0;

    term_catch_signals();
    for (int i = 0; i < argc; i++) {
        int rc = wait_one(c, argv[i], o->timeout, e);

        if (rc < 0)
            return rc;
        worst = rc > worst ? rc : worst;
    }
    if (c->opt.json)
        client_print_json(json_pack("{si}", "status", worst));
    return worst;
}

const struct verb verb_wait = {
    .name = "wait",
    .args = "ID...",
    .min_args = 1,
    .max_args = -1,
    .brief = "wait until jobs have ended",
    .text = "Exits with the job's status, of several jobs with the highest.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
