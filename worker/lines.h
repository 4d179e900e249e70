/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lines.h - a text by its lines, from a file or from standard input.
 */
#ifndef WORKER_LINES_H
#define WORKER_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Without its end. */
struct line {
    const char *text;
    size_t len;
};

/* Zeros: none yet. */
struct lines {
    const char *name; /* of the file, for errors */
    struct line *line;
    size_t n;
    struct buf all;
};

/* Read them all; path NULL: standard input.  ERR_SPEC names the first line that is not
 * UTF-8. */
int lines_read(const char *path, struct lines *out, struct err *e);
void lines_free(struct lines *l);

/* Does a line hold nothing but spaces of any script? */
bool line_is_blank(const struct line *l);

#endif
