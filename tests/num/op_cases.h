/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases.h - what is tried of every operator.
 *
 * A case with a check looks at forward alone (what has no gradient); one without
 * compares gradients.  test_op_grad.c runs them all and then asks, for every row
 * of op_table, whether there was one.
 */
#ifndef NUM_OP_CASES_H
#define NUM_OP_CASES_H

#include "op_lab.h"

struct op_case {
    const char *name;
    const struct op *op; /* what it is about */
    lab_build_f *build;
    const void *arg;
    int (*check)(struct lab_world *w, struct err *e);
    int (*probe)(struct lab_world *w, struct err *e); /* after gradients: was it
                                                         the case it claims? */
    int ranks;                                        /* 0: one */
    int64_t most; /* elements compared per tensor; 0: all */
};

/* Ended by a case without a name; op_cases.c has the dense ones, the others are
 * in files of their name. */
extern const struct op_case op_cases_dense[];
extern const struct op_case op_cases_moe[];
extern const struct op_case op_cases_random[];
extern const struct op_case op_cases_recurrent[];
extern const struct op_case op_cases_step[];

/* Operators that no case can run here, and why; ended by op NULL. */
struct op_reason {
    const struct op *op;
    const char *why;
};
extern const struct op_reason op_reasons[];

#endif
