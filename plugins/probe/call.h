/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one call of a kernel as the conformance suite describes it: params,
 * and for each tensor in them a slot that says what it is for.
 *
 * A slot's starting values are a function of its number, of an id per row, and
 * of the place within the row.  Two calls that share row ids therefore share
 * those rows' values, however many rows there are and wherever they stand; what
 * a kernel makes of such rows must have the same bits (NND_K_INVARIANT).
 */
#ifndef PROBE_CALL_H
#define PROBE_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include <nnd/plugin.h>

#include "base/arena.h"

enum { CALL_SLOTS = 24, CALL_ARRAYS = 12, CALL_DIMS = 4 };

enum role {
    ROLE_IN,      /* read only                                       */
    ROLE_OUT,     /* written only: poisoned before the call          */
    ROLE_INOUT,   /* starts with values, is written                  */
    ROLE_DERIVED, /* an input computed by the op `call.derive`       */
    ROLE_SCRATCH  /* written by `call.derive` only: not in this call */
};

/* What a slot's elements may be. */
enum kind {
    KIND_ACT,    /* the activations' type of the set    */
    KIND_WEIGHT, /* the weights' type of the set        */
    KIND_RESULT, /* the result's type of the set        */
    KIND_F32,    /* f32 whatever the set                */
    KIND_F64,
    KIND_I32,
    KIND_FIXED /* slot.dtype, for the oracle too: 8-bit numbers and their scales */
};

/* Ids of rows that stand for something. */
enum {
    ROW_ZERO = -1, /* all values 0           */
    ROW_NAN = -2   /* padding: all values NaN */
};

/* How far from the oracle a result may be, in units of its type (judge.h). */
enum { SLACK_COPY = 0, SLACK_ELEMENT = 1, SLACK_FORWARD = 2, SLACK_BACKWARD = 4 };

struct slot {
    const char *name;
    struct nnd_tensor *tensor; /* in the params             */
    struct nnd_tensor *alias;  /* a second name of it, or 0 */
    enum role role;
    enum kind kind;
    int ndim;
    int64_t dim[CALL_DIMS], count;
    int row_axis;          /* the axis that row[] numbers      */
    const int64_t *row;    /* [dim[row_axis]] ids, or NULL     */
    double center, spread; /* values: center + spread * [-1,1) */
    const double *value;   /* [count]: these values instead, or NULL */
    const int32_t *number; /* [count]: of KIND_I32 inputs   */
    int dtype;             /* of KIND_FIXED                 */
    int scales;            /* 1 + the slot of its scales, or 0 */
    int block, block_rows; /* what one of them is for       */
    int slack;
    int64_t terms;   /* length of the longest sum in an element      */
    int like;        /* 1 + the slot in whose type numbers on its way are
                        rounded; 0: none but itself                */
    bool single;     /* an f64 result that may be computed from f32s */
    const bool *any; /* [count]: elements of which the contract says nothing, or NULL */
    double floor;    /* what errors are relative to where the exact
                        result is 0; 0: the result itself           */
};

/* A pointer in the params that is no tensor: int32, float, segments. */
struct array {
    void *where; /* address of the pointer */
    const void *data;
    size_t size;
};

union call_params {
    struct nnd_gemm gemm;
    struct nnd_grouped_gemm grouped;
    struct nnd_attn attn;
    struct nnd_norm norm;
    struct nnd_rope rope;
    struct nnd_act act;
    struct nnd_softmax softmax;
    struct nnd_xent xent;
    struct nnd_xent_linear xent_linear;
    struct nnd_distill distill;
    struct nnd_embed embed;
    struct nnd_route route;
    struct nnd_sort sort;
    struct nnd_permute permute;
    struct nnd_sum sum;
    struct nnd_drop drop;
    struct nnd_rows rows;
    struct nnd_sqnorm sqnorm;
    struct nnd_optim optim;
    struct nnd_total total;
    struct nnd_hyper hyper;
    struct nnd_balance balance;
    struct nnd_rnn rnn;
    struct nnd_attend attend;
    struct nnd_choose choose;
    struct nnd_select select;
    struct nnd_cast cast;
    struct nnd_frame frame;
};

struct call {
    struct arena *arena;
    union call_params params;
    struct slot slot[CALL_SLOTS];
    struct array array[CALL_ARRAYS];
    int nslots, narrays;
    int64_t rows;       /* how many rows a window may cut; 0: none           */
    int64_t summed;     /* rows that outputs without ids are sums of, or 0   */
    bool exact;         /* the contract leaves no choice of bits: ref's      */
    bool parts;         /* may be computed in two calls, see struct window   */
    const char *derive; /* the op that computes ROLE_DERIVED slots, or NULL  */
    const struct nnd_op_def *outside; /* family_outside: the operator, or whose       */
    const char *outside_op;           /* gradient it is; its name; the inputs' type   */
    int act;
    bool big;   /* there for its size: in the first layout, by a few launches */
    bool large; /* calls of several tiles as well: not for a processor's kernels */
    struct nnd_tensor scales; /* where a slot of scales has its tensor */
    char text[160];           /* what is special: "m=3 n=5 k=7 trans_a" */
};

/* An empty call; what it owns lives in `arena`. */
void call_init(struct call *c, struct arena *arena);

/* Add a tensor of up to three dimensions; -1 ends them.  Values are in [-1, 1).
 * The slot may be changed further. */
struct slot *call_tensor(struct call *c, const char *name, struct nnd_tensor *t,
                         enum role role, enum kind kind, int64_t a, int64_t b,
                         int64_t n);

/* A matrix of 8-bit numbers and, as a slot of its own, their scales: `wide` columns and
 * `high` rows share one; 0 columns: all.  Both are written with ROLE_OUT. */
struct slot *call_scaled(struct call *c, const char *name, struct nnd_tensor *t,
                         enum role role, int dtype, int scale_dtype, int64_t rows,
                         int64_t cols, int wide, int high);

/* n ids of which the last `tail` are ROW_ZERO; the others the caller's to set. */
int64_t *call_row_ids(struct call *c, int64_t n, int64_t tail);

/* The ids of n rows, but every fourth is padding and holds NaN. */
int64_t *call_padded_ids(struct call *c, const int64_t *row, int64_t n);

/* Targets of n rows below `classes`, of padding -1; `where`: the params' pointer. */
void call_targets(struct call *c, void *where, const int64_t *row, int64_t n,
                  int classes);

/* A pointer of the params to a copy of `data`. */
void call_array(struct call *c, void *where, const void *data, size_t size);

/* The starting value of an element, by its place in contiguous order. */
double call_value(const struct slot *s, int number, int64_t i);

/* A number in [lo, hi] and one in [-1, 1), functions of a and b alone. */
int32_t call_number(uint64_t a, uint64_t b, int32_t lo, int32_t hi);
double call_random(uint64_t a, uint64_t b);

/* n zeroed int32, owned by the call. */
int32_t *call_ints(struct call *c, int64_t n);

#endif
