/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - text in columns for people.
 */
#include "client/table.h"

#include <stdarg.h>
#include <string.h>

enum { CELL_MAX = 2048 };

void table_init(struct table *t, const struct column *columns, size_t n,
                struct arena *a)
{
    *t = (struct table){.arena = a, .columns = columns, .ncolumns = n};
}

void table_row(struct table *t)
{
    if (t->nrows == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 16;
        struct cell *cells = arena_calloc(t->arena, cap * t->ncolumns, sizeof(*cells));

        if (t->nrows)
            memcpy(cells, t->cells, t->nrows * t->ncolumns * sizeof(*cells));
        t->cells = cells;
        t->cap = cap;
    }
    for (size_t i = 0; i < t->ncolumns; i++)
        t->cells[t->nrows * t->ncolumns + i] = (struct cell){.text = ""};
    t->nrows++;
}

void table_cell(struct table *t, size_t column, const char *fmt, ...)
{
    char text[CELL_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    t->cells[(t->nrows - 1) * t->ncolumns + column].text = arena_strdup(t->arena, text);
}

void table_paint(struct table *t, size_t column, const char *paint)
{
    t->cells[(t->nrows - 1) * t->ncolumns + column].paint = paint;
}

/* Columns that UTF-8 text takes, as far as its bytes tell. */
static size_t text_width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* 0 for a column without contents. */
static size_t column_width(const struct table *t, size_t column, bool header)
{
    size_t most = 0;

    for (size_t r = 0; r < t->nrows; r++) {
        size_t n = text_width(t->cells[r * t->ncolumns + column].text);

        most = n > most ? n : most;
    }
    if (most && header && text_width(t->columns[column].head) > most)
        most = text_width(t->columns[column].head);
    return most;
}

static void print_cell(const struct table *t, const struct cell *c, FILE *out)
{
    if (t->colored && c->paint)
        fprintf(out, "\033[%sm%s\033[0m", c->paint, c->text);
    else
        fputs(c->text, out);
}

/* One line: blanks stand before a cell, so that none ends a line. */
static void print_line(const struct table *t, const struct cell *cells,
                       const size_t *widths, FILE *out)
{
    size_t due = 0;

    for (size_t i = 0; i < t->ncolumns; i++) {
        size_t pad = widths[i] - (widths[i] ? text_width(cells[i].text) : 0);

        if (!widths[i])
            continue;
        if (t->columns[i].right)
            due += pad;
        if (*cells[i].text) {
            fprintf(out, "%*s", (int)due, "");
            print_cell(t, &cells[i], out);
            due = 0;
        }
        due += (t->columns[i].right ? 0 : pad) + 2;
    }
    putc('\n', out);
}

void table_print(const struct table *t, bool header, FILE *out)
{
    size_t *widths = arena_calloc(t->arena, t->ncolumns, sizeof(*widths));
    struct cell *heads = arena_calloc(t->arena, t->ncolumns, sizeof(*heads));

    for (size_t i = 0; i < t->ncolumns; i++) {
        widths[i] = column_width(t, i, header);
        heads[i].text = t->columns[i].head;
    }
    if (header && t->nrows)
        print_line(t, heads, widths, out);
    for (size_t r = 0; r < t->nrows; r++)
        print_line(t, t->cells + r * t->ncolumns, widths, out);
}
