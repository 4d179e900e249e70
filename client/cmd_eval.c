/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_eval.c - score texts, or what a trained model writes: nnd-worker does it.
 */
#include <stddef.h>

#include "client/cmd.h"
#include "client/model.h"

struct options {
    struct model_options model; /* at its place for model_become */
    const char *text, *source, *words, *by_length, *step, *batch;
    struct opt_list reference, beside;
};

#define AT(field) offsetof(struct options, field)

static const struct opt table[] = {
    {OPT_TEXT, 0, "text", "FILE", AT(text),
     "texts to score, one a line; with a model that reads no source: how likely it is"},
    {OPT_TEXT, 0, "source", "FILE", AT(source),
     "or what the model reads: what it writes is scored"},
    {OPT_LIST, 'r', "reference", "FILE", AT(reference),
     "what they ought to be, one a line; again: or this"},
    {OPT_TEXT, 0, "words", "13a|zh|char", AT(words), "how BLEU cuts words (13a)"},
    {OPT_TEXT, 0, "by-length", "FILE", AT(by_length),
     "BLEU by the source's length as well, drawn as FILE.svg or written as FILE.json"},
    {OPT_TEXT, 0, "step", "N", AT(step), "words that a range of lengths has"},
    {OPT_LIST, 0, "beside", "FILE", AT(beside),
     "texts of another system, to stand beside in --by-length"},
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
        "2 and L as rouge-score does: of the lines of --text, or of what the model "
        "writes for those of --source. Of a model also how likely the references are: "
        "perplexity, nats and bits per token and per character, where each line's end "
        "counts as one. Of a model that reads no source the same of --text. Lengths "
        "of sources are counted in words, whatever a model's tokens are.",
    .options = {table, model_opts},
    .size = sizeof(struct options),
    .run = run,
};
