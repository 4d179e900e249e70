/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb.h - what a verb of nnctl is, and the table of them all.
 *
 * A verb is one constant struct in its cmd_NAME.c and one line in verbs.c.
 */
#ifndef CLIENT_VERB_H
#define CLIENT_VERB_H

#include <stddef.h>
#include <stdio.h>

#include "client/cli.h"
#include "client/client.h"

/* `values` is a zeroed struct of verb->size bytes, filled from the command line
 * (or what verb->preset made of it); args are what is left of that, argc of them
 * and a NULL.  Returns nnctl's exit status, 0 or above, or an error to report. */
typedef int verb_f(struct client *c, void *values, int argc, char **argv,
                   struct err *e);

struct verb {
    const char *name;
    const char *alias;            /* another name, or NULL                    */
    const char *args;             /* "JOB.yaml", "ID..."; "" for none         */
    int min_args, max_args;       /* how many; max_args -1: any number        */
    const char *brief;            /* one line, no full stop                   */
    const char *text;             /* paragraphs for --help and the manual     */
    const struct opt *options[2]; /* tables of options; either may be NULL    */
    size_t size;                  /* of the struct that they fill             */
    void (*preset)(void *values); /* defaults other than zero; or NULL        */
    verb_f *run;
};

extern const struct verb *const verbs[];
extern const size_t nverbs;

/* By name or alias; ERR_USAGE, with a near name, when there is none. */
int verb_find(const char *name, const struct verb **out, struct err *e);

/* What --help prints: of one verb, and of nnctl. */
void verb_help(const struct verb *v, FILE *out);
void verb_help_all(FILE *out);

/* The verbs and their options for nnctl(1), and for bash. */
void verb_print_man(FILE *out);
void verb_print_bash(FILE *out);

#endif
