/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_lab.h - a bench for operators: a small graph, in f64 unless asked otherwise,
 * run by the kernels of `ref`, whose outputs are added up to one number.
 *
 * A case builds its graph from leaves (weights filled with random numbers, so
 * that they have gradients) and inputs, and ends every output in lab_dot.  With
 * several ranks each is built alike, in its own thread, and the number is the
 * sum over ranks.
 */
#ifndef NUM_OP_LAB_H
#define NUM_OP_LAB_H

#include "base/pool.h"
#include "graph/exec.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

#define LAB_RANKS  2
#define LAB_INPUTS 48

struct lab_input {
    struct value *v;
    void *data;
};

struct lab_meeting;

struct lab {
    struct graph *g;
    struct chunk c;
    struct value *total; /* state f64 [1] */
    int forward, backward;
    struct lab_input input[LAB_INPUTS];
    int ninput, ndot;
    struct pool *pool;
    struct kernels *kernels;
    nnd_plugin_v1_f *plugin;
    struct kernel_table *table;
    struct comm *self, *group;
    struct exec *x;
};

/* How a graph is made on each rank. */
typedef void lab_build_f(struct lab *l, const void *arg);
struct lab_setup {
    lab_build_f *build;
    const void *arg;
    int ranks;               /* 0: one                                              */
    bool backward;           /* with a backward program                             */
    int act, wide;           /* 0: f64                                              */
    nnd_plugin_v1_f *plugin; /* its kernels are loaded besides `ref`; or NULL */
    int fill;                /* leaves are filled with numbers of this type; 0: act */
};

/* All ranks of a case. */
struct lab_world {
    struct lab_setup setup;
    int ranks;
    struct lab lab[LAB_RANKS];
    struct lab_meeting *meeting;
};

/* For builders.  A weight "NAME", or a stack of experts "NAME{}" of which this
 * rank holds its part; both random. */
struct value *lab_leaf(struct lab *l, const char *name, struct shape s);
struct value *lab_stack(struct lab *l, const char *name, int total, struct shape s);

/* Inputs with given, or random, contents; the data is copied. */
struct value *lab_ints(struct lab *l, const char *name, struct shape s,
                       const int32_t *data);
struct value *lab_reals(struct lab *l, const char *name, int dtype, struct shape s,
                        const double *data);
struct value *lab_random(struct lab *l, const char *name, struct shape s);

/* A state; contents NULL: random. */
struct value *lab_state(struct lab *l, const char *name, int dtype, struct shape s,
                        const double *data);

/* l->c: `batch` sequences of `context` rows, of which the last `pad` are padding;
 * targets lie below `classes`. */
void lab_chunk(struct lab *l, int batch, int context, int pad, int classes);

/* total += <first `rows` rows of y (-1: all), random numbers>. */
void lab_dot(struct lab *l, struct value *y, int64_t rows);

/* total += <y, coef>, for what has a way of its own to its gradient. */
void lab_count(struct lab *l, struct value *y, struct value *coef);

/* Build on all ranks, choose kernels, allocate and fill.  Whatever it returns,
 * lab_close takes it away. */
int lab_open(struct lab_world *w, struct lab_setup setup, struct err *e);
void lab_close(struct lab_world *w);

/* Run forward (and backward) on all ranks; the number. */
int lab_run(struct lab_world *w, bool backward, double *total, struct err *e);

/* In f64: compare every gradient with central differences, at most `most`
 * elements of a tensor.  Errors name the tensor, the element, both numbers. */
int lab_compare(struct lab_world *w, int64_t most, struct err *e);

/* Element i of a weight's gradient. */
double lab_gradient(const struct lab *l, const struct param *p, int64_t i);

/* Is a node of this operator in the graph? */
bool lab_has(const struct lab *l, const struct op *op);

/* The i-th random number of a leaf, input or state of that name on that rank
 * (leaves of stacks are alike on all: rank 0); of a gradient buffer before the
 * first backward: "grad.NAME". */
double lab_number(const char *name, int rank, int64_t i);

/* Set e unless |found - want| <= 1e-12 (1 + |want|). */
int lab_expect(const char *what, int64_t i, double want, double found, struct err *e);

#endif
