/* SPDX-License-Identifier: Apache-2.0 */
/*
 * words.h - texts as rows of numbers, one for each word: what metrics count.
 *
 * Which words a text has is what decides a score, so the ways to cut are those of the
 * programs that others score with, character by character.
 */
#ifndef METRIC_WORDS_H
#define METRIC_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/map.h"

/* How a text is cut. */
enum words_rule {
    WORDS_13A,   /* mteval-v13a, as sacreBLEU has it                          */
    WORDS_ZH,    /* sacreBLEU's zh: CJK characters alone, the rest as by 13a  */
    WORDS_CHAR,  /* sacreBLEU's char: characters, blanks left out             */
    WORDS_ROUGE, /* rouge-score's: runs of a to z and 0 to 9, in small letters */
    WORDS_RULES
};

/* Words that have a number: the same one in all texts. */
struct words_index {
    struct map *known;
    struct buf scratch[2];
};

/* A text; zeros: an empty one, whose memory words_cut takes. */
struct words {
    uint32_t *id;
    size_t n, cap;
};

void words_index_init(struct words_index *x);
void words_index_free(struct words_index *x);

/* Replace w by the words of text[len], valid UTF-8. */
void words_cut(struct words_index *x, enum words_rule rule, const char *text,
               size_t len, struct words *w);

/* Replace w by the code points of text[len] that are no blanks. */
void words_points(const char *text, size_t len, struct words *w);
void words_free(struct words *w);

/* Of those words of a that follow each other `n` at a time, how many are in one of
 * b[texts] as well, each counted as often as one of them has it at most? */
size_t words_common(const struct words *a, const struct words *b, size_t texts,
                    size_t n);

/* How many of n words that follow each other there are. */
size_t words_grams(const struct words *w, size_t n);

/* The length of a longest common subsequence. */
size_t words_lcs(const struct words *a, const struct words *b);

#endif
