/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metric.c - counts over all texts, and the figures that they give.
 */
#include "metric/metric.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

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
    struct words text, wanted;
    size_t texts;
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
    words_free(&s->wanted);
    free(s);
}

/* ---- adding --------------------------------------------------------------- */

static void add_counts(struct scorer *s, struct count *c, size_t orders)
{
    for (size_t n = 1; n <= orders; n++) {
        c[n - 1].written += words_grams(&s->text, n);
        c[n - 1].wanted += words_grams(&s->wanted, n);
        c[n - 1].common += words_common(&s->text, &s->wanted, n);
    }
}

/* chrF does not count what was written where nothing of that length was wanted. */
static void add_points(struct scorer *s)
{
    for (size_t n = 1; n <= CHRF_ORDER; n++) {
        struct count *c = &s->point[n - 1];
        size_t wanted = words_grams(&s->wanted, n);

        c->written += wanted ? words_grams(&s->text, n) : 0;
        c->wanted += wanted;
        c->common += words_common(&s->text, &s->wanted, n);
    }
}

static double f_measure(size_t common, size_t written, size_t wanted)
{
    double p = written ? (double)common / (double)written : 0;
    double r = wanted ? (double)common / (double)wanted : 0;

    return p + r > 0 ? 2 * p * r / (p + r) : 0;
}

static void add_rouge(struct scorer *s)
{
    for (size_t n = 1; n <= 2; n++)
        s->rouge[n - 1] +=
            f_measure(words_common(&s->text, &s->wanted, n), words_grams(&s->text, n),
                      words_grams(&s->wanted, n));
    s->rouge[2] += f_measure(words_lcs(&s->text, &s->wanted), s->text.n, s->wanted.n);
}

static int check_utf8(const char *what, const char *text, size_t len, struct err *e)
{
    return str_is_utf8(text, len)
               ? 0
               : err_set(e, ERR_SPEC, "%s: wanted UTF-8 text, found other bytes", what);
}

int scorer_add(struct scorer *s, const char *text, size_t len, const char *wanted,
               size_t wanted_len, struct err *e)
{
    enum words_rule rouge = s->rule == WORDS_13A ? WORDS_ROUGE : s->rule;

    if (check_utf8("text", text, len, e) < 0 ||
        check_utf8("reference", wanted, wanted_len, e) < 0)
        return e->code;
    words_cut(&s->index, s->rule, text, len, &s->text);
    words_cut(&s->index, s->rule, wanted, wanted_len, &s->wanted);
    add_counts(s, s->word, BLEU_ORDER);
    words_points(text, len, &s->text);
    words_points(wanted, wanted_len, &s->wanted);
    add_points(s);
    words_cut(&s->index, rouge, text, len, &s->text);
    words_cut(&s->index, rouge, wanted, wanted_len, &s->wanted);
    add_rouge(s);
    s->texts++;
    return 0;
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

/* The mean precision and recall of those lengths that both sides have. */
static double chrf(const struct scorer *s)
{
    double p = 0, r = 0, factor = CHRF_BETA * CHRF_BETA;
    int orders = 0;

    for (int n = 0; n < CHRF_ORDER; n++) {
        const struct count *c = &s->point[n];

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
    return 100 * ((1 + factor) * p * r / (factor * p + r));
}

double scorer_value(const struct scorer *s, enum metric m)
{
    switch (m) {
    case METRIC_BLEU:
        return scorer_bleu(s).score;
    case METRIC_CHRF:
        return chrf(s);
    default:
        return s->texts ? 100 * s->rouge[m - METRIC_ROUGE_1] / (double)s->texts : 0;
    }
}

void scorer_sign(const struct scorer *s, enum metric m, struct buf *out)
{
    const char *rouge = s->rule == WORDS_13A ? "rouge-score" : rule_names[s->rule];

    if (m == METRIC_BLEU)
        buf_printf(out, "nrefs:1|case:mixed|eff:no|tok:%s|smooth:exp|version:2.6.0",
                   rule_names[s->rule]);
    else if (m == METRIC_CHRF)
        buf_puts(out, "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
    else
        buf_printf(out, "nrefs:1|tok:%s|stem:no|mean:f1", rouge);
}
