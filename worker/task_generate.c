/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_generate.c - `nnd-worker generate`: a trained model goes on with a text.
 *
 * The prompt's tokens are fed one a step, as the ones that follow are.  Where the
 * context is full, the newer half of it is fed again and the text goes on from
 * there; token number n is drawn with random bits of (seed, n) all the same.  A text is
 * over where one of model.ends is drawn, which is not written.  With a beam nothing is
 * drawn: the best of what fits into the context is searched for.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode/sample.h"
#include "model/model.h"
#include "worker/task.h"
#include "worker/writer.h"

enum { MAX_SAMPLES = 1024, MAX_TOKENS = 1 << 24 };

struct generate_options {
    struct trained_options model;
    struct writer_options how; /* beam 0: draw */
    int64_t tokens, samples, top_k, seed;
    double temperature, top_p;
    bool greedy;
};

#define AT(field) offsetof(struct generate_options, field)

static const struct arg_row args[] = {
    {"prompt", 0, "TEXT", ARG_TEXT, AT(how.prefix), 0, 0,
     "what to go on with; empty: begin a text (a newline)"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 1, MAX_TOKENS,
     "how many to add at most (200)"},
    {"samples", 0, "N", ARG_INT, AT(samples), 1, MAX_SAMPLES,
     "how many texts (1); number i has the seed + i"},
    {"temperature", 0, "T", ARG_REAL, AT(temperature), 0, 1000,
     "above 1: bolder, below: plainer (1)"},
    {"top-k", 0, "K", ARG_INT, AT(top_k), 0, UINT32_MAX,
     "draw from the K likeliest tokens only; 0: from all (0)"},
    {"top-p", 0, "P", ARG_REAL, AT(top_p), 0, 1,
     "draw from the likeliest that make up P of 1 (1)"},
    {"greedy", 0, NULL, ARG_FLAG, AT(greedy), 0, 0, "always take the likeliest token"},
    {"seed", 0, "N", ARG_INT, AT(seed), 0, INT64_MAX,
     "the same seed, the same text (1)"},
    {0},
};

static const char searches[] = "it belongs to a search (--beam 1 is greedy)";
static const char draws[] = "it belongs to drawing, and a search draws nothing";
static const char chance[] = "that leaves nothing to chance";

/* A text is drawn, or searched for. */
static const struct arg_tie ties[] = {
    {"n-best", ARG_WITH, "beam", searches},
    {"length-penalty", ARG_WITH, "beam", searches},
    {"penalty", ARG_WITH, "beam", searches},
    {"no-repeat", ARG_WITH, "beam", searches},
    {"with", ARG_WITH, "beam", searches},
    {"coverage", ARG_ELSEWHERE, "translate or summarize", "generate reads no source"},
    {"min-tokens", ARG_ELSEWHERE, "translate or summarize",
     "what generate writes ends where the model does"},
    {"samples", ARG_WITHOUT, "beam", "it belongs to drawing; a search has --n-best"},
    {"temperature", ARG_WITHOUT, "beam", draws},
    {"top-k", ARG_WITHOUT, "beam", draws},
    {"top-p", ARG_WITHOUT, "beam", draws},
    {"seed", ARG_WITHOUT, "beam", draws},
    {"greedy", ARG_WITHOUT, "beam", "--beam 1 is greedy by itself"},
    {"temperature", ARG_WITHOUT, "greedy", chance},
    {"top-k", ARG_WITHOUT, "greedy", chance},
    {"top-p", ARG_WITHOUT, "greedy", chance},
    {"prefix", ARG_WITHOUT, "prompt", "it is the same"},
    {0},
};

static const struct generate_options defaults = {.how = {.best = 1, .alpha = 1},
                                                 .tokens = 200,
                                                 .samples = 1,
                                                 .temperature = 1,
                                                 .top_p = 1,
                                                 .seed = 1};

struct generate {
    struct trained of; /* at its place for trained_do */
    const struct generate_options *o;
    struct writer writer;
    struct arena *mem;
    const struct tokenizer *tokens; /* of what is written */
    struct sample_rule rule;
    struct sample_space *space;
    int64_t context, length, prompt; /* tokens in every row; of the prompt */
    int64_t room;                    /* most tokens of a row               */
    int rows, open;                  /* all, and those that have not ended */
    uint32_t *id;                    /* [rows][room]                       */
    uint32_t *in;                    /* [rows]: what is fed                */
    int64_t *end;                    /* [rows]: where it has ended; 0: not */
};

/* --- opening -------------------------------------------------------------- */

static uint32_t *row_of(const struct generate *g, int row)
{
    return g->id + row * g->room;
}

/* Tokens of a row, without its end. */
static int64_t length_of(const struct generate *g, int row)
{
    return g->end[row] ? g->end[row] : g->length;
}

/* Without a prompt a text goes on behind a newline, unless the model has begins. */
static const char *prompt_of(const struct generate *g)
{
    const char *given = g->o->how.prefix;

    return given ? given : g->of.nbegins ? "" : "\n";
}

/* The prompt's ids, to every row. */
static int read_prompt(struct generate *g, struct err *e)
{
    struct tokens t;
    int rc;

    tokens_init(&t, tokenizer_vocab(g->tokens));
    rc = writer_begin(&g->of, prompt_of(g), "--prompt", &t, e);
    if (rc == 0) {
        g->prompt = g->length = (int64_t)t.count;
        g->room = g->length + g->o->tokens;
        g->id = calloc((size_t)(g->room * g->rows), sizeof *g->id);
        g->in = calloc((size_t)g->rows, sizeof *g->in);
        g->end = calloc((size_t)g->rows, sizeof *g->end);
        g->open = g->rows;
        if (!g->id || !g->in || !g->end)
            rc = err_set(e, ERR_NOMEM, "memory: %lld tokens",
                         (long long)(g->room * g->rows));
    }
    for (int r = 0; rc == 0 && r < g->rows; r++)
        for (int64_t i = 0; i < g->length; i++)
            row_of(g, r)[i] = tokens_get(&t, (uint64_t)i);
    tokens_free(&t);
    return rc;
}

static int check_job(struct generate *g, struct err *e)
{
    g->tokens = g->of.lexicon.target;
    g->context = model_endless(g->of.job) ? INT64_MAX : g->of.job->model->context;
    if (!model_reads(g->of.job))
        return 0;
    return err_set(
        e, ERR_USAGE,
        "%s: wanted a model that goes on with a text, found one that reads a "
        "source: use translate",
        g->of.path);
}

static int open_all(struct generate *g, struct err *e)
{
    const struct generate_options *o = g->o;
    struct engine_config config = trained_config(&o->model);

    g->rule = (struct sample_rule){.temperature = o->greedy ? 0 : o->temperature,
                                   .top_k = (uint32_t)o->top_k,
                                   .top_p = o->top_p,
                                   .seed = (uint64_t)o->seed,
                                   .never = g->of.never,
                                   .nnever = g->of.nnever};
    g->rows = (int)o->samples;
    if (sample_rule_check(&g->rule, e) < 0 || read_prompt(g, e) < 0 ||
        trained_engine(&g->of, &config, e) < 0 ||
        sample_space_create((uint32_t)g->of.vocab, &g->space, e) < 0)
        return e->code;
    return trained_decoder(&g->of, &g->of.engine,
                           &(struct decoder_config){.rows = g->rows}, &o->model.rules,
                           e);
}

static void close_all(void *self)
{
    struct generate *g = self;

    writer_close(&g->writer);
    if (g->mem)
        arena_destroy(g->mem);
    sample_space_destroy(g->space);
    free(g->id);
    free(g->in);
    free(g->end);
}

/* --- writing -------------------------------------------------------------- */

/* What tokens [from, to) add to the text of those before.  What stands between two
 * words depends on both: the token before goes along, and its text is taken off again.
 */
static int text_of(const struct generate *g, const uint32_t *id, int64_t from,
                   int64_t to, struct buf *out, struct err *e)
{
    int64_t begun = (int64_t)g->of.nbegins, before;
    struct buf lead = {0}, all = {0};
    int rc;

    from = from > begun ? from : begun;
    before = from > begun ? from - 1 : begun;
    rc = tokenizer_decode(g->tokens, id + before, (size_t)(from - before), &lead, e);
    if (rc == 0)
        rc = tokenizer_decode(g->tokens, id + before, (size_t)(to - before), &all, e);
    if (rc == 0)
        buf_add(out, all.data ? all.data + lead.len : "", all.len - lead.len);
    buf_free(&lead);
    buf_free(&all);
    return rc;
}

static int print_part(const struct generate *g, const uint32_t *id, int64_t from,
                      int64_t to, struct err *e)
{
    struct buf b = {0};
    int rc = text_of(g, id, from, to, &b, e);

    if (rc == 0 && (fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0))
        rc = err_set(e, ERR_FAILED, "standard output: cannot be written");
    buf_free(&b);
    return rc;
}

static json_t *prompt_json(const struct generate *g)
{
    struct buf b = {0};
    json_t *j;

    buf_puts(&b, prompt_of(g));
    j = writer_json(&b);
    buf_free(&b);
    return j;
}

/* What stands behind the prompt in id[length]; NULL: an error. */
static json_t *added_json(const struct generate *g, const uint32_t *id, int64_t length,
                          struct err *e)
{
    struct buf b = {0};
    json_t *j = NULL;

    if (text_of(g, id, g->prompt, length, &b, e) == 0 && !(j = writer_json(&b)))
        err_set(e, ERR_NOMEM, "memory: a text of %zu bytes as JSON", b.len);
    buf_free(&b);
    return j;
}

static int append(json_t *list, json_t *item, struct err *e)
{
    if (json_array_append_new(list, item) == 0)
        return 0;
    return err_set(e, ERR_FAILED, "the texts cannot be written as JSON");
}

/* The list, which it takes away, unless something has failed. */
static int print_json(const struct generate *g, const char *key, json_t *list, int rc,
                      struct err *e)
{
    json_t *all =
        json_pack("{s:i, s:s, s:o}", "v", 1, "checkpoint", g->of.path, key, list);

    if (rc == 0 && json_dumpf(all, stdout, JSON_COMPACT) != 0)
        rc = err_set(e, ERR_FAILED, "the texts cannot be written as JSON");
    if (rc == 0)
        putchar('\n');
    json_decref(all);
    return rc;
}

static int print_drawn_json(const struct generate *g, struct err *e)
{
    json_t *list = json_array();
    int rc = 0;

    for (int r = 0; rc == 0 && r < g->rows; r++) {
        json_t *text = added_json(g, row_of(g, r), length_of(g, r), e);
        json_int_t seed = g->o->seed + r;

        rc = text ? append(list,
                           json_pack("{s:I, s:o, s:o}", "seed", seed, "prompt",
                                     prompt_json(g), "text", text),
                           e)
                  : e->code;
    }
    return print_json(g, "samples", list, rc, e);
}

static int print_drawn(const struct generate *g, struct err *e)
{
    int rc = 0;

    for (int r = 0; rc == 0 && r < g->rows; r++) {
        printf("--- sample %d of %d, seed %lld\n", r + 1, g->rows,
               (long long)(g->o->seed + r));
        rc = print_part(g, row_of(g, r), 0, length_of(g, r), e);
        printf("\n");
    }
    return rc;
}

/* --- generating ----------------------------------------------------------- */

static int feed(struct generate *g, int64_t from, struct err *e)
{
    int rc = 0;

    for (int64_t i = from; rc == 0 && i < g->length; i++) {
        for (int r = 0; r < g->rows; r++)
            g->in[r] = row_of(g, r)[i];
        rc = decoder_step(g->of.decoder, g->in, e);
    }
    return rc;
}

/* The next token of a row; of one that has ended, its end once more. */
static int draw_row(struct generate *g, int r, struct err *e)
{
    struct sample_rule rule = g->rule;
    uint32_t *next = row_of(g, r) + g->length;

    if (g->end[r]) {
        *next = next[-1];
        return 0;
    }
    rule.seed += (uint64_t)r;
    if (sample_next(&rule, g->space, decoder_logits(g->of.decoder, r),
                    (uint64_t)g->length, next, e) < 0)
        return e->code;
    if (trained_is_end(&g->of, *next)) {
        g->end[r] = g->length;
        g->open--;
    }
    return 0;
}

/* Draw the next token of every row. */
static int draw(struct generate *g, struct err *e)
{
    int rc = 0;

    for (int r = 0; rc == 0 && r < g->rows; r++)
        rc = draw_row(g, r, e);
    g->length += rc == 0;
    return rc;
}

/* Put the newest token into the caches, making room for it first. */
static int go_on(struct generate *g, struct err *e)
{
    if (!decoder_full(g->of.decoder))
        return feed(g, g->length - 1, e);
    decoder_reset(g->of.decoder);
    return feed(g, g->length - (g->context + 1) / 2, e);
}

static int write_text(struct generate *g, struct err *e)
{
    bool stream = g->rows == 1 && !g->o->model.json;
    int64_t end = g->length + g->o->tokens;
    int rc = stream ? print_part(g, g->id, 0, g->length, e) : 0;

    if (rc == 0)
        rc = feed(g, g->length > g->context ? g->length - g->context : 0, e);
    while (rc == 0 && (rc = draw(g, e)) == 0 && g->open > 0) {
        if (stream)
            rc = print_part(g, g->id, g->length - 1, g->length, e);
        if (g->length == end)
            break;
        if (rc == 0)
            rc = go_on(g, e);
    }
    if (rc < 0)
        return rc;
    if (stream)
        printf("\n");
    return stream ? 0 : g->o->model.json ? print_drawn_json(g, e) : print_drawn(g, e);
}

/* --- searching ------------------------------------------------------------ */

/* The tokens of a text, the prompt's first: that is what a search begins with. */
static const uint32_t *ids_of(const struct generate *g, const struct search_text *t)
{
    uint32_t *id = arena_calloc(g->mem, (size_t)t->count + 1, sizeof *id);

    id[0] = g->writer.prefix[0];
    memcpy(id + 1, t->id, (size_t)t->count * sizeof *id);
    return id;
}

static int print_found_json(const struct generate *g, int found, struct err *e)
{
    json_t *list = json_array();
    int rc = 0;

    for (int k = 0; rc == 0 && k < found; k++) {
        const struct search_text *t = &g->writer.text[k];
        json_t *text = added_json(g, ids_of(g, t), t->count + 1, e);

        rc = text ? append(list,
                           json_pack("{s:o, s:o, s:f, s:f, s:b}", "prompt",
                                     prompt_json(g), "text", text, "score", t->score,
                                     "log_p", t->log_p, "ended", t->ended),
                           e)
                  : e->code;
    }
    return print_json(g, "texts", list, rc, e);
}

static int print_found(const struct generate *g, int found, struct err *e)
{
    int rc = 0;

    for (int k = 0; rc == 0 && k < found; k++) {
        const struct search_text *t = &g->writer.text[k];

        if (g->writer.rule.best > 1)
            printf("--- text %d of %d, score %.6f\n", k + 1, g->writer.rule.best,
                   t->score);
        rc = print_part(g, ids_of(g, t), 0, t->count + 1, e);
        printf("\n");
    }
    return rc;
}

static int search(struct generate *g, struct err *e)
{
    const struct generate_options *o = g->o;
    struct writer_options how = o->how;
    int found = 0;

    g->mem = arena_create();
    how.prefix = prompt_of(g);
    if (writer_open(&g->writer, &g->of, &o->model, &how, 1, o->tokens, false, e) < 0 ||
        writer_write(&g->writer, 1, g->mem, e) < 0)
        return e->code;
    g->prompt = g->writer.prefixed;
    while (found < g->writer.rule.best && g->writer.text[found].count >= 0)
        found++;
    return o->model.json ? print_found_json(g, found, e) : print_found(g, found, e);
}

static int work(void *self, const void *options, struct err *e)
{
    struct generate *g = self;

    g->o = options;
    if (check_job(g, e) < 0)
        return e->code;
    if (g->o->how.beam > 0)
        return search(g, e);
    return open_all(g, e) < 0 ? e->code : write_text(g, e);
}

static const struct trained_task generating = {
    .name = "generate",
    .size = sizeof(struct generate),
    .work = work,
    .close = close_all,
};

static int generate(const void *options, struct err *e)
{
    return trained_do(&generating, options, e);
}

const struct task task_generate = {
    .name = "generate",
    .help = "let a trained model go on with a text",
    .args = args,
    .more = {{writer_args, AT(how)}, {trained_args, AT(model)}},
    .ties = ties,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = generate,
};
