/* SPDX-License-Identifier: Apache-2.0 */
/*
 * args.c - getopt_long over a table.
 */
#include "worker/args.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* Rows are found by number; numbers start above every letter. */
enum { MAX_ROWS = 40, FIRST_NUMBER = 1000, HELP = 999 };

struct table {
    struct arg_row row[MAX_ROWS]; /* those of all tables  */
    bool given[MAX_ROWS];         /* on this command line */
    struct option option[MAX_ROWS + 2];
    char letters[2 * MAX_ROWS + 4];
    int rows;
};

static void table_add(const struct arg_group *groups, struct table *t)
{
    for (; groups->rows; groups++)
        for (const struct arg_row *r = groups->rows; r->name && t->rows < MAX_ROWS;
             r++) {
            t->row[t->rows] = *r;
            t->row[t->rows++].at += groups->at;
        }
}

static void table_fill(const struct arg_group *groups, struct table *t)
{
    char *letter = t->letters;

    table_add(groups, t);
    *letter++ = '+'; /* no reordering: what is no option ends them */
    *letter++ = ':';
    for (int i = 0; i < t->rows; i++) {
        const struct arg_row *r = &t->row[i];
        int has = r->what ? required_argument : no_argument;

        t->option[i] = (struct option){r->name, has, NULL, FIRST_NUMBER + i};
        if (r->letter) {
            *letter++ = r->letter;
            *letter++ = ':';
        }
    }
    *letter = '\0';
    t->option[t->rows] = (struct option){"help", no_argument, NULL, HELP};
}

static const struct arg_row *row_of(const struct table *t, int c)
{
    if (c >= FIRST_NUMBER)
        return &t->row[c - FIRST_NUMBER];
    for (int i = 0; i < t->rows; i++)
        if (t->row[i].letter == c)
            return &t->row[i];
    return NULL;
}

/* --- values --------------------------------------------------------------- */

static int take_int(const struct arg_row *r, const char *text, int64_t *out,
                    struct err *e)
{
    int64_t v;

    if (!str_to_i64(text, &v) || (double)v < r->low || (double)v > r->high)
        return err_set(e, ERR_USAGE,
                       "--%s: wanted a whole number from %.0f to %.0f, found \"%s\"",
                       r->name, r->low, r->high, text);
    *out = v;
    return 0;
}

static int take_real(const struct arg_row *r, const char *text, double *out,
                     struct err *e)
{
    double v;

    if (!str_to_double(text, &v) || v < r->low || v > r->high)
        return err_set(e, ERR_USAGE,
                       "--%s: wanted a number from %g to %g, found \"%s\"", r->name,
                       r->low, r->high, text);
    *out = v;
    return 0;
}

static int take_list(const struct arg_row *r, const char *text, struct arg_list *out,
                     struct err *e)
{
    if (out->n == ARG_LIST_MAX)
        return err_set(e, ERR_USAGE, "--%s: wanted at most %d of them", r->name,
                       ARG_LIST_MAX);
    out->value[out->n++] = text;
    return 0;
}

static int take(const struct arg_row *r, const char *text, void *out, struct err *e)
{
    void *field = (char *)out + r->at;

    switch (r->kind) {
    case ARG_TEXT:
        *(const char **)field = text;
        return 0;
    case ARG_LIST:
        return take_list(r, text, field, e);
    case ARG_INT:
        return take_int(r, text, field, e);
    case ARG_REAL:
        return take_real(r, text, field, e);
    case ARG_FLAG:
        *(bool *)field = true;
        return 0;
    }
    abort();
}

/* --- the line ------------------------------------------------------------- */

static int unknown_option(const struct table *t, const char *found, struct err *e)
{
    const char *names[MAX_ROWS + 1], *near;
    char word[64];

    for (int i = 0; i < t->rows; i++)
        names[i] = t->row[i].name;
    names[t->rows] = "help";
    snprintf(word, sizeof word, "%s", found + strspn(found, "-"));
    word[strcspn(word, "=")] = '\0';
    near = str_nearest(word, names, (size_t)t->rows + 1);
    return err_set(e, ERR_USAGE, "%s: no such option%s%s%s", found,
                   near ? "; did you mean --" : "", near ? near : "", near ? "?" : "");
}

static bool is_given(const struct table *t, const char *name)
{
    for (int i = 0; i < t->rows; i++)
        if (strcmp(t->row[i].name, name) == 0)
            return t->given[i];
    return false;
}

/* The first option that would do nothing. */
static int check_ties(const struct table *t, const struct arg_tie *tie, struct err *e)
{
    static const struct {
        const char *before, *after;
    } wanted[] = {[ARG_WITH] = {"--", " as well"},
                  [ARG_WITHOUT] = {"no --", ""},
                  [ARG_ELSEWHERE] = {"", ""}};

    for (; tie && tie->name; tie++) {
        bool other = is_given(t, tie->other);

        if (is_given(t, tie->name) && (tie->kind == ARG_WITHOUT ? other : !other))
            return err_set(e, ERR_USAGE, "--%s: wanted %s%s%s: %s", tie->name,
                           wanted[tie->kind].before, tie->other,
                           wanted[tie->kind].after, tie->why);
    }
    return 0;
}

int args_parse(const struct arg_group *groups, const struct arg_tie *ties, int argc,
               char **argv, void *out, struct err *e)
{
    struct table t = {0};
    int c, rc = 0;

    table_fill(groups, &t);
    opterr = 0;
    optind = 1;
    while (rc == 0 && (c = getopt_long(argc, argv, t.letters, t.option, NULL)) != -1) {
        const struct arg_row *r = row_of(&t, c);

        if (c == HELP)
            return 1;
        if (r)
            t.given[r - t.row] = true;
        if (c == ':')
            rc = err_set(e, ERR_USAGE, "%s: wanted a value, found none",
                         argv[optind - 1]);
        else if (r)
            rc = take(r, optarg, out, e);
        else
            rc = unknown_option(&t, argv[optind - 1], e);
    }
    if (rc == 0 && optind < argc)
        rc = err_set(e, ERR_USAGE, "wanted an option, found \"%s\"", argv[optind]);
    return rc < 0 ? rc : check_ties(&t, ties, e);
}

void args_help(const struct arg_group *groups)
{
    struct table t = {0};

    table_add(groups, &t);
    for (const struct arg_row *r = t.row; r < t.row + t.rows; r++) {
        char left[64], letter[8] = "";

        if (r->letter)
            snprintf(letter, sizeof letter, "-%c, ", r->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, r->name, r->what ? " " : "",
                 r->what ? r->what : "");
        printf("  %-28s %s\n", left, r->help);
    }
    printf("  %-28s %s\n", "--help", "show this");
}
