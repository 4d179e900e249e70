/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_export.c - models to and from other programs' formats: nnd-worker does it.
 */
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/model.h"

struct export_options {
    const char *format, *output, *type, *shard;
    bool best, external;
};

/* Values are nnd-worker's to judge, and handed on as they are. */
static const struct opt export_table[] = {
    {OPT_TEXT, 'f', "format", "FORMAT", offsetof(struct export_options, format),
     "hf, a folder for transformers, or onnx"},
    {OPT_TEXT, 'o', "output", "PATH", offsetof(struct export_options, output),
     "what to make; it must not be there yet"},
    {OPT_TEXT, 0, "type", "TYPE", offsetof(struct export_options, type),
     "of the weights: f32, bf16 or f16"},
    {OPT_TEXT, 0, "shard", "MB", offsetof(struct export_options, shard),
     "hf: at most so many MB in a file of weights"},
    {OPT_FLAG, 0, "external", NULL, offsetof(struct export_options, external),
     "onnx: weights in a file beside the model"},
    {OPT_FLAG, 0, "best", NULL, offsetof(struct export_options, best),
     "the checkpoint that validation found best, instead of the newest"},
    {0},
};

static int run_export(struct client *c, void *values, int argc, char **argv,
                      struct err *e)
{
    const struct export_options *o = values;
    struct child_args a = {.arena = c->arena};
    char checkpoint[PATH_MAX];
    int rc;

    (void)argc;
    if (!o->output)
        return err_set(e, ERR_USAGE, "wanted -o PATH, where to write it");
    rc = model_find(c, argv[0], checkpoint, e);
    if (rc < 0)
        return rc;
    child_arg(&a, "nnd-worker");
    child_arg(&a, "export");
    child_option(&a, "--checkpoint", checkpoint);
    child_option(&a, "--format", o->format);
    child_option(&a, "--output", o->output);
    child_option(&a, "--type", o->type);
    child_option(&a, "--shard", o->shard);
    if (o->external)
        child_arg(&a, "--external");
    if (o->best)
        child_arg(&a, "--best");
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_export = {
    .name = "export",
    .args = "ID|FOLDER",
    .min_args = 1,
    .max_args = 1,
    .brief = "write a trained model as other programs read it",
    .text = "From the newest checkpoint of a job, or of a folder, as for generate. "
            "Every weight goes along; what the format has no words for is refused, and "
            "said. --format onnx makes NAME.onnx, with NAME.step.onnx and, for a model "
            "that "
            "reads, NAME.encoder.onnx beside it. Of a model that was imported and not "
            "trained since, --format hf "
            "writes the same bytes that it came from, unless --type or --shard ask for "
            "others.",
    .options = {export_table},
    .size = sizeof(struct export_options),
    .run = run_export,
};

struct import_options {
    const char *output, *tokenizer;
    struct opt_list ignore;
};

static const struct opt import_table[] = {
    {OPT_TEXT, 'o', "output", "FOLDER", offsetof(struct import_options, output),
     "what to make; NAME.nnd here, when not given"},
    {OPT_TEXT, 0, "tokenizer", "byte|FILE", offsetof(struct import_options, tokenizer),
     "ids are bytes, or what a tokenizer.json says; that beside the weights, when not "
     "given"},
    {OPT_LIST, 0, "ignore", "KEY", offsetof(struct import_options, ignore),
     "pass over a key of config.json that is not known here"},
    {0},
};

/* "a/b/" as "b.nnd" here; NULL where the last word is not a name, but "." or "..". */
static const char *output_of(struct client *c, const char *folder)
{
    size_t len = strlen(folder), from;

    while (len > 1 && folder[len - 1] == '/')
        len--;
    for (from = len; from > 0 && folder[from - 1] != '/'; from--)
        ;
    if (strspn(folder + from, "./") == strlen(folder + from))
        return NULL;
    return arena_printf(c->arena, "%.*s.nnd", (int)(len - from), folder + from);
}

static int run_import(struct client *c, void *values, int argc, char **argv,
                      struct err *e)
{
    const struct import_options *o = values;
    const char *output = o->output ? o->output : output_of(c, argv[0]);
    struct child_args a = {.arena = c->arena};

    (void)argc;
    if (!output)
        return err_set(e, ERR_USAGE, "wanted -o FOLDER, since \"%s\" has no name",
                       argv[0]);
    child_arg(&a, "nnd-worker");
    child_arg(&a, "import");
    child_option(&a, "--folder", argv[0]);
    child_option(&a, "--output", output);
    child_option(&a, "--tokenizer", o->tokenizer);
    for (size_t i = 0; i < o->ignore.n; i++)
        child_option(&a, "--ignore", o->ignore.items[i]);
    if (c->opt.json)
        child_arg(&a, "--json");
    return child_become(CHILD_WORKER, &a, e);
}

const struct verb verb_import = {
    .name = "import",
    .args = "FOLDER",
    .min_args = 1,
    .max_args = 1,
    .brief = "make a checkpoint of a model of Hugging Face's",
    .text = "FOLDER is what transformers has saved: a Llama, Mixtral, Qwen3-MoE or "
            "GPT-2. What is made is a folder that generate takes for a model, that "
            "checkpoint.from of a job begins with, and that export writes back; "
            "job.yaml in it trains it further. A tensor that is missing, left over or "
            "of another shape, and a key of config.json that would change what is "
            "computed, is an error.",
    .options = {import_table},
    .size = sizeof(struct import_options),
    .run = run_import,
};
