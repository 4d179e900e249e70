/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.h - the whole text that a model writes, where it decides itself when it is
 * done: beam search over the rows of decoders.
 *
 * A step takes, for each text, the open hypotheses and looks at every token that may
 * follow one.  Candidates are ordered by the sum of log-probabilities; equal ones by
 * the order of the hypotheses they go on with, then the larger logit, then the lower
 * id.  Of the first 2 x beam, those that end within the first `beam` are done; the
 * first `beam` others go on.  A text is over when `beam` of its hypotheses are done, or
 * at its most tokens, where the open ones count as done.  What is done is ordered by
 *
 *   s = log p / n^a, or log p / ((5 + n) / 6)^a (Wu et al. 2016, equation 14),
 *       + b * sum over the source of log(min(1, what all tokens looked at it)),
 *
 * n being the tokens written, the end included; what was forced counts for neither n
 * nor log p.  Where nothing looked, 1e-9 stands in the logarithm.  With a beam of one
 * this is the likeliest token each time: greedy search.
 */
#ifndef DECODE_SEARCH_H
#define DECODE_SEARCH_H

#include "base/arena.h"
#include "decode/decoder.h"

enum search_length { SEARCH_POWER, SEARCH_GNMT };

/* What ends a text, what is never in one, and which is the best. */
struct search_rule {
    uint32_t bos;          /* what a text begins with             */
    const uint32_t *ends;  /* ids that end a text, [nends]       */
    const uint32_t *never; /* ids that are not written, [nnever]  */
    size_t nends, nnever;
    int64_t least, most; /* tokens of a text; the end counts for the most, and is not
                            written before the least                                 */
    int beam, best; /* hypotheses of a text, at least 1; texts given, at most beam */
    int64_t ngram;  /* so many tokens never stand in a text twice; 0: they may   */
    enum search_length length;
    double alpha, coverage; /* a and b above; 0: no such thing */
    bool look;              /* keep where each token looked    */
};

/* What a text has to begin with: tokens behind bos. */
struct search_prefix {
    const uint32_t *id;
    int64_t count;
};

/* A text: tokens with the forced ones, without bos and the end. */
struct search_text {
    const uint32_t *id;
    int64_t count, forced;
    double score, log_p; /* s, log p                                         */
    bool ended;          /* false: cut at its most tokens                    */
    const float *look;   /* [count + ended, decoder_width], or NULL          */
};

/* Write texts of the first `texts` sources with n decoders of rows = sources * beam
 * each, which have read the same ones; the probability of a token is the mean of
 * theirs. prefix: [texts], or NULL.  out: [texts * best], in `mem`; of a text that has
 * fewer hypotheses the last ones have count -1.  ERR_FAILED where a logit is no number.
 */
int search_write(struct decoder *const *d, int n, const struct search_rule *rule,
                 int texts, const struct search_prefix *prefix, struct arena *mem,
                 struct search_text *out, struct err *e);

#endif
