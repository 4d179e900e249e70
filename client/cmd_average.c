/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_average.c - the mean of a job's newest checkpoints: nnd-worker makes it.
 */
#include <limits.h>
#include <stddef.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/model.h"

struct options {
    const char *last;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "last", "N", offsetof(struct options, last),
     "how many of the newest; those that there are, at most 5, when not given"},
    {0},
};

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct child_args a = {.arena = c->arena};
    char checkpoints[PATH_MAX];
    int rc = model_find(c, argv[0], checkpoints, e);

    (void)argc;
    if (rc < 0)
        return rc;
    child_arg(&a, "nnd-worker");
    child_arg(&a, "average");
    child_option(&a, "--checkpoint", checkpoints);
    child_option(&a, "--into", argv[1]);
    child_option(&a, "--last", o->last);
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_average = {
    .name = "average",
    .args = "ID|FOLDER INTO",
    .min_args = 2,
    .max_args = 2,
    .brief = "make the mean of a job's newest checkpoints",
    .text =
        "Of the weights of a job's checkpoints, or of those in a folder, into the "
        "folder INTO; says of how many, and prints where. It is a checkpoint of "
        "weights alone: to generate with, or to begin a job with (checkpoint.from). A "
        "job keeps as many checkpoints as checkpoint.keep says.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
