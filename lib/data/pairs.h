/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pairs.h - texts in two: a source and its target, from the columns of one file or
 * the lines of two.
 *
 * Both ways give the same pairs to whoever asks; nothing is skipped in silence.
 */
#ifndef DATA_PAIRS_H
#define DATA_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "proto/job.pb-c.h"

enum pair_side { PAIR_SOURCE, PAIR_TARGET, PAIR_SIDES };

/* One of them; good until the next.  Without the end of the line. */
struct pair {
    const char *text[PAIR_SIDES];
    size_t len[PAIR_SIDES];
};

/* What is done with each.  An error is of the target, unless *side says otherwise. */
typedef int pair_f(void *arg, const struct pair *p, enum pair_side *side,
                   struct err *e);

/* Every pair to train on, or to validate on, in order.
 *
 * With data.source (data.valid_source) the i-th line of those files, taken together,
 * is the source of the i-th line of data.train (data.valid).  Without, a line holds
 * columns that are separated by tabs: two, or with data.columns as many as the
 * file's first line has.
 *
 * ERR_SPEC names file and line: another number of columns, a side that is empty or
 * holds nothing but spaces (unicode.h), more lines in one file than in the other, what
 * is not UTF-8; errors of fn get file and line of their side in front.  Files as in
 * text.h. */
int pairs_train(const Nnd__Data *d, pair_f *fn, void *arg, struct err *e);
int pairs_valid(const Nnd__Data *d, pair_f *fn, void *arg, struct err *e);

#endif
