/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_eval.c - `nnd-worker eval`: how good texts are beside references, be they in a
 * file or written by a trained model; and how likely the references are to the model.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metric/metric.h"
#include "model/model.h"
#include "worker/lines.h"
#include "worker/task.h"
#include "worker/writer.h"

enum { MAX_ROWS = 4096 };

struct eval_options {
    struct trained_options model;
    struct writer_options how;
    const char *text, *source, *reference, *words;
    int64_t batch, tokens;
};

#define AT(field) offsetof(struct eval_options, field)

static const struct arg_row args[] = {
    {"text", 0, "FILE", ARG_TEXT, AT(text), 0, 0, "texts to score, one a line"},
    {"source", 0, "FILE", ARG_TEXT, AT(source), 0, 0,
     "or what a model reads, to score what it writes"},
    {"reference", 0, "FILE", ARG_TEXT, AT(reference), 0, 0,
     "what they ought to be, one a line"},
    {"words", 0, "13a|zh|char", ARG_TEXT, AT(words), 0, 0,
     "how BLEU cuts words, and ROUGE those of zh and char (13a)"},
    {"batch", 0, "N", ARG_INT, AT(batch), 1, MAX_ROWS, "lines at a time (32)"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 0, INT32_MAX,
     "at most so many of a line; 0: the model's context (0)"},
    {0},
};

static const struct eval_options defaults = {.batch = 32,
                                             .how = {.beam = 1, .best = 1, .alpha = 1}};

struct eval {
    struct trained of; /* at its place for trained_do */
    const struct eval_options *o;
    enum words_rule rule;
    struct lines text, source, reference;
    struct scorer *scorer;
    struct writer writer;
    struct tokens ids;
    struct arena *mem;
    double nll;                   /* nats of all references */
    uint64_t targets, characters; /* of them, ends included */
};

/* --- scoring files -------------------------------------------------------- */

static int open_rule(struct eval *v, struct err *e)
{
    static const char *const names[] = {"13a", "zh", "char"};
    const char *words = v->o->words ? v->o->words : names[0];

    for (int i = 0; i < 3; i++)
        if (strcmp(words, names[i]) == 0) {
            v->rule = (enum words_rule)i;
            return 0;
        }
    return err_set(e, ERR_USAGE, "--words: wanted 13a, zh or char, found \"%s\"",
                   words);
}

static int read_both(struct eval *v, const char *path, struct lines *other,
                     struct err *e)
{
    if (!v->o->reference)
        return err_set(e, ERR_USAGE, "eval: wanted --reference FILE");
    if (open_rule(v, e) < 0 || lines_read(path, other, e) < 0 ||
        lines_read(v->o->reference, &v->reference, e) < 0)
        return e->code;
    if (other->n != v->reference.n)
        return err_set(e, ERR_SPEC, "%s: wanted %zu lines, as %s has, found %zu",
                       v->reference.name, other->n, other->name, v->reference.n);
    if (other->n == 0)
        return err_set(e, ERR_SPEC, "%s: wanted a line, found none", other->name);
    scorer_create(v->rule, &v->scorer);
    return 0;
}

static int score_files(struct eval *v, struct err *e)
{
    int rc = read_both(v, v->o->text, &v->text, e);

    for (size_t i = 0; rc == 0 && i < v->text.n; i++) {
        const struct line *t = &v->text.line[i], *w = &v->reference.line[i];

        rc = scorer_add(v->scorer, t->text, t->len, w->text, w->len, e);
    }
    return rc;
}

/* --- scoring a model ------------------------------------------------------ */

static uint64_t count_characters(const struct line *l)
{
    uint64_t n = 0;

    for (size_t i = 0; i < l->len; i++)
        n += ((unsigned char)l->text[i] & 0xc0) != 0x80;
    return n;
}

/* Tokens of line i with <eos> behind; their place in v->ids. */
static int encode(struct eval *v, const struct tokenizer *tok, const struct lines *l,
                  size_t i, uint64_t *first, struct err *e)
{
    *first = v->ids.count;
    if (tokenizer_encode(tok, l->line[i].text, l->line[i].len, &v->ids, e) < 0 ||
        tokens_reserve(&v->ids, 1, e) < 0)
        return err_prefix(e, "%s:%zu", l->name, i + 1);
    tokens_put(&v->ids, TOKEN_EOS);
    return 0;
}

static double nll_of(const float *z, int64_t vocab, uint32_t id)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < vocab; i++)
        top = fmax(top, (double)z[i]);
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)z[i] - top);
    return top + log(sum) - (double)z[id];
}

/* How likely n references are; reference i has the tokens [first[i], first[i + 1]).
 * The first row of each text is fed with them; a reference longer than the context is
 * cut, as in training. */
static int add_likelihood(struct eval *v, const uint64_t *first, int64_t n,
                          struct err *e)
{
    struct decoder *d = v->writer.decoder[0];
    int beam = v->writer.rule.beam;
    int64_t most = 0, room = v->of.job->model->context;
    uint32_t *in = arena_calloc(v->mem, (size_t)(v->writer.texts * beam), sizeof *in);
    int rc = 0;

    decoder_reset(d);
    for (int64_t i = 0; i < n; i++) {
        int64_t count = (int64_t)(first[i + 1] - first[i]);

        most = count > most ? count : most;
        in[i * beam] = TOKEN_BOS;
    }
    most = most > room ? room : most;
    for (int64_t t = 0; rc == 0 && t < most; t++) {
        rc = decoder_step(d, in, e);
        for (int64_t i = 0; rc == 0 && i < n; i++) {
            uint64_t at = first[i] + (uint64_t)t;

            if (at >= first[i + 1])
                continue;
            in[i * beam] = tokens_get(&v->ids, at);
            v->nll += nll_of(decoder_logits(d, (int)i * beam), decoder_vocab(d),
                             in[i * beam]);
            v->targets++;
        }
    }
    return rc;
}

static int score_batch(struct eval *v, size_t from, int64_t n, struct err *e)
{
    uint32_t most = v->of.job->model->source_context;
    uint64_t *first = arena_calloc(v->mem, (size_t)n + 1, sizeof *first), at;
    struct buf b = {0};
    int rc = 0;

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        rc = encode(v, lexicon_source(&v->of.lexicon), &v->source, from + (size_t)i,
                    &at, e);
        if (rc == 0 && v->ids.count - at > most)
            rc = err_set(e, ERR_SPEC,
                         "%s:%zu: wanted at most %u tokens, <eos> included "
                         "(model.source_context), found %" PRIu64,
                         v->source.name, from + (size_t)i + 1, most, v->ids.count - at);
        if (rc == 0)
            writer_give(&v->writer, i, &v->ids, at, v->ids.count - at);
        v->ids.count = at;
    }
    if (rc == 0)
        rc = writer_write(&v->writer, n, v->mem, e);
    for (int64_t i = 0; rc == 0 && i < n; i++) {
        const struct line *w = &v->reference.line[from + (size_t)i];

        buf_clear(&b);
        buf_puts(&b, "");
        rc = writer_text(&v->writer, &v->writer.text[i * v->writer.rule.best], &b, e);
        if (rc == 0)
            rc = scorer_add(v->scorer, b.data, b.len, w->text, w->len, e);
        if (rc == 0)
            rc = encode(v, v->of.lexicon.target, &v->reference, from + (size_t)i,
                        &first[i], e);
        v->characters += count_characters(w) + 1;
    }
    buf_free(&b);
    if (n > 0)
        first[n] = v->ids.count;
    if (rc == 0)
        rc = add_likelihood(v, first, n, e);
    v->ids.count = 0;
    return rc;
}

static int score_model(struct eval *v, struct err *e)
{
    const struct eval_options *o = v->o;
    int64_t most = o->tokens ? o->tokens : v->of.job->model->context, n = o->batch;
    uint32_t vocab = tokenizer_vocab(v->of.lexicon.target);
    uint32_t source = tokenizer_vocab(lexicon_source(&v->of.lexicon));
    int rc = read_both(v, o->source, &v->source, e);

    n = rc == 0 && v->source.n < (size_t)n ? (int64_t)v->source.n : n;
    if (rc < 0 ||
        writer_open(&v->writer, &v->of, &o->model, &o->how, n, most, false, e) < 0)
        return e->code;
    tokens_init(&v->ids, source > vocab ? source : vocab);
    for (size_t at = 0; rc == 0 && at < v->source.n; at += (size_t)n)
        rc = score_batch(
            v, at, v->source.n - at < (size_t)n ? (int64_t)(v->source.n - at) : n, e);
    return rc;
}

/* --- printing ------------------------------------------------------------- */

static double perplexity(const struct eval *v)
{
    return exp(v->nll / (double)v->targets);
}

static double bits(const struct eval *v)
{
    return v->nll / log(2) / (double)v->characters;
}

static void print_plain(const struct eval *v)
{
    struct bleu b = scorer_bleu(v->scorer);

    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        struct buf sign = {0};

        scorer_sign(v->scorer, m, &sign);
        printf("%-14s %8.4f  %s\n", metric_name(m), scorer_value(v->scorer, m),
               sign.data);
        if (m == METRIC_BLEU)
            printf("%-14s %.1f/%.1f/%.1f/%.1f, brevity %.3f, %zu words for %zu\n", "",
                   b.share[0], b.share[1], b.share[2], b.share[3], b.brevity, b.length,
                   b.wanted);
        buf_free(&sign);
    }
    if (!v->targets)
        return;
    printf("%-14s %8.4f  of %" PRIu64 " tokens\n", "perplexity", perplexity(v),
           v->targets);
    printf("%-14s %8.4f  of %" PRIu64 " characters\n", "bits-per-char", bits(v),
           v->characters);
}

static void print_json(const struct eval *v)
{
    json_t *all =
        json_pack("{s:i, s:I}", "v", 1, "texts", (json_int_t)scorer_count(v->scorer));

    for (enum metric m = 0; m < METRIC_COUNT; m++) {
        struct buf sign = {0};

        scorer_sign(v->scorer, m, &sign);
        json_object_set_new(all, metric_name(m),
                            json_pack("{s:f, s:s}", "score", scorer_value(v->scorer, m),
                                      "signature", sign.data));
        buf_free(&sign);
    }
    if (v->targets) {
        json_object_set_new(all, "perplexity", json_real(perplexity(v)));
        json_object_set_new(all, "bits-per-char", json_real(bits(v)));
    }
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

/* --- all ------------------------------------------------------------------ */

static void close_all(void *self)
{
    struct eval *v = self;

    writer_close(&v->writer);
    lines_free(&v->text);
    lines_free(&v->source);
    lines_free(&v->reference);
    scorer_destroy(v->scorer);
    tokens_free(&v->ids);
    if (v->mem)
        arena_destroy(v->mem);
}

static int work(void *self, const void *options, struct err *e)
{
    struct eval *v = self;

    v->o = options;
    v->mem = arena_create();
    if (!model_reads(v->of.job))
        return err_set(e, ERR_USAGE, "%s: wanted a model that reads a source",
                       v->of.path);
    if (score_model(v, e) < 0)
        return e->code;
    v->o->model.json ? print_json(v) : print_plain(v);
    return 0;
}

static const struct trained_task evaluating = {
    .name = "eval",
    .size = sizeof(struct eval),
    .work = work,
    .close = close_all,
};

static int eval(const void *options, struct err *e)
{
    const struct eval_options *o = options;
    struct eval v = {.o = o};
    int rc;

    if (!o->text == !o->source)
        return err_set(e, ERR_USAGE,
                       "eval: wanted --text FILE, or a model and --source FILE");
    if (o->source)
        return trained_do(&evaluating, options, e);
    rc = score_files(&v, e);
    if (rc == 0)
        o->model.json ? print_json(&v) : print_plain(&v);
    close_all(&v);
    return rc;
}

const struct task task_eval = {
    .name = "eval",
    .help = "score texts beside references",
    .args = args,
    .more = {{writer_args, AT(how)}, {trained_args, AT(model)}},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = eval,
};
