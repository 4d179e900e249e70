/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metric.h - how good written texts are, beside texts that they ought to be.
 *
 * BLEU (Papineni et al. 2002) and chrF (Popovic 2015) equal those of sacreBLEU 2.6.0
 * (Post 2018), ROUGE (Lin 2004) that of rouge-score 0.1.2; tests hold them to it.
 */
#ifndef METRIC_METRIC_H
#define METRIC_METRIC_H

#include "base/buf.h"
#include "base/err.h"
#include "metric/words.h"

enum metric {
    METRIC_BLEU,
    METRIC_CHRF,
    METRIC_ROUGE_1,
    METRIC_ROUGE_2,
    METRIC_ROUGE_L,
    METRIC_COUNT
};

/* "bleu", "chrf", "rouge-1", "rouge-2", "rouge-l". */
const char *metric_name(enum metric m);

/* Texts that are scored together: a corpus. */
struct scorer;

/* rule: how BLEU cuts words.  ROUGE has its own way, which knows the letters a to z
 * alone, unless `rule` is one for Chinese or for characters: then it is that. */
void scorer_create(enum words_rule rule, struct scorer **out);
void scorer_destroy(struct scorer *s);

/* One text, and what it ought to be.  ERR_SPEC: one of them is not UTF-8. */
int scorer_add(struct scorer *s, const char *text, size_t len, const char *wanted,
               size_t wanted_len, struct err *e);

/* The same with n references, n >= 1: any of them would have done.  As in sacreBLEU an
 * n-gram of BLEU counts as often as the reference has it that has it most, and the
 * length is that of the nearest one, of equally near ones the shorter; chrF is of the
 * reference that gives most, and so is each ROUGE. */
struct metric_text {
    const char *text;
    size_t len;
};
int scorer_add_any(struct scorer *s, const struct metric_text *text,
                   const struct metric_text *wanted, size_t n, struct err *e);

/* How many there are. */
size_t scorer_count(const struct scorer *s);

/* Of all texts so far, 0 to 100.  Of ROUGE the F-measure's mean over texts. */
double scorer_value(const struct scorer *s, enum metric m);

/* What BLEU is made of. */
struct bleu {
    size_t same[4], count[4]; /* n-grams that both have, and that were written */
    size_t length, wanted;    /* words                                         */
    double share[4], brevity; /* precisions in percent, the penalty            */
    double score;
};
struct bleu scorer_bleu(const struct scorer *s);

/* Append how a figure came about: of BLEU and chrF as sacreBLEU signs them. */
void scorer_sign(const struct scorer *s, enum metric m, struct buf *out);

#endif
