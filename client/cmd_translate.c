/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_translate.c - let a trained model read lines and write others: nnd-worker does
 * it.
 */
#include <limits.h>
#include <stddef.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/model.h"

struct options {
    const char *batch, *tokens, *threads;
    struct opt_list kernel;
    bool best;
};

/* Values are nnd-worker's to judge, and handed on as they are. */
static const struct opt table[] = {
    {OPT_TEXT, 'b', "batch", "N", offsetof(struct options, batch),
     "how many lines at a time"},
    {OPT_TEXT, 't', "tokens", "N", offsetof(struct options, tokens),
     "at most so many tokens for a line"},
    {OPT_TEXT, 0, "threads", "N", offsetof(struct options, threads),
     "threads to compute with; all processors when not given"},
    {OPT_FLAG, 0, "best", NULL, offsetof(struct options, best),
     "not the newest checkpoint, but the one that train.best found best"},
    {OPT_LIST, 0, "kernel", "OP=NAME", offsetof(struct options, kernel),
     "a rule for kernels, besides the job's"},
    {0},
};

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct child_args a = {.arena = c->arena};
    char checkpoint[PATH_MAX];
    int rc = model_find(c, argv[0], checkpoint, e);

    if (rc < 0)
        return rc;
    child_arg(&a, "nnd-worker");
    child_arg(&a, "translate");
    child_option(&a, "--checkpoint", checkpoint);
    child_option(&a, "--input", argc > 1 ? argv[1] : NULL);
    child_option(&a, "--batch", o->batch);
    child_option(&a, "--tokens", o->tokens);
    child_option(&a, "--threads", o->threads);
    for (size_t i = 0; i < o->kernel.n; i++)
        child_option(&a, "--kernel", o->kernel.items[i]);
    if (o->best)
        child_arg(&a, "--best");
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_translate = {
    .name = "translate",
    .args = "ID|FOLDER [FILE]",
    .min_args = 1,
    .max_args = 2,
    .brief = "let a trained model read lines and write one for each",
    .text = "From FILE, or standard input, with a model that was trained on pairs. The "
            "model is the newest checkpoint of a job, or of a folder, as for generate.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
