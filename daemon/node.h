/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the machines that ranks are put on, and how many slots each has.
 *
 * A slot is a processor.  The ranks of a job may be on several nodes, the threads of
 * a rank are on one.  Where ranks are is text, "a:2,b:1": two ranks on a, one on b.
 */
#ifndef DAEMON_NODE_H
#define DAEMON_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct node {
    char name[64];
    uint32_t slots, used;
};

struct nodes {
    struct node *v;
    size_t n;
    uint32_t slots; /* of all                                    */
    bool listed;    /* by a file; else this machine stands alone */
};

/* This machine alone, with so many slots, or, with 0, as many as there are
 * processors that this process may use, by hwloc. */
int nodes_local(const char *name, uint32_t slots, struct nodes *out, struct err *e);

/* From a file of lines "NAME SLOTS"; "#" begins a comment. */
int nodes_load(const char *path, struct nodes *out, struct err *e);

void nodes_free(struct nodes *t);

/* How many ranks of so many threads fit, with every slot free (`empty`) or now. */
uint64_t nodes_room(const struct nodes *t, uint32_t threads, bool empty);

/* Put ranks on nodes: on one of them when one has room for all, else filling one
 * after the other.  `anyway` shares them out even where there is no room.  Appends
 * the text; false, and nothing appended, when they do not fit. */
bool nodes_place(const struct nodes *t, uint32_t ranks, uint32_t threads, bool anyway,
                 struct buf *out);

/* No slot is used; those of ranks that are where the text says are.  NULL is the
 * first node.  A name that is not in the table any more counts nowhere. */
void nodes_clear(struct nodes *t);
void nodes_take(struct nodes *t, const char *where, uint32_t ranks, uint32_t threads);

#endif
