/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_import.c - `nnd-worker import`: a folder of Hugging Face's `transformers`
 * becomes a checkpoint, with a job file to train it on.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "exchange/hf_config.h"
#include "exchange/hf_import.h"
#include "worker/job.h"
#include "worker/task.h"

struct import_options {
    const char *folder, *output, *tokenizer;
    struct arg_list ignore;
    bool json;
};

#define AT(field) offsetof(struct import_options, field)

static const struct arg_row args[] = {
    {"folder", 0, "DIR", ARG_TEXT, AT(folder), 0, 0,
     "what transformers has saved: config.json, model.safetensors, ..."},
    {"output", 'o', "DIR", ARG_TEXT, AT(output), 0, 0,
     "the folder to make; it must not be there yet"},
    {"tokenizer", 0, "byte|FILE", ARG_TEXT, AT(tokenizer), 0, 0,
     "ids are bytes, or a tokenizer.json of nnd or transformers"},
    {"ignore", 0, "KEY", ARG_LIST, AT(ignore), 0, 0,
     "pass over a key of config.json that is not known here"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct import_options defaults = {0};

struct import {
    const struct import_options *o;
    struct hf_folder folder;
    const char *model_type;
    struct lexicon lexicon;
    struct spec *spec;
    struct buf vocabulary, job;
    int64_t vocab;
    bool theirs;                           /* the tokenizer is that of the folder */
    char output[PATH_MAX], part[PATH_MAX]; /* part: the output, in the making */
};

/* --- the tokenizer --------------------------------------------------------- */

/* That of this house: it may be two, of what is read and of what is written. */
static int read_own(struct import *i, const char *path, struct err *e)
{
    struct buf text = {0};
    int rc = fs_read(path, HF_TEXT_MAX, &text, e);

    if (rc == 0)
        rc = lexicon_load(path, text.data ? text.data : "", text.len, &i->lexicon, e);
    buf_free(&text);
    return rc;
}

static int open_as(struct import *i, const char *kind, const char *path, struct err *e)
{
    const struct tokenizer_config c = {.kind = kind};

    return path ? tokenizer_open(path, &c, &i->lexicon.target, e)
                : tokenizer_create(&c, &i->lexicon.target, e);
}

/* That of `transformers`.  Where it cannot be read the weights can be had without it.
 */
static int open_theirs(struct import *i, struct err *e)
{
    int rc = open_as(i, "bpe", i->o->folder, e);
    struct err why = *e;

    if (rc != ERR_SPEC)
        return rc;
    return err_set(e, rc,
                   "%s; --tokenizer byte imports the weights without it, and takes ids "
                   "for bytes",
                   why.text);
}

/* Told, or that of this house beside the weights, or that of `transformers`. */
static int open_tokenizer(struct import *i, struct err *e)
{
    static const char *const names[] = {HF_TOKENS, "vocab.json"};
    const char *told = i->o->tokenizer;
    char path[PATH_MAX + 32];

    i->theirs = !told;
    if (told)
        return strcmp(told, "byte") == 0 ? open_as(i, "byte", NULL, e)
                                         : open_as(i, "bpe", told, e);
    snprintf(path, sizeof path, "%s/nnd_tokenizer.json", i->o->folder);
    if (fs_exists(path))
        return read_own(i, path, e);
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        snprintf(path, sizeof path, "%s/%s", i->o->folder, names[k]);
        if (fs_exists(path))
            return open_theirs(i, e);
    }
    return err_set(e, ERR_NOTFOUND,
                   "%s: wanted tokenizer.json, found none; --tokenizer byte takes ids "
                   "for bytes",
                   i->o->folder);
}

/* --- the job --------------------------------------------------------------- */

/* The precision that its numbers came in. */
static const char *precision_of(const struct hf_folder *f)
{
    const struct safetensors *s = f->shard[0].file;
    int dtype = safetensors_count(s) ? safetensors_at(s, 0)->dtype : NND_F32;

    return dtype == NND_BF16 ? "bf16" : dtype == NND_F16 ? "fp16" : "fp32";
}

/* What begins and ends a text, where ids are those of the folder: marks have a <bos>
 * and an <eos>. */
static int add_ends(const struct import *i, json_t *job, struct err *e)
{
    json_t *model = json_object_get(job, "model"), *begins, *ends;
    int64_t vocab = tokenizer_vocab(i->lexicon.target);

    if (!i->theirs || tokenizer_marks(i->lexicon.target))
        return 0;
    if (hf_folder_begins(&i->folder, vocab, &begins, e) < 0)
        return e->code;
    json_object_set_new(model, "begins", begins);
    if (hf_folder_ends(&i->folder, vocab, &ends, e) < 0)
        return e->code;
    json_object_set_new(model, "ends", ends);
    return 0;
}

/* A job has text to learn from; what is imported has seen none here. */
static void add_sections(struct import *i, json_t *job)
{
    json_object_set_new(job, "name", json_string("imported"));
    json_object_set_new(job, "data",
                        json_pack("{s:[s], s:s}", "train", "/dev/null", "tokenizer",
                                  tokenizer_name(i->lexicon.target)));
    json_object_set_new(job, "train",
                        json_pack("{s:s}", "precision", precision_of(&i->folder)));
}

static int make_spec(struct import *i, json_t *job, struct err *e)
{
    char name[PATH_MAX + 32];
    char *text;
    int rc = add_ends(i, job, e);

    if (rc < 0)
        return rc;
    add_sections(i, job);
    text = json_dumps(job, JSON_INDENT(1));
    i->spec = spec_create();
    snprintf(name, sizeof name, "%s/" HF_CONFIG " as a job", i->o->folder);
    rc = text ? spec_load_text(i->spec, name, text, strlen(text), e)
              : err_set(e, ERR_NOMEM, "%s: no memory", name);
    free(text);
    spec_anchor(i->spec, "/");
    if (rc == 0)
        rc = spec_resolve(i->spec, e);
    if (rc == 0)
        rc = job_vocab(i->spec, &i->lexicon, &i->vocab, e);
    if (rc == 0)
        rc = lexicon_save(&i->lexicon, &i->vocabulary, e);
    return rc < 0 ? rc : job_json(spec_job(i->spec), &i->job, e);
}

static int read_all(struct import *i, struct err *e)
{
    char path[PATH_MAX + 32];
    json_t *job = NULL;
    int rc = hf_folder_open(i->o->folder, &i->folder, e);

    snprintf(path, sizeof path, "%s/" HF_CONFIG, i->o->folder);
    if (rc == 0)
        rc = hf_config_read(path, i->folder.config, i->o->ignore.value, i->o->ignore.n,
                            &i->model_type, &job, e);
    if (rc == 0)
        rc = open_tokenizer(i, e);
    if (rc == 0)
        rc = make_spec(i, job, e);
    json_decref(job);
    return rc;
}

/* --- writing --------------------------------------------------------------- */

static char *quoted(const char *text)
{
    json_t *j = json_string(text);
    char *out = json_dumps(j, JSON_ENCODE_ANY);

    json_decref(j);
    return out;
}

/* A job that goes on training the model: what is left to say is the text. */
static int write_job(const struct import *i, struct err *e)
{
    const Nnd__Job *job = spec_job(i->spec);
    json_t *all = spec_to_json(job), *model = json_object_get(all, "model");
    char full[PATH_MAX], path[PATH_MAX + 32];
    struct buf text = {0};
    char *lines = json_dumps(model, JSON_COMPACT | JSON_REAL_PRECISION(15)), *from;
    int rc = 0;

    if (!lines || !realpath(i->part, full))
        rc = err_sys(e, ERR_FAILED, errno, "%s", i->part);
    if (rc == 0) {
        full[strlen(full) - (strlen(i->part) - strlen(i->output))] = '\0';
        from = quoted(full);
        buf_printf(&text,
                   "# Goes on training the imported model:\n"
                   "# nnctl submit job.yaml -S data.train=TEXT\n"
                   "name: tuned\n"
                   "checkpoint: {from: %s}\n"
                   "data: {tokenizer: %s}\n"
                   "train: {lr: 1e-5, min_lr: 1e-6}\n"
                   "model: %s\n",
                   from, tokenizer_name(i->lexicon.target), lines);
        free(from);
        snprintf(path, sizeof path, "%s/job.yaml", i->part);
        rc = fs_replace(path, text.data, text.len, e);
    }
    free(lines);
    buf_free(&text);
    json_decref(all);
    return rc;
}

static int make_output(struct import *i, struct err *e)
{
    if (fs_exists(i->output))
        return err_set(e, ERR_USAGE, "%s: is there already", i->output);
    if (snprintf(i->part, sizeof i->part, "%s.part.%ld", i->output, (long)getpid()) >=
        (int)sizeof i->part)
        return err_set(e, ERR_USAGE, "%.100s...: wanted a shorter path", i->output);
    return fs_mkdirs(i->part, e);
}

static int write_all(struct import *i, struct err *e)
{
    struct hf_import x = {.from = &i->folder,
                          .model_type = i->model_type,
                          .job = spec_job(i->spec),
                          .vocab = i->vocab,
                          .job_json = i->job.data,
                          .tokenizer = i->vocabulary.data,
                          .to = i->part};
    int rc = make_output(i, e);

    if (rc < 0)
        return rc;
    rc = hf_import(&x, e);
    if (rc == 0)
        rc = write_job(i, e);
    if (rc == 0 && rename(i->part, i->output) < 0)
        rc = err_sys(e, err_code_of(errno), errno, "rename %s to %s", i->part,
                     i->output);
    if (rc < 0)
        fs_remove_tree(i->part, NULL);
    return rc;
}

static void print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
}

static int import(const void *options, struct err *e)
{
    struct import i = {.o = options};
    int rc;

    if (!i.o->folder || !i.o->output)
        return err_set(e, ERR_USAGE, "import: wanted --folder DIR and --output DIR");
    rc = fs_trim(i.o->output, i.output, sizeof i.output, e);
    if (rc == 0)
        rc = read_all(&i, e);
    if (rc == 0)
        rc = write_all(&i, e);
    if (rc == 0 && i.o->json)
        print_json(json_pack("{s:i, s:s, s:s, s:s}", "v", 1, "folder", i.o->folder,
                             "model_type", i.model_type, "output", i.output));
    else if (rc == 0)
        puts(i.output);
    hf_folder_close(&i.folder);
    lexicon_free(&i.lexicon);
    spec_destroy(i.spec);
    buf_free(&i.vocabulary);
    buf_free(&i.job);
    return rc;
}

const struct task task_import = {
    .name = "import",
    .help = "make a checkpoint of a model of Hugging Face's",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = import,
};
