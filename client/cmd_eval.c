/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_eval.c - score texts, or what a trained model writes: nnd-worker does it.
 */
#include <stddef.h>

#include "client/cmd.h"
#include "client/model.h"

struct options {
    struct model_options model; /* at its place for model_become */
    const char *text, *source, *reference, *words, *batch;
};

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {OPT_TEXT, 0, "text", "FILE", AT(text), "texts to score, one a line"},
    {OPT_TEXT, 0, "source", "FILE", AT(source),
     "or what the model reads: what it writes is scored"},
    {OPT_TEXT, 'r', "reference", "FILE", AT(reference),
     "what they ought to be, one a line"},
    {OPT_TEXT, 0, "words", "13a|zh|char", AT(words), "how BLEU cuts words (13a)"},
    {OPT_TEXT, 'b', "batch", "N", AT(batch), "how many lines at a time"},
    {0},
};

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    return model_become(c, &verb_eval, "eval", values, argc ? argv[0] : NULL, NULL, e);
}

const struct verb verb_eval = {
    .name = "eval",
    .args = "[ID|FOLDER]",
    .min_args = 0,
    .max_args = 1,
    .brief = "score texts, or what a trained model writes",
    .text =
        "BLEU and chrF2 as sacreBLEU computes them, with its signatures, and ROUGE-1, "
        "2 "
        "and L as rouge-score does: of the lines of --text, or of what the model "
        "writes "
        "for those of --source. Of a model also the perplexity of the references, and "
        "bits per character, where each line's end counts as one.",
    .options = {table, model_opts},
    .size = sizeof(struct options),
    .run = run,
};
