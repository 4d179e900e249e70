/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.c - act.swiglu, act.gelu and act.relu, forward and backward: one pass each.
 */
#include "act.h"
#include "op.h"
#include "par.h"

static void swiglu_forward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_act *p = arg;
    int64_t n = p->a.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        const void *a = row_of(&p->a, r), *b = row_of(&p->b, r);
        void *y = row_of(&p->y, r);

        for (int64_t i = 0; i < n; i += VL) {
            vf x = vec_get(a, p->a.dtype, i, n - i);
            vf g = vec_get(b, p->b.dtype, i, n - i);

            vec_put(y, p->y.dtype, i, n - i, x * vec_sigmoid(x) * g);
        }
    }
}

static void swiglu_backward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_act *p = arg;
    int64_t n = p->a.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        const void *a = row_of(&p->a, r), *b = row_of(&p->b, r),
                   *dy = row_of(&p->dy, r);
        void *da = row_of(&p->da, r), *db = row_of(&p->db, r);

        for (int64_t i = 0; i < n; i += VL) {
            vf x = vec_get(a, p->a.dtype, i, n - i);
            vf g = vec_get(b, p->b.dtype, i, n - i);
            vf d = vec_get(dy, p->dy.dtype, i, n - i);
            vf s = vec_sigmoid(x);

            vec_put(da, p->da.dtype, i, n - i, d * g * (s * (1.0f + x * (1.0f - s))));
            vec_put(db, p->db.dtype, i, n - i, d * (x * s));
        }
    }
}

/* Of a function of one number: y is f(a, approx), da is back(dy, a, approx). */
typedef vf forward_f(vf a, int approx);
typedef vf backward_f(vf dy, vf a, int approx);

static inline __attribute__((always_inline)) void
forward(const struct nnd_act *p, int64_t lo, int64_t hi, forward_f *f)
{
    int64_t n = p->a.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        const void *a = row_of(&p->a, r);
        void *y = row_of(&p->y, r);

        for (int64_t i = 0; i < n; i += VL) {
            vf x = vec_get(a, p->a.dtype, i, n - i);

            vec_put(y, p->y.dtype, i, n - i, f(x, p->approx));
        }
    }
}

static inline __attribute__((always_inline)) void
backward(const struct nnd_act *p, int64_t lo, int64_t hi, backward_f *back)
{
    int64_t n = p->a.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        const void *a = row_of(&p->a, r), *dy = row_of(&p->dy, r);
        void *da = row_of(&p->da, r);

        for (int64_t i = 0; i < n; i += VL) {
            vf x = vec_get(a, p->a.dtype, i, n - i);
            vf d = vec_get(dy, p->dy.dtype, i, n - i);

            vec_put(da, p->da.dtype, i, n - i, back(d, x, p->approx));
        }
    }
}

static inline vf gelu_back(vf dy, vf a, int approx)
{
    return dy * act_gelu_slope(a, approx);
}

static inline vf relu(vf a, int approx)
{
    (void)approx;
    return act_relu(a);
}

static inline vf relu_back(vf dy, vf a, int approx)
{
    (void)approx;
    return act_relu_back(dy, a);
}

static void gelu_forward(const void *arg, int64_t lo, int64_t hi)
{
    forward(arg, lo, hi, act_gelu);
}

static void gelu_backward(const void *arg, int64_t lo, int64_t hi)
{
    backward(arg, lo, hi, gelu_back);
}

static void relu_forward(const void *arg, int64_t lo, int64_t hi)
{
    forward(arg, lo, hi, relu);
}

static void relu_backward(const void *arg, int64_t lo, int64_t hi)
{
    backward(arg, lo, hi, relu_back);
}

/* An element here costs about as much as four of a plain pass. */
static int over_rows(const struct nnd_act *p, const struct nnd_launch *l, rows_f *fn)
{
    return par_rows(l, p->a.dim[0], p->a.dim[1] * 4, fn, p);
}

static int swiglu_fwd(const void *params, const struct nnd_launch *l)
{
    return over_rows(params, l, swiglu_forward);
}

static int swiglu_bwd(const void *params, const struct nnd_launch *l)
{
    return over_rows(params, l, swiglu_backward);
}

static int gelu_fwd(const void *params, const struct nnd_launch *l)
{
    return over_rows(params, l, gelu_forward);
}

static int gelu_bwd(const void *params, const struct nnd_launch *l)
{
    return over_rows(params, l, gelu_backward);
}

/* This is a plain pass. */
static int relu_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = params;

    return par_rows(l, p->a.dim[0], p->a.dim[1], relu_forward, p);
}

static int relu_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = params;

    return par_rows(l, p->a.dim[0], p->a.dim[1], relu_backward, p);
}

const struct op OPS(act)[] = {
    {.name = "act.swiglu.fwd", .launch = swiglu_fwd},
    {.name = "act.swiglu.bwd", .launch = swiglu_bwd},
    {.name = "act.gelu.fwd", .launch = gelu_fwd},
    {.name = "act.gelu.bwd", .launch = gelu_bwd},
    {.name = "act.relu.fwd", .launch = relu_fwd},
    {.name = "act.relu.bwd", .launch = relu_bwd},
    {0},
};
