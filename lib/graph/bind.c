/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bind.c - values as the tensors that kernels see.
 */
#include "graph/exec.h"
#include "graph/op.h"
#include "tensor/dtype.h"

enum { ALIGN_LOG2 = 6 }; /* of MEMORY_ALIGN, where all that is whole begins */
_Static_assert(MEMORY_ALIGN == 1 << ALIGN_LOG2, "values lie at multiples of it");

void *bind_data(const struct bind *b, const struct value *v)
{
    return b && v ? exec_address(b->exec, v, b->slot, b->position) : NULL;
}

void bind_behind(struct nnd_tensor *t, int64_t elements)
{
    int64_t bytes = elements * (int64_t)dtype_size(t->dtype);
    while (bytes % ((int64_t)1 << t->align_log2))
        t->align_log2--;
}

/* Elements from the start of what lies at a multiple of MEMORY_ALIGN: a plane, or
 * the value's root itself. */
static int64_t place_of(const struct value *v)
{
    const struct value *r = v->root;
    bool in_plane = r->storage == STORAGE_PARAM || r->storage == STORAGE_GRAD;
    return v->root_offset + (in_plane ? r->param->offset : 0);
}

static struct nnd_tensor tensor_of(const struct bind *b, const struct value *v,
                                   const struct shape *s)
{
    struct nnd_tensor t = {
        .ndim = s->ndim, .dtype = v->dtype, .align_log2 = ALIGN_LOG2};
    int64_t stride = 1;
    for (int i = s->ndim - 1; i >= 0; i--) {
        t.dim[i] = s->dim[i];
        t.stride[i] = stride;
        stride *= s->dim[i];
    }
    t.data = bind_data(b, v);
    bind_behind(&t, place_of(v));
    for (int i = 0; i < s->ndim - 1; i++)
        bind_behind(&t, t.stride[i]);
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
