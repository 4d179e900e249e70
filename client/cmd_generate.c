/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_generate.c - let a trained model write: nnd-worker does it.
 */
#include <stddef.h>

#include "client/cmd.h"
#include "client/model.h"

struct options {
    struct model_options model; /* at its place for model_become */
    const char *prompt, *temperature, *top_k, *top_p, *seed, *samples;
    bool greedy;
};

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {OPT_TEXT, 'p', "prompt", "TEXT", AT(prompt), "what the text begins with"},
    {OPT_TEXT, 0, "temperature", "T", AT(temperature),
     "above 1 for more surprise, below 1 for less"},
    {OPT_TEXT, 0, "top-k", "K", AT(top_k), "choose among the K likeliest tokens"},
    {OPT_TEXT, 0, "top-p", "P", AT(top_p),
     "choose among the likeliest tokens whose probabilities sum to P"},
    {OPT_FLAG, 'g', "greedy", NULL, AT(greedy), "always the likeliest token"},
    {OPT_TEXT, 0, "seed", "N", AT(seed),
     "other random choices; the same seed writes the same text"},
    {OPT_TEXT, 'n', "samples", "N", AT(samples), "how many texts to write"},
    {0},
};

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    (void)argc;
    return model_become(c, &verb_generate, "generate", values, argv[0], NULL, e);
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
        "nnd. With --beam nothing is drawn: the best text is searched for; --beam 1 is "
        "--greedy. What says how to draw is refused with it, what says how to search "
        "without it; --coverage and --min-tokens are for translate and summarize. A "
        "text ends before --tokens where the model writes one of model.ends, as "
        "imported ones do.",
    .options = {table, model_opts},
    .size = sizeof(struct options),
    .run = run,
};
