/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_translate.c - let a trained model read lines and write others, translations or
 * summaries: nnd-worker does it.
 */
#include <stddef.h>

#include "client/cmd.h"
#include "client/model.h"

struct options {
    struct model_options model; /* at its place for model_become */
    const char *batch, *prefix, *attention;
    bool pairs;
};

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {OPT_TEXT, 'b', "batch", "N", AT(batch), "how many lines at a time"},
    {OPT_TEXT, 0, "prefix", "TEXT", AT(prefix), "what every text begins with"},
    {OPT_FLAG, 0, "pairs", NULL, AT(pairs),
     "print what was read as well, and a tab: data to train another model on"},
    {OPT_TEXT, 0, "attention", "FILE", AT(attention),
     "draw where each word looked as FILE.svg, or write it as FILE.json"},
    {0},
};

static int translate(struct client *c, void *values, int argc, char **argv,
                     struct err *e)
{
    return model_become(c, &verb_translate, "translate", values, argv[0],
                        argc > 1 ? argv[1] : NULL, e);
}

static int summarize(struct client *c, void *values, int argc, char **argv,
                     struct err *e)
{
    return model_become(c, &verb_summarize, "summarize", values, argv[0],
                        argc > 1 ? argv[1] : NULL, e);
}

const struct verb verb_translate = {
    .name = "translate",
    .args = "ID|FOLDER [FILE]",
    .min_args = 1,
    .max_args = 2,
    .brief = "let a trained model read lines and write one for each",
    .text = "From FILE, or standard input, with a model that was trained on pairs. The "
            "model is the newest checkpoint of a job, or of a folder, as for generate. "
            "With --n-best above 1 a line is the number of the one that was read, the "
            "score and the text.",
    .options = {table, model_opts},
    .size = sizeof(struct options),
    .run = translate,
};

const struct verb verb_summarize = {
    .name = "summarize",
    .args = "ID|FOLDER [FILE]",
    .min_args = 1,
    .max_args = 2,
    .brief = "let a trained model read lines and write a summary of each",
    .text =
        "As translate, with a beam of 4 and no three tokens twice when nothing else "
        "is said.",
    .options = {table, model_opts},
    .size = sizeof(struct options),
    .run = summarize,
};
