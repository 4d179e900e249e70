/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairs.c - columns of a line, and two files side by side.
 */
#include "data/pairs.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "data/text.h"
#include "data/unicode.h"

static const char *const side_names[] = {"source", "target"};

/* Whom pairs go to, and where the columns are. */
struct giving {
    pair_f *fn;
    void *arg;
    uint32_t column[PAIR_SIDES]; /* from 1 */
    uint32_t columns;            /* of this file; 0: not known yet */
    bool chosen;                 /* by data.columns */
};

static size_t without_end(const char *line, size_t len)
{
    if (len && line[len - 1] == '\n')
        len--;
    if (len && line[len - 1] == '\r')
        len--;
    return len;
}

static int give(const struct giving *g, const struct pair *p, struct err *e)
{
    enum pair_side side = PAIR_TARGET; /* the line is that of both */

    for (int s = 0; s < PAIR_SIDES; s++)
        if (unicode_blank(p->text[s], p->len[s]))
            return err_set(e, ERR_SPEC, "wanted text as %s, found none", side_names[s]);
    return g->fn(g->arg, p, &side, e);
}

/* ---- columns -------------------------------------------------------------- */

static int check_columns(struct giving *g, uint32_t found, struct err *e)
{
    uint32_t least = g->column[0] > g->column[1] ? g->column[0] : g->column[1];

    if (g->columns == 0 && g->chosen && found >= least)
        g->columns = found;
    if (g->columns == 0 && g->chosen)
        return err_set(e, ERR_SPEC,
                       "wanted at least %u columns (data.columns), found %u", least,
                       found);
    if (found == g->columns)
        return ERR_OK;
    return err_set(e, ERR_SPEC, "wanted %u columns%s, found %u", g->columns,
                   g->chosen ? " as in the file's first line" : ", separated by tabs",
                   found);
}

static int split_line(void *arg, const char *line, size_t len, struct err *e)
{
    struct giving *g = arg;
    struct pair p = {0};
    uint32_t column = 1;

    len = without_end(line, len);
    for (size_t at = 0, n; at <= len; at += n + 1, column++) {
        const char *tab = memchr(line + at, '\t', len - at);

        n = tab ? (size_t)(tab - line) - at : len - at;
        for (int s = 0; s < PAIR_SIDES; s++)
            if (column == g->column[s]) {
                p.text[s] = line + at;
                p.len[s] = n;
            }
    }
    if (check_columns(g, column - 1, e) < 0)
        return e->code;
    return give(g, &p, e);
}

static int from_columns(const struct text_files *files, struct giving *g, struct err *e)
{
    int rc = ERR_OK;

    for (size_t i = 0; rc == 0 && i < files->count; i++) {
        struct text_files one = {files->path + i, 1};

        g->columns = g->chosen ? 0 : 2;
        rc = text_each_line(&one, split_line, g, e);
    }
    return rc;
}

/* ---- two files ------------------------------------------------------------ */

/* A list of files read as one. */
struct tape {
    const struct text_files *files;
    size_t next; /* file to open */
    struct text_reader r;
    uint64_t lines;
};

/* 1 and the next line, or 0 behind the last. */
static int tape_next(struct tape *t, size_t *len, struct err *e)
{
    for (;;) {
        int rc = t->r.file ? text_next(&t->r, len, e) : 0;

        if (rc != 0) {
            t->lines += rc > 0;
            return rc;
        }
        text_close(&t->r);
        if (t->next == t->files->count)
            return 0;
        rc = text_open(&t->r, t->files->path[t->next++], e);
        if (rc < 0)
            return rc;
    }
}

static int uneven(const struct tape *t, int longer, struct err *e)
{
    const struct tape *l = &t[longer], *s = &t[!longer];

    return err_set(e, ERR_SPEC,
                   "%s:%" PRIu64 ": wanted as many %ss as %ss, found no more than "
                   "%" PRIu64 " in %s",
                   l->r.path, l->r.number, side_names[longer], side_names[!longer],
                   s->lines, s->files->path[s->files->count - 1]);
}

/* One pair: 1, or 0 when there are no more. */
static int next_pair(struct tape t[PAIR_SIDES], const struct giving *g, struct err *e)
{
    enum pair_side side = PAIR_TARGET;
    struct pair p;
    int rc[PAIR_SIDES];

    for (int s = 0; s < PAIR_SIDES; s++)
        if ((rc[s] = tape_next(&t[s], &p.len[s], e)) < 0)
            return rc[s];
    if (rc[0] != rc[1])
        return uneven(t, rc[PAIR_TARGET], e);
    if (rc[0] == 0)
        return 0;
    for (int s = 0; s < PAIR_SIDES; s++) {
        p.text[s] = t[s].r.line;
        p.len[s] = without_end(p.text[s], p.len[s]);
    }
    for (int s = 0; s < PAIR_SIDES; s++)
        if (unicode_blank(p.text[s], p.len[s]))
            return err_set(e, ERR_SPEC, "%s:%" PRIu64 ": wanted text as %s, found none",
                           t[s].r.path, t[s].r.number, side_names[s]);
    if (g->fn(g->arg, &p, &side, e) == 0)
        return 1;
    return err_prefix(e, "%s:%" PRIu64, t[side].r.path, t[side].r.number);
}

static int from_files(const struct text_files files[PAIR_SIDES], const struct giving *g,
                      struct err *e)
{
    struct tape t[PAIR_SIDES] = {{.files = &files[0]}, {.files = &files[1]}};
    int rc;

    while ((rc = next_pair(t, g, e)) > 0)
        ;
    for (int s = 0; s < PAIR_SIDES; s++)
        text_close(&t[s].r);
    return rc;
}

/* ---- a job's -------------------------------------------------------------- */

/* Paths of the job, and the key that holds them. */
struct paths {
    char *const *path;
    size_t n;
    const char *key;
};

static int find(const struct paths *p, struct arena *a, struct text_files *out,
                struct err *e)
{
    int rc = p->n ? text_find(p->path, p->n, a, out, e)
                  : err_set(e, ERR_SPEC, "wanted files or folders, found none");

    return rc < 0 ? err_prefix(e, "%s", p->key) : rc;
}

static int each_pair(const Nnd__Data *d, const struct paths p[PAIR_SIDES], pair_f *fn,
                     void *arg, struct err *e)
{
    struct giving g = {.fn = fn, .arg = arg, .column = {1, 2}};
    struct text_files files[PAIR_SIDES];
    struct arena *a = arena_create();
    int rc = find(&p[PAIR_TARGET], a, &files[PAIR_TARGET], e);

    for (size_t s = 0; s < PAIR_SIDES && d->n_columns == PAIR_SIDES; s++) {
        g.column[s] = d->columns[s];
        g.chosen = true;
    }
    if (rc == 0 && p[PAIR_SOURCE].n)
        rc = find(&p[PAIR_SOURCE], a, &files[PAIR_SOURCE], e);
    if (rc == 0)
        rc = p[PAIR_SOURCE].n ? from_files(files, &g, e)
                              : from_columns(&files[PAIR_TARGET], &g, e);
    arena_destroy(a);
    return rc;
}

int pairs_train(const Nnd__Data *d, pair_f *fn, void *arg, struct err *e)
{
    const struct paths p[] = {{d->source, d->n_source, "data.source"},
                              {d->train, d->n_train, "data.train"}};

    return each_pair(d, p, fn, arg, e);
}

int pairs_valid(const Nnd__Data *d, pair_f *fn, void *arg, struct err *e)
{
    const struct paths p[] = {{d->valid_source, d->n_valid_source, "data.valid_source"},
                              {d->valid, d->n_valid, "data.valid"}};

    return each_pair(d, p, fn, arg, e);
}
