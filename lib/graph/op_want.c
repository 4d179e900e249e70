/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_want.c - the check that every shape rule makes of its inputs.
 */
#include <stdio.h>

#include "graph/op.h"
#include "tensor/dtype.h"

/* "f32 [12,any]" */
static void describe(char *out, size_t size, int dtype, int64_t rows, int64_t cols)
{
    char r[24] = "any", c[24] = "any";
    if (rows >= 0)
        snprintf(r, sizeof(r), "%lld", (long long)rows);
    if (cols >= 0)
        snprintf(c, sizeof(c), "%lld", (long long)cols);
    snprintf(out, size, "%s [%s,%s]", dtype ? dtype_name(dtype) : "any type", r, c);
}

int op_want(const struct node *n, int i, const char *what, int dtype, int64_t rows,
            int64_t cols, struct err *e)
{
    const struct value *v = i < n->nin ? n->in[i] : NULL;
    char want[80], found[80] = "nothing";
    if (v) {
        int64_t r = shape_rows(&v->shape), c = shape_cols(&v->shape);
        if ((!dtype || dtype == v->dtype) && (rows < 0 || rows == r) &&
            (cols < 0 || cols == c))
            return 0;
        describe(found, sizeof(found), v->dtype, r, c);
    }
    describe(want, sizeof(want), dtype, rows, cols);
    return err_set(e, ERR_FAILED, "%s: %s: wanted %s, found %s", n->where, what, want,
                   found);
}
