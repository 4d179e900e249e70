/* SPDX-License-Identifier: Apache-2.0 */
/*
 * onnx_body.h - the nodes of an ONNX graph or function in the making, and what the
 * values of our graph are called in it.
 *
 * For the files onnx*.c alone.  All of it lives in one arena.
 */
#ifndef EXCHANGE_ONNX_BODY_H
#define EXCHANGE_ONNX_BODY_H

#include <stdbool.h>

#include "base/arena.h"
#include "exchange/onnx.pb-c.h"
#include "graph/graph.h"

/* How rows stand in ONNX.  Ours are [T,...]; there T is [batch, length] in whole
 * sequences, and [batch] where each has one row. */
struct onnx_form {
    int lead;     /* 1 or 2 dims for the rows; 0: no rows (a weight)      */
    bool experts; /* with a dim of experts in front, [.., E, rows, N]      */
    bool summed;  /* a norm's sum with its residual, made by the block before */
    bool shared;  /* one sequence's rows, the same for all: places             */
    bool source;  /* rows of a source, and not of the text at hand            */
};

struct onnx_body {
    struct arena *mem;
    struct onnx_body *outer; /* of a loop: whose names are good here, too; or NULL */
    const struct graph *g;
    struct onnx_form *form;  /* [nvalue], shared by all bodies of a file */
    const char **name;       /* [nvalue] in this body, or NULL           */
    const char *scope;       /* what names of weights lose at their head */
    const char *where;       /* of the node at hand, within this body    */
    const struct value **in; /* [nin]: what came from outside           */
    int nin;
    const struct value **let; /* [nlet]: what got a name by onnx_let(); some twice */
    size_t nlet, let_cap;
    Onnx__Node **node;
    size_t n, cap;
    int made; /* names given so far */
};

struct onnx_body *onnx_body(struct arena *mem, const struct graph *g,
                            struct onnx_form *form);

/* The body of a loop within that one; onnx_body_end() gives the numbers of names back.
 */
struct onnx_body *onnx_body_within(struct onnx_body *outer);
void onnx_body_end(struct onnx_body *b);

/* What a value is called here.  One that nothing here made comes from outside: it gets
 * a name, and joins b->in; a loop's is called as it is outside. */
const char *onnx_name(struct onnx_body *b, const struct value *v);

/* The value is that; its rows stand so. */
void onnx_let(struct onnx_body *b, const struct value *v, const char *name,
              struct onnx_form form);

/* Append a node with inputs in[nin] ("" for one that is absent) and `nout` outputs,
 * whose names follow from `where` and are made up; returns it. */
Onnx__Node *onnx_node(struct onnx_body *b, const char *op, const char *const *in,
                      int nin, int nout);

/* The same with up to three inputs (NULL behind the last) and one output, whose name
 * is returned. */
const char *onnx_op(struct onnx_body *b, const char *op, const char *x, const char *y,
                    const char *z);

/* Attributes of the node that was appended last. */
void onnx_int(struct onnx_body *b, const char *name, int64_t x);
void onnx_float(struct onnx_body *b, const char *name, double x);
void onnx_ints(struct onnx_body *b, const char *name, const int64_t *x, int n);
void onnx_text(struct onnx_body *b, const char *name, const char *x);
void onnx_graph(struct onnx_body *b, const char *name, Onnx__Graph *x);

/* Constants. */
const char *onnx_const_ints(struct onnx_body *b, const int64_t *x, int n);
const char *onnx_const_int(struct onnx_body *b, int64_t x); /* of no dims */
const char *onnx_const_float(struct onnx_body *b, double x);
const char *onnx_const_floats(struct onnx_body *b, const float *x, int n);

/* Shorthands. */
const char *onnx_transpose(struct onnx_body *b, const char *x, const int64_t *perm,
                           int n);
const char *onnx_reshape(struct onnx_body *b, const char *x, const int64_t *dims,
                         int n);
const char *onnx_unsqueeze(struct onnx_body *b, const char *x, int64_t axis);
const char *onnx_squeeze(struct onnx_body *b, const char *x, int64_t axis);
const char *onnx_cast(struct onnx_body *b, const char *x, int type);
const char *onnx_dim(struct onnx_body *b, const char *x, int64_t axis);
/* 0, 1, ... up to the length of an axis of x. */
const char *onnx_count(struct onnx_body *b, const char *x, int64_t axis);

enum { ONNX_FLOAT = 1, ONNX_INT32 = 6, ONNX_INT64 = 7 };

#endif
