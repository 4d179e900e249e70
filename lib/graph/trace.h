/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.h - a step run once more and looked at node by node, to find where its numbers
 * end; in the host's memory alone.
 *
 * First to look: which node is the first that leaves a NaN or an infinity?  What nodes
 * make is zero before they run, so that rows which nobody writes are numbers.  Then, on
 * the rank that has found it, to judge: the calls up to it are held against ref
 * (kernel/verify.h), and of the one itself a sample with the number in question.
 */
#ifndef GRAPH_TRACE_H
#define GRAPH_TRACE_H

#include "graph/exec.h"

enum trace_mode {
    TRACE_RUN, /* nothing: only for others to go on */
    TRACE_LOOK,
    TRACE_JUDGE
};

/* Where: `key` grows in the order in which a step's nodes run, equal on all ranks; 0 is
 * nowhere.  The rest is this rank's. */
struct trace_place {
    int64_t key;
    int round;
    const void *at; /* address of the first number that is none */
};

/* What became of the call at the place. */
enum trace_verdict {
    TRACE_UNSEEN,   /* this time it left numbers                               */
    TRACE_GIVEN,    /* what it was given were none already: `text` names it    */
    TRACE_HOST,     /* no kernel's, but computed by the host                   */
    TRACE_UNASKED,  /* ref cannot be asked                                     */
    TRACE_NO_WORSE, /* ref has no number there either, or few could: see `text` */
    TRACE_WORSE     /* ref has one: `text` says which                          */
};

struct trace {
    enum trace_mode mode;
    int runs;                 /* programs run so far */
    struct trace_place place; /* LOOK finds it, JUDGE is given it */

    /* JUDGE: */
    enum trace_verdict verdict;
    const struct nnd_kernel *kernel; /* at the place, or NULL                    */
    double most;                     /* the largest number that went in there    */
    char what[400];                  /* "kernel P/K (OP of NODE, SHAPES)"        */
    char text[200];
    char before[600]; /* the first call before it that differed from ref, or "" */
};

/* From now on; NULL: no more. */
void exec_trace(struct exec *x, struct trace *t);

/* exec.c: around a node that runs, and in place of a kernel's launch. */
void trace_program(struct trace *t);
void trace_before(struct exec *x, const struct node *n);
void trace_behind(struct exec *x, const struct node *n, const struct record *r);
int trace_launch(struct exec *x, const struct node *n, const struct record *r,
                 const struct nnd_launch *l, struct nnd_error *why);

#endif
