/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - text in columns for people.
 *
 * Widths follow the contents, a column in which every cell is empty is left
 * out, nothing is cut.  Control characters, which could fool a terminal, are
 * shown as '?'.
 */
#ifndef CLIENT_TABLE_H
#define CLIENT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"

struct column {
    const char *head;
    bool right; /* numbers stand to the right */
};

struct cell {
    const char *text;
    const char *paint; /* how a terminal shows it, "31" for red; or NULL */
};

struct table {
    struct arena *arena;
    const struct column *columns;
    size_t ncolumns;
    struct cell *cells; /* row by row */
    size_t nrows, cap;
    bool colored; /* obey paint; false at first */
};

/* An empty table; what is added lives in the arena. */
void table_init(struct table *t, const struct column *columns, size_t n,
                struct arena *a);

/* Begin a row of empty cells, and fill cell `column` of the newest row. */
void table_row(struct table *t);
void table_cell(struct table *t, size_t column, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Give the cell a colour: a number of SGR, ECMA-48 8.3.117. */
void table_paint(struct table *t, size_t column, const char *paint);

void table_print(const struct table *t, bool header, FILE *out);

#endif
