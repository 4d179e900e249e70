/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_export.c - `nnd-worker export`: a checkpoint in a format that other programs
 * read.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "exchange/hf_export.h"
#include "exchange/onnx_export.h"
#include "tensor/dtype.h"
#include "worker/task.h"
#include "worker/trained.h"

struct export_options {
    const char *checkpoint, *format, *output, *type;
    int64_t shard_mb;
    bool best, external, json;
};

#define AT(field) offsetof(struct export_options, field)

static const struct arg_row args[] = {
    {"checkpoint", 0, "DIR", ARG_TEXT, AT(checkpoint), 0, 0,
     "a checkpoint, or a job's folder: its newest one"},
    {"format", 0, "FORMAT", ARG_TEXT, AT(format), 0, 0,
     "hf: Hugging Face's; onnx (hf)"},
    {"output", 'o', "PATH", ARG_TEXT, AT(output), 0, 0,
     "what to make, a folder or NAME.onnx; it must not be there yet"},
    {"type", 0, "TYPE", ARG_TEXT, AT(type), 0, 0,
     "of weights: f32, bf16 or f16 (f32; of an imported model: as it came)"},
    {"shard", 0, "MB", ARG_INT, AT(shard_mb), 1, 1 << 20,
     "at most so many MB in a file of weights (5120; an imported model: as it came)"},
    {"external", 0, NULL, ARG_FLAG, AT(external), 0, 0,
     "onnx: weights in NAME.onnx.data; beyond 2 GB they are anyway"},
    {"best", 0, NULL, ARG_FLAG, AT(best), 0, 0,
     "the checkpoint that validation found best"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct export_options defaults = {.format = "hf"};

/* 0: not given. */
static int type_of(const char *name, int *out, struct err *e)
{
    static const char *const types[] = {"f32", "bf16", "f16"};

    *out = 0;
    for (size_t i = 0; name && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i], name) == 0)
            *out = dtype_parse(name);
    if (!name || *out)
        return 0;
    return err_set(e, ERR_USAGE, "--type: wanted f32, bf16 or f16, found \"%s\"", name);
}

static int to_hf(const struct export_options *o, struct trained *t, struct err *e)
{
    const struct tokenizer *tokens = t->lexicon.target;
    bool marks = tokenizer_marks(tokens);
    struct buf vocabulary = {0}, theirs = {0};
    json_t *job = spec_to_json(t->job);
    struct hf_export x = {.checkpoint = t->path,
                          .job = t->job,
                          .job_json = job,
                          .vocab = t->vocab,
                          .to = o->output,
                          .shard_bytes = (uint64_t)o->shard_mb << 20,
                          .bos = marks ? TOKEN_BOS : -1,
                          .eos = marks ? TOKEN_EOS : -1,
                          .pad = marks ? TOKEN_PAD : -1};
    int rc = type_of(o->type, &x.dtype, e);

    if (rc == 0)
        rc = lexicon_save(&t->lexicon, &vocabulary, e);
    if (rc == 0 && tokenizer_has_hf(tokens))
        rc = tokenizer_write_hf(tokens, &theirs, e);
    x.tokenizer = vocabulary.data;
    x.theirs = theirs.data;
    if (rc == 0)
        rc = hf_export(&x, e);
    buf_free(&vocabulary);
    buf_free(&theirs);
    json_decref(job);
    return rc;
}

static int to_onnx(const struct export_options *o, struct trained *t, struct err *e)
{
    const struct onnx_export x = {.checkpoint = t->path,
                                  .job = t->job,
                                  .vocab = t->vocab,
                                  .to = o->output,
                                  .external = o->external};

    return onnx_export(&x, e);
}

static const struct format {
    const char *name;
    int (*run)(const struct export_options *o, struct trained *t, struct err *e);
} formats[] = {{"hf", to_hf}, {"onnx", to_onnx}};

static int find_format(const char *name, const struct format **out, struct err *e)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(formats[i].name, name) == 0) {
            *out = &formats[i];
            return 0;
        }
    return err_set(e, ERR_USAGE, "--format: wanted hf or onnx, found \"%s\"", name);
}

/* What says something of another format's files would do nothing. */
static int check_options(const struct export_options *o, struct err *e)
{
    bool hf = strcmp(o->format, "hf") == 0;
    const char *name = hf            ? (o->external ? "external" : NULL)
                       : o->type     ? "type"
                       : o->shard_mb ? "shard"
                                     : NULL;

    if (!name)
        return 0;
    return err_set(e, ERR_USAGE, "--%s: wanted it with --format %s alone", name,
                   hf ? "onnx" : "hf");
}

static void print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

static int export(const void *options, struct err *e)
{
    struct export_options o = *(const struct export_options *)options;
    const struct format *format = NULL;
    struct trained t = {.best = o.best};
    char output[PATH_MAX];
    int rc = find_format(o.format, &format, e);

    if (rc < 0 || check_options(&o, e) < 0)
        return e->code;
    if (!o.checkpoint || !o.output)
        return err_set(e, ERR_USAGE,
                       "export: wanted --checkpoint DIR and --output PATH");
    if (fs_trim(o.output, output, sizeof output, e) < 0)
        return e->code;
    o.output = output;
    rc = trained_open(&t, o.checkpoint, e);
    if (rc == 0)
        rc = format->run(&o, &t, e);
    if (rc == 0 && o.json)
        print_json(json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "checkpoint", t.path,
                             "format", o.format, "output", o.output));
    else if (rc == 0)
        puts(o.output);
    trained_close(&t);
    return rc;
}

const struct task task_export = {
    .name = "export",
    .help = "write a trained model as other programs read it",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = export,
};
