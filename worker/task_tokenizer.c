/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_tokenizer.c - `nnd-worker tokenizer`: learns byte-level BPE from files, and
 * shows what a tokenizer makes of a text.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "data/lexicon.h"
#include "worker/task.h"
#include "worker/trained.h"

struct tokenizer_options {
    const char *action, *tokenizer, *input, *output;
    struct arg_list files;
    int64_t vocab_size, min_count;
    bool source, json;
};

#define AT(field) offsetof(struct tokenizer_options, field)

static const struct arg_row args[] = {
    {"action", 0, "NAME", ARG_TEXT, AT(action), 0, 0,
     "train, encode, decode, show or export"},
    {"tokenizer", 0, "FILE", ARG_TEXT, AT(tokenizer), 0, 0,
     "the tokenizer: a file or folder as for data.tokenizer_file, a checkpoint, "
     "or a folder of some"},
    {"source", 0, NULL, ARG_FLAG, AT(source), 0, 0,
     "of a checkpoint with two, that of the sources"},
    {"file", 0, "FILE", ARG_LIST, AT(files), 0, 0, "train: a file or folder of text"},
    {"vocab-size", 0, "N", ARG_INT, AT(vocab_size), 256, 4194304,
     "train: how many tokens (8000)"},
    {"min-count", 0, "N", ARG_INT, AT(min_count), 1, 1000000,
     "train: join pairs that occur so often (1)"},
    {"input", 0, "FILE", ARG_TEXT, AT(input), 0, 0,
     "encode, decode: what to read, by lines; standard input when not given"},
    {"output", 0, "FILE", ARG_TEXT, AT(output), 0, 0,
     "train, export: where to write; standard output when not given"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "show: print JSON"},
    {0},
};

static const struct tokenizer_options defaults = {.vocab_size = 8000, .min_count = 1};

/* --- out and in ------------------------------------------------------------------ */

static int write_out(const struct tokenizer_options *o, const struct buf *b,
                     struct err *e)
{
    if (o->output)
        return fs_publish(o->output, b->data, b->len, e);
    if (fwrite(b->data, 1, b->len, stdout) == b->len)
        return 0;
    return err_set(e, ERR_FAILED, "standard output: cannot be written");
}

static int export(const struct tokenizer_options *o, const struct tokenizer *t,
                  struct err *e)
{
    struct buf b = {0};
    int rc = tokenizer_export(t, &b, e);

    if (rc == 0)
        rc = write_out(o, &b, e);
    buf_free(&b);
    return rc;
}

/* --- actions --------------------------------------------------------------------- */

static int train(const struct tokenizer_options *o, struct err *e)
{
    Nnd__Data d = NND__DATA__INIT;
    struct lexicon l = {0};
    int rc;

    if (o->files.n == 0)
        return err_set(e, ERR_USAGE, "tokenizer train: wanted files of text");
    d.train = (char **)o->files.value;
    d.n_train = o->files.n;
    d.tokenizer = NND__DATA__TOKENIZER__BPE;
    d.vocab_size = (uint32_t)o->vocab_size;
    d.min_count = (uint32_t)o->min_count;
    rc = lexicon_learn_text(&d, "tokenizer train", &l, e);
    if (rc == 0)
        rc = export(o, l.target, e);
    if (rc == 0)
        fprintf(stderr, "%u tokens\n", tokenizer_vocab(l.target));
    lexicon_free(&l);
    return rc;
}

static int encode_line(const struct tokenizer *t, const char *line, size_t len,
                       struct err *e)
{
    struct tokens ids;
    int rc;

    tokens_init(&ids, tokenizer_vocab(t));
    rc = tokenizer_encode(t, line, len, &ids, e);
    for (uint64_t i = 0; rc == 0 && i < ids.count; i++)
        printf("%s%" PRIu32, i ? " " : "", tokens_get(&ids, i));
    if (rc == 0)
        putchar('\n');
    tokens_free(&ids);
    return rc;
}

/* The ids of a line of numbers. */
static int read_ids(const char *line, size_t len, uint32_t *id, size_t *n,
                    struct err *e)
{
    const char *at = line, *end = line + len;

    for (*n = 0; at < end; at += strspn(at, " \t")) {
        char *stop;
        unsigned long long v = strtoull(at, &stop, 10);

        if (stop == at || *at == '-' || v > UINT32_MAX)
            return err_set(e, ERR_SPEC,
                           "wanted ids with spaces between, found \"%.20s\"", at);
        id[(*n)++] = (uint32_t)v;
        at = stop;
    }
    return 0;
}

static int decode_line(const struct tokenizer *t, const char *line, size_t len,
                       struct err *e)
{
    uint32_t *id = calloc(len + 1, sizeof *id);
    struct buf text = {0};
    size_t n = 0;
    int rc = id ? read_ids(line, len, id, &n, e)
                : err_set(e, ERR_NOMEM, "no memory for a line");

    if (rc == 0)
        rc = tokenizer_decode(t, id, n, &text, e);
    if (rc == 0 && text.len)
        fwrite(text.data, 1, text.len, stdout);
    if (rc == 0)
        putchar('\n');
    buf_free(&text);
    free(id);
    return rc;
}

/* What is done with each line of the input, without its end. */
typedef int line_f(const struct tokenizer *t, const char *line, size_t len,
                   struct err *e);

static int by_lines(const struct tokenizer_options *o, const struct tokenizer *t,
                    line_f *fn, struct err *e)
{
    const char *name = o->input ? o->input : "standard input";
    FILE *f = o->input ? fopen(o->input, "r") : stdin;
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    int rc = 0, number = 0;

    if (!f)
        return err_sys(e, err_code_of(errno), errno, "%s", name);
    while (rc == 0 && (len = getline(&line, &cap, f)) >= 0) {
        number++;
        if (len && line[len - 1] == '\n')
            line[--len] = '\0';
        if (fn(t, line, (size_t)len, e) < 0)
            rc = err_prefix(e, "%s:%d", name, number);
    }
    if (rc == 0 && ferror(f))
        rc = err_sys(e, ERR_FAILED, errno, "%s", name);
    free(line);
    if (o->input)
        fclose(f);
    return rc;
}

static int encode(const struct tokenizer_options *o, const struct tokenizer *t,
                  struct err *e)
{
    return by_lines(o, t, encode_line, e);
}

static int decode(const struct tokenizer_options *o, const struct tokenizer *t,
                  struct err *e)
{
    return by_lines(o, t, decode_line, e);
}

static int show(const struct tokenizer_options *o, const struct tokenizer *t,
                struct err *e)
{
    char hex[SHA256_HEX];
    int rc = tokenizer_sha256(t, hex, e);

    if (rc < 0)
        return rc;
    if (!o->json) {
        printf("kind    %s\ntokens  %" PRIu32 "\nmarks   %s\nsha256  %s\n",
               tokenizer_name(t), tokenizer_vocab(t),
               tokenizer_marks(t) ? "<pad> <bos> <eos> <unk>" : "none", hex);
        return 0;
    }
    json_t *j = json_pack("{s:i, s:s, s:I, s:b, s:s}", "v", 1, "kind",
                          tokenizer_name(t), "tokens", (json_int_t)tokenizer_vocab(t),
                          "marks", (int)tokenizer_marks(t), "sha256", hex);

    json_dumpf(j, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(j);
    return 0;
}

/* --- the task -------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*run)(const struct tokenizer_options *o, const struct tokenizer *t,
               struct err *e);
} actions[] = {
    {"encode", encode}, {"decode", decode}, {"show", show}, {"export", export}};

/* A checkpoint, a job's folder, or one of checkpoints? */
static bool is_trained(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *f;
    bool found = false;

    while (!found && d && (f = readdir(d)))
        found = strcmp(f->d_name, "manifest.json") == 0 ||
                strcmp(f->d_name, "checkpoints") == 0 ||
                strncmp(f->d_name, "step-", 5) == 0;
    if (d)
        closedir(d);
    return found;
}

/* Those of a checkpoint, or of files. */
static int open_lexicon(const char *path, struct lexicon *l, struct err *e)
{
    struct trained t = {0};
    int rc;

    if (!is_trained(path))
        return tokenizer_open(path, &(struct tokenizer_config){0}, &l->target, e);
    rc = trained_open(&t, path, e);
    if (rc == 0) {
        *l = t.lexicon;
        t.lexicon = (struct lexicon){0};
    }
    trained_close(&t);
    return rc;
}

static int run(const void *options, struct err *e)
{
    const struct tokenizer_options *o = options;
    struct lexicon l = {0};
    const char *action = o->action ? o->action : "";
    size_t i = 0, n = sizeof actions / sizeof actions[0];
    int rc;

    if (strcmp(action, "train") == 0)
        return train(o, e);
    while (i < n && strcmp(actions[i].name, action) != 0)
        i++;
    if (i == n)
        return err_set(e, ERR_USAGE,
                       "tokenizer: wanted --action train, encode, decode, show or "
                       "export, found \"%s\"",
                       action);
    if (!o->tokenizer)
        return err_set(e, ERR_USAGE, "tokenizer %s: wanted --tokenizer FILE", action);
    rc = open_lexicon(o->tokenizer, &l, e);
    if (rc == 0)
        rc = actions[i].run(o, o->source ? lexicon_source(&l) : l.target, e);
    lexicon_free(&l);
    return rc;
}

const struct task task_tokenizer = {
    .name = "tokenizer",
    .help = "learn byte-level BPE; show what a tokenizer makes of a text",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = run,
};
