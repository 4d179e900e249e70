/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_tokenizer.c - learn a tokenizer from files, and see what one does: nnd-worker
 * does it.
 */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "client/child.h"
#include "client/cmd.h"
#include "client/model.h"

struct options {
    const char *vocab_size, *min_count, *output;
    bool source;
};

/* Values are nnd-worker's to judge, and handed on as they are. */
static const struct opt table[] = {
    {OPT_TEXT, 'n', "vocab-size", "N", offsetof(struct options, vocab_size),
     "train: how many tokens (8000)"},
    {OPT_TEXT, 0, "min-count", "N", offsetof(struct options, min_count),
     "train: join pairs that occur so often (1)"},
    {OPT_TEXT, 'o', "output", "FILE", offsetof(struct options, output),
     "train, export: where to write, if not to standard output"},
    {OPT_FLAG, 0, "source", NULL, offsetof(struct options, source),
     "of a model with two tokenizers, that of what it reads"},
    {0},
};

/* Options, as a set. */
enum { VOCAB_SIZE = 1, MIN_COUNT = 2, OUTPUT = 4, SOURCE = 8 };

/* What follows "tokenizer", how many arguments it takes, and which options. */
static const struct action {
    const char *name, *args;
    int min, max;
    unsigned takes;
} actions[] = {
    {"train", "FILE...", 1, INT_MAX, VOCAB_SIZE | MIN_COUNT | OUTPUT},
    {"encode", "TOKENIZER [FILE]", 1, 2, SOURCE},
    {"decode", "TOKENIZER [FILE]", 1, 2, SOURCE},
    {"show", "TOKENIZER", 1, 1, SOURCE},
    {"export", "TOKENIZER", 1, 1, OUTPUT | SOURCE},
};

enum { ACTIONS = sizeof actions / sizeof *actions };

static int find(const char *name, int n, struct err *e)
{
    const char *names[ACTIONS], *near;
    int i = 0;

    for (int k = 0; k < ACTIONS; k++)
        names[k] = actions[k].name;
    while (i < ACTIONS && strcmp(names[i], name) != 0)
        i++;
    if (i == ACTIONS) {
        near = str_nearest(name, names, ACTIONS);
        return err_set(e, ERR_USAGE,
                       "wanted train, encode, decode, show or export, found \"%s\"%s%s",
                       name, near ? "; did you mean " : "", near ? near : "");
    }
    if (n < actions[i].min || n > actions[i].max)
        return err_set(e, ERR_USAGE, "%s takes %s, got %d argument%s", name,
                       actions[i].args, n, n == 1 ? "" : "s");
    return i;
}

/* An option that would do nothing here was meant for something else. */
static int check_options(const struct action *a, const struct options *o, struct err *e)
{
    const struct {
        bool given;
        unsigned option;
        const char *name;
    } all[] = {{o->vocab_size, VOCAB_SIZE, "vocab-size"},
               {o->min_count, MIN_COUNT, "min-count"},
               {o->output, OUTPUT, "output"},
               {o->source, SOURCE, "source"}};

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].given && !(a->takes & all[i].option))
            return err_set(e, ERR_USAGE, "%s takes no --%s", a->name, all[i].name);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct child_args a = {.arena = c->arena};
    char path[PATH_MAX];
    int rc = find(argv[0], argc - 1, e);
    bool train = rc == 0;

    if (rc < 0)
        return rc;
    if (check_options(&actions[rc], o, e) < 0)
        return e->code;
    if (!train && model_find(c, argv[1], path, e) < 0)
        return e->code;
    child_arg(&a, "nnd-worker");
    child_arg(&a, "tokenizer");
    child_option(&a, "--action", argv[0]);
    for (int i = 1; train && i < argc; i++)
        child_option(&a, "--file", argv[i]);
    child_option(&a, "--tokenizer", train ? NULL : path);
    child_option(&a, "--input", !train && argc > 2 ? argv[2] : NULL);
    child_option(&a, "--vocab-size", o->vocab_size);
    child_option(&a, "--min-count", o->min_count);
    child_option(&a, "--output", o->output);
    if (o->source)
        child_arg(&a, "--source");
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_tokenizer = {
    .name = "tokenizer",
    .args = "train FILE... | encode|decode TOKENIZER [FILE] | show|export TOKENIZER",
    .min_args = 1,
    .max_args = -1,
    .brief = "learn a tokenizer, or see what one does",
    .text =
        "train learns byte-level BPE from files and writes it as tokenizer.json, for "
        "data.tokenizer_file and for Hugging Face's tokenizers. encode prints the ids "
        "of each line of FILE or standard input, decode the text of ids; show says "
        "what "
        "kind a tokenizer is, how many tokens it has and its SHA-256; export writes it "
        "as tokenizer.json, SentencePiece as its model, char and word in nnd's own "
        "form. TOKENIZER is a "
        "file or folder as data.tokenizer_file names it, the number of a job, or a "
        "folder of checkpoints.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};
