/* SPDX-License-Identifier: Apache-2.0 */
/*
 * side.h - an operand of a matrix product, and what every product does with
 * operands: find an element, convert a block, multiply with few rows.
 */
#ifndef CPU_SIDE_H
#define CPU_SIDE_H

#include <nnd/plugin.h>

/* op(A) or op(B) from some corner on: element (i, j) is i * rs + j * cs elements
 * behind p; one of the strides is 1.  With `index`, row i is row
 * index[i] / divide of what lies at p, or zeros where index[i] < 0. */
struct side {
    const void *p;
    int32_t dtype;
    int64_t rs, cs;
    const int32_t *index;
    int32_t divide;
};

static inline int64_t side_size(const struct side *s)
{
    return s->dtype == NND_F32 ? 4 : 2;
}

/* Row i, of an indexed side too; NULL: a row of zeros. */
static inline const void *side_row(const struct side *s, int64_t i)
{
    if (s->index) {
        if (s->index[i] < 0)
            return NULL;
        i = s->index[i] / s->divide;
    }
    return (const char *)s->p + i * s->rs * side_size(s);
}

/* The side from its element (i, j) on. */
static inline struct side side_at(const struct side *s, int64_t i, int64_t j)
{
    struct side at = *s;
    int64_t offset = j * s->cs;

    if (s->index)
        at.index += i;
    else
        offset += i * s->rs;
    at.p = (const char *)s->p + offset * side_size(s);
    return at;
}

/* A 2-D tensor as op(X). */
static inline struct side side_of(const struct nnd_tensor *t, int trans)
{
    struct side s = {
        t->data, t->dtype, trans ? 1 : t->stride[0], trans ? t->stride[0] : 1, NULL, 1};

    return s;
}

/* Matrix `index` of a stack [G,_,_], as op(X). */
static inline struct side side_of_stack(const struct nnd_tensor *t, int64_t index,
                                        int trans)
{
    struct side s = {
        t->data, t->dtype, trans ? 1 : t->stride[1], trans ? t->stride[1] : 1, NULL, 1};

    s.p = (const char *)s.p + index * t->stride[0] * side_size(&s);
    return s;
}

/* y [rows,cols] = x * scale, between dtypes; ldy and ldx are row strides.  The
 * bits are the same in every instruction set, so the fastest is just taken. */
typedef void convert_f(void *y, int y_dtype, int64_t ldy, const void *x, int x_dtype,
                       int64_t ldx, int64_t rows, int64_t cols, float scale);

/* d [m,n] (rows ld apart, f32) = a [m,k] b [k,n], or d += with add, for k <=
 * NND_BLOCK_ROWS and m <= FEW_ROWS; a is f32, b of any type and not indexed.
 * Returns 0 where the instruction set has no fused multiply-add. */
#define FEW_ROWS 8
typedef int few_f(const struct side *a, const struct side *b, int64_t m, int64_t n,
                  int64_t k, int add, float *d, int64_t ld);

#endif
