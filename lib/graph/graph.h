/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.h - a model as nodes and values; nothing is computed here.
 *
 * Model code appends nodes; grad.h appends their backward; memory.h gives every
 * value a place; exec.h runs programs.  Shapes are static.  The same graph is
 * the plan that `nnctl plan` prints.
 *
 * Building cannot fail half-way: the first error sticks to the graph, later
 * calls return NULL and do nothing, and graph_status tells.
 */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nnd/plugin.h>

#include "base/arena.h"
#include "base/err.h"
#include "plan/mesh.h"

#define GRAPH_DIMS    4
#define GRAPH_INPUTS  16
#define GRAPH_OUTPUTS 8

struct op;
struct node;
struct param;

struct shape {
    int ndim;
    int64_t dim[GRAPH_DIMS];
};

/* Where a value lives, and for how long. */
enum storage {
    STORAGE_PARAM, /* a weight, in its plane                                  */
    STORAGE_GRAD,  /* a weight's gradient of one chunk: a buffer of its plane  */
    STORAGE_STATE, /* survives a step: moments, balancing bias, KV cache       */
    STORAGE_INPUT, /* written by the host before a program runs                */
    STORAGE_ARENA  /* between its maker and its last user                      */
};

/* What backward makes again of what forward made, instead of reading it (again.h). */
enum recompute {
    RECOMPUTE_NOTHING,
    RECOMPUTE_NORMS,       /* and what else is one pass over memory */
    RECOMPUTE_ACTIVATIONS, /* and what computes more than it reads  */
    RECOMPUTE_BLOCKS       /* and all that a block keeps to itself  */
};

/* The numbers of a constant: out[elements of s]. */
typedef void constant_f(const struct shape *s, float *out);

struct value {
    const char *name;
    int id, dtype; /* enum nnd_dtype */
    struct shape shape;
    enum storage storage;
    bool wants_grad;
    bool saved;            /* ARENA: crosses programs (memory.h)            */
    bool slotted;          /* and lives in a slot                           */
    struct node *maker;    /* NULL when not computed                        */
    struct value *root;    /* the value whose memory this one is; often itself */
    int64_t root_offset;   /* elements behind root's start                  */
    struct param *param;   /* PARAM, GRAD                                   */
    size_t offset;         /* bytes from the start of its region (memory.h) */
    constant_f *fill;      /* STATE: a constant's numbers, or NULL          */
    int64_t first, stride; /* STATE: whole numbers in a row; stride 0: none  */
    const int32_t *number; /* STATE: a constant's whole numbers, or NULL     */
    struct value **grads;  /* contributions to d loss / d value (grad.c)   */
    int ngrads;
};

struct node {
    const struct op *op;
    int id, program, loop; /* loop: 0 none, else index into graph.loop   */
    int block;             /* of forward (graph_block); 0: none */
    bool again;            /* makes again in backward what forward made (again.h) */
    bool redo;         /* computes again what forward had, in rounds after the first */
    const char *where; /* "layers.3.attn.q" */
    void *attr;        /* op->attr_size bytes */
    int nin, nout;
    struct value *in[GRAPH_INPUTS]; /* NULL: absent */
    struct value *out[GRAPH_OUTPUTS];
};

enum param_group { PARAM_DENSE, PARAM_EXPERT };
#define PARAM_GROUPS 2

/* How a weight begins: normal with deviation std, or all `fill` when std is 0. */
struct param_init {
    double std, fill;
};

/* One stored weight: one logical tensor, or this rank's slice of a stack of
 * them (experts).  The name of a stack holds "{}" where the number goes. */
struct param {
    const char *name;
    struct value *value; /* shape: [stack] + logical shape when stack > 0 */
    enum param_group group;
    int stack, first, total; /* stacked here, number of the first, in all; 0 */
    bool decay;              /* weight decay applies                         */
    struct param_init init;
    int plane;      /* index into graph.plane                                */
    int64_t offset; /* elements from the plane's start                       */
    int uses;       /* consumers whose gradients are awaited (grad.c)        */
    bool has_grad;
    struct value *grad; /* made by graph_grad                                */
};

/* Weights of one group and dtype, one after the other: what is reduced,
 * sharded and gathered together. */
struct plane {
    enum param_group group;
    int dtype;
    int64_t elements;                 /* with padding between tensors */
    int buffers;                      /* gradient buffers (tree.h)     */
    size_t param_offset, grad_offset; /* bytes in their regions (memory.h) */
};

struct program {
    const char *name;
    int first, end; /* nodes [first, end) */
    int behind;     /* 1 + the program that always runs right before it; 0: none does */
};

/* Nodes [first, end) run `trips` times (known only when they start). */
struct loop {
    int first, end;
    bool descending;            /* round trips-1 down to 0 */
    const struct value *counts; /* i32 [ep, experts], see plan/rounds.h */
    int64_t capacity;           /* rows of the arrivals' buffer         */
};

#define GRAPH_PLANES   8
#define GRAPH_PROGRAMS 16

struct graph {
    struct arena *mem;
    struct mesh mesh;
    int act;    /* dtype of weights and activations                      */
    int wide;   /* dtype of sums, statistics and gradients: f32 (tests: f64) */
    int wire;   /* dtype of gradients between ranks: wide, or bf16 if that is f32 */
    bool apart; /* the host does not reach the device's memory: operators that both
                   can compute are the device's, where it has kernels for them */
    struct node **node;
    struct value **value;
    struct param **param;
    struct loop *loop; /* [0] unused */
    int nnode, nvalue, nparam, nloop;
    int cap_node, cap_value, cap_param, cap_loop;
    struct plane plane[GRAPH_PLANES];
    int nplane;
    struct program program[GRAPH_PROGRAMS];
    int nprogram;
    int block, nblock; /* that nodes appended now are of, and the program's so far */
    int open_loop;     /* nodes appended now belong to it */
    enum recompute recompute;
    int recompute_blocks; /* of RECOMPUTE_BLOCKS: a program's first so many; 0: all */
    uint32_t next_rng;    /* number of the next op that draws random bits */
    char scope[160];
    struct err err;
};

struct graph *graph_create(const struct mesh *mesh, int act, int wide);
void graph_destroy(struct graph *g);

/* 0, or the first error met while building. */
int graph_status(const struct graph *g, struct err *e);

/* Record an error unless there is one; returns NULL for the caller to return. */
void *graph_fail(struct graph *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Nodes appended from now on belong to program `name`; returns its index. */
int graph_program(struct graph *g, const char *name);
int graph_find_program(const struct graph *g, const char *name); /* or -1 */

/* Names of nodes and weights get this prefix ("layers.3.attn"). */
void graph_scope(struct graph *g, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

struct shape shape_of(int ndim, ...); /* int64_t each */
int64_t shape_elements(const struct shape *s);
bool shape_equal(const struct shape *a, const struct shape *b);
/* Product of all dims but the last, and the last. */
int64_t shape_rows(const struct shape *s);
int64_t shape_cols(const struct shape *s);
size_t value_bytes(const struct value *v);

/* A value that is written by the host, or survives; by name, made once. */
struct value *graph_input(struct graph *g, const char *name, int dtype, struct shape s);
struct value *graph_state(struct graph *g, const char *name, int dtype, struct shape s);
struct value *graph_find(const struct graph *g, const char *name); /* or NULL */

/* A state of a float type that holds the same numbers for ever. */
struct value *graph_constant(struct graph *g, const char *name, int dtype,
                             struct shape s, constant_f *fill);

/* The same of i32 [count]: first, first + stride, ...; stride > 0.  Equal ones are one
 * value. */
struct value *graph_index(struct graph *g, int64_t first, int64_t stride,
                          int64_t count);

/* The same of any numbers, which outlive the graph. */
struct value *graph_numbers(struct graph *g, const char *name, const int32_t *number,
                            int64_t count);

/* A weight named SCOPE.name of dtype g->act (or `dtype` when not 0); the same
 * one when asked for again. */
struct value *graph_weight(struct graph *g, const char *name, int dtype, struct shape s,
                           struct param_init init, bool decay);

/* This rank's slice of `total` stacked weights (experts), numbers first...; s is
 * the shape of one; `name` holds "{}". */
struct value *graph_stack(struct graph *g, const char *name, int total, int first,
                          int count, struct shape s, struct param_init init);

/* A weight's finished gradient (wide), the sum over chunks. */
struct value *graph_grad(struct graph *g, struct param *p);

/* The logical name of the i-th tensor of a stored weight, with "{}" replaced. */
void param_name(const struct param *p, int i, char *out, size_t size);

/* Nodes appended from now on are a block of their own, until graph_block_end: a part of
 * forward that backward may run again from what it read of others (again.h). */
void graph_block(struct graph *g);
void graph_block_end(struct graph *g);

/* Append a node; its op's shape rule makes the outputs (node->out). */
struct node *graph_add(struct graph *g, const struct op *op, const void *attr,
                       struct value *const *in, int nin);

/* Append a node that is already made (grad.c copies some). */
void graph_append(struct graph *g, struct node *n);

/* For shape rules: the next output of a node. */
struct value *graph_out(struct graph *g, struct node *n, int dtype, struct shape s);

/* For shape rules: an output that is (part of) another value's memory. */
struct value *graph_out_view(struct graph *g, struct node *n, struct value *of,
                             int64_t offset, struct shape s);

/* Nodes until graph_loop_end run once a round of sending rows (plan/rounds.h). */
void graph_loop_begin(struct graph *g, const struct value *counts, int64_t capacity,
                      bool descending);
void graph_loop_end(struct graph *g);

#endif
