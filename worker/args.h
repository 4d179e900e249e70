/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.h - a task's command line, from a table of its options.
 *
 * The table says where in the task's own struct a value goes, so parsing and
 * --help are the same for every task.
 */
#ifndef WORKER_ARGS_H
#define WORKER_ARGS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* What a field is. */
enum arg_kind {
    ARG_TEXT, /* const char *            */
    ARG_LIST, /* struct arg_list         */
    ARG_INT,  /* int64_t in [low, high]  */
    ARG_REAL, /* double in [low, high]   */
    ARG_FLAG, /* bool                    */
};

#define ARG_LIST_MAX 64

/* Values of an option that may be given several times. */
struct arg_list {
    const char *value[ARG_LIST_MAX];
    size_t n;
};

/* One option; a row without a name ends the table. */
struct arg_row {
    const char *name;
    char letter;      /* -S, or 0                     */
    const char *what; /* "FILE"; NULL for a flag      */
    enum arg_kind kind;
    size_t at; /* offset of the field          */
    double low, high;
    const char *help;
};

/* A struct within the task's that has a table of its own; rows NULL ends a list. */
struct arg_group {
    const struct arg_row *rows;
    size_t at; /* offset of the struct */
};

/* What has an option say anything. */
enum arg_tie_kind {
    ARG_WITH,      /* that another option is given     */
    ARG_WITHOUT,   /* that another option is not given */
    ARG_ELSEWHERE, /* another task: `other` names it   */
};

/* An option that would do nothing is refused where it is given, be it with its default;
 * a row without a name ends the table. */
struct arg_tie {
    const char *name;
    enum arg_tie_kind kind;
    const char *other, *why;
};

/* Fill *out, which holds the defaults, from argv[1...] by all tables of the list.  The
 * strings stay argv's.  ties may be NULL.  1: --help was asked for.  ERR_USAGE names
 * the option, what was wanted and found, or why. */
int args_parse(const struct arg_group *groups, const struct arg_tie *ties, int argc,
               char **argv, void *out, struct err *e);

/* Print the tables to standard output. */
void args_help(const struct arg_group *groups);

#endif
