/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli.c - getopt_long's arrays, and its complaints, made from our tables.
 */
#include "client/cli.h"

#include <getopt.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/oom.h"
#include "base/str.h"

enum { LONG_BASE = 1000 }; /* what getopt_long returns for the first row */

#define SPAN_MAX (36500 * 86400.0) /* far below where microseconds are no int64_t */

/* All rows of all groups, one after the other, as getopt_long wants them. */
struct rows {
    size_t n;
    const struct opt **opt;
    char **values; /* of the row's group */
    struct option *option;
    char *letters;
};

static size_t count_rows(const struct opt_group *groups, size_t n)
{
    size_t total = 0;

    for (size_t g = 0; g < n; g++)
        for (const struct opt *o = groups[g].table; o && o->kind; o++)
            total++;
    return total;
}

static void add_row(struct rows *r, const struct opt *o, void *values)
{
    size_t i = r->n++;
    char *end = r->letters + strlen(r->letters);

    r->opt[i] = o;
    r->values[i] = values;
    r->option[i] = (struct option){
        .name = o->name,
        .has_arg = o->kind == OPT_FLAG ? no_argument : required_argument,
        .val = LONG_BASE + (int)i,
    };
    if (o->letter) {
        *end++ = o->letter;
        if (o->kind != OPT_FLAG)
            *end++ = ':';
    }
}

static void rows_make(struct rows *r, const struct opt_group *groups, size_t n,
                      bool leading, struct arena *a)
{
    size_t total = count_rows(groups, n);

    *r = (struct rows){
        .opt = arena_calloc(a, total + 1, sizeof(*r->opt)),
        .values = arena_calloc(a, total + 1, sizeof(*r->values)),
        .option = arena_calloc(a, total + 1, sizeof(*r->option)),
        .letters = arena_calloc(a, total + 2, 2),
    };
    r->letters[0] = leading ? '+' : ':';
    if (leading)
        r->letters[1] = ':';
    for (size_t g = 0; g < n; g++)
        for (const struct opt *o = groups[g].table; o && o->kind; o++)
            add_row(r, o, groups[g].values);
}

/* --- values --------------------------------------------------------------- */

static void list_add(struct opt_list *list, const char *item, struct arena *a)
{
    const char **items = arena_calloc(a, list->n + 1, sizeof(*items));

    if (list->n)
        memcpy(items, list->items, list->n * sizeof(*items));
    items[list->n++] = item;
    list->items = items;
}

static int set_rank(const char *text, int *out)
{
    uint64_t n;

    if (!str_to_u64(text, &n) || n > INT32_MAX)
        return -1;
    *out = (int)n;
    return 0;
}

static int set_value(const struct opt *o, char *at, const char *text, struct arena *a,
                     struct err *e)
{
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)at = true;
        return 0;
    case OPT_TEXT:
        *(const char **)at = text;
        return 0;
    case OPT_LIST:
        list_add((struct opt_list *)at, text, a);
        return 0;
    case OPT_COUNT:
        if (str_to_u64(text, (uint64_t *)at))
            return 0;
        break;
    case OPT_ID:
        if (str_to_u64(text, (uint64_t *)at) && *(uint64_t *)at > 0)
            return 0;
        return err_set(e, ERR_USAGE, "--%s: must be a number from 1, got \"%s\"",
                       o->name, text);
    case OPT_RANK:
        if (set_rank(text, (int *)at) == 0)
            return 0;
        break;
    case OPT_REAL:
        if (str_to_double(text, (double *)at))
            return 0;
        break;
    case OPT_SPAN:
        if (clock_duration(text, (double *)at, NULL) == 0 && *(double *)at <= SPAN_MAX)
            return 0;
        if (clock_duration(text, (double *)at, NULL) == 0)
            return err_set(e, ERR_USAGE, "--%s: must be at most 36500d, got \"%s\"",
                           o->name, text);
        return err_set(e, ERR_USAGE,
                       "--%s: must be a duration such as 90s, 5m or 1.5h, got \"%s\"",
                       o->name, text);
    case OPT_END:
        break;
    }
    return err_set(e, ERR_USAGE, "--%s: must be a number, got \"%s\"", o->name, text);
}

/* --- complaints ----------------------------------------------------------- */

static const struct opt *row_of(const struct rows *r, int code)
{
    for (size_t i = 0; i < r->n; i++)
        if (code == LONG_BASE + (int)i || (code && code == r->opt[i]->letter))
            return r->opt[i];
    return NULL;
}

static int complain_long(const struct rows *r, const char *word, struct arena *a,
                         struct err *e)
{
    const char **names = arena_calloc(a, r->n, sizeof(*names));
    char *name = arena_strdup(a, word + 2);
    const char *near;

    name[strcspn(name, "=")] = '\0';
    for (size_t i = 0; i < r->n; i++) {
        names[i] = r->opt[i]->name;
        if (r->opt[i]->kind == OPT_FLAG && strcmp(names[i], name) == 0)
            return err_set(e, ERR_USAGE, "--%s takes no value", name);
    }
    near = str_nearest(name, names, r->n);
    return near ? err_set(e, ERR_USAGE, "unknown option --%s; did you mean --%s?", name,
                          near)
                : err_set(e, ERR_USAGE, "unknown option --%s", name);
}

static int complain(const struct rows *r, int code, char **argv, struct arena *a,
                    struct err *e)
{
    const struct opt *o = row_of(r, optopt);

    if (code == ':' && o)
        return err_set(e, ERR_USAGE, "--%s needs a value: %s", o->name, o->arg);
    if (optopt && optopt < LONG_BASE)
        return err_set(e, ERR_USAGE, "unknown option -%c", optopt);
    return complain_long(r, argv[optind - 1], a, e);
}

int cli_parse(const struct opt_group *groups, size_t n, int argc, char **argv,
              bool leading, struct arena *a, int *first, struct err *e)
{
    struct rows r;
    int code;

    rows_make(&r, groups, n, leading, a);
    opterr = 0;
    optind = 0; /* start anew, also after another argv */
    while ((code = getopt_long(argc, argv, r.letters, r.option, NULL)) != -1) {
        size_t i;
        int rc;

        if (code == '?' || code == ':')
            return complain(&r, code, argv, a, e);
        for (i = 0; i < r.n; i++)
            if (code == LONG_BASE + (int)i || code == r.opt[i]->letter)
                break;
        rc = set_value(r.opt[i], r.values[i] + r.opt[i]->at, optarg, a, e);
        if (rc < 0)
            return rc;
    }
    *first = optind;
    return 0;
}

/* --- help ----------------------------------------------------------------- */

void cli_help(const struct opt *table, FILE *out)
{
    for (const struct opt *o = table; o && o->kind; o++) {
        char left[64];

        snprintf(left, sizeof left, "%c%c%c --%s%s%s", o->letter ? '-' : ' ',
                 o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
                 o->arg ? " " : "", o->arg ? o->arg : "");
        fprintf(out, "  %-28s  %s\n", left, o->help);
    }
}
