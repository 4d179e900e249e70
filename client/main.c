/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - nnctl: the client of nnd, for people at a terminal and for scripts.
 *
 * Finds the verb, reads its command line by its table, runs it, and turns what
 * it returns into an exit status.  What verbs do is in cmd_*.c.
 */
#include "config.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "client/client.h"
#include "client/verb.h"

/* Whether stdout takes colours; WHEN is what --color says. */
static int decide_color(struct client *c, struct err *e)
{
    const char *when = c->opt.color ? c->opt.color : "auto";
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    if (strcmp(when, "always") == 0)
        c->colored = true;
    else if (strcmp(when, "never") == 0)
        c->colored = false;
    else if (strcmp(when, "auto") == 0)
        c->colored = !(no && *no) && term && strcmp(term, "dumb") != 0 && isatty(1);
    else
        return err_set(e, ERR_USAGE,
                       "--color: must be auto, always or never, "
                       "got \"%s\"",
                       when);
    return 0;
}

static int check_args(const struct verb *v, int n, char **args, struct err *e)
{
    if (n < v->min_args)
        return err_set(e, ERR_USAGE, "needs %s", v->args);
    if (v->max_args >= 0 && n > v->max_args)
        return err_set(e, ERR_USAGE, "takes %s, got \"%s\" as well",
                       *v->args ? v->args : "no arguments", args[v->max_args]);
    return 0;
}

/* argv[0] is the verb. */
static int run_verb(struct client *c, const struct verb *v, int argc, char **argv,
                    struct err *e)
{
    void *values = arena_alloc(c->arena, v->size + 1);
    const struct opt_group groups[] = {
        {v->options[0], values},
        {v->options[1], values},
        {common_options, &c->opt},
    };
    int first, rc;

    if (v->preset)
        v->preset(values);
    rc = cli_parse(groups, 3, argc, argv, false, c->arena, &first, e);
    if (rc == 0)
        rc = decide_color(c, e);
    if (rc < 0)
        return rc;
    if (c->opt.help) {
        verb_help(v, stdout);
        return 0;
    }
    rc = check_args(v, argc - first, argv + first, e);
    return rc < 0 ? rc : v->run(c, values, argc - first, argv + first, e);
}

/* Options that stand before the verb. */
struct leading {
    bool version;
};

static const struct opt leading_options[] = {
    {OPT_FLAG, 'V', "version", NULL, offsetof(struct leading, version),
     "print the version of nnctl"},
    {0},
};

static int run(struct client *c, int argc, char **argv, struct err *e)
{
    struct leading leading = {0};
    const struct opt_group groups[] = {
        {leading_options, &leading},
        {common_options, &c->opt},
    };
    const struct verb *v;
    int first, rc = cli_parse(groups, 2, argc, argv, true, c->arena, &first, e);

    if (rc < 0)
        return rc;
    if (leading.version) {
        puts("nnctl " PACKAGE_VERSION);
        return 0;
    }
    if (c->opt.help) {
        verb_help_all(stdout);
        return 0;
    }
    if (first == argc)
        return err_set(e, ERR_USAGE,
                       "needs a verb, for example: nnctl submit JOB.yaml");
    rc = verb_find(argv[first], &v, e);
    if (rc < 0)
        return rc;
    c->verb = v->name;
    return run_verb(c, v, argc - first, argv + first, e);
}

int main(int argc, char **argv)
{
    struct client c = {.arena = arena_create()};
    struct err e = {0};
    int rc = run(&c, argc, argv, &e);

    if (rc < 0)
        rc = client_report(&c, &e);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        client_say(&c, "standard output: could not be written");
        rc = rc ? rc : -ERR_FAILED;
    }
    chan_close(c.chan);
    arena_destroy(c.arena);
    return rc;
}
