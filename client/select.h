/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.h - which jobs a verb is about: by number, or by what they have in common.
 */
#ifndef CLIENT_SELECT_H
#define CLIENT_SELECT_H

#include "client/client.h"

/* First member of the structs that such verbs fill. */
struct select {
    bool all, dry_run;
    uint64_t array;
    const char *name;
    struct opt_list states;
    const char *user;
};

extern const struct opt select_options[];

/* True when a condition was given, --all among them. */
bool select_given(const struct select *o);

/* Fill the conditions of a list; ERR_USAGE for a state that there is none of.  The
 * states live in the client's arena. */
int select_fill(struct client *c, const struct select *o, Wire__List *q, struct err *e);

/* Call fn for each job, oldest first, until it fails: those with the numbers in argv,
 * or, without any, those that have not ended (`ended`: that have) and meet every
 * condition.  ERR_USAGE when both or neither are given.  What fails for one job only
 * is for fn to say. */
typedef int select_f(void *arg, uint64_t id, struct err *e);
int select_each(struct client *c, const struct select *o, bool ended, int argc,
                char **argv, select_f *fn, void *arg, struct err *e);

#endif
