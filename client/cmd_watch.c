/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_watch.c - see how a job goes until it ends.
 */
#include <stdio.h>

#include "client/cmd.h"
#include "client/follow.h"

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    struct progress p;
    uint64_t id;
    int rc = client_id(argv[0], &id, e);

    (void)values;
    (void)argc;
    if (rc < 0)
        return rc;
    progress_init(&p, c->opt.json ? stdout : stderr, c->opt.json);
    return follow_or_leave(c, id, &p, 0, e);
}

const struct verb verb_watch = {
    .name = "watch",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "see how a job goes until it ends",
    .text =
        "Draws one line on a terminal, over and over; elsewhere prints a line every "
        "minute or every 5 %. Ctrl-C leaves and lets the job run on. Exits with the "
        "job's status, or 0 after Ctrl-C. With --json, one line per change.",
    .run = run,
};
