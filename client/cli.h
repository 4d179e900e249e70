/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.h - command lines out of tables.
 *
 * An option is a row that says its name, what it takes, where its value goes
 * and what it is for.  Parsing, --help, the manual page and shell completion
 * walk the same rows, so that none can say what another does not.
 */
#ifndef CLIENT_CLI_H
#define CLIENT_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/err.h"

/* What an option takes, and the type of its value. */
enum opt_kind {
    OPT_END = 0, /* no option: ends a table                       */
    OPT_FLAG,    /* nothing; bool                                 */
    OPT_TEXT,    /* const char *, NULL when not given             */
    OPT_LIST,    /* struct opt_list: may be given several times   */
    OPT_COUNT,   /* uint64_t                                      */
    OPT_ID,      /* uint64_t, 1 or more; 0 when not given         */
    OPT_RANK,    /* int, -1 when not given: preset by the verb    */
    OPT_REAL,    /* double                                        */
    OPT_SPAN,    /* "90s", "1.5h", to 36500d; double, seconds     */
};

struct opt_list {
    const char **items;
    size_t n;
};

struct opt {
    enum opt_kind kind;
    char letter;      /* 'S' for -S, or 0              */
    const char *name; /* "set" for --set               */
    const char *arg;  /* "PATH=VALUE"; NULL for a flag */
    size_t at;        /* offset in the struct it fills */
    const char *help; /* one line                      */
};

/* A table of options and the struct that its values go to. */
struct opt_group {
    const struct opt *table;
    void *values;
};

/* Read the options of argv[1...] into the groups.  With `leading`, stop at the
 * first word that is no option; else move such words behind the options.
 * *first becomes the index of the first of them.  Lists live in the arena.
 * ERR_USAGE for what is unknown (with a near name), lacks or has a value. */
int cli_parse(const struct opt_group *groups, size_t n, int argc, char **argv,
              bool leading, struct arena *a, int *first, struct err *e);

/* Print a table for --help: "  -S, --set PATH=VALUE   override ...". */
void cli_help(const struct opt *table, FILE *out);

#endif
