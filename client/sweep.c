/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.c - the product of lists of values.
 */
#include "client/sweep.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

struct axis {
    const char *key;
    const char *values[SWEEP_MAX];
    size_t n;
};

static int add_value(struct axis *x, const char *value, struct err *e)
{
    if (!*value)
        return err_set(e, ERR_USAGE, "--sweep: %s: a value is missing", x->key);
    if (x->n == SWEEP_MAX)
        return err_set(e, ERR_USAGE, "--sweep: %s: at most %d values", x->key,
                       SWEEP_MAX);
    x->values[x->n++] = value;
    return 0;
}

/* "1..10"; false when it is none. */
static bool is_range(const char *text, int64_t *from, int64_t *to)
{
    const char *dots = strstr(text, "..");
    char first[24];

    if (!dots || (size_t)(dots - text) >= sizeof first)
        return false;
    snprintf(first, sizeof first, "%.*s", (int)(dots - text), text);
    return str_to_i64(first, from) && str_to_i64(dots + 2, to);
}

static int add_range(struct axis *x, int64_t from, int64_t to, struct arena *a,
                     struct err *e)
{
    int rc = from <= to ? 0
                        : err_set(e, ERR_USAGE, "--sweep: %s: %lld..%lld is empty",
                                  x->key, (long long)from, (long long)to);

    for (int64_t v = from; v <= to && rc == 0; v++)
        rc = add_value(x, arena_printf(a, "%lld", (long long)v), e);
    return rc;
}

static int parse(const char *text, struct axis *x, struct arena *a, struct err *e)
{
    char *copy = arena_strdup(a, text), *equals = strchr(copy, '='), *value;
    int64_t from, to;
    int rc = 0;

    if (!equals || equals == copy)
        return err_set(e, ERR_USAGE,
                       "--sweep: must be KEY=VALUE,VALUE,... or KEY=FROM..TO, got "
                       "\"%.80s\"",
                       text);
    *equals++ = '\0';
    x->key = copy;
    if (is_range(equals, &from, &to))
        return add_range(x, from, to, a, e);
    while (rc == 0 && (value = strsep(&equals, ",")))
        rc = add_value(x, value, e);
    return rc;
}

static void combine(struct axis *const *axes, struct sweep *s, struct arena *a)
{
    for (size_t i = 0; i < s->n; i++) {
        const char *label = "";
        size_t left = i;

        s->set[i] = arena_calloc(a, s->naxes + 1, sizeof(char *));
        for (size_t k = s->naxes; k-- > 0;) {
            const char *value = axes[k]->values[left % axes[k]->n];

            left /= axes[k]->n;
            s->set[i][k] = arena_printf(a, "%s=%s", axes[k]->key, value);
            label = arena_printf(a, "%s%s%s", s->set[i][k], *label ? " " : "", label);
        }
        s->label[i] = label;
    }
}

int sweep_make(const struct opt_list *list, struct arena *a, struct sweep *out,
               struct err *e)
{
    struct axis **axes = arena_calloc(a, list->n + 1, sizeof *axes);
    struct sweep s = {.n = 1, .naxes = list->n};

    for (size_t k = 0; k < list->n; k++) {
        int rc;

        axes[k] = arena_calloc(a, 1, sizeof **axes);
        rc = parse(list->items[k], axes[k], a, e);
        if (rc < 0)
            return rc;
        s.n *= axes[k]->n;
        if (s.n > SWEEP_MAX)
            return err_set(e, ERR_USAGE, "--sweep: at most %d jobs, got %zu or more",
                           SWEEP_MAX, s.n);
    }
    s.set = arena_calloc(a, s.n, sizeof *s.set);
    s.label = arena_calloc(a, s.n, sizeof *s.label);
    combine(axes, &s, a);
    *out = s;
    return 0;
}
