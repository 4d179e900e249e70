/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_generate.c - let a trained model write: nnd-worker does it.
 */
#include <limits.h>
#include <stddef.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/model.h"

struct options {
    const char *prompt, *tokens, *temperature, *top_k, *top_p, *seed, *samples;
    const char *threads;
    struct opt_list kernel;
    bool greedy, best;
};

/* Values are nnd-worker's to judge, and handed on as they are. */
static const struct opt table[] = {
    {OPT_TEXT, 'p', "prompt", "TEXT", offsetof(struct options, prompt),
     "what the text begins with"},
    {OPT_TEXT, 't', "tokens", "N", offsetof(struct options, tokens),
     "how many tokens to write"},
    {OPT_TEXT, 0, "temperature", "T", offsetof(struct options, temperature),
     "above 1 for more surprise, below 1 for less"},
    {OPT_TEXT, 0, "top-k", "K", offsetof(struct options, top_k),
     "choose among the K likeliest tokens"},
    {OPT_TEXT, 0, "top-p", "P", offsetof(struct options, top_p),
     "choose among the likeliest tokens whose probabilities sum to P"},
    {OPT_FLAG, 'g', "greedy", NULL, offsetof(struct options, greedy),
     "always the likeliest token"},
    {OPT_TEXT, 0, "seed", "N", offsetof(struct options, seed),
     "other random choices; the same seed writes the same text"},
    {OPT_TEXT, 'n', "samples", "N", offsetof(struct options, samples),
     "how many texts to write"},
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

    (void)argc;
    if (rc < 0)
        return rc;
    child_arg(&a, "nnd-worker");
    child_arg(&a, "generate");
    child_option(&a, "--checkpoint", checkpoint);
    child_option(&a, "--prompt", o->prompt);
    child_option(&a, "--tokens", o->tokens);
    child_option(&a, "--temperature", o->temperature);
    child_option(&a, "--top-k", o->top_k);
    child_option(&a, "--top-p", o->top_p);
    child_option(&a, "--seed", o->seed);
    child_option(&a, "--samples", o->samples);
    child_option(&a, "--threads", o->threads);
    for (size_t i = 0; i < o->kernel.n; i++)
        child_option(&a, "--kernel", o->kernel.items[i]);
    if (o->greedy)
        child_arg(&a, "--greedy");
    if (o->best)
        child_arg(&a, "--best");
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_generate = {
    .name = "generate",
    .args = "ID|FOLDER",
    .min_args = 1,
    .max_args = 1,
    .brief = "let a trained model write text",
    .text =
        "From the newest checkpoint of a job, or from a folder: a checkpoint, or one "
        "that holds checkpoints, of which the newest is taken. A folder needs no "
        "nnd.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
