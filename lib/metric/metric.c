/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metric.c - counts over all texts, and the figures that they give.
 */
#include "metric/metric.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/oom.h"
#include "base/str.h"

enum { BLEU_ORDER = 4, CHRF_ORDER = 6, CHRF_BETA = 2 };

/* n-grams of one length: written, wanted, in both. */
struct count {
    size_t written, wanted, common;
};

struct scorer {
    enum words_rule rule;
    struct words_index index;
    struct words text, *wanted; /* [refs], of `room` */
    size_t refs, room;
    size_t texts, most, least; /* most and least references that one has had */
    struct count word[BLEU_ORDER], point[CHRF_ORDER];
    double rouge[3]; /* sums of 1, 2, L */
};

static const char *const names[METRIC_COUNT] = {
    [METRIC_BLEU] = "bleu",       [METRIC_CHRF] = "chrf",
    [METRIC_ROUGE_1] = "rouge-1", [METRIC_ROUGE_2] = "rouge-2",
    [METRIC_ROUGE_L] = "rouge-l",
};

static const char *const rule_names[WORDS_RULES] = {"13a", "zh", "char", "rouge"};

const char *metric_name(enum metric m)
{
    return names[m];
}

void scorer_create(enum words_rule rule, struct scorer **out)
{
    struct scorer *s = oom_calloc(1, sizeof *s);

    s->rule = rule;
    words_index_init(&s->index);
    *out = s;
}

void scorer_destroy(struct scorer *s)
{
    if (!s)
        return;
    words_index_free(&s->index);
    words_free(&s->text);
    for (size_t i = 0; i < s->room; i++)
        words_free(&s->wanted[i]);
    free(s->wanted);
    free(s);
}

/* ---- adding --------------------------------------------------------------- */

/* The length that is nearest to the text's, of equally near ones the shorter. */
static size_t nearest(const struct scorer *s)
{
    size_t best = s->wanted[0].n, n = s->text.n;

    for (size_t i = 1; i < s->refs; i++) {
        size_t have = s->wanted[i].n;
        size_t far = have > n ? have - n : n - have;
        size_t near = best > n ? best - n : n - best;

        if (far < near || (far == near && have < best))
            best = have;
    }
    return best;
}

static void add_words(struct scorer *s)
{
    s->word[0].wanted += nearest(s);
    for (size_t n = 1; n <= BLEU_ORDER; n++) {
        s->word[n - 1].written += words_grams(&s->text, n);
        s->word[n - 1].common += words_common(&s->text, s->wanted, s->refs, n);
    }
}

/* The mean precision and recall of those lengths that both sides have. */
static double chrf(const struct count point[CHRF_ORDER])
{
    double p = 0, r = 0, factor = CHRF_BETA * CHRF_BETA, score;
    int orders = 0;

    for (int n = 0; n < CHRF_ORDER; n++) {
        const struct count *c = &point[n];

        if (c->written == 0 || c->wanted == 0)
            continue;
        p += (double)c->common / (double)c->written;
        r += (double)c->common / (double)c->wanted;
        orders++;
    }
    if (orders == 0 || p + r <= 0)
        return 0;
    p /= orders;
    r /= orders;
    score = (1 + factor) * p * r;
    score /= factor * p + r;
    return 100 * score;
}

/* chrF does not count what was written where nothing of that length was wanted. */
static void count_points(const struct scorer *s, const struct words *wanted,
                         struct count *out)
{
    for (size_t n = 1; n <= CHRF_ORDER; n++) {
        size_t grams = words_grams(wanted, n);

        out[n - 1] = (struct count){.written = grams ? words_grams(&s->text, n) : 0,
                                    .wanted = grams,
                                    .common = words_common(&s->text, wanted, 1, n)};
    }
}

/* Those of the reference that gives most. */
static void add_points(struct scorer *s)
{
    struct count best[CHRF_ORDER], now[CHRF_ORDER];
    double most = -1;

    for (size_t i = 0; i < s->refs; i++) {
        double f;

        count_points(s, &s->wanted[i], now);
        f = chrf(now);
        if (f > most)
            memcpy(best, now, sizeof best);
        most = f > most ? f : most;
    }
    for (int n = 0; n < CHRF_ORDER; n++) {
        s->point[n].written += best[n].written;
        s->point[n].wanted += best[n].wanted;
        s->point[n].common += best[n].common;
    }
}

static double f_measure(size_t common, size_t written, size_t wanted)
{
    double p = written ? (double)common / (double)written : 0;
    double r = wanted ? (double)common / (double)wanted : 0;

    return p + r > 0 ? 2 * p * r / (p + r) : 0;
}

/* 0, 1: of pieces so long, and one more; 2: of the longest common subsequence. */
static double rouge(const struct words *text, const struct words *wanted, size_t kind)
{
    size_t n = kind + 1;

    if (kind == 2)
        return f_measure(words_lcs(text, wanted), text->n, wanted->n);
    return f_measure(words_common(text, wanted, 1, n), words_grams(text, n),
                     words_grams(wanted, n));
}

static void add_rouge(struct scorer *s)
{
    for (size_t kind = 0; kind < 3; kind++) {
        double most = 0;

        for (size_t i = 0; i < s->refs; i++)
            most = fmax(most, rouge(&s->text, &s->wanted[i], kind));
        s->rouge[kind] += most;
    }
}

static int check_utf8(const char *what, const char *text, size_t len, struct err *e)
{
    return str_is_utf8(text, len)
               ? 0
               : err_set(e, ERR_SPEC, "%s: wanted UTF-8 text, found other bytes", what);
}

static void make_room(struct scorer *s, size_t n)
{
    if (n > s->room) {
        s->wanted = oom_realloc(s->wanted, n * sizeof *s->wanted);
        memset(s->wanted + s->room, 0, (n - s->room) * sizeof *s->wanted);
        s->room = n;
    }
    s->refs = n;
    s->most = n > s->most ? n : s->most;
    s->least = s->texts == 0 || n < s->least ? n : s->least;
}

static void cut_all(struct scorer *s, enum words_rule rule,
                    const struct metric_text *text, const struct metric_text *wanted)
{
    words_cut(&s->index, rule, text->text, text->len, &s->text);
    for (size_t i = 0; i < s->refs; i++)
        words_cut(&s->index, rule, wanted[i].text, wanted[i].len, &s->wanted[i]);
}

int scorer_add_any(struct scorer *s, const struct metric_text *text,
                   const struct metric_text *wanted, size_t n, struct err *e)
{
    enum words_rule rouge_rule = s->rule == WORDS_13A ? WORDS_ROUGE : s->rule;

    if (check_utf8("text", text->text, text->len, e) < 0)
        return e->code;
    for (size_t i = 0; i < n; i++)
        if (check_utf8("reference", wanted[i].text, wanted[i].len, e) < 0)
            return e->code;
    make_room(s, n);
    cut_all(s, s->rule, text, wanted);
    add_words(s);
    words_points(text->text, text->len, &s->text);
    for (size_t i = 0; i < n; i++)
        words_points(wanted[i].text, wanted[i].len, &s->wanted[i]);
    add_points(s);
    cut_all(s, rouge_rule, text, wanted);
    add_rouge(s);
    s->texts++;
    return 0;
}

int scorer_add(struct scorer *s, const char *text, size_t len, const char *wanted,
               size_t wanted_len, struct err *e)
{
    return scorer_add_any(s, &(struct metric_text){text, len},
                          &(struct metric_text){wanted, wanted_len}, 1, e);
}

size_t scorer_count(const struct scorer *s)
{
    return s->texts;
}

/* ---- figures -------------------------------------------------------------- */

/* Precisions are smoothed by halving: the k-th count of 0 is 1 / 2^k. */
static double mean_log(struct bleu *b)
{
    double smooth = 1, sum = 0;
    bool over = false;

    for (int n = 0; n < BLEU_ORDER; n++) {
        over |= b->count[n] == 0;
        if (!over && b->same[n] == 0)
            smooth *= 2;
        if (!over)
            b->share[n] = b->same[n] ? 100. * (double)b->same[n] / (double)b->count[n]
                                     : 100. / (smooth * (double)b->count[n]);
        sum += b->share[n] > 0 ? log(b->share[n]) : -9999999999;
    }
    return sum / BLEU_ORDER;
}

struct bleu scorer_bleu(const struct scorer *s)
{
    struct bleu b = {
        .length = s->word[0].written, .wanted = s->word[0].wanted, .brevity = 1};
    bool any = false;

    for (int n = 0; n < BLEU_ORDER; n++) {
        b.same[n] = s->word[n].common;
        b.count[n] = s->word[n].written;
        any |= b.same[n] > 0;
    }
    if (b.length < b.wanted)
        b.brevity = b.length ? exp(1 - (double)b.wanted / (double)b.length) : 0;
    if (any)
        b.score = b.brevity * exp(mean_log(&b));
    return b;
}

double scorer_value(const struct scorer *s, enum metric m)
{
    switch (m) {
    case METRIC_BLEU:
        return scorer_bleu(s).score;
    case METRIC_CHRF:
        return chrf(s->point);
    default:
        return s->texts ? 100 * s->rouge[m - METRIC_ROUGE_1] / (double)s->texts : 0;
    }
}

/* How many references texts have had: a number, or that it varies. */
static void sign_refs(const struct scorer *s, struct buf *out)
{
    if (s->most == s->least)
        buf_printf(out, "nrefs:%zu|", s->most ? s->most : 1);
    else
        buf_puts(out, "nrefs:var|");
}

void scorer_sign(const struct scorer *s, enum metric m, struct buf *out)
{
    const char *by = s->rule == WORDS_13A ? "rouge-score" : rule_names[s->rule];

    sign_refs(s, out);
    if (m == METRIC_BLEU)
        buf_printf(out, "case:mixed|eff:no|tok:%s|smooth:exp|version:2.6.0",
                   rule_names[s->rule]);
    else if (m == METRIC_CHRF)
        buf_puts(out, "case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
    else
        buf_printf(out, "tok:%s|stem:no|mean:f1", by);
}
