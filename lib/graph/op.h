/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.h - what an operator is: one file, one constant struct (two with its
 * backward twin), one row of op_table.
 *
 * To add one: write op_NAME.c with the rules below, declare it in op_table.c,
 * give it a builder in ops.h, a kernel in plugins/ref and a case in
 * tests/num/op_cases.c; the suite fails while any of these is missing.
 */
#ifndef GRAPH_OP_H
#define GRAPH_OP_H

#include "graph/graph.h"

struct exec;

/* Turns values into addresses; a plan has none and gives NULL everywhere. */
struct bind {
    const struct exec *exec;
    int slot, position;
};

/* The tensor of a value with its own dims, or as a matrix (leading dims
 * multiplied); v NULL gives an absent tensor. */
struct nnd_tensor bind_tensor(const struct bind *b, const struct value *v);
struct nnd_tensor bind_matrix(const struct bind *b, const struct value *v);
struct nnd_tensor bind_vector(const struct bind *b, const struct value *v);
void *bind_data(const struct bind *b, const struct value *v);

/* A tensor begins, or has rows, at multiples of so many elements behind its value's
 * start: what that leaves of its alignment.  A plan and its run say the same. */
void bind_behind(struct nnd_tensor *t, int64_t elements);

/* The random bits of op number `number`; in: its inputs rng, sample, pos. */
struct nnd_dropout bind_dropout(const struct bind *b, double p, uint32_t number,
                                struct value *const in[3]);

/* For shape rules: input i of n, called `what`, is there, of `dtype` (0: any),
 * and a matrix rows x cols once leading dims are multiplied (-1: any; a vector
 * is 1 x N).  Else an error that says what was wanted and what was found. */
int op_want(const struct node *n, int i, const char *what, int dtype, int64_t rows,
            int64_t cols, struct err *e);

/* How a value is made once more: by `op`, of values that backward has. */
struct again {
    const struct op *op;
    const void *attr;
    struct value *in[GRAPH_INPUTS];
    int nin, nout; /* its first nout results are those of the node */
};

/* By the same call (a rule of struct op). */
bool again_same(const struct node *n, struct again *a);

struct op {
    const char *name; /* unique; also the row of a profile */
    size_t attr_size;

    /* Check the inputs, make the outputs. */
    int (*shape)(struct graph *g, struct node *n, struct err *e);

    /* Append the backward of n; NULL when nothing flows through it.  A loss
     * (terminal) is asked without a gradient of its own. */
    void (*grad)(struct graph *g, const struct node *n);
    bool terminal;

    /* Of operators whose results are made again in backward for little more than
     * reading it would cost (again.h): how, to the bit as forward made it; false: not
     * this node's.  NULL: it is kept.  From which `recompute` of a graph on. */
    bool (*again)(const struct node *n, struct again *a);
    enum recompute again_from;

    /* Multiply-adds count two. */
    int64_t (*flops)(const struct node *n);

    /* Computed by a kernel: its catalogue name, and its params from the node (the
     * only place where nodes become arguments).  bind returns 1 when there is
     * nothing to do at this position. */
    const char *kernel;
    size_t params_size;
    bool by_chunk; /* the address of a value depends on the chunk (bind.position) */
    /* Of products: 1 + the input that is b, and that is b2 (pack.h). */
    int weight[2];
    int (*bind)(const struct node *n, const struct bind *b, void *params);

    /* Or by the host (collectives).  With a kernel as well, the device computes it
     * when the host is apart (graph.apart), nothing is sent and it has a kernel. */
    int (*run)(struct exec *x, const struct node *n, struct err *e);
    /* and the bytes that this rank sends to others; `routed`: that it hands over,
     * data decides how many of them stay. */
    int64_t (*wire)(const struct graph *g, const struct node *n);
    bool routed;
};

/* The kernel's name that a node asks for, or NULL: the host's, or nobody's. */
const char *op_kernel_of(const struct graph *g, const struct node *n);

/* All operators, NULL-terminated: op_table.c. */
extern const struct op *const op_table[];

#endif
