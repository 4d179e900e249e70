/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sum.c - tensors of one shape added, or one copied: "sum".
 */
#include "impl.h"

static int check_term(const struct nnd_sum *p, int32_t i, struct nnd_error *e)
{
    const struct nnd_tensor *x = &p->x[i], *y = &p->y;
    const struct ref_shape shape = {
        "x", x, REF_FLOAT, y->ndim, {REF_ANY, REF_ANY, REF_ANY}};
    int rc = ref_check(p->struct_size, sizeof *p, &shape, y->ndim <= 3 ? 1 : 0, e);
    for (int axis = 0; rc == NND_OK && axis < y->ndim; axis++)
        if (x->dim[axis] != y->dim[axis])
            rc = ref_refuse(e, NND_EINVAL, "x[%d] has %lld in dimension %d, y has %lld",
                            i, (long long)x->dim[axis], axis, (long long)y->dim[axis]);
    return rc;
}

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_sum *p = params;
    (void)self;
    if (p->n < 1 || p->n > NND_SUM_MAX)
        return ref_refuse(e, NND_EINVAL, "%d terms, wanted 1 to %d", p->n, NND_SUM_MAX);
    for (int32_t i = 0; i < p->n; i++) {
        int rc = check_term(p, i, e);
        if (rc != NND_OK)
            return rc;
    }
    return NND_OK;
}

/* The one kernel whose partial results are rounded: a tree of additions has the
 * same bits however many of them one call does. */
static double rounded(double x, int32_t dtype)
{
    return dtype == NND_F64 ? x : (double)(float)x;
}

/* Walk all axes from `axis` on; at[i] is the offset in x[i], at[n] that in y. */
static void add(const struct nnd_sum *p, int axis, const int64_t *at)
{
    if (axis == p->y.ndim) {
        double sum = ref_get(&p->x[0], at[0]);
        for (int32_t i = 1; i < p->n; i++)
            sum = rounded(sum + ref_get(&p->x[i], at[i]), p->y.dtype);
        ref_put(&p->y, at[p->n], sum);
        return;
    }
    for (int64_t j = 0; j < p->y.dim[axis]; j++) {
        int64_t next[NND_SUM_MAX + 1];
        for (int32_t i = 0; i < p->n; i++)
            next[i] = at[i] + j * p->x[i].stride[axis];
        next[p->n] = at[p->n] + j * p->y.stride[axis];
        add(p, axis + 1, next);
    }
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const int64_t origin[NND_SUM_MAX + 1] = {0};
    (void)self, (void)plan, (void)l, (void)e;
    add(params, 0, origin);
    return NND_OK;
}

const struct nnd_kernel ref_sum = REF_KERNEL("sum", supports, ref_need_none, launch);
