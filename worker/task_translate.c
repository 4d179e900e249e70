/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_translate.c - `nnd-worker translate`: a trained model reads lines and writes
 * one for each.
 *
 * Lines are read whole before the first is written, so that a mistake in one is told
 * before any work.  An empty line stays empty.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "decode/search.h"
#include "model/model.h"
#include "worker/task.h"
#include "worker/trained.h"

enum { MAX_ROWS = 4096, MAX_TEXT = 1 << 28 };

struct translate_options {
    const char *checkpoint, *input, *plugins, *quarantine;
    struct arg_list rules;
    int64_t batch, tokens, threads;
    bool best, json;
};

#define AT(field) offsetof(struct translate_options, field)

static const struct arg_row args[] = {
    {"checkpoint", 0, "DIR", ARG_TEXT, AT(checkpoint), 0, 0,
     "a checkpoint, or a job's folder: its newest one"},
    {"input", 0, "FILE", ARG_TEXT, AT(input), 0, 0,
     "what to read, a text a line; standard input when not given"},
    {"batch", 0, "N", ARG_INT, AT(batch), 1, MAX_ROWS, "lines at a time (32)"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 0, INT32_MAX,
     "at most so many of a line, its end included; 0: the model's context (0)"},
    {"kernel", 0, "OP=NAME", ARG_LIST, AT(rules), 0, 0,
     "a rule for kernels, besides the job's"},
    {"threads", 0, "N", ARG_INT, AT(threads), 0, 1024, "threads; 0: all cores"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"quarantine", 0, "DIR", ARG_TEXT, AT(quarantine), 0, 0,
     "folder of notes on plugins that did harm"},
    {"best", 0, NULL, ARG_FLAG, AT(best), 0, 0,
     "not the newest checkpoint, but what train.best found best"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct translate_options defaults = {.batch = 32};

/* A line that was read: its text, its ids, and what was written for it. */
struct line {
    const char *text;
    size_t len;
    uint64_t first, count; /* ids among translate.ids; none: an empty line */
    struct buf out;
};

struct translate {
    const struct translate_options *o;
    struct trained of;
    struct buf input;
    struct line *line;
    size_t lines;
    struct tokens ids;
    int rows;
    int64_t most;           /* tokens written, of a line */
    uint32_t *source, *len; /* [rows * source_context], [rows] */
    struct search_texts texts;
};

/* --- reading -------------------------------------------------------------- */

static const char *input_name(const struct translate *t)
{
    return t->o->input ? t->o->input : "standard input";
}

static int read_stdin(struct buf *out, struct err *e)
{
    size_t n;

    do {
        if (!buf_try_reserve(out, 65536) || out->len > MAX_TEXT)
            return err_set(e, ERR_FAILED, "standard input: too long");
        n = fread(out->data + out->len, 1, 65536, stdin);
        out->len += n;
    } while (n > 0);
    out->data[out->len] = '\0';
    return ferror(stdin) ? err_set(e, ERR_FAILED, "standard input: cannot be read") : 0;
}

/* The lines of the input, without their ends. */
static int split_lines(struct translate *t, struct err *e)
{
    const char *at = t->input.data ? t->input.data : "", *end = at + t->input.len;
    size_t room = 1;

    for (const char *c = at; c < end; c++)
        room += *c == '\n';
    t->line = calloc(room, sizeof *t->line);
    if (!t->line)
        return err_set(e, ERR_NOMEM, "memory: %zu lines", room);
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);

        t->line[t->lines].text = at;
        t->line[t->lines++].len = n && at[n - 1] == '\r' ? n - 1 : n;
        at += n + 1;
    }
    return 0;
}

static bool is_blank(const struct line *l)
{
    return strspn(l->text, " \t") >= l->len;
}

static int encode_line(struct translate *t, struct line *l, struct err *e)
{
    const struct tokenizer *tok = lexicon_source(&t->of.lexicon);
    uint32_t most = t->of.job->model->source_context;

    l->first = t->ids.count;
    if (!str_is_utf8(l->text, l->len))
        return err_set(e, ERR_SPEC, "wanted UTF-8 text");
    if (is_blank(l))
        return 0;
    if (tokenizer_encode(tok, l->text, l->len, &t->ids, e) < 0 ||
        tokens_reserve(&t->ids, 1, e) < 0)
        return e->code;
    tokens_put(&t->ids, TOKEN_EOS);
    l->count = t->ids.count - l->first;
    if (l->count <= most)
        return 0;
    return err_set(e, ERR_SPEC,
                   "wanted at most %u tokens, <eos> included (model.source_context), "
                   "found %" PRIu64,
                   most, l->count);
}

static int read_lines(struct translate *t, struct err *e)
{
    int rc = t->o->input ? fs_read(t->o->input, MAX_TEXT, &t->input, e)
                         : read_stdin(&t->input, e);

    if (rc == 0)
        rc = split_lines(t, e);
    tokens_init(&t->ids, tokenizer_vocab(lexicon_source(&t->of.lexicon)));
    for (size_t i = 0; rc == 0 && i < t->lines; i++)
        if ((rc = encode_line(t, &t->line[i], e)) < 0)
            err_prefix(e, "%s:%zu", input_name(t), i + 1);
    return rc;
}

/* --- writing -------------------------------------------------------------- */

/* Put lines that hold something, from `first` on, into the rows; returns the next
 * line to look at. */
static size_t gather(struct translate *t, size_t first, struct line **row)
{
    uint32_t width = t->of.job->model->source_context;
    int n = 0;

    memset(t->len, 0, (size_t)t->rows * sizeof *t->len);
    for (; first < t->lines && n < t->rows; first++) {
        struct line *l = &t->line[first];

        if (l->count == 0)
            continue;
        for (uint64_t i = 0; i < l->count; i++)
            t->source[(uint64_t)n * width + i] = tokens_get(&t->ids, l->first + i);
        t->len[n] = (uint32_t)l->count;
        row[n++] = l;
    }
    while (n < t->rows)
        row[n++] = NULL;
    return first;
}

static int write_batch(struct translate *t, struct line **row, struct err *e)
{
    static const uint32_t never[] = {TOKEN_PAD, TOKEN_BOS};
    struct search_rule rule = {.bos = TOKEN_BOS,
                               .eos = TOKEN_EOS,
                               .never = never,
                               .nnever = 2,
                               .most = t->most};
    int rc = decoder_read(t->of.decoder, t->source, t->len, e);

    if (rc == 0)
        rc = search_greedy(t->of.decoder, &rule, t->rows, &t->texts, e);
    for (int r = 0; rc == 0 && r < t->rows && row[r]; r++)
        rc = tokenizer_decode(t->of.lexicon.target, &t->texts.id[r * t->most],
                              (size_t)t->texts.count[r], &row[r]->out, e);
    return rc;
}

static int print_lines(const struct translate *t, struct err *e)
{
    for (size_t i = 0; i < t->lines; i++)
        printf("%s\n", t->line[i].out.data ? t->line[i].out.data : "");
    return fflush(stdout) == 0
               ? 0
               : err_set(e, ERR_FAILED, "standard output: cannot be written");
}

static int print_json(const struct translate *t, struct err *e)
{
    json_t *list = json_array(), *all;
    int rc;

    for (size_t i = 0; i < t->lines; i++) {
        const struct line *l = &t->line[i];

        json_array_append_new(
            list, json_pack("{s:o, s:o}", "source", json_stringn(l->text, l->len),
                            "target", json_string(l->out.data ? l->out.data : "")));
    }
    all = json_pack("{s:i, s:s, s:o}", "v", 1, "checkpoint", t->of.path, "lines", list);
    rc = json_dumpf(all, stdout, JSON_COMPACT);
    json_decref(all);
    putchar('\n');
    return rc == 0 ? 0 : err_set(e, ERR_FAILED, "the lines cannot be written as JSON");
}

/* --- all ------------------------------------------------------------------ */

static int make_room(struct translate *t, struct err *e)
{
    const Nnd__Model *m = t->of.job->model;
    size_t filled = 0;

    for (size_t i = 0; i < t->lines; i++)
        filled += t->line[i].count > 0;
    t->rows = (int)(filled < (size_t)t->o->batch ? filled : (size_t)t->o->batch);
    t->most = t->o->tokens && t->o->tokens < m->context ? t->o->tokens : m->context;
    t->source = calloc((size_t)t->rows * m->source_context + 1, sizeof *t->source);
    t->len = calloc((size_t)t->rows + 1, sizeof *t->len);
    t->texts.id = calloc((size_t)(t->rows * t->most) + 1, sizeof *t->texts.id);
    t->texts.count = calloc((size_t)t->rows + 1, sizeof *t->texts.count);
    if (t->source && t->len && t->texts.id && t->texts.count)
        return 0;
    return err_set(e, ERR_NOMEM, "memory: %d lines at a time", t->rows);
}

static int open_all(struct translate *t, struct err *e)
{
    const struct translate_options *o = t->o;
    struct engine_config config = {.threads = (int)o->threads,
                                   .plugins = o->plugins,
                                   .quarantine = o->quarantine,
                                   .suspects = true};

    t->of.best = o->best;
    if (trained_open(&t->of, o->checkpoint, e) < 0)
        return e->code;
    if (!model_reads(t->of.job))
        return err_set(e, ERR_USAGE,
                       "%s: wanted a model that reads a source, found one that goes on "
                       "with a text: use generate",
                       t->of.path);
    if (read_lines(t, e) < 0 || make_room(t, e) < 0)
        return e->code;
    if (t->rows == 0)
        return 0;
    return trained_engine(&t->of, &config, e) < 0
               ? e->code
               : trained_decoder(&t->of, t->rows, &o->rules, e);
}

static int write_all(struct translate *t, struct err *e)
{
    struct line **row = calloc((size_t)t->rows + 1, sizeof *row);
    int rc = row ? 0 : err_set(e, ERR_NOMEM, "memory: %d lines at a time", t->rows);

    for (size_t next = 0; rc == 0 && t->rows && next < t->lines;) {
        next = gather(t, next, row);
        if (row[0])
            rc = write_batch(t, row, e);
    }
    free(row);
    if (rc < 0)
        return rc;
    return t->o->json ? print_json(t, e) : print_lines(t, e);
}

static void close_all(struct translate *t)
{
    for (size_t i = 0; i < t->lines; i++)
        buf_free(&t->line[i].out);
    free(t->line);
    free(t->source);
    free(t->len);
    free(t->texts.id);
    free(t->texts.count);
    tokens_free(&t->ids);
    buf_free(&t->input);
    trained_close(&t->of);
}

static int translate(const void *options, struct err *e)
{
    struct translate t = {.o = options};
    int rc;

    if (!t.o->checkpoint)
        return err_set(e, ERR_USAGE, "translate: wanted --checkpoint DIR");
    rc = open_all(&t, e);
    if (rc == 0)
        rc = write_all(&t, e);
    close_all(&t);
    return rc;
}

const struct task task_translate = {
    .name = "translate",
    .help = "let a trained model read lines and write one for each",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = translate,
};
