/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lengths.h - BLEU by the length of what was read, of one system or of several side by
 * side: a table, numbers, or a picture.
 *
 * A length is counted in words, of scripts that are written without blanks in
 * characters, whatever a model's own tokens are (WORDS_ZH): so systems can be compared.
 */
#ifndef WORKER_LENGTHS_H
#define WORKER_LENGTHS_H

#include <jansson.h>

#include "metric/metric.h"
#include "worker/lines.h"

struct lengths;

/* rule: how BLEU cuts words.  A range of lengths has `step` words; 0: so many that ten
 * ranges do at most. */
void lengths_create(enum words_rule rule, const struct lines *source, int64_t step,
                    struct lengths **out);
void lengths_destroy(struct lengths *l);

/* One more system; its number.  The name must live on. */
int lengths_system(struct lengths *l, const char *name);

/* What system k wrote for source number i, and n references.  As scorer_add_any. */
int lengths_add(struct lengths *l, int k, size_t i, const struct metric_text *text,
                const struct metric_text *wanted, size_t n, struct err *e);

/* ERR_USAGE unless the name ends in .svg or .json. */
int lengths_check(const char *path, struct err *e);

/* A table to standard output; {"step":...,"systems":[...],"ranges":[{"from":...,
 * "to":...,"texts":...,"bleu":[...]}...]}; a file with a picture or with that. */
void lengths_print(const struct lengths *l);
json_t *lengths_json(const struct lengths *l);
int lengths_write(const struct lengths *l, const char *path, struct err *e);

#endif
