/* SPDX-License-Identifier: Apache-2.0 */
/*
 * corpus.c - reading files into ids, and cutting off the validation part.
 */
#include "data/corpus.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "data/text.h"

static const char *const kind_names[] = {
    [NND__DATA__TOKENIZER__BYTE] = "byte",
    [NND__DATA__TOKENIZER__CHAR] = "char",
};

/* What is done with each line of the files, its newline included. */
typedef int line_f(void *arg, const char *line, size_t len, struct err *e);

static int each_line_of(const char *path, line_f *fn, void *arg, struct err *e)
{
    struct text_reader r;
    size_t len;
    int rc = text_open(&r, path, e);

    if (rc < 0)
        return rc;
    while ((rc = text_next(&r, &len, e)) > 0) {
        rc = fn(arg, r.line, len, e);
        if (rc < 0) {
            err_prefix(e, "%s:%" PRIu64, path, r.number);
            break;
        }
    }
    text_close(&r);
    return rc;
}

static int each_line(const struct text_files *files, line_f *fn, void *arg,
                     struct err *e)
{
    for (size_t i = 0; i < files->count; i++) {
        int rc = each_line_of(files->path[i], fn, arg, e);
        if (rc < 0)
            return rc;
    }
    return ERR_OK;
}

static int find_train(const Nnd__Data *d, struct arena *a, struct text_files *out,
                      struct err *e)
{
    int rc;

    if (d->n_train == 0)
        return err_set(e, ERR_SPEC, "data.train: wanted files or folders, found none");
    rc = text_find(d->train, d->n_train, a, out, e);
    return rc < 0 ? err_prefix(e, "data.train") : rc;
}

static int learn_line(void *arg, const char *line, size_t len, struct err *e)
{
    return tokenizer_learn(arg, line, len, e);
}

static int learn(const Nnd__Data *d, struct tokenizer *t, struct err *e)
{
    struct arena *a = arena_create();
    struct text_files files;
    int rc = find_train(d, a, &files, e);

    if (rc == 0 && d->format == NND__DATA__FORMAT__LINES)
        rc = tokenizer_learn(t, "\n", 1, e);
    if (rc == 0)
        rc = each_line(&files, learn_line, t, e);
    arena_destroy(a);
    return rc;
}

int corpus_tokenizer(const Nnd__Data *d, struct tokenizer **out, struct err *e)
{
    struct tokenizer *t;
    int rc = tokenizer_create(kind_names[d->tokenizer], &t, e);

    if (rc < 0)
        return rc;
    if (tokenizer_learns(t))
        rc = learn(d, t, e);
    if (rc == 0)
        rc = tokenizer_seal(t, e);
    if (rc < 0)
        tokenizer_destroy(t);
    else
        *out = t;
    return rc;
}

/* ---- reading ------------------------------------------------------------- */

struct reading {
    const struct tokenizer *tokenizer;
    struct corpus *corpus;
    struct corpus_store *store;
};

static int stream_line(void *arg, const char *line, size_t len, struct err *e)
{
    const struct reading *r = arg;

    return tokenizer_encode(r->tokenizer, line, len, &r->store->tokens, e);
}

/* Remember that the next line begins at the end of the tokens so far. */
static int mark_line(struct corpus_store *s, struct err *e)
{
    if (s->lines + 1 >= s->cap) {
        uint64_t cap = s->cap ? 2 * s->cap : 64;
        uint64_t *line = reallocarray(s->line, cap, sizeof *line);

        if (!line)
            return err_set(e, ERR_FAILED,
                           "no memory for the index of %" PRIu64 " lines", cap);
        s->line = line;
        s->cap = cap;
    }
    s->line[s->lines] = s->tokens.count;
    return ERR_OK;
}

static int sample_line(void *arg, const char *line, size_t len, struct err *e)
{
    const struct reading *r = arg;
    struct corpus_store *s = r->store;
    bool ends = line[len - 1] == '\n';
    int rc;

    if (ends && len == 1) {
        r->corpus->empty_lines++;
        return ERR_OK;
    }
    rc = mark_line(s, e);
    if (rc == 0)
        rc = tokenizer_encode(r->tokenizer, line, len, &s->tokens, e);
    if (rc == 0 && !ends)
        rc = tokenizer_encode(r->tokenizer, "\n", 1, &s->tokens, e);
    if (rc < 0)
        return rc;
    if (s->tokens.count - s->line[s->lines] > (uint64_t)r->corpus->context + 1)
        r->corpus->long_lines++;
    s->lines++;
    s->line[s->lines] = s->tokens.count;
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

static int read_files(struct corpus *c, struct corpus_store *s,
                      const struct tokenizer *t, bool lines,
                      const struct text_files *files, struct err *e)
{
    struct reading r = {.tokenizer = t, .corpus = c, .store = s};
    int rc;

    tokens_init(&s->tokens, tokenizer_vocab(t));
    rc = each_line(files, lines ? sample_line : stream_line, &r, e);
    if (rc < 0)
        return rc;
    trim(s);
    c->files += files->count;
    return ERR_OK;
}

/* ---- parts --------------------------------------------------------------- */

/* Tokens, or lines, [from, to) of a store. */
static struct corpus_part part_of(const struct corpus_store *s, bool lines,
                                  uint64_t from, uint64_t to)
{
    struct corpus_part p = {.tokens = &s->tokens};

    if (from == to)
        return p;
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

static int check_part(const struct corpus_part *p, bool lines, uint64_t wanted,
                      const char *key, const char *from, struct err *e)
{
    uint64_t found = lines ? p->lines : p->count;

    if (lines)
        wanted = 1;
    if (found >= wanted)
        return ERR_OK;
    return err_set(e, ERR_SPEC,
                   "%s: wanted at least %" PRIu64 " %s, found %" PRIu64 " in %s", key,
                   wanted, lines ? "lines that are not empty" : "tokens", found, from);
}

/* "FILE", or "FILE and 3 more". */
static const char *files_text(struct arena *a, const struct text_files *f)
{
    if (f->count == 1)
        return f->path[0];
    return arena_printf(a, "%s and %zu more", f->path[0], f->count - 1);
}

static int cut(struct corpus *c, const Nnd__Data *d, bool lines, const char *from,
               struct err *e)
{
    const struct corpus_store *s = &c->store[0];
    uint64_t n = units(s, lines), keep = n;
    int rc;

    if (d->n_valid == 0)
        keep = (uint64_t)((double)n * (1 - d->valid_fraction));
    c->train = part_of(s, lines, 0, keep);
    c->valid = part_of(s, lines, keep, n);
    rc = check_part(&c->train, lines, (uint64_t)c->context + 1, "data.train", from, e);
    if (rc == 0 && d->n_valid == 0 && d->valid_fraction > 0)
        rc = check_part(&c->valid, lines, 2, "data.valid_fraction", from, e);
    return rc;
}

static int open_train(struct corpus *c, const Nnd__Data *d, const struct tokenizer *t,
                      struct arena *a, struct err *e)
{
    bool lines = d->format == NND__DATA__FORMAT__LINES;
    struct text_files files;
    int rc = find_train(d, a, &files, e);

    if (rc == 0)
        rc = read_files(c, &c->store[0], t, lines, &files, e);
    return rc < 0 ? rc : cut(c, d, lines, files_text(a, &files), e);
}

static int open_valid(struct corpus *c, const Nnd__Data *d, const struct tokenizer *t,
                      struct arena *a, struct err *e)
{
    bool lines = d->format == NND__DATA__FORMAT__LINES;
    struct corpus_store *s = &c->store[1];
    struct text_files files;
    int rc;

    if (d->n_valid == 0)
        return ERR_OK;
    rc = text_find(d->valid, d->n_valid, a, &files, e);
    if (rc < 0)
        return err_prefix(e, "data.valid");
    rc = read_files(c, s, t, lines, &files, e);
    if (rc < 0)
        return rc;
    c->valid = part_of(s, lines, 0, units(s, lines));
    return check_part(&c->valid, lines, 2, "data.valid", files_text(a, &files), e);
}

static int check_job(const Nnd__Data *d, const struct tokenizer *t, struct err *e)
{
    const char *kind = kind_names[d->tokenizer];

    if (!(d->valid_fraction >= 0 && d->valid_fraction < 1))
        return err_set(e, ERR_SPEC,
                       "data.valid_fraction: wanted at least 0 and below 1, found %g",
                       d->valid_fraction);
    if (strcmp(kind, tokenizer_name(t)) != 0)
        return err_set(e, ERR_SPEC, "data.tokenizer: wanted %s, found a %s tokenizer",
                       kind, tokenizer_name(t));
    return ERR_OK;
}

int corpus_open(const Nnd__Data *d, const struct tokenizer *t, uint32_t context,
                struct corpus **out, struct err *e)
{
    struct corpus *c;
    struct arena *a;
    int rc = check_job(d, t, e);

    if (rc < 0)
        return rc;
    c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_FAILED, "corpus: no memory");
    c->context = context;
    a = arena_create();
    rc = open_train(c, d, t, a, e);
    if (rc == 0)
        rc = open_valid(c, d, t, a, e);
    arena_destroy(a);
    if (rc < 0)
        corpus_destroy(c);
    else
        *out = c;
    return rc;
}

void corpus_destroy(struct corpus *c)
{
    if (!c)
        return;
    for (int i = 0; i < 2; i++) {
        tokens_free(&c->store[i].tokens);
        free(c->store[i].line);
    }
    free(c);
}

uint64_t corpus_bytes(const struct corpus *c)
{
    uint64_t sum = sizeof *c;

    for (int i = 0; i < 2; i++)
        sum += tokens_bytes(&c->store[i].tokens) + c->store[i].cap * sizeof(uint64_t);
    return sum;
}

void corpus_sha256(const struct corpus *c, char hex[SHA256_HEX])
{
    struct sha256 *s = sha256_create();

    for (int i = 0; i < 2; i++) {
        const struct corpus_store *p = &c->store[i];
        uint64_t counts[] = {p->tokens.width, p->tokens.count, p->lines,
                             i == 0 ? c->train.count : c->valid.count};

        sha256_add(s, counts, sizeof counts);
        sha256_add(s, p->tokens.ids, p->tokens.count * p->tokens.width);
        if (p->lines)
            sha256_add(s, p->line, (p->lines + 1) * sizeof *p->line);
    }
    sha256_hex(s, hex);
    sha256_destroy(s);
}
