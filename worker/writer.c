/* SPDX-License-Identifier: Apache-2.0 */
/*
 * writer.c - from options to texts.
 */
#include "worker/writer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "data/utf8.h"
#include "model/model.h"
#include "worker/world.h"

enum { MAX_BEAM = 256 };

#define AT(field) offsetof(struct writer_options, field)

const struct arg_row writer_args[] = {
    {"beam", 0, "N", ARG_INT, AT(beam), 1, MAX_BEAM,
     "hypotheses of a text; 1: the likeliest token each time"},
    {"n-best", 0, "N", ARG_INT, AT(best), 1, MAX_BEAM,
     "texts to write for each, at most the beam (1)"},
    {"length-penalty", 0, "A", ARG_REAL, AT(alpha), 0, 10,
     "log-probabilities are divided by the length to the power of A"},
    {"penalty", 0, "power|gnmt", ARG_TEXT, AT(penalty), 0, 0,
     "the length: tokens, or (5 + tokens) / 6 (power)"},
    {"coverage", 0, "B", ARG_REAL, AT(coverage), 0, 100,
     "how much it counts when a word of the source was not looked at (0)"},
    {"min-tokens", 0, "N", ARG_INT, AT(least), 0, INT32_MAX,
     "no text ends before so many (0)"},
    {"no-repeat", 0, "N", ARG_INT, AT(ngram), 0, INT32_MAX,
     "no N tokens stand in a text twice; 0: they may"},
    {"prefix", 0, "TEXT", ARG_TEXT, AT(prefix), 0, 0, "what every text begins with"},
    {"with", 0, "DIR", ARG_LIST, AT(with), 0, 0,
     "one more model of the same vocabulary, to write together"},
    {0},
};

/* --- opening -------------------------------------------------------------- */

static int open_rule(struct writer *w, const struct writer_options *how, int64_t most,
                     bool look, struct err *e)
{
    bool gnmt = how->penalty && strcmp(how->penalty, "gnmt") == 0;

    if (how->penalty && !gnmt && strcmp(how->penalty, "power") != 0)
        return err_set(e, ERR_USAGE, "--penalty: wanted power or gnmt, found \"%s\"",
                       how->penalty);
    if (how->best > how->beam)
        return err_set(e, ERR_USAGE,
                       "--n-best: wanted at most the beam, %lld, found %lld",
                       (long long)how->beam, (long long)how->best);
    w->rule = (struct search_rule){.bos = TOKEN_BOS,
                                   .ends = w->first->ends,
                                   .nends = w->first->nends,
                                   .never = w->first->never,
                                   .nnever = w->first->nnever,
                                   .least = how->least,
                                   .most = most,
                                   .beam = (int)how->beam,
                                   .best = (int)how->best,
                                   .ngram = how->ngram,
                                   .length = gnmt ? SEARCH_GNMT : SEARCH_POWER,
                                   .alpha = how->alpha,
                                   .coverage = how->coverage,
                                   .look = look};
    return 0;
}

static int put_ids(const uint32_t *id, size_t n, struct tokens *out, struct err *e)
{
    int rc = tokens_reserve(out, n, e);

    for (size_t i = 0; rc == 0 && i < n; i++)
        tokens_put(out, id[i]);
    return rc;
}

int writer_begin(const struct trained *t, const char *text, const char *option,
                 struct tokens *out, struct err *e)
{
    static const uint32_t bos = TOKEN_BOS;
    const struct tokenizer *words = t->lexicon.target;
    int rc = put_ids(t->begins, t->nbegins, out, e);

    if (rc == 0)
        rc = tokenizer_encode(words, text, strlen(text), out, e);
    if (rc < 0 || out->count)
        return rc < 0 ? err_prefix(e, "%s", option) : 0;
    if (tokenizer_marks(words))
        return put_ids(&bos, 1, out, e);
    if (tokenizer_encode_more(words, "\n", 1, out, e) < 0)
        return err_set(e, ERR_USAGE,
                       "%s: wanted a token: the vocabulary has neither <bos> nor a "
                       "newline to begin with",
                       option);
    return 0;
}

int writer_read(const struct trained *t, const char *text, size_t len,
                struct tokens *out, uint64_t *cut, struct err *e)
{
    uint64_t first = out->count, most = t->job->model->source_context, found;

    if (tokenizer_encode(lexicon_source(&t->lexicon), text, len, out, e) < 0 ||
        tokens_reserve(out, 1, e) < 0)
        return e->code;
    found = out->count - first + 1;
    if (found > most && t->job->data->too_long != NND__DATA__TOO_LONG__CUT)
        return err_set(e, ERR_SPEC,
                       "wanted at most %" PRIu64 " tokens, <eos> included "
                       "(model.source_context), found %" PRIu64,
                       most, found);
    if (found > most) {
        out->count = first + most - 1;
        ++*cut;
    }
    tokens_put(out, TOKEN_EOS);
    return 0;
}

void writer_warn_cut(const struct trained *t, const char *file, uint64_t cut,
                     uint64_t all)
{
    struct buf b = {0};

    if (cut == 0)
        return;
    buf_printf(
        &b,
        "%s: %" PRIu64 " of %" PRIu64 " texts are longer than %u tokens "
        "(model.source_context): what is beyond was not read (data.too_long: cut)",
        file, cut, all, t->job->model->source_context);
    world_warn(b.data);
    buf_free(&b);
}

/* What a text begins with is said by one of two options. */
static const char *begin_option(const struct writer *w)
{
    return model_reads(w->first->job) ? "--prefix" : "--prompt";
}

/* Models that go on with a text have no <bos>: its first token stands there. */
static int open_prefix(struct writer *w, const struct writer_options *how,
                       struct err *e)
{
    const struct tokenizer *tok = w->first->lexicon.target;
    const char *option = begin_option(w);
    struct tokens t;
    int rc = 0;

    tokens_init(&t, tokenizer_vocab(tok));
    if (!model_reads(w->first->job))
        rc = writer_begin(w->first, how->prefix ? how->prefix : "", option, &t, e);
    else if (how->prefix &&
             tokenizer_encode(tok, how->prefix, strlen(how->prefix), &t, e) < 0)
        rc = err_prefix(e, "%s", option);
    w->prefix = calloc(t.count + 1, sizeof *w->prefix);
    if (rc == 0 && !w->prefix)
        rc = err_set(e, ERR_NOMEM, "memory: a prefix of %llu tokens",
                     (unsigned long long)t.count);
    for (uint64_t i = 0; rc == 0 && i < t.count; i++)
        w->prefix[w->prefixed++] = tokens_get(&t, i);
    tokens_free(&t);
    return rc;
}

/* Most tokens, so that no model's context is left. */
static int fit(struct writer *w, struct err *e)
{
    int64_t before = w->prefixed + (model_reads(w->first->job) ? 0 : -1);

    for (size_t i = 0; i <= w->others; i++) {
        const struct trained *t = i ? &w->other[i - 1] : w->first;
        int64_t context = t->job->model->context;
        int64_t room = model_endless(t->job) ? INT64_MAX : context - before;

        if (room < 1)
            return err_set(e, ERR_USAGE,
                           "%s: wanted at most %lld tokens in a model.context of %lld "
                           "(%s), found %lld",
                           begin_option(w), (long long)(w->prefixed + room - 1),
                           (long long)context, t->path, (long long)w->prefixed);
        w->rule.most = room < w->rule.most ? room : w->rule.most;
    }
    return 0;
}

static int open_others(struct writer *w, const struct writer_options *how,
                       struct err *e)
{
    w->other = calloc(how->with.n + 1, sizeof *w->other);
    if (!w->other)
        return err_set(e, ERR_NOMEM, "memory: %zu models", how->with.n);
    for (size_t i = 0; i < how->with.n; i++) {
        struct trained *t = &w->other[w->others++];

        if (trained_open(t, how->with.value[i], e) < 0 ||
            trained_alike(w->first, t, e) < 0)
            return e->code;
        if (model_reads(t->job) != model_reads(w->first->job))
            return err_set(e, ERR_SPEC, "%s: wanted a model that %s, as %s is", t->path,
                           model_reads(w->first->job) ? "reads" : "reads nothing",
                           w->first->path);
        if (t->vocab != w->first->vocab)
            return err_set(e, ERR_SPEC, "%s: wanted a model.vocab of %lld, found %lld",
                           t->path, (long long)w->first->vocab, (long long)t->vocab);
        if (t->job->model->source_context != w->first->job->model->source_context)
            return err_set(e, ERR_SPEC,
                           "%s: wanted a model.source_context of %u, found %u", t->path,
                           w->first->job->model->source_context,
                           t->job->model->source_context);
    }
    return 0;
}

static int open_decoders(struct writer *w, const struct trained_options *o,
                         struct err *e)
{
    struct decoder_config shape = {.rows = (int)w->texts * w->rule.beam,
                                   .sources = (int)w->texts,
                                   .unit = w->rule.beam};
    int rc = 0;

    w->decoder = calloc(w->others + 1, sizeof *w->decoder);
    if (!w->decoder)
        return err_set(e, ERR_NOMEM, "memory: %zu models", w->others + 1);
    for (size_t i = 0; rc == 0 && i <= w->others; i++) {
        struct trained *t = i ? &w->other[i - 1] : w->first;

        rc = trained_decoder(t, &w->first->engine, &shape, &o->rules, e);
        w->decoder[i] = t->decoder;
    }
    return rc;
}

static int check_looks(const struct writer *w, struct err *e)
{
    if (!w->rule.look && w->rule.coverage == 0)
        return 0;
    for (size_t i = 0; i <= w->others; i++) {
        const struct trained *t = i ? &w->other[i - 1] : w->first;

        if (!decoder_looks(w->decoder[i]))
            return err_set(e, ERR_USAGE,
                           "%s: wanted a model that looks at its source, found %s",
                           t->path,
                           model_reads(t->job) ? "model.attention none"
                                               : "one that reads nothing");
    }
    return 0;
}

static int make_room(struct writer *w, struct err *e)
{
    size_t n = (size_t)w->texts;

    w->width = model_reads(w->first->job) ? w->first->job->model->source_context : 0;
    w->source = calloc(n * (size_t)w->width + 1, sizeof *w->source);
    w->source_len = calloc(n + 1, sizeof *w->source_len);
    w->begin = calloc(n + 1, sizeof *w->begin);
    w->text = calloc(n * (size_t)w->rule.best + 1, sizeof *w->text);
    if (!w->source || !w->source_len || !w->begin || !w->text)
        return err_set(e, ERR_NOMEM, "memory: %lld texts at a time",
                       (long long)w->texts);
    return 0;
}

int writer_open(struct writer *w, struct trained *t, const struct trained_options *o,
                const struct writer_options *how, int64_t texts, int64_t most,
                bool look, struct err *e)
{
    struct engine_config config = trained_config(o);

    *w = (struct writer){.first = t, .texts = texts};
    if (open_rule(w, how, most, look, e) < 0 || open_prefix(w, how, e) < 0 ||
        open_others(w, how, e) < 0 || fit(w, e) < 0)
        return e->code;
    if (make_room(w, e) < 0 || trained_engine(t, &config, e) < 0 ||
        open_decoders(w, o, e) < 0)
        return e->code;
    return check_looks(w, e);
}

/* The first one's decoder is closed by whom it belongs to. */
void writer_close(struct writer *w)
{
    for (size_t i = 0; i < w->others; i++)
        trained_close(&w->other[i]);
    free(w->other);
    free(w->decoder);
    free(w->prefix);
    free(w->source);
    free(w->source_len);
    free(w->begin);
    free(w->text);
    *w = (struct writer){0};
}

/* --- writing -------------------------------------------------------------- */

void writer_give(struct writer *w, int64_t i, const struct tokens *ids, uint64_t first,
                 uint64_t count)
{
    for (uint64_t k = 0; k < count; k++)
        w->source[(uint64_t)(i * w->width) + k] = tokens_get(ids, first + k);
    w->source_len[i] = (uint32_t)count;
}

int writer_write(struct writer *w, int64_t n, struct arena *mem, struct err *e)
{
    bool reads = model_reads(w->first->job);
    int rc = 0;

    if (!reads)
        w->rule.bos = w->prefix[0];
    for (int64_t i = 0; i < n; i++)
        w->begin[i] = (struct search_prefix){w->prefix + !reads, w->prefixed - !reads};
    for (int64_t i = n; i < w->texts; i++)
        w->source_len[i] = 0;
    for (size_t i = 0; rc == 0 && reads && i <= w->others; i++)
        rc = decoder_read(w->decoder[i], w->source, w->source_len, e);
    if (rc < 0)
        return rc;
    return search_write(w->decoder, (int)w->others + 1, &w->rule, (int)n, w->begin, mem,
                        w->text, e);
}

int writer_text(const struct writer *w, const struct search_text *t, struct buf *out,
                struct err *e)
{
    struct buf raw = {0};
    int rc =
        tokenizer_decode(w->first->lexicon.target, t->id, (size_t)t->count, &raw, e);

    if (rc == 0 && raw.len)
        utf8_line(raw.data, raw.len, out);
    buf_free(&raw);
    return rc;
}

json_t *writer_json(const struct buf *b)
{
    char *text = malloc(b->len + 1);
    json_t *j = NULL;

    if (!text)
        return NULL;
    memcpy(text, b->data ? b->data : "", b->len + 1);
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
