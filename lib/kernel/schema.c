/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schema.c - calls shape() of an operator from outside, and looks at what it gave.
 */
#include "kernel/schema.h"

#include "tensor/dtype.h"

static int check_output(const struct nnd_op_def *d, const char *name,
                        const struct nnd_tensor *t, int axes, struct err *e)
{
    if (t->ndim < 1 || t->ndim > axes)
        return err_set(e, ERR_FAILED,
                       "shape() of %s: %s has %d dimensions, wanted 1 to %d", d->name,
                       name, t->ndim, axes);
    for (int axis = 0; axis < t->ndim; axis++)
        if (t->dim[axis] < 0)
            return err_set(
                e, ERR_FAILED,
                "shape() of %s: dimension %d of %s is %lld, wanted 0 or more", d->name,
                axis, name, (long long)t->dim[axis]);
    if (!dtype_size(t->dtype))
        return err_set(e, ERR_FAILED,
                       "shape() of %s: %s has dtype %d, wanted one that there is",
                       d->name, name, t->dtype);
    return 0;
}

int schema_shape(const struct nnd_op_def *d, struct nnd_frame *f, int axes,
                 struct err *e)
{
    struct nnd_error why = {{0}};
    int rc = d->shape(f, &why);
    why.text[sizeof why.text - 1] = '\0';
    if (rc != NND_OK)
        return err_set(e, ERR_SPEC, "%s",
                       why.text[0] ? why.text : "refused without a reason");
    for (uint32_t i = 0; rc == 0 && i < d->nout; i++)
        rc = check_output(d, d->out[i].name, &f->out[i], axes, e);
    return rc;
}
