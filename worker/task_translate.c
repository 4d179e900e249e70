/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_translate.c - `nnd-worker translate` and `nnd-worker summarize`: a trained model
 * reads lines and writes one for each.  They differ in how they search.
 *
 * Lines are read whole before the first is written, so that a mistake in one is told
 * before any work.  A line of no more than spaces stays empty.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/unicode.h"
#include "model/model.h"
#include "worker/heat.h"
#include "worker/lines.h"
#include "worker/task.h"
#include "worker/writer.h"

enum { MAX_ROWS = 4096 };

struct translate_options {
    struct trained_options model;
    struct writer_options how;
    const char *input, *attention;
    int64_t batch, tokens;
    bool pairs;
};

#define AT(field) offsetof(struct translate_options, field)

static const struct arg_row args[] = {
    {"input", 0, "FILE", ARG_TEXT, AT(input), 0, 0,
     "what to read, a text a line; standard input when not given"},
    {"batch", 0, "N", ARG_INT, AT(batch), 1, MAX_ROWS, "lines at a time (32)"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 0, INT32_MAX,
     "at most so many of a line, its end included; 0: the model's context (0)"},
    {"pairs", 0, NULL, ARG_FLAG, AT(pairs), 0, 0,
     "print what was read and what was written, separated by a tab"},
    {"attention", 0, "FILE", ARG_TEXT, AT(attention), 0, 0,
     "where each word looked: a heat map FILE.svg, or FILE.json"},
    {0},
};

static const struct translate_options defaults = {
    .batch = 32, .how = {.beam = 1, .best = 1, .alpha = 1}};

static const struct translate_options summary_defaults = {
    .batch = 32, .how = {.beam = 4, .best = 1, .alpha = 1, .ngram = 3}};

/* A line that was read: its ids, and what was written for it. */
struct said {
    uint64_t first, count;    /* ids among translate.ids; none: an empty line */
    struct search_text *text; /* [best], or NULL                           */
};

struct translate {
    struct trained of; /* at its place for trained_do */
    const struct translate_options *o;
    struct lines lines;
    struct said *said; /* [lines.n] */
    uint64_t cut;      /* lines whose end was not read */
    struct tokens ids;
    struct writer writer;
    struct arena *mem;
};

/* --- reading -------------------------------------------------------------- */

static int encode_line(struct translate *t, size_t i, struct err *e)
{
    const struct line *l = &t->lines.line[i];
    struct said *s = &t->said[i];

    s->first = t->ids.count;
    if (line_is_blank(l))
        return 0;
    if (writer_read(&t->of, l->text, l->len, &t->ids, &t->cut, e) < 0)
        return e->code;
    s->count = t->ids.count - s->first;
    return 0;
}

static int read_lines(struct translate *t, struct err *e)
{
    int rc = lines_read(t->o->input, &t->lines, e);

    tokens_init(&t->ids, tokenizer_vocab(lexicon_source(&t->of.lexicon)));
    t->said = calloc(t->lines.n + 1, sizeof *t->said);
    if (rc == 0 && !t->said)
        rc = err_set(e, ERR_NOMEM, "memory: %zu lines", t->lines.n);
    for (size_t i = 0; rc == 0 && i < t->lines.n; i++)
        if ((rc = encode_line(t, i, e)) < 0)
            err_prefix(e, "%s:%zu", t->lines.name, i + 1);
    writer_warn_cut(&t->of, t->lines.name, t->cut, t->lines.n);
    return rc;
}

/* --- writing -------------------------------------------------------------- */

/* Give lines that hold something to the writer, from `first` on; returns the next line
 * to look at, and how many there are. */
static size_t gather(struct translate *t, size_t first, struct said **row, int64_t *n)
{
    for (*n = 0; first < t->lines.n && *n < t->writer.texts; first++) {
        struct said *s = &t->said[first];

        if (s->count == 0)
            continue;
        writer_give(&t->writer, *n, &t->ids, s->first, s->count);
        row[(*n)++] = s;
    }
    return first;
}

static int write_all(struct translate *t, struct err *e)
{
    size_t best = (size_t)t->writer.rule.best;
    struct said **row = arena_calloc(t->mem, (size_t)t->writer.texts + 1, sizeof *row);
    int64_t n = 1;
    int rc = 0;

    for (size_t next = 0; rc == 0 && next < t->lines.n && n > 0;) {
        next = gather(t, next, row, &n);
        if (n > 0)
            rc = writer_write(&t->writer, n, t->mem, e);
        for (int64_t i = 0; rc == 0 && i < n; i++)
            row[i]->text = arena_memdup(t->mem, &t->writer.text[(size_t)i * best],
                                        best * sizeof *row[i]->text);
    }
    return rc;
}

/* --- printing ------------------------------------------------------------- */

/* Text number k of a line; "" for an empty one. */
static int say(const struct translate *t, const struct said *s, int k, struct buf *out,
               struct err *e)
{
    buf_clear(out);
    buf_puts(out, "");
    return s->text ? writer_text(&t->writer, &s->text[k], out, e) : 0;
}

/* What was read, as a column. */
static void print_source(const struct line *l)
{
    for (size_t i = 0; i < l->len; i++)
        putchar(l->text[i] == '\t' ? ' ' : l->text[i]);
    putchar('\t');
}

/* A line for each text: alone, behind what was read, or as one of several. */
static int print_line(const struct translate *t, size_t i, struct buf *b, struct err *e)
{
    const struct said *s = &t->said[i];
    const struct line *l = &t->lines.line[i];
    int rc = 0;

    for (int k = 0; rc == 0 && k < t->writer.rule.best; k++) {
        if (s->text ? s->text[k].count < 0 : k > 0)
            break;
        rc = say(t, s, k, b, e);
        if (rc < 0 || (t->o->pairs && unicode_blank(b->data, b->len)))
            continue; /* training takes no pair of nothing */
        if (t->writer.rule.best > 1)
            printf("%zu\t%.6f\t", i + 1, s->text ? s->text[k].score : 0);
        if (t->o->pairs)
            print_source(l);
        printf("%s\n", b->data);
    }
    return rc;
}

static int print_lines(const struct translate *t, struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < t->lines.n; i++)
        rc = print_line(t, i, &b, e);
    buf_free(&b);
    if (rc < 0)
        return rc;
    return fflush(stdout) == 0
               ? 0
               : err_set(e, ERR_FAILED, "standard output: cannot be written");
}

static int text_json(const struct translate *t, const struct said *s, int k,
                     struct buf *b, json_t **out, struct err *e)
{
    int rc = say(t, s, k, b, e);

    if (rc == 0)
        *out = json_pack("{s:o, s:f, s:f, s:b}", "text", writer_json(b), "score",
                         s->text[k].score, "log_p", s->text[k].log_p, "ended",
                         s->text[k].ended);
    return rc;
}

static int line_json(const struct translate *t, size_t i, struct buf *b, json_t *list,
                     struct err *e)
{
    const struct said *s = &t->said[i];
    const struct line *l = &t->lines.line[i];
    json_t *row = json_object(), *texts = json_array(), *one;
    int rc = say(t, s, 0, b, e);

    json_object_set_new(row, "source", json_stringn(l->text, l->len));
    json_object_set_new(row, "target", writer_json(b));
    for (int k = 0; rc == 0 && s->text && k < t->writer.rule.best; k++)
        if (s->text[k].count >= 0 && (rc = text_json(t, s, k, b, &one, e)) == 0)
            json_array_append_new(texts, one);
    if (t->writer.rule.beam > 1)
        json_object_set(row, "texts", texts);
    json_decref(texts);
    json_array_append_new(list, row);
    return rc;
}

static int print_json(const struct translate *t, struct err *e)
{
    json_t *list = json_array(), *all;
    struct buf b = {0};
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < t->lines.n; i++)
        rc = line_json(t, i, &b, list, e);
    all = json_pack("{s:i, s:s, s:o}", "v", 1, "checkpoint", t->of.path, "lines", list);
    if (rc == 0 && json_dumpf(all, stdout, JSON_COMPACT) != 0)
        rc = err_set(e, ERR_FAILED, "the lines cannot be written as JSON");
    json_decref(all);
    buf_free(&b);
    putchar('\n');
    return rc;
}

/* --- all ------------------------------------------------------------------ */

/* The best text of each line that has one. */
static int draw_heat(const struct translate *t, struct err *e)
{
    struct heat *h = arena_calloc(t->mem, t->lines.n + 1, sizeof *h);
    size_t n = 0;

    for (size_t i = 0; i < t->lines.n; i++) {
        const struct said *s = &t->said[i];

        if (!s->text)
            continue;
        uint32_t *source = arena_calloc(t->mem, s->count, sizeof *source);
        for (uint64_t k = 0; k < s->count; k++)
            source[k] = tokens_get(&t->ids, s->first + k);
        h[n++] = (struct heat){.line = i + 1,
                               .source = source,
                               .sources = (int64_t)s->count,
                               .target = s->text->id,
                               .targets = s->text->count + s->text->ended,
                               .weight = s->text->look,
                               .width = t->writer.width};
    }
    return heat_write(t->o->attention, &t->of.lexicon, h, n, e);
}

static int open_writer(struct translate *t, struct err *e)
{
    const struct translate_options *o = t->o;
    int64_t filled = 0, most = o->tokens ? o->tokens : t->of.job->model->context;

    for (size_t i = 0; i < t->lines.n; i++)
        filled += t->said[i].count > 0;
    return writer_open(&t->writer, &t->of, &o->model, &o->how,
                       filled == 0         ? 1
                       : filled < o->batch ? filled
                                           : o->batch,
                       most, o->attention != NULL, e);
}

static int work(void *self, const void *options, struct err *e)
{
    struct translate *t = self;

    t->o = options;
    t->mem = arena_create();
    if (!model_reads(t->of.job))
        return err_set(e, ERR_USAGE,
                       "%s: wanted a model that reads a source, found one that goes on "
                       "with a text: use generate",
                       t->of.path);
    if ((t->o->attention && heat_check(t->o->attention, e) < 0) ||
        read_lines(t, e) < 0 || open_writer(t, e) < 0 || write_all(t, e) < 0)
        return e->code;
    if (t->o->attention && draw_heat(t, e) < 0)
        return e->code;
    return t->o->model.json ? print_json(t, e) : print_lines(t, e);
}

static void close_all(void *self)
{
    struct translate *t = self;

    writer_close(&t->writer);
    free(t->said);
    tokens_free(&t->ids);
    lines_free(&t->lines);
    if (t->mem)
        arena_destroy(t->mem);
}

static const struct trained_task translating = {
    .name = "translate",
    .size = sizeof(struct translate),
    .work = work,
    .close = close_all,
};

static int translate(const void *options, struct err *e)
{
    return trained_do(&translating, options, e);
}

const struct task task_translate = {
    .name = "translate",
    .help = "let a trained model read lines and write one for each",
    .args = args,
    .more = {{writer_args, AT(how)}, {trained_args, AT(model)}},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = translate,
};

const struct task task_summarize = {
    .name = "summarize",
    .help = "the same, with a beam that repeats nothing",
    .args = args,
    .more = {{writer_args, AT(how)}, {trained_args, AT(model)}},
    .defaults = &summary_defaults,
    .size = sizeof summary_defaults,
    .run = translate,
};
