/* SPDX-License-Identifier: Apache-2.0 */
/*
 * heat.h - where the words of a text looked in its source, as a picture or as numbers.
 */
#ifndef WORKER_HEAT_H
#define WORKER_HEAT_H

#include "data/lexicon.h"

/* Weights [targets, width], of which a row's first `sources` are its words'. */
struct heat {
    size_t line; /* of what was read, from 1 on */
    const uint32_t *source, *target;
    int64_t sources, targets, width;
    const float *weight;
};

/* ERR_USAGE unless the name ends in .svg or .json. */
int heat_check(const char *path, struct err *e);

/* Write n of them into the file: as panels one below the other (.svg), or as
 * {"v":1,"texts":[{"line":1,"source":[...],"target":[...],"weight":[[...]...]}...]}. */
int heat_write(const char *path, const struct lexicon *l, const struct heat *h,
               size_t n, struct err *e);

#endif
