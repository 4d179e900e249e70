/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crumb.h - a file that says what a process is doing, and still says it after the
 * process died: which node, which kernel, in which step.
 *
 * The texts of all nodes are written once, before the first step; entering a node
 * stores its number into the mapped page, nothing else.  The kernel keeps the page
 * when the process is gone, however it went.
 */
#ifndef TRUST_CRUMB_H
#define TRUST_CRUMB_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct crumb;

/* What stands at a node. */
struct crumb_node {
    char where[64];   /* "layer.3.mlp.gate"                          */
    char op[32];      /* "gemm"                                      */
    char plugin[64];  /* "blis"                                      */
    char kernel[64];  /* "gemm-bf16"                                 */
    char sha256[65];  /* of the plugin's file, "" when it is built in */
    char shapes[127]; /* "64x128 128x512 > 64x512"                   */
};

/* A new file for `nodes` nodes; what was there is replaced. */
int crumb_create(const char *path, int nodes, struct crumb **out, struct err *e);
void crumb_destroy(struct crumb *c);

void crumb_describe(struct crumb *c, int node, const struct crumb_node *what);

/* Each takes NULL: nobody wants to know.  From any one thread at a time. */
void crumb_step(struct crumb *c, int64_t step);
void crumb_enter(struct crumb *c, int node);
void crumb_leave(struct crumb *c);

/* What the file's process was doing last.  1: it was inside a node, *what and *step
 * say which; 0: it was not, or nothing is known. */
int crumb_read(const char *path, struct crumb_node *what, int64_t *step);

#endif
