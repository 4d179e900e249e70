/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus.c - reading files into ids, and cutting off the validation part.
 */
#include "data/corpus.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "data/pairs.h"
#include "data/text.h"

/* ---- reading ------------------------------------------------------------- */

struct reading {
    const struct lexicon *lexicon;
    const Nnd__Data *data;
    struct corpus *corpus;
    struct corpus_store *store;  /* of the target, or the only text */
    struct corpus_store *source; /* pairs                           */
    struct buf *open;            /* stream: text that waits for the next line */
};

/* What a stream goes on with, or begins with. */
static int encode_next(const struct reading *r, const char *text, size_t len,
                       struct err *e)
{
    const struct tokenizer *t = r->lexicon->target;
    struct tokens *out = &r->store->tokens;

    return out->count ? tokenizer_encode_more(t, text, len, out, e)
                      : tokenizer_encode(t, text, len, out, e);
}

/* Ids of a text do not depend on where its lines end: what the next line may change
 * waits for it. */
static int stream_line(void *arg, const char *line, size_t len, struct err *e)
{
    const struct reading *r = arg;
    const struct tokenizer *t = r->lexicon->target;
    struct buf *open = r->open;
    size_t wait;
    int rc;

    if (open->len == 0 && tokenizer_open_end(t, line, len) == 0)
        return encode_next(r, line, len, e);
    buf_add(open, line, len);
    wait = tokenizer_open_end(t, open->data, open->len);
    rc = encode_next(r, open->data, open->len - wait, e);
    memmove(open->data, open->data + open->len - wait, wait);
    open->len = wait;
    return rc;
}

/* Remember that the next line begins at the end of the tokens so far. */
static int mark_line(struct corpus_store *s, struct err *e)
{
    if (s->lines + 1 >= s->cap) {
        uint64_t cap = s->cap ? 2 * s->cap : 64;
        uint64_t *line = reallocarray(s->line, cap, sizeof *line);

        if (!line)
            return err_set(e, ERR_NOMEM, "no memory for the index of %" PRIu64 " lines",
                           cap);
        s->line = line;
        s->cap = cap;
    }
    s->line[s->lines] = s->tokens.count;
    return ERR_OK;
}

static uint64_t open_line(const struct corpus_store *s)
{
    return s->tokens.count - s->line[s->lines];
}

static void close_line(struct corpus_store *s)
{
    s->line[++s->lines] = s->tokens.count;
}

/* What to do with a line of `found` tokens where `most` fit: 0 keep it (cut it), 1
 * leave it out, or an error. */
static int judge_length(const struct reading *r, const char *what, uint64_t found,
                        uint64_t most, const char *key, struct err *e)
{
    if (found <= most)
        return 0;
    if (r->data->too_long == NND__DATA__TOO_LONG__REFUSE)
        return err_set(e, ERR_SPEC,
                       "wanted at most %" PRIu64 " tokens as %s (%s, data.too_long), "
                       "found %" PRIu64,
                       most, what, key, found);
    return r->data->too_long == NND__DATA__TOO_LONG__SKIP;
}

/* The last line of a file may lack the end of others, and a token hold that end too. */
static int encode_line(const struct tokenizer *t, const char *line, size_t len,
                       struct tokens *out, struct err *e)
{
    struct buf whole = {0};
    int rc;

    if (line[len - 1] == '\n')
        return tokenizer_encode(t, line, len, out, e);
    buf_add(&whole, line, len);
    buf_puts(&whole, "\n");
    rc = tokenizer_encode(t, whole.data, whole.len, out, e);
    buf_free(&whole);
    return rc;
}

static int sample_line(void *arg, const char *line, size_t len, struct err *e)
{
    const struct reading *r = arg;
    const struct tokenizer *t = r->lexicon->target;
    struct corpus_store *s = r->store;
    int rc;

    s->read++;
    if (len == 1 && *line == '\n') {
        s->empty++;
        return ERR_OK;
    }
    rc = mark_line(s, e);
    if (rc == 0)
        rc = encode_line(t, line, len, &s->tokens, e);
    if (rc == 0)
        rc = judge_length(r, "a line", open_line(s) - 1, r->corpus->context,
                          "model.context", e);
    if (rc < 0)
        return rc;
    if (open_line(s) > (uint64_t)r->corpus->context + 1)
        r->corpus->long_lines++;
    if (rc) {
        s->skipped++;
        s->tokens.count = s->line[s->lines];
    } else {
        close_line(s);
    }
    return ERR_OK;
}

/* Text with the marks around it that are asked for, at most `most` tokens of it. */
static int encode_side(const struct tokenizer *t, const struct pair *p,
                       enum pair_side side, bool begin, struct corpus_store *s,
                       struct err *e)
{
    int rc = mark_line(s, e);

    if (rc == 0)
        rc = tokens_reserve(&s->tokens, 2, e);
    if (rc == 0 && begin)
        tokens_put(&s->tokens, TOKEN_BOS);
    if (rc == 0 &&
        (rc = tokenizer_encode(t, p->text[side], p->len[side], &s->tokens, e)) < 0)
        err_prefix(e, side == PAIR_SOURCE ? "source" : "target");
    if (rc == 0)
        rc = tokens_reserve(&s->tokens, 1, e);
    if (rc == 0)
        tokens_put(&s->tokens, TOKEN_EOS);
    return rc;
}

/* Drop the end of the open line, but not its <eos>. */
static void cut_line(struct corpus_store *s, uint64_t most)
{
    if (open_line(s) <= most)
        return;
    s->tokens.count = s->line[s->lines] + most - 1;
    tokens_put(&s->tokens, TOKEN_EOS);
}

/* The target's line is <bos> y <eos>: the inputs are all but the last of it, the
 * targets all but the first. */
static int sample_pair(void *arg, const struct pair *p, enum pair_side *side,
                       struct err *e)
{
    const struct reading *r = arg;
    const struct corpus *c = r->corpus;
    uint64_t context = c->context, source = c->source_context;
    int skip[PAIR_SIDES];

    r->store->read++;
    *side = PAIR_SOURCE;
    if (encode_side(lexicon_source(r->lexicon), p, *side, false, r->source, e) < 0)
        return e->code;
    skip[0] = judge_length(r, "source, <eos> included", open_line(r->source), source,
                           "model.source_context", e);
    if (skip[0] < 0)
        return skip[0];
    *side = PAIR_TARGET;
    if (encode_side(r->lexicon->target, p, *side, true, r->store, e) < 0)
        return e->code;
    skip[1] = judge_length(r, "target, <eos> included", open_line(r->store) - 1,
                           context, "model.context", e);
    if (skip[1] < 0)
        return skip[1];
    r->corpus->long_lines +=
        open_line(r->source) > source || open_line(r->store) > context + 1;
    if (skip[0] || skip[1]) {
        r->store->skipped++;
        r->source->tokens.count = r->source->line[r->source->lines];
        r->store->tokens.count = r->store->line[r->store->lines];
        return ERR_OK;
    }
    cut_line(r->source, source);
    cut_line(r->store, context + 1);
    close_line(r->source);
    close_line(r->store);
    return ERR_OK;
}

static void trim(struct corpus_store *s)
{
    uint64_t *line;

    tokens_trim(&s->tokens);
    if (!s->lines)
        return;
    line = reallocarray(s->line, s->lines + 1, sizeof *line);
    if (!line)
        return;
    s->line = line;
    s->cap = s->lines + 1;
}

static bool by_lines(const Nnd__Data *d)
{
    return d->format != NND__DATA__FORMAT__STREAM;
}

/* The text of data.train, or of data.valid, which errors call `key`. */
static int read_text(const struct reading *r, bool valid, const char *key,
                     struct arena *a, struct err *e)
{
    const Nnd__Data *d = r->data;
    struct text_files files;
    int rc = valid ? text_find(d->valid, d->n_valid, a, &files, e)
                   : text_find(d->train, d->n_train, a, &files, e);

    if (rc < 0)
        return err_prefix(e, "%s", key);
    r->corpus->files += files.count;
    rc = text_each_line(&files, by_lines(d) ? sample_line : stream_line, (void *)r, e);
    if (rc == 0 && r->open->len)
        rc = encode_next(r, r->open->data, r->open->len, e);
    return rc;
}

/* Fill the stores of part 0 (training) or 1 (validation). */
static int read_part(struct corpus *c, const Nnd__Data *d, const struct lexicon *l,
                     int part, const char *key, struct arena *a, struct err *e)
{
    struct buf open = {0};
    struct reading r = {l, d, c, &c->store[part], &c->source[part], &open};
    int rc;

    tokens_init(&r.store->tokens, tokenizer_vocab(l->target));
    tokens_init(&r.source->tokens, tokenizer_vocab(lexicon_source(l)));
    if (d->format != NND__DATA__FORMAT__PAIRS)
        rc = read_text(&r, part, key, a, e);
    else
        rc = part ? pairs_valid(d, sample_pair, &r, e)
                  : pairs_train(d, sample_pair, &r, e);
    buf_free(&open);
    if (rc < 0)
        return rc;
    trim(r.store);
    trim(r.source);
    return ERR_OK;
}

/* ---- parts --------------------------------------------------------------- */

/* Tokens, or lines, [from, to) of a store. */
static struct corpus_part part_of(const struct corpus *c, int store, bool lines,
                                  uint64_t from, uint64_t to)
{
    const struct corpus_store *s = &c->store[store], *source = &c->source[store];
    struct corpus_part p = {.tokens = &s->tokens};

    if (from == to)
        return p;
    if (source->lines) {
        p.source = &source->tokens;
        p.source_line = source->line + from;
    }
    if (lines) {
        p.line = s->line + from;
        p.lines = to - from;
        from = s->line[from];
        to = s->line[to];
    }
    p.first = from;
    p.count = to - from;
    return p;
}

static uint64_t units(const struct corpus_store *s, bool lines)
{
    return lines ? s->lines : s->tokens.count;
}

/* What is there of what: to be told where it is too little. */
struct share {
    const struct corpus_part *part;
    const struct corpus_store *of;
    uint64_t wanted;   /* tokens of a stream        */
    uint64_t taken;    /* by the other part ...     */
    const char *taker; /* ... which is this         */
    const char *key;   /* of the job, or an option  */
    const char *from;  /* the files                 */
};

/* What became of all that was read; nothing where all of it is there. */
static void add_reasons(const struct share *h, uint64_t read, uint64_t left,
                        struct buf *out)
{
    const struct {
        uint64_t n;
        const char *why;
    } gone[] = {{h->of->empty, "empty"},
                {h->of->skipped, "too long (data.too_long: skip)"},
                {h->taken, h->taker}};

    buf_puts(out, "");
    if (read == left)
        return;
    buf_printf(out, ": %" PRIu64 " read", read);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (gone[i].n)
            buf_printf(out, ", %" PRIu64 " %s", gone[i].n, gone[i].why);
    buf_printf(out, ", %" PRIu64 " left", left);
}

static int check_part(const Nnd__Data *d, const struct share *h, struct err *e)
{
    bool lines = by_lines(d);
    uint64_t wanted = lines ? 1 : h->wanted;
    uint64_t found = lines ? h->part->lines : h->part->count;
    struct buf why = {0};

    if (found >= wanted)
        return ERR_OK;
    add_reasons(h, lines ? h->of->read : h->of->tokens.count, found, &why);
    err_set(e, ERR_SPEC,
            "%s: wanted at least %" PRIu64 " %s, found %" PRIu64 " in %s%s", h->key,
            wanted,
            !lines                                  ? "tokens"
            : d->format == NND__DATA__FORMAT__PAIRS ? "pair"
                                                    : "line",
            found, h->from, why.data);
    buf_free(&why);
    return e->code;
}

/* "PATH", or "PATH and 3 more". */
static const char *paths_text(struct arena *a, char *const *path, size_t n)
{
    return n == 1 ? path[0] : arena_printf(a, "%s and %zu more", path[0], n - 1);
}

static int cut(struct corpus *c, const Nnd__Data *d, const char *key, const char *from,
               struct err *e)
{
    const struct corpus_store *s = &c->store[0];
    bool lines = by_lines(d);
    uint64_t n = units(s, lines), keep = n;
    int rc;

    if (d->n_valid == 0)
        keep = (uint64_t)((double)n * (1 - d->valid_fraction));
    c->train = part_of(c, 0, lines, 0, keep);
    c->valid = part_of(c, 0, lines, keep, n);
    rc = check_part(d,
                    &(struct share){&c->train, s, (uint64_t)c->context + 1, n - keep,
                                    "taken for validation (data.valid_fraction)", key,
                                    from},
                    e);
    if (rc == 0 && d->n_valid == 0 && d->valid_fraction > 0)
        rc = check_part(d,
                        &(struct share){&c->valid, s, 2, keep, "taken to train on",
                                        "data.valid_fraction", from},
                        e);
    return rc;
}

static int open_train(struct corpus *c, const Nnd__Data *d, const struct lexicon *l,
                      const char *key, struct arena *a, struct err *e)
{
    int rc = d->n_train
                 ? read_part(c, d, l, 0, key, a, e)
                 : err_set(e, ERR_SPEC, "%s: wanted files or folders, found none", key);

    return rc < 0 ? rc : cut(c, d, key, paths_text(a, d->train, d->n_train), e);
}

static int open_valid(struct corpus *c, const Nnd__Data *d, const struct lexicon *l,
                      struct arena *a, struct err *e)
{
    bool lines = by_lines(d);
    int rc;

    if (d->n_valid == 0)
        return ERR_OK;
    rc = read_part(c, d, l, 1, "data.valid", a, e);
    if (rc < 0)
        return rc;
    c->valid = part_of(c, 1, lines, 0, units(&c->store[1], lines));
    return check_part(d,
                      &(struct share){.part = &c->valid,
                                      .of = &c->store[1],
                                      .wanted = 2,
                                      .key = "data.valid",
                                      .from = paths_text(a, d->valid, d->n_valid)},
                      e);
}

static int check_job(const Nnd__Data *d, const struct lexicon *l, struct err *e)
{
    if (!(d->valid_fraction >= 0 && d->valid_fraction < 1))
        return err_set(e, ERR_SPEC,
                       "data.valid_fraction: wanted at least 0 and below 1, found %g",
                       d->valid_fraction);
    return lexicon_check(l, d, e);
}

static int open_corpus(const Nnd__Data *d, const struct lexicon *l, const char *key,
                       uint32_t context, uint32_t source_context, struct corpus **out,
                       struct err *e)
{
    struct corpus *c;
    struct arena *a;
    int rc = check_job(d, l, e);

    if (rc < 0)
        return rc;
    c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "corpus: no memory");
    c->context = context;
    c->source_context = source_context;
    c->sequential = d->sampling == NND__DATA__SAMPLING__SEQUENTIAL;
    a = arena_create();
    rc = open_train(c, d, l, key, a, e);
    if (rc == 0)
        rc = open_valid(c, d, l, a, e);
    arena_destroy(a);
    if (rc < 0)
        corpus_destroy(c);
    else
        *out = c;
    return rc;
}

int corpus_open(const Nnd__Data *d, const struct lexicon *l, uint32_t context,
                uint32_t source_context, struct corpus **out, struct err *e)
{
    return lexicon_check_keys(l, d, e) < 0
               ? e->code
               : open_corpus(d, l, "data.train", context, source_context, out, e);
}

int corpus_open_text(const Nnd__Data *d, const struct lexicon *l, const char *key,
                     uint32_t context, struct corpus **out, struct err *e)
{
    return open_corpus(d, l, key, context, 0, out, e);
}

void corpus_destroy(struct corpus *c)
{
    if (!c)
        return;
    for (int i = 0; i < 2; i++) {
        tokens_free(&c->store[i].tokens);
        free(c->store[i].line);
        tokens_free(&c->source[i].tokens);
        free(c->source[i].line);
    }
    free(c);
}

static uint64_t store_bytes(const struct corpus_store *s)
{
    return tokens_bytes(&s->tokens) + s->cap * sizeof *s->line;
}

uint64_t corpus_bytes(const struct corpus *c)
{
    uint64_t sum = sizeof *c;

    for (int i = 0; i < 2; i++)
        sum += store_bytes(&c->store[i]) + store_bytes(&c->source[i]);
    return sum;
}

static void hash_store(struct sha256 *h, const struct corpus_store *s, uint64_t part)
{
    uint64_t counts[] = {s->tokens.width, s->tokens.count, s->lines, part};

    sha256_add(h, counts, sizeof counts);
    sha256_add(h, s->tokens.ids, s->tokens.count * s->tokens.width);
    if (s->lines)
        sha256_add(h, s->line, (s->lines + 1) * sizeof *s->line);
}

void corpus_sha256(const struct corpus *c, char hex[SHA256_HEX])
{
    struct sha256 *s = sha256_create();

    for (int i = 0; i < 2; i++) {
        hash_store(s, &c->store[i], i == 0 ? c->train.count : c->valid.count);
        if (c->source[i].lines)
            hash_store(s, &c->source[i], 0);
    }
    sha256_hex(s, hex);
    sha256_destroy(s);
}
