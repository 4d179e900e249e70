/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_eval.c - `nnd-worker eval`: how good texts are beside references, be they in a
 * file or written by a trained model, and how likely references, or a text, are to a
 * model.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metric/metric.h"
#include "model/model.h"
#include "worker/lengths.h"
#include "worker/likelihood.h"
#include "worker/lines.h"
#include "worker/task.h"
#include "worker/world.h"
#include "worker/writer.h"

enum { MAX_ROWS = 4096 };

struct eval_options {
    struct trained_options model;
    struct writer_options how;
    const char *text, *source, *words, *by_length;
    struct arg_list reference, beside;
    int64_t batch, tokens, step;
};

#define AT(field) offsetof(struct eval_options, field)

static const struct arg_row args[] = {
    {"text", 0, "FILE", ARG_TEXT, AT(text), 0, 0,
     "texts to score, one a line; with a model that reads no source: how likely it is"},
    {"source", 0, "FILE", ARG_TEXT, AT(source), 0, 0,
     "what a model reads, to score what it writes, or what the texts were made of"},
    {"reference", 0, "FILE", ARG_LIST, AT(reference), 0, 0,
     "what they ought to be, one a line; given again: or this"},
    {"words", 0, "13a|zh|char", ARG_TEXT, AT(words), 0, 0,
     "how BLEU cuts words, and ROUGE those of zh and char (13a)"},
    {"by-length", 0, "FILE", ARG_TEXT, AT(by_length), 0, 0,
     "BLEU by the source's length: a table, and a picture FILE.svg, or FILE.json"},
    {"step", 0, "N", ARG_INT, AT(step), 0, INT32_MAX,
     "words that a range of lengths has; 0: as fits (0)"},
    {"beside", 0, "FILE", ARG_LIST, AT(beside), 0, 0,
     "texts of another system, to stand beside in --by-length"},
    {"batch", 0, "N", ARG_INT, AT(batch), 1, MAX_ROWS, "lines at a time (32)"},
    {"tokens", 0, "N", ARG_INT, AT(tokens), 0, INT32_MAX,
     "at most so many of a line; 0: the model's context (0)"},
    {0},
};

static const char writes[] = "it says how a model writes, and that is written";

static const char alone[] = "files are scored without a model";

static const struct arg_tie ties[] = {
    {"beam", ARG_WITHOUT, "text", writes},
    {"length-penalty", ARG_WITHOUT, "text", writes},
    {"penalty", ARG_WITHOUT, "text", writes},
    {"coverage", ARG_WITHOUT, "text", writes},
    {"min-tokens", ARG_WITHOUT, "text", writes},
    {"no-repeat", ARG_WITHOUT, "text", writes},
    {"prefix", ARG_WITHOUT, "text", writes},
    {"tokens", ARG_WITHOUT, "text", writes},
    {"n-best", ARG_ELSEWHERE, "translate or summarize",
     "eval scores one text of each source"},
    {"with", ARG_WITHOUT, "text", writes},
    {"step", ARG_WITH, "by-length", "it is a range of lengths"},
    {"beside", ARG_WITH, "by-length", "they stand there"},
    {"batch", ARG_WITH, "checkpoint", alone},
    {"best", ARG_WITH, "checkpoint", alone},
    {"threads", ARG_WITH, "checkpoint", alone},
    {"kernel", ARG_WITH, "checkpoint", alone},
    {0},
};

static const struct eval_options defaults = {.batch = 32,
                                             .how = {.beam = 1, .best = 1, .alpha = 1}};

struct eval {
    struct trained of; /* at its place for trained_do */
    const struct eval_options *o;
    enum words_rule rule;
    struct lines text, source, *reference, *beside; /* the latter as o has them */
    struct metric_text *wanted;                     /* [references] */
    struct scorer *scorer;
    struct lengths *lengths; /* NULL: not asked for */
    struct writer writer;
    struct tokens ids;
    uint64_t cut;           /* sources whose end was not read        */
    uint64_t weighed, over; /* references; those that were too long  */
    size_t *row;            /* lines that the writer has, of a batch */
    struct arena *mem;
    struct likelihood likely; /* of all references, or of the text */
};

/* --- reading -------------------------------------------------------------- */

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

/* A file with as many lines as `like` has, unless that has none yet. */
static int read_like(const char *path, const struct lines *like, struct lines *out,
                     struct err *e)
{
    if (lines_read(path, out, e) < 0)
        return e->code;
    if (like->name && out->n != like->n)
        return err_set(e, ERR_SPEC, "%s: wanted %zu lines, as %s has, found %zu",
                       out->name, like->n, like->name, out->n);
    return 0;
}

static int read_list(const struct arg_list *paths, const struct lines *like,
                     struct lines **out, struct err *e)
{
    struct lines *l = calloc(paths->n + 1, sizeof *l);
    int rc = 0;

    if (!l)
        return err_set(e, ERR_NOMEM, "memory: %zu files", paths->n);
    *out = l;
    for (size_t i = 0; rc == 0 && i < paths->n; i++)
        rc = read_like(paths->value[i], like, &l[i], e);
    return rc;
}

static int open_lengths(struct eval *v, struct err *e)
{
    const struct eval_options *o = v->o;

    if (!o->by_length)
        return 0;
    if (!o->source)
        return err_set(e, ERR_USAGE, "--by-length: wanted --source FILE as well");
    if (lengths_check(o->by_length, e) < 0 ||
        read_list(&o->beside, &v->source, &v->beside, e) < 0)
        return e->code;
    lengths_create(v->rule, &v->source, o->step, &v->lengths);
    lengths_system(v->lengths, o->text ? o->text : "model");
    for (size_t i = 0; i < o->beside.n; i++)
        lengths_system(v->lengths, o->beside.value[i]);
    return 0;
}

/* All files, of equally many lines: there is a text, a source, or both. */
static int read_files(struct eval *v, struct err *e)
{
    const struct eval_options *o = v->o;
    struct lines *first = o->text ? &v->text : &v->source;

    if (o->reference.n == 0)
        return err_set(e, ERR_USAGE, "eval: wanted --reference FILE");
    if (open_rule(v, e) < 0 ||
        (o->text && read_like(o->text, first, &v->text, e) < 0) ||
        (o->source && read_like(o->source, first, &v->source, e) < 0) ||
        read_list(&o->reference, first, &v->reference, e) < 0)
        return e->code;
    if (first->n == 0)
        return err_set(e, ERR_SPEC, "%s: wanted a line, found none", first->name);
    v->wanted = calloc(o->reference.n, sizeof *v->wanted);
    if (!v->wanted)
        return err_set(e, ERR_NOMEM, "memory: %zu references", o->reference.n);
    scorer_create(v->rule, &v->scorer);
    return open_lengths(v, e);
}

/* --- scoring files -------------------------------------------------------- */

static struct metric_text text_of(const struct lines *l, size_t i)
{
    return (struct metric_text){l->line[i].text, l->line[i].len};
}

/* Text number i, by the system that is scored. */
static int score(struct eval *v, size_t i, const struct metric_text *text,
                 struct err *e)
{
    size_t n = v->o->reference.n;
    int rc;

    for (size_t k = 0; k < n; k++)
        v->wanted[k] = text_of(&v->reference[k], i);
    rc = scorer_add_any(v->scorer, text, v->wanted, n, e);
    if (rc < 0 || !v->lengths)
        return rc;
    rc = lengths_add(v->lengths, 0, i, text, v->wanted, n, e);
    for (size_t k = 0; rc == 0 && k < v->o->beside.n; k++) {
        struct metric_text other = text_of(&v->beside[k], i);

        rc = lengths_add(v->lengths, (int)k + 1, i, &other, v->wanted, n, e);
    }
    return rc;
}

static int score_files(struct eval *v, struct err *e)
{
    int rc = read_files(v, e);

    for (size_t i = 0; rc == 0 && i < v->text.n; i++) {
        struct metric_text text = text_of(&v->text, i);

        rc = score(v, i, &text, e);
    }
    return rc;
}

/* --- scoring a model ------------------------------------------------------ */

/* For how many tokens every model has room: the least context of those whose caches
 * end, or, where none does, of all. */
static uint32_t room_of(const struct eval *v)
{
    uint32_t all = UINT32_MAX, end = UINT32_MAX;

    for (size_t k = 0; k <= v->writer.others; k++) {
        const Nnd__Job *job = k ? v->writer.other[k - 1].job : v->of.job;
        uint32_t n = job->model->context;

        all = n < all ? n : all;
        if (!model_endless(job) && n < end)
            end = n;
    }
    return end < UINT32_MAX ? end : all;
}

/* Tokens of line i with <eos> behind, to v->ids; of one that is longer than the context
 * those that have room, which are weighed without what is beyond. */
static int encode(struct eval *v, const struct lines *l, size_t i, struct err *e)
{
    const struct tokenizer *tok = v->of.lexicon.target;
    const struct line *line = &l->line[i];
    uint64_t first = v->ids.count, room = room_of(v);
    struct buf text = {0};
    int rc = 0;

    if (tokenizer_encode(tok, line->text, line->len, &v->ids, e) < 0 ||
        tokens_reserve(&v->ids, 1, e) < 0)
        return err_prefix(e, "%s:%zu", l->name, i + 1);
    tokens_put(&v->ids, TOKEN_EOS);
    v->weighed++;
    if (v->ids.count - first <= room) {
        v->likely.characters += likelihood_characters(line->text, line->len) + 1;
        return 0;
    }
    v->over++;
    v->ids.count = first + room;
    uint32_t *id = arena_calloc(v->mem, room, sizeof *id);
    for (uint64_t k = 0; k < room; k++)
        id[k] = tokens_get(&v->ids, first + k);
    rc = tokenizer_decode(tok, id, room, &text, e);
    v->likely.characters += likelihood_characters(text.data, text.len);
    buf_free(&text);
    return rc;
}

static void warn_over(const struct eval *v)
{
    struct buf b = {0};

    if (v->over == 0)
        return;
    buf_printf(&b,
               "%" PRIu64 " of %" PRIu64 " references are longer than %u tokens, <eos> "
               "included (model.context): what is beyond was not weighed",
               v->over, v->weighed, room_of(v));
    world_warn(b.data);
    buf_free(&b);
}

/* The logarithm of the mean of the probabilities that the models give a token. */
static double log_mean(const struct eval *v, int row, uint32_t id)
{
    size_t models = v->writer.others + 1;
    double sum = -INFINITY;

    for (size_t k = 0; k < models; k++) {
        struct decoder *d = v->writer.decoder[k];
        double p = likelihood_token(decoder_logits(d, row), decoder_vocab(d), id);
        double top = fmax(sum, p);

        if (p > -INFINITY)
            sum = top + log(exp(sum - top) + exp(p - top));
    }
    return sum - log((double)models);
}

static int step_all(const struct eval *v, const uint32_t *in, struct err *e)
{
    int rc = 0;

    for (size_t k = 0; rc == 0 && k <= v->writer.others; k++)
        rc = decoder_step(v->writer.decoder[k], in, e);
    return rc;
}

/* How likely n references are; reference i has the tokens [first[i], first[i + 1]).
 * The first row of each text is fed with them. */
static int add_likelihood(struct eval *v, const uint64_t *first, int64_t n,
                          struct err *e)
{
    int beam = v->writer.rule.beam, rc = 0;
    uint64_t most = 0;
    uint32_t *in = arena_calloc(v->mem, (size_t)(v->writer.texts * beam), sizeof *in);

    for (size_t k = 0; k <= v->writer.others; k++)
        decoder_reset(v->writer.decoder[k]);
    for (int64_t i = 0; i < n; i++) {
        uint64_t count = first[i + 1] - first[i];

        most = count > most ? count : most;
        in[i * beam] = TOKEN_BOS;
    }
    for (uint64_t t = 0; rc == 0 && t < most; t++) {
        rc = step_all(v, in, e);
        for (int64_t i = 0; rc == 0 && i < n; i++) {
            uint64_t at = first[i] + t;

            if (at >= first[i + 1])
                continue;
            in[i * beam] = tokens_get(&v->ids, at);
            v->likely.unknown += in[i * beam] == TOKEN_UNK;
            v->likely.nats -= log_mean(v, (int)i * beam, in[i * beam]);
            v->likely.targets++;
        }
    }
    return rc;
}

/* Sources from line *next on to the writer, at most v->writer.texts; *n: how many.  For
 * a line that holds nothing nothing is written. */
static int give_sources(struct eval *v, size_t *next, int64_t *n, struct err *e)
{
    const struct metric_text nothing = {"", 0};
    int rc = 0;

    for (*n = 0; rc == 0 && *next < v->source.n && *n < v->writer.texts; ++*next) {
        const struct line *l = &v->source.line[*next];
        uint64_t at = v->ids.count;

        if (line_is_blank(l)) {
            rc = score(v, *next, &nothing, e);
            continue;
        }
        rc = writer_read(&v->of, l->text, l->len, &v->ids, &v->cut, e);
        if (rc == 0)
            writer_give(&v->writer, *n, &v->ids, at, v->ids.count - at);
        else
            err_prefix(e, "%s:%zu", v->source.name, *next + 1);
        v->row[(*n)++] = *next;
        v->ids.count = at;
    }
    return rc;
}

static int score_written(struct eval *v, int64_t n, struct err *e)
{
    struct buf b = {0};
    int rc = 0;

    for (int64_t i = 0; rc == 0 && i < n; i++) {
        buf_clear(&b);
        buf_puts(&b, "");
        rc = writer_text(&v->writer, &v->writer.text[i * v->writer.rule.best], &b, e);
        if (rc == 0)
            rc = score(v, v->row[i], &(struct metric_text){b.data, b.len}, e);
    }
    buf_free(&b);
    return rc;
}

static int weigh_references(struct eval *v, int64_t n, struct err *e)
{
    uint64_t *first = arena_calloc(v->mem, (size_t)n + 1, sizeof *first);
    int rc = 0;

    for (size_t k = 0; rc == 0 && k < v->o->reference.n; k++) {
        for (int64_t i = 0; rc == 0 && i < n; i++) {
            first[i] = v->ids.count;
            rc = encode(v, &v->reference[k], v->row[i], e);
        }
        first[n] = v->ids.count;
        if (rc == 0)
            rc = add_likelihood(v, first, n, e);
        v->ids.count = 0;
    }
    return rc;
}

static int score_batch(struct eval *v, size_t *next, struct err *e)
{
    int64_t n;

    if (give_sources(v, next, &n, e) < 0)
        return e->code;
    if (n == 0)
        return 0;
    if (writer_write(&v->writer, n, v->mem, e) < 0 || score_written(v, n, e) < 0)
        return e->code;
    return weigh_references(v, n, e);
}

static int score_model(struct eval *v, struct err *e)
{
    const struct eval_options *o = v->o;
    int64_t most = o->tokens ? o->tokens : v->of.job->model->context, n = o->batch;
    uint32_t vocab = tokenizer_vocab(v->of.lexicon.target);
    uint32_t source = tokenizer_vocab(lexicon_source(&v->of.lexicon));
    int rc = read_files(v, e);

    n = rc == 0 && v->source.n < (size_t)n ? (int64_t)v->source.n : n;
    if (rc < 0 ||
        writer_open(&v->writer, &v->of, &o->model, &o->how, n, most, false, e) < 0)
        return e->code;
    tokens_init(&v->ids, source > vocab ? source : vocab);
    v->row = arena_calloc(v->mem, (size_t)n, sizeof *v->row);
    for (size_t next = 0; rc == 0 && next < v->source.n;)
        rc = score_batch(v, &next, e);
    writer_warn_cut(&v->of, v->source.name, v->cut, v->source.n);
    warn_over(v);
    return rc;
}

/* --- printing ------------------------------------------------------------- */

static void print_plain(const struct eval *v)
{
    struct bleu b = v->scorer ? scorer_bleu(v->scorer) : (struct bleu){0};

    for (enum metric m = 0; v->scorer && m < METRIC_COUNT; m++) {
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
    if (v->likely.targets)
        likelihood_print(&v->likely);
    if (v->lengths)
        lengths_print(v->lengths);
}

static void print_json(const struct eval *v)
{
    json_t *all = json_pack("{s:i}", "v", 1);

    if (v->scorer)
        json_object_set_new(all, "texts",
                            json_integer((json_int_t)scorer_count(v->scorer)));
    for (enum metric m = 0; v->scorer && m < METRIC_COUNT; m++) {
        struct buf sign = {0};

        scorer_sign(v->scorer, m, &sign);
        json_object_set_new(all, metric_name(m),
                            json_pack("{s:f, s:s}", "score", scorer_value(v->scorer, m),
                                      "signature", sign.data));
        buf_free(&sign);
    }
    if (v->likely.targets)
        likelihood_json(&v->likely, all);
    if (v->lengths)
        json_object_set_new(all, "by_length", lengths_json(v->lengths));
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static int tell(const struct eval *v, struct err *e)
{
    v->o->model.json ? print_json(v) : print_plain(v);
    return v->lengths ? lengths_write(v->lengths, v->o->by_length, e) : 0;
}

/* --- all ------------------------------------------------------------------ */

static void free_list(struct lines *l, size_t n)
{
    for (size_t i = 0; l && i < n; i++)
        lines_free(&l[i]);
    free(l);
}

static void close_all(void *self)
{
    struct eval *v = self;

    writer_close(&v->writer);
    lines_free(&v->text);
    lines_free(&v->source);
    free_list(v->reference, v->o ? v->o->reference.n : 0);
    free_list(v->beside, v->o ? v->o->beside.n : 0);
    free(v->wanted);
    scorer_destroy(v->scorer);
    lengths_destroy(v->lengths);
    tokens_free(&v->ids);
    if (v->mem)
        arena_destroy(v->mem);
}

/* A model that reads no source has nothing to be scored by but its likelihoods. */
static int weigh_text(struct eval *v, struct err *e)
{
    const struct eval_options *o = v->o;

    if (o->reference.n || o->by_length || o->words)
        return err_set(e, ERR_USAGE,
                       "%s: --text with a model says how likely the text is: wanted no "
                       "--reference, --by-length or --words",
                       v->of.path);
    return likelihood_of_text(&v->of, &o->model, o->text, o->batch, &v->likely, e);
}

static int work(void *self, const void *options, struct err *e)
{
    struct eval *v = self;

    v->o = options;
    v->mem = arena_create();
    if (v->o->source && !model_reads(v->of.job))
        return err_set(e, ERR_USAGE,
                       "--source: %s: wanted a model that reads a source, found one "
                       "that goes on with a text: it needs --text alone",
                       v->of.path);
    if ((v->o->source ? score_model(v, e) : weigh_text(v, e)) < 0)
        return e->code;
    return tell(v, e);
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

    if (!o->text && !o->source)
        return err_set(e, ERR_USAGE,
                       "eval: wanted --text FILE, or a model and --source FILE");
    if (o->text && o->source && o->model.checkpoint)
        return err_set(e, ERR_USAGE,
                       "eval: a model writes itself: wanted --text or --source, found "
                       "both");
    if (o->model.checkpoint || !o->text)
        return trained_do(&evaluating, options, e);
    rc = score_files(&v, e);
    if (rc == 0)
        rc = tell(&v, e);
    close_all(&v);
    return rc;
}

const struct task task_eval = {
    .name = "eval",
    .help = "score texts beside references, or weigh them by a model",
    .args = args,
    .ties = ties,
    .more = {{writer_args, AT(how)}, {trained_args, AT(model)}},
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = eval,
};
