/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind.c - values as the tensors that kernels see.
 */
#include "graph/exec.h"
#include "graph/op.h"

void *bind_data(const struct bind *b, const struct value *v)
{
    return b && v ? exec_address(b->exec, v, b->slot, b->position) : NULL;
}

static struct nnd_tensor tensor_of(const struct bind *b, const struct value *v,
                                   const struct shape *s)
{
    struct nnd_tensor t = {.ndim = s->ndim, .dtype = v->dtype, .align_log2 = 6};
    int64_t stride = 1;
    for (int i = s->ndim - 1; i >= 0; i--) {
        t.dim[i] = s->dim[i];
        t.stride[i] = stride;
        stride *= s->dim[i];
    }
    t.data = bind_data(b, v);
    return t;
}

struct nnd_tensor bind_tensor(const struct bind *b, const struct value *v)
{
    return v ? tensor_of(b, v, &v->shape) : (struct nnd_tensor){0};
}

struct nnd_tensor bind_matrix(const struct bind *b, const struct value *v)
{
    if (!v)
        return (struct nnd_tensor){0};
    struct shape s = {.ndim = 2, .dim = {shape_rows(&v->shape), shape_cols(&v->shape)}};
    return tensor_of(b, v, &s);
}

struct nnd_tensor bind_vector(const struct bind *b, const struct value *v)
{
    if (!v)
        return (struct nnd_tensor){0};
    struct shape s = {.ndim = 1, .dim = {shape_elements(&v->shape)}};
    return tensor_of(b, v, &s);
}
