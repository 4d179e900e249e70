/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_generate.c - `nnd-worker generate`: a trained model goes on with a text.
 *
 * The prompt's tokens are fed one a step, as the ones that follow are.  Where the
 * context is full, the newer half of it is fed again and the text goes on from
 * there; token number n is drawn with random bits of (seed, n) all the same.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/str.h"
#include "decode/decoder.h"
#include "decode/sample.h"
#include "train/checkpoint.h"
#include "worker/engine.h"
#include "worker/job.h"
#include "worker/task.h"
#include "worker/world.h"

enum { MAX_SAMPLES = 1024, MAX_TOKENS = 1 << 24 };

struct generate_options {
    const char *checkpoint, *prompt, *plugins, *quarantine;
    struct arg_list rules;
    int64_t tokens, samples, top_k, seed, threads;
    double temperature, top_p;
    bool greedy, json;
};

#define AT(field) offsetof(struct generate_options, field)

static const struct arg_row args[] = {
    {"checkpoint", 0, "DIR", ARG_TEXT, AT(checkpoint), 0, 0,
     "a checkpoint, or a job's folder: its newest one"},
    {"prompt", 0, "TEXT", ARG_TEXT, AT(prompt), 0, 0, "what to go on with"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 1, MAX_TOKENS, "how many to add (200)"},
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
    {"kernel", 0, "OP=NAME", ARG_LIST, AT(rules), 0, 0,
     "a rule for kernels, besides the job's"},
    {"threads", 0, "N", ARG_INT, AT(threads), 0, 1024, "threads; 0: all cores"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"quarantine", 0, "DIR", ARG_TEXT, AT(quarantine), 0, 0,
     "folder of notes on plugins that did harm"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct generate_options defaults = {.prompt = "\n",
                                                 .tokens = 200,
                                                 .samples = 1,
                                                 .temperature = 1,
                                                 .top_p = 1,
                                                 .seed = 1};

struct generate {
    const struct generate_options *o;
    char path[PATH_MAX]; /* of the checkpoint */
    struct comm *self;
    struct spec *spec;
    struct lexicon lexicon;
    const struct tokenizer *tokens; /* of what is written */
    struct engine engine;
    struct decoder *decoder;
    struct sample_rule rule;
    struct sample_space *space;
    int64_t vocab, context, length, prompt; /* tokens in every row; of the prompt */
    int rows;
    uint32_t *id; /* [length so far][rows]            */
    uint32_t *in; /* [rows]: what is fed              */
};

/* --- opening -------------------------------------------------------------- */

/* A checkpoint has a manifest; a job's folder has checkpoints/; else it is a folder
 * of checkpoints. */
static int find(struct generate *g, struct err *e)
{
    const char *dir = g->o->checkpoint;
    char path[PATH_MAX + 32];
    struct buf notes = {0};
    int rc;

    if (strlen(dir) >= sizeof g->path)
        return err_set(e, ERR_USAGE, "--checkpoint: wanted a shorter path");
    snprintf(path, sizeof path, "%s/manifest.json", dir);
    if (fs_exists(path)) {
        strcpy(g->path, dir);
        return 0;
    }
    snprintf(path, sizeof path, "%s/checkpoints", dir);
    rc = checkpoint_find(fs_exists(path) ? path : dir, g->self, g->path, sizeof g->path,
                         &notes, e);
    world_warn(notes.data);
    buf_free(&notes);
    if (rc == 0 && !g->path[0])
        rc = err_set(e, ERR_NOTFOUND, "%s: wanted a checkpoint, found none", dir);
    return rc;
}

/* Of several rules for an operator the last one counts: those of the command line
 * come after the job's. */
static int open_decoder(struct generate *g, struct err *e)
{
    const Nnd__Job *job = spec_job(g->spec);
    size_t of_job = job->kernels->n_rule, n = of_job + g->o->rules.n;
    const char **rule = calloc(n + 1, sizeof *rule);
    int rc;

    if (!rule)
        return err_set(e, ERR_NOMEM, "memory: %zu rules for kernels", n);
    for (size_t i = 0; i < n; i++)
        rule[i] = i < of_job ? job->kernels->rule[i] : g->o->rules.value[i - of_job];
    rc = decoder_create(&(struct decoder_config){.job = job,
                                                 .vocab = g->vocab,
                                                 .rows = g->rows,
                                                 .kernels = g->engine.kernels,
                                                 .rules = rule,
                                                 .nrules = n,
                                                 .self = g->self,
                                                 .threads = g->engine.seat.threads},
                        &g->decoder, e);
    free(rule);
    return rc < 0 ? rc : checkpoint_load_weights(g->path, decoder_exec(g->decoder), e);
}

/* The prompt's ids, to every row. */
static int read_prompt(struct generate *g, struct err *e)
{
    const char *text = g->o->prompt;
    struct tokens t;
    int rc;

    tokens_init(&t, tokenizer_vocab(g->tokens));
    rc = tokenizer_encode(g->tokens, text, strlen(text), &t, e);
    if (rc < 0)
        err_prefix(e, "--prompt");
    else if (t.count == 0)
        rc = err_set(e, ERR_USAGE, "--prompt: wanted at least one token, found none");
    if (rc == 0) {
        g->prompt = g->length = (int64_t)t.count;
        g->id = calloc((size_t)((g->length + g->o->tokens) * g->rows), sizeof *g->id);
        g->in = calloc((size_t)g->rows, sizeof *g->in);
        if (!g->id || !g->in)
            rc = err_set(e, ERR_NOMEM, "memory: %lld tokens",
                         (long long)((g->length + g->o->tokens) * g->rows));
    }
    for (int64_t i = 0; rc == 0 && i < g->length * g->rows; i++)
        g->id[i] = tokens_get(&t, (uint64_t)(i / g->rows));
    tokens_free(&t);
    return rc;
}

/* The checkpoint's job, its tokenizer, and how many ids there are. */
static int open_job(struct generate *g, struct err *e)
{
    int rc = job_of_checkpoint(g->path, &g->spec, &g->lexicon, e);

    g->tokens = g->lexicon.target;
    return rc < 0 ? rc : job_vocab(g->spec, &g->lexicon, &g->vocab, e);
}

static int open_all(struct generate *g, struct err *e)
{
    const struct generate_options *o = g->o;

    struct engine_config config = {.threads = (int)o->threads,
                                   .plugins = o->plugins,
                                   .quarantine = o->quarantine,
                                   .suspects = true};

    g->rule = (struct sample_rule){.temperature = o->greedy ? 0 : o->temperature,
                                   .top_k = (uint32_t)o->top_k,
                                   .top_p = o->top_p,
                                   .seed = (uint64_t)o->seed};
    g->rows = (int)o->samples;
    if (sample_rule_check(&g->rule, e) < 0 || comm_self(&g->self, e) < 0 ||
        find(g, e) < 0 || open_job(g, e) < 0 || read_prompt(g, e) < 0 ||
        engine_open(&g->engine, g->self, &config, e) < 0 ||
        sample_space_create((uint32_t)g->vocab, &g->space, e) < 0)
        return e->code;
    g->context = spec_job(g->spec)->model->context;
    return open_decoder(g, e);
}

static void close_all(struct generate *g)
{
    decoder_destroy(g->decoder);
    sample_space_destroy(g->space);
    engine_close(&g->engine);
    lexicon_free(&g->lexicon);
    spec_destroy(g->spec);
    comm_destroy(g->self);
    free(g->id);
    free(g->in);
}

/* --- writing -------------------------------------------------------------- */

/* The text of tokens [from, to) of a row. */
static int text_of(const struct generate *g, int row, int64_t from, int64_t to,
                   struct buf *out, struct err *e)
{
    int rc = 0;

    for (int64_t i = from; rc == 0 && i < to; i++)
        rc = tokenizer_decode(g->tokens, &g->id[i * g->rows + row], 1, out, e);
    return rc;
}

static int print_part(const struct generate *g, int row, int64_t from, int64_t to,
                      struct err *e)
{
    struct buf b = {0};
    int rc = text_of(g, row, from, to, &b, e);

    if (rc == 0 && (fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0))
        rc = err_set(e, ERR_FAILED, "standard output: cannot be written");
    buf_free(&b);
    return rc;
}

/* A text of bytes may end inside a character: JSON gets a question mark there. */
static json_t *json_text(const struct buf *b)
{
    char *text = malloc(b->len + 1);
    json_t *j = NULL;

    if (!text)
        return NULL;
    memcpy(text, b->data, b->len + 1);
    for (size_t i = 0; i < b->len;) {
        size_t n = 1;

        while (n < 4 && i + n <= b->len && !str_is_utf8(text + i, n))
            n++;
        if (i + n > b->len || !str_is_utf8(text + i, n)) {
            text[i] = '?';
            n = 1;
        }
        i += n;
    }
    j = json_stringn(text, b->len);
    free(text);
    return j;
}

static json_t *row_json(const struct generate *g, int row, struct err *e)
{
    struct buf b = {0};
    json_t *text = NULL;

    if (text_of(g, row, g->prompt, g->length, &b, e) == 0)
        text = b.data ? json_text(&b) : json_string("");
    buf_free(&b);
    if (!text)
        return NULL;
    return json_pack("{s:I, s:s, s:o}", "seed", (json_int_t)(g->o->seed + row),
                     "prompt", g->o->prompt, "text", text);
}

static int print_json(const struct generate *g, struct err *e)
{
    json_t *rows = json_array(), *all;
    int rc;

    for (int r = 0; r < g->rows; r++)
        json_array_append_new(rows, row_json(g, r, e));
    all = json_pack("{s:i, s:s, s:o}", "v", 1, "checkpoint", g->path, "samples", rows);
    rc = json_array_size(rows) == (size_t)g->rows &&
                 json_dumpf(all, stdout, JSON_COMPACT) == 0
             ? 0
             : err_set(e, ERR_FAILED, "the samples cannot be written as JSON");
    json_decref(all);
    putchar('\n');
    return rc;
}

static int print_samples(const struct generate *g, struct err *e)
{
    int rc = 0;

    for (int r = 0; rc == 0 && r < g->rows; r++) {
        printf("--- sample %d of %d, seed %lld\n", r + 1, g->rows,
               (long long)(g->o->seed + r));
        rc = print_part(g, r, 0, g->length, e);
        printf("\n");
    }
    return rc;
}

/* --- generating ----------------------------------------------------------- */

static int feed(struct generate *g, int64_t from, struct err *e)
{
    int rc = 0;

    for (int64_t i = from; rc == 0 && i < g->length; i++) {
        memcpy(g->in, &g->id[i * g->rows], (size_t)g->rows * sizeof *g->in);
        rc = decoder_step(g->decoder, g->in, e);
    }
    return rc;
}

/* Draw the next token of every row. */
static int draw(struct generate *g, struct err *e)
{
    uint32_t *next = &g->id[g->length * g->rows];
    int rc = 0;

    for (int r = 0; rc == 0 && r < g->rows; r++) {
        struct sample_rule rule = g->rule;

        rule.seed += (uint64_t)r;
        rc = sample_next(&rule, g->space, decoder_logits(g->decoder, r),
                         (uint64_t)g->length, &next[r], e);
    }
    g->length += rc == 0;
    return rc;
}

/* Put the newest token into the caches, making room for it first. */
static int go_on(struct generate *g, struct err *e)
{
    if (decoder_length(g->decoder) < g->context)
        return feed(g, g->length - 1, e);
    decoder_reset(g->decoder);
    return feed(g, g->length - (g->context + 1) / 2, e);
}

static int write_text(struct generate *g, struct err *e)
{
    bool stream = g->rows == 1 && !g->o->json;
    int64_t end = g->length + g->o->tokens;
    int rc = stream ? print_part(g, 0, 0, g->length, e) : 0;

    if (rc == 0)
        rc = feed(g, g->length > g->context ? g->length - g->context : 0, e);
    while (rc == 0 && (rc = draw(g, e)) == 0) {
        if (stream)
            rc = print_part(g, 0, g->length - 1, g->length, e);
        if (g->length == end)
            break;
        if (rc == 0)
            rc = go_on(g, e);
    }
    if (rc < 0)
        return rc;
    if (stream)
        printf("\n");
    return stream ? 0 : g->o->json ? print_json(g, e) : print_samples(g, e);
}

static int generate(const void *options, struct err *e)
{
    struct generate g = {.o = options};
    int rc;

    if (!g.o->checkpoint)
        return err_set(e, ERR_USAGE, "generate: wanted --checkpoint DIR");
    rc = open_all(&g, e);
    if (rc == 0)
        rc = write_text(&g, e);
    close_all(&g);
    return rc;
}

const struct task task_generate = {
    .name = "generate",
    .help = "let a trained model go on with a text",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = generate,
};
