/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - text files, found and read line by line, checked strictly.
 *
 * Nothing is skipped in silence but a byte order mark at the begin of a file: one that
 * is not text is an error with its name and line.
 */
#ifndef DATA_TEXT_H
#define DATA_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"

/* Paths in the order in which they are read. */
struct text_files {
    const char **path; /* [count], in the arena */
    size_t count;
};

/* The files that paths[n] name.  A file stands for itself.  A folder stands for
 * its files in byte order of their names, each once, however many links in it
 * lead there; a folder inside it the same, but no deeper.  ERR_NOTFOUND or
 * ERR_DENIED or ERR_SPEC names the path: missing, unreadable, neither file nor
 * folder, too deep, a folder without files. */
int text_find(char *const *paths, size_t n, struct arena *a, struct text_files *out,
              struct err *e);

/* One file being read.  The fields are the reader's own, but for line and number. */
struct text_reader {
    const char *path;
    FILE *file;
    char *line; /* the current line with its newline, if it has one */
    size_t cap;
    uint64_t number; /* of that line, from 1 */
};

/* Start reading a file; path must outlive the reader. */
int text_open(struct text_reader *r, const char *path, struct err *e);
void text_close(struct text_reader *r);

/* Read the next line into r->line: 1 and its length, or 0 at the end.  ERR_SPEC
 * names file, line and byte where there is no UTF-8 or a NUL. */
int text_next(struct text_reader *r, size_t *len, struct err *e);

/* What is done with each line, its newline included. */
typedef int text_line_f(void *arg, const char *line, size_t len, struct err *e);

/* Read all files; errors of fn get file and line in front. */
int text_each_line(const struct text_files *files, text_line_f *fn, void *arg,
                   struct err *e);

#endif
