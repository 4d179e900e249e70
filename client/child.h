/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - the other programs of nnd, which do what nnctl does not.
 */
#ifndef CLIENT_CHILD_H
#define CLIENT_CHILD_H

#include <limits.h>

#include "base/arena.h"
#include "base/err.h"

enum child_program { CHILD_NND, CHILD_WORKER, CHILD_PROBE };

/* Where the program is: named by its variable (NND_DAEMON, NND_WORKER, NND_PROBE),
 * else beside nnctl in a build tree, else where it was installed. */
int child_find(enum child_program which, char out[PATH_MAX], struct err *e);

/* A command line that grows; NULL-terminated. */
struct child_args {
    struct arena *arena;
    char **v;
    size_t n, cap;
};

void child_arg(struct child_args *a, const char *text);

/* "--name value", unless value is NULL. */
void child_option(struct child_args *a, const char *name, const char *value);

/* Become the program: its output is nnctl's, and its exit status.  Returns only
 * with an error. */
int child_become(enum child_program which, struct child_args *a, struct err *e);

#endif
