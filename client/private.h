/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.h - an nnd for one job, started by nnctl and ended by it.
 */
#ifndef CLIENT_PRIVATE_H
#define CLIENT_PRIVATE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/client.h"

struct private_nnd {
    pid_t pid;
    char dir[PATH_MAX]; /* its folder, absolute */
    bool made;          /* by us, and of no use once nothing is in it */
};

/* Start nnd in `dir`, NULL: a new folder below TMPDIR, and connect c to it.
 * It ends by itself when it is idle, should nnctl be killed. */
int private_start(struct client *c, const char *dir, bool oversubscribe,
                  struct private_nnd *p, struct err *e);

/* End it, with whatever it still runs, and wait until it is gone. */
void private_stop(struct client *c, struct private_nnd *p);

/* Remove the folder, which holds nothing that anyone asked for. */
void private_discard(struct private_nnd *p);

#endif
