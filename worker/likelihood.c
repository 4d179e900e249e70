/* SPDX-License-Identifier: Apache-2.0 */
/*
 * likelihood.c - windows of a text through a decoder, and what their logits say of it.
 */
#include "worker/likelihood.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/model.h"

/* --- how much text -------------------------------------------------------- */

/* Bytes that do not go on with a character. */
uint64_t likelihood_characters(const char *text, size_t len)
{
    uint64_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Tokens [first, first + n), of which the first is given. */
static int add_run(const struct tokenizer *t, const struct tokens *tokens,
                   uint64_t first, uint64_t n, struct likelihood *l, struct err *e)
{
    struct buf text = {0};
    uint32_t *id = n > 1 ? calloc(n, sizeof *id) : NULL;
    int rc = 0;

    if (n < 2)
        return 0;
    if (!id)
        return err_set(e, ERR_NOMEM, "memory: %" PRIu64 " tokens", n);
    for (uint64_t i = 1; i < n; i++) {
        id[i - 1] = tokens_get(tokens, first + i);
        l->unknown += tokenizer_marks(t) && id[i - 1] == TOKEN_UNK;
    }
    rc = tokenizer_decode(t, id, n - 1, &text, e);
    l->characters += likelihood_characters(text.data, text.len);
    l->characters += tokenizer_marks(t) && id[n - 2] == TOKEN_EOS;
    l->targets += n - 1;
    buf_free(&text);
    free(id);
    return rc;
}

int likelihood_size(const struct tokenizer *t, const struct corpus_part *p,
                    struct likelihood *l, struct err *e)
{
    int rc = 0;

    if (!p->line)
        return add_run(t, p->tokens, p->first, p->count, l, e);
    for (uint64_t i = 0; rc == 0 && i < p->lines; i++)
        rc = add_run(t, p->tokens, p->line[i], p->line[i + 1] - p->line[i], l, e);
    return rc;
}

double likelihood_token(const float *logits, int64_t vocab, uint32_t id)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < vocab; i++)
        top = fmax(top, (double)logits[i]);
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - top);
    return (double)logits[id] - top - log(sum);
}

/* --- windows -------------------------------------------------------------- */

/* `count` tokens behind the one at `first`, which is given. */
struct extent {
    uint64_t first, count;
};

struct windows {
    struct extent *at;
    size_t n, room;
};

static int add_window(struct windows *w, uint64_t first, uint64_t count, struct err *e)
{
    if (w->n == w->room) {
        size_t room = w->room ? 2 * w->room : 64;
        struct extent *at = reallocarray(w->at, room, sizeof *at);

        if (!at)
            return err_set(e, ERR_NOMEM, "memory: %zu windows of text", room);
        w->at = at;
        w->room = room;
    }
    w->at[w->n++] = (struct extent){first, count};
    return 0;
}

/* Tokens [first, first + n) in windows of at most `most`: each token but the first of
 * all is asked for once. */
static int cut(struct windows *w, uint64_t first, uint64_t n, uint64_t most,
               struct err *e)
{
    int rc = 0;

    for (uint64_t at = 0; rc == 0 && at + 1 < n; at += most)
        rc = add_window(w, first + at, n - 1 - at < most ? n - 1 - at : most, e);
    return rc;
}

static int cut_part(struct windows *w, const struct corpus_part *p, uint64_t most,
                    struct err *e)
{
    int rc = 0;

    if (!p->line)
        return cut(w, p->first, p->count, most, e);
    for (uint64_t i = 0; rc == 0 && i < p->lines; i++)
        rc = cut(w, p->line[i], p->line[i + 1] - p->line[i], most, e);
    return rc;
}

/* Windows of a text, one in each row. */
static int read_windows(struct decoder *d, const struct tokens *ids,
                        const struct extent *w, int64_t n, uint32_t *in,
                        struct likelihood *l, struct err *e)
{
    uint64_t most = 0;
    int rc = 0;

    decoder_reset(d);
    for (int64_t i = 0; i < n; i++)
        most = w[i].count > most ? w[i].count : most;
    for (uint64_t t = 0; rc == 0 && t < most; t++) {
        for (int64_t i = 0; i < n; i++)
            in[i] = t < w[i].count ? tokens_get(ids, w[i].first + t) : 0;
        rc = decoder_step(d, in, e);
        for (int64_t i = 0; rc == 0 && i < n; i++)
            if (t < w[i].count)
                l->nats -= likelihood_token(decoder_logits(d, (int)i), decoder_vocab(d),
                                            tokens_get(ids, w[i].first + t + 1));
    }
    return rc;
}

static int read_all(struct trained *t, const struct trained_options *o,
                    const struct corpus_part *p, const struct windows *w, int64_t rows,
                    struct likelihood *out, struct err *e)
{
    struct engine_config config = trained_config(o);
    uint32_t *in;
    int rc;

    rows = (size_t)rows > w->n ? (int64_t)w->n : rows;
    if (trained_engine(t, &config, e) < 0 ||
        trained_decoder(t, &t->engine, &(struct decoder_config){.rows = (int)rows},
                        &o->rules, e) < 0)
        return e->code;
    in = calloc((size_t)rows, sizeof *in);
    rc = in ? 0 : err_set(e, ERR_NOMEM, "memory: %" PRId64 " rows", rows);
    for (size_t at = 0; rc == 0 && at < w->n; at += (size_t)rows)
        rc = read_windows(t->decoder, p->tokens, w->at + at,
                          w->n - at < (size_t)rows ? (int64_t)(w->n - at) : rows, in,
                          out, e);
    free(in);
    return rc;
}

/* --- a file --------------------------------------------------------------- */

/* The file as the job's training text, none of it for validation; no line is cut. */
static int open_text(const struct trained *t, const char *path, struct corpus **out,
                     struct err *e)
{
    char *train[] = {(char *)path};
    Nnd__Data d = *t->job->data;
    bool lines = d.format == NND__DATA__FORMAT__LINES;

    d.train = train;
    d.n_train = 1;
    d.n_valid = 0;
    d.valid_fraction = 0;
    return corpus_open_text(&d, &t->lexicon, "--text", lines ? INT32_MAX : 1, out, e);
}

/* With a state a row reads on; without, as much as it has seen at once in training. */
static uint64_t longest(const struct trained *t, const struct corpus_part *p,
                        int64_t rows)
{
    uint64_t n = p->count - 1, streams = (uint64_t)rows;

    if (!model_endless(t->job))
        return t->job->model->context;
    return p->line ? p->count : (n + streams - 1) / streams;
}

int likelihood_of_text(struct trained *t, const struct trained_options *o,
                       const char *path, int64_t rows, struct likelihood *out,
                       struct err *e)
{
    struct corpus *c;
    struct windows w = {0};
    int rc;

    if (model_reads(t->job))
        return err_set(
            e, ERR_USAGE,
            "--text: %s: wanted a model that reads no source, found one that "
            "does: it needs --source and --reference",
            t->path);
    if (open_text(t, path, &c, e) < 0)
        return e->code;
    rc = cut_part(&w, &c->train, longest(t, &c->train, rows), e);
    if (rc == 0 && w.n == 0)
        rc = err_set(e, ERR_SPEC, "%s: wanted two tokens or more, found one", path);
    if (rc == 0)
        rc = likelihood_size(t->lexicon.target, &c->train, out, e);
    if (rc == 0)
        rc = read_all(t, o, &c->train, &w, rows, out, e);
    free(w.at);
    corpus_destroy(c);
    return rc;
}

/* --- figures -------------------------------------------------------------- */

struct figure {
    const char *name;
    double value;
};

enum { FIGURES = 5 };

static void figures_of(const struct likelihood *l, struct figure out[FIGURES])
{
    double token = l->nats / (double)l->targets;
    double character = l->nats / (double)l->characters;

    out[0] = (struct figure){"perplexity", exp(token)};
    out[1] = (struct figure){"nats-per-token", token};
    out[2] = (struct figure){"bits-per-token", token / log(2)};
    out[3] = (struct figure){"nats-per-char", character};
    out[4] = (struct figure){"bits-per-char", character / log(2)};
}

void likelihood_print(const struct likelihood *l)
{
    struct figure f[FIGURES];

    figures_of(l, f);
    for (int i = 0; i < FIGURES; i++) {
        bool tokens = i < 3;

        printf("%-14s %8.4f  of %" PRIu64 " %s", f[i].name, f[i].value,
               tokens ? l->targets : l->characters, tokens ? "tokens" : "characters");
        if (tokens && l->unknown)
            printf(", %" PRIu64 " of them unknown", l->unknown);
        putchar('\n');
    }
}

void likelihood_json(const struct likelihood *l, json_t *out)
{
    struct figure f[FIGURES];

    figures_of(l, f);
    for (int i = 0; i < FIGURES; i++)
        json_object_set_new(out, f[i].name, json_real(f[i].value));
    json_object_set_new(out, "tokens", json_integer((json_int_t)l->targets));
    json_object_set_new(out, "unknown", json_integer((json_int_t)l->unknown));
    json_object_set_new(out, "characters", json_integer((json_int_t)l->characters));
}
