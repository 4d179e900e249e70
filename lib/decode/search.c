/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - beam search.
 *
 * A text has `beam` rows of each decoder, from `base` on.  A hypothesis that goes on in
 * one way stays in its row; further ways take rows that became free, so that most rows
 * never move.  The rows of texts that are over are given up when the decoder has a
 * smaller program for what is left.
 */
#include "decode/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A token of a hypothesis, and those before it. */
struct link {
    const struct link *before;
    uint32_t id;
    int64_t count; /* tokens up to here */
    float look[];
};

/* An open hypothesis. */
struct hyp {
    const struct link *last; /* NULL: nothing yet */
    double log_p;
    int row; /* within the text's rows */
};

/* One that is done. */
struct done {
    const struct link *last;
    double score, log_p;
    bool ended;
};

/* A token that may follow. */
struct candidate {
    double log_p, rank; /* rank: among those of one hypothesis */
    int hyp;
    uint32_t id;
};

struct text {
    struct hyp *open;  /* [beam] */
    struct done *done; /* [2 * beam], the best first */
    int opens, dones;
    int base;      /* first row                */
    int64_t reach; /* real tokens of its source */
    bool over;
    const struct search_prefix *prefix;
};

struct search {
    struct decoder *const *d;
    int n;
    const struct search_rule *rule;
    struct arena *mem;
    struct text *text;
    int texts;
    int64_t vocab, width;   /* width: of a source, where looks are wanted; else 0 */
    int64_t step;           /* tokens that every hypothesis has                   */
    struct candidate *best; /* [2 * beam] */
    int bests;
    struct hyp *next; /* [beam]               */
    int *from;        /* [rows]               */
    uint32_t *feed;   /* [rows]               */
    bool *banned;     /* [vocab]              */
    uint32_t *tokens; /* [most + forced]      */
    double *total;    /* [n]: log of the sum of a row's weights */
    double *mean;     /* [vocab]: log-probabilities of several models */
    double *covered;  /* [width]              */
    float *look;      /* [width]              */
};

/* ---- memory --------------------------------------------------------------- */

static int64_t longest(const struct search_rule *rule,
                       const struct search_prefix *prefix, int texts)
{
    int64_t most = 0;

    for (int i = 0; prefix && i < texts; i++)
        most = prefix[i].count > most ? prefix[i].count : most;
    return rule->most + most;
}

static void make_room(struct search *s, int texts, const struct search_prefix *prefix)
{
    size_t beam = (size_t)s->rule->beam, rows = beam * (size_t)texts;
    struct arena *m = s->mem;

    s->text = arena_calloc(m, (size_t)texts, sizeof *s->text);
    s->best = arena_calloc(m, 2 * beam, sizeof *s->best);
    s->next = arena_calloc(m, beam, sizeof *s->next);
    s->from = arena_calloc(m, rows, sizeof *s->from);
    s->feed = arena_calloc(m, rows, sizeof *s->feed);
    s->banned = arena_calloc(m, (size_t)s->vocab, sizeof *s->banned);
    s->tokens =
        arena_calloc(m, (size_t)longest(s->rule, prefix, texts) + 1, sizeof *s->tokens);
    s->total = arena_calloc(m, (size_t)s->n, sizeof *s->total);
    s->mean = arena_calloc(m, (size_t)s->vocab, sizeof *s->mean);
    s->covered = arena_calloc(m, (size_t)s->width + 1, sizeof *s->covered);
    s->look = arena_calloc(m, (size_t)s->width + 1, sizeof *s->look);
    for (int i = 0; i < texts; i++) {
        struct text *t = &s->text[i];

        t->open = arena_calloc(m, beam, sizeof *t->open);
        t->done = arena_calloc(m, 2 * beam, sizeof *t->done);
        t->opens = 1;
        t->base = i * s->rule->beam;
        t->prefix = prefix ? &prefix[i] : NULL;
    }
}

/* ---- hypotheses ----------------------------------------------------------- */

static int64_t forced(const struct text *t)
{
    return t->prefix ? t->prefix->count : 0;
}

static int64_t count_of(const struct link *last)
{
    return last ? last->count : 0;
}

/* Where the newest token of a row looked, the mean over models. */
static void take_look(const struct search *s, int row, float *out)
{
    for (int k = 0; k < s->n; k++) {
        decoder_look(s->d[k], row, s->look);
        for (int64_t i = 0; i < s->width; i++)
            out[i] += s->look[i] / (float)s->n;
    }
}

static const struct link *grow(struct search *s, const struct text *t,
                               const struct hyp *h, uint32_t id)
{
    struct link *n =
        arena_alloc(s->mem, sizeof *n + (size_t)s->width * sizeof *n->look);

    n->before = h->last;
    n->id = id;
    n->count = count_of(h->last) + 1;
    if (s->width)
        take_look(s, t->base + h->row, n->look);
    return n;
}

static double coverage_of(struct search *s, const struct text *t,
                          const struct link *last)
{
    double sum = 0;

    if (s->rule->coverage == 0)
        return 0;
    memset(s->covered, 0, (size_t)s->width * sizeof *s->covered);
    for (; last; last = last->before)
        for (int64_t i = 0; i < s->width; i++)
            s->covered[i] += (double)last->look[i];
    for (int64_t i = 0; i < t->reach; i++)
        sum += log(fmax(fmin(s->covered[i], 1), 1e-9));
    return s->rule->coverage * sum;
}

static double length_of(const struct search_rule *rule, int64_t n)
{
    double x = rule->length == SEARCH_GNMT ? (5 + (double)n) / 6 : (double)n;

    return rule->alpha == 0 || n == 0 ? 1 : pow(x, rule->alpha);
}

/* Behind those that are as good. */
static void finish(struct search *s, struct text *t, const struct link *last,
                   double log_p, bool ended)
{
    int64_t n = count_of(last) - forced(t);
    struct done d = {.last = last, .log_p = log_p, .ended = ended};
    int at = t->dones++;

    d.score = log_p / length_of(s->rule, n) + coverage_of(s, t, last);
    for (; at > 0 && t->done[at - 1].score < d.score; at--)
        t->done[at] = t->done[at - 1];
    t->done[at] = d;
}

static void finish_open(struct search *s, struct text *t)
{
    for (int i = 0; i < t->opens; i++)
        finish(s, t, t->open[i].last, t->open[i].log_p, false);
    t->over = true;
}

/* ---- what may follow ------------------------------------------------------ */

/* The tokens that would end a run that is there already. */
static void ban_runs(struct search *s, const struct hyp *h, bool ban)
{
    int64_t n = s->rule->ngram, count = count_of(h->last);

    if (n < 1 || count < n)
        return;
    for (const struct link *k = h->last; k; k = k->before)
        s->tokens[k->count - 1] = k->id;
    for (int64_t i = 0; i + n <= count; i++)
        if (memcmp(s->tokens + i, s->tokens + count - (n - 1),
                   (size_t)(n - 1) * sizeof *s->tokens) == 0)
            s->banned[s->tokens[i + n - 1]] = ban;
}

static void ban(struct search *s, const struct text *t, const struct hyp *h, bool yes)
{
    const struct search_rule *rule = s->rule;

    for (size_t i = 0; i < rule->nnever; i++)
        s->banned[rule->never[i]] = yes;
    if (count_of(h->last) - forced(t) < rule->least)
        for (size_t i = 0; i < rule->nends; i++)
            s->banned[rule->ends[i]] = yes;
    ban_runs(s, h, yes);
}

/* log(sum(exp(logits))) of a row. */
static int log_sum(const float *logits, int64_t vocab, double *out, struct err *e)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < vocab; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return err_set(e, ERR_FAILED, "logits: wanted numbers, found %g at %lld",
                           (double)logits[i], (long long)i);
        top = fmax(top, (double)logits[i]);
    }
    if (top == -INFINITY)
        return err_set(e, ERR_FAILED, "logits: wanted a token to choose");
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - top);
    *out = top + log(sum);
    return 0;
}

/* log of the mean of the models' probabilities. */
static void mix(struct search *s, int row)
{
    for (int64_t i = 0; i < s->vocab; i++) {
        double sum = 0;

        for (int k = 0; k < s->n; k++)
            sum += exp((double)decoder_logits(s->d[k], row)[i] - s->total[k]);
        s->mean[i] = log(sum / s->n);
    }
}

static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->log_p != b->log_p)
        return a->log_p > b->log_p;
    return a->hyp == b->hyp && a->rank > b->rank;
}

/* Keep it among the best; those that came first stand before equal ones. */
static void offer(struct search *s, const struct candidate *c)
{
    int most = 2 * s->rule->beam, at = s->bests;

    if (at == most && !better(c, &s->best[at - 1]))
        return;
    at -= at == most;
    for (; at > 0 && better(c, &s->best[at - 1]); at--)
        s->best[at] = s->best[at - 1];
    s->best[at] = *c;
    s->bests += s->bests < most;
}

/* The candidates that go on with hypothesis number i of a text. */
static int look_ahead(struct search *s, struct text *t, int i, struct err *e)
{
    const struct hyp *h = &t->open[i];
    int row = t->base + h->row;
    const float *logits = decoder_logits(s->d[0], row);

    for (int k = 0; k < s->n; k++)
        if (log_sum(decoder_logits(s->d[k], row), s->vocab, &s->total[k], e) < 0)
            return e->code;
    if (s->n > 1)
        mix(s, row);
    ban(s, t, h, true);
    for (int64_t v = 0; v < s->vocab; v++) {
        double rank = s->n > 1 ? s->mean[v] : (double)logits[v];
        double log_p = h->log_p + (s->n > 1 ? rank : rank - s->total[0]);

        if (!s->banned[v] && log_p > -INFINITY)
            offer(s, &(struct candidate){log_p, rank, i, (uint32_t)v});
    }
    ban(s, t, h, false);
    return 0;
}

/* ---- a step --------------------------------------------------------------- */

/* The first child of a row stays in it; others take rows that nobody stays in. */
static void give_rows(struct search *s, struct text *t, const int *parent, int n)
{
    int beam = s->rule->beam, *from = s->from + t->base;

    for (int r = 0; r < beam; r++)
        from[r] = -1;
    for (int i = 0; i < n; i++) {
        int row = t->open[parent[i]].row;

        s->next[i].row = from[row] < 0 ? row : -1;
        from[row] = row;
    }
    for (int i = 0, r = 0; i < n; i++) {
        if (s->next[i].row >= 0)
            continue;
        while (from[r] >= 0)
            r++;
        s->next[i].row = r;
        from[r] = t->open[parent[i]].row;
    }
    for (int r = 0; r < beam; r++)
        from[r] = t->base + (from[r] < 0 ? r : from[r]);
}

static bool is_end(const struct search_rule *rule, uint32_t id)
{
    size_t i = 0;

    while (i < rule->nends && rule->ends[i] != id)
        i++;
    return i < rule->nends;
}

/* The candidates become what is done and what is open. */
static void choose(struct search *s, struct text *t, int *parent)
{
    const struct search_rule *rule = s->rule;
    int n = 0;

    for (int i = 0; i < s->bests && n < rule->beam; i++) {
        const struct candidate *c = &s->best[i];
        bool ends = is_end(rule, c->id);

        if (ends && i >= rule->beam)
            continue;
        const struct link *last = grow(s, t, &t->open[c->hyp], c->id);
        if (ends) {
            finish(s, t, last, c->log_p, true);
            if (t->dones == rule->beam)
                break;
        } else {
            s->next[n] = (struct hyp){.last = last, .log_p = c->log_p};
            parent[n++] = c->hyp;
        }
    }
    t->over = t->dones >= rule->beam || n == 0;
    if (t->over)
        return;
    give_rows(s, t, parent, n);
    memcpy(t->open, s->next, (size_t)n * sizeof *s->next);
    t->opens = n;
}

/* One more token of a text, from the logits of its rows. */
static int advance(struct search *s, struct text *t, int *parent, struct err *e)
{
    if (s->step < forced(t)) {
        t->open[0].last = grow(s, t, &t->open[0], t->prefix->id[s->step]);
        return 0;
    }
    s->bests = 0;
    for (int i = 0; i < t->opens; i++)
        if (look_ahead(s, t, i, e) < 0)
            return e->code;
    if (s->bests)
        choose(s, t, parent);
    else
        finish_open(s, t); /* every token is banned */
    if (!t->over && s->step + 1 - forced(t) >= s->rule->most)
        finish_open(s, t);
    return 0;
}

static void stay(struct search *s, int rows)
{
    for (int r = 0; r < rows; r++)
        s->from[r] = r;
}

/* Give up the rows of texts that are over: those that are left move to the front. */
static void close_up(struct search *s, int rows)
{
    int beam = s->rule->beam, free_base = 0;

    stay(s, rows);
    for (int i = 0; i < s->texts; i++) {
        struct text *t = &s->text[i];

        if (t->over || t->base < rows)
            continue;
        for (bool taken = true; taken;) {
            taken = false;
            for (int k = 0; k < s->texts; k++)
                taken |= !s->text[k].over && s->text[k].base == free_base;
            free_base += taken ? beam : 0;
        }
        for (int r = 0; r < beam; r++)
            s->from[free_base + r] = t->base + r;
        t->base = free_base;
    }
}

static int lots_open(const struct search *s)
{
    int n = 0;

    for (int i = 0; i < s->texts; i++)
        n += !s->text[i].over;
    return n;
}

static void arrange(struct search *s, int rows)
{
    for (int k = 0; k < s->n; k++)
        decoder_arrange(s->d[k], s->from, rows);
}

/* Feed the newest tokens; those of rows that nobody wants do not matter. */
static int feed(struct search *s, int rows, struct err *e)
{
    int rc = 0;

    for (int r = 0; r < rows; r++)
        s->feed[r] = s->rule->bos;
    for (int i = 0; i < s->texts; i++) {
        const struct text *t = &s->text[i];

        for (int k = 0; k < t->opens && !t->over; k++)
            if (t->open[k].last)
                s->feed[t->base + t->open[k].row] = t->open[k].last->id;
    }
    for (int k = 0; rc == 0 && k < s->n; k++)
        rc = decoder_step(s->d[k], s->feed, e);
    return rc;
}

static int run(struct search *s, struct err *e)
{
    int beam = s->rule->beam, rows = s->texts * beam, left = s->texts;
    int *parent = arena_calloc(s->mem, (size_t)beam, sizeof *parent);

    for (int k = 0; k < s->n; k++)
        decoder_reset(s->d[k]);
    stay(s, rows);
    arrange(s, rows);
    for (int i = 0; i < s->texts; i++)
        s->text[i].reach = decoder_reach(s->d[0], s->text[i].base);
    for (; left > 0; s->step++) {
        if (feed(s, rows, e) < 0)
            return e->code;
        stay(s, rows);
        for (int i = 0; i < s->texts; i++)
            if (!s->text[i].over && advance(s, &s->text[i], parent, e) < 0)
                return e->code;
        arrange(s, rows);
        left = lots_open(s);
        if (left * beam <= rows / 2 && left > 0) {
            rows = left * beam;
            close_up(s, rows);
            arrange(s, rows);
        }
    }
    return 0;
}

/* ---- texts ---------------------------------------------------------------- */

static struct search_text text_of(const struct search *s, const struct text *t,
                                  const struct done *d, struct arena *mem)
{
    int64_t n = count_of(d->last), tokens = n - d->ended;
    uint32_t *id = arena_calloc(mem, (size_t)n + 1, sizeof *id);
    float *look =
        s->width ? arena_calloc(mem, (size_t)(n * s->width) + 1, sizeof *look) : NULL;

    for (const struct link *k = d->last; k; k = k->before) {
        id[k->count - 1] = k->id;
        if (look)
            memcpy(look + (k->count - 1) * s->width, k->look,
                   (size_t)s->width * sizeof *look);
    }
    return (struct search_text){.id = id,
                                .count = tokens,
                                .forced = forced(t),
                                .score = d->score,
                                .log_p = d->log_p,
                                .ended = d->ended,
                                .look = look};
}

int search_write(struct decoder *const *d, int n, const struct search_rule *rule,
                 int texts, const struct search_prefix *prefix, struct arena *mem,
                 struct search_text *out, struct err *e)
{
    struct search s = {.d = d, .n = n, .rule = rule, .texts = texts};
    int rc;

    s.vocab = decoder_vocab(d[0]);
    s.width = rule->look || rule->coverage != 0 ? decoder_width(d[0]) : 0;
    s.mem = arena_create();
    make_room(&s, texts, prefix);
    rc = run(&s, e);
    for (int i = 0; rc == 0 && i < texts; i++)
        for (int k = 0; k < rule->best; k++)
            out[i * rule->best + k] =
                k < s.text[i].dones ? text_of(&s, &s.text[i], &s.text[i].done[k], mem)
                                    : (struct search_text){.count = -1};
    arena_destroy(s.mem);
    return rc;
}
