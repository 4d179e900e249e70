/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - what pack() of the products leaves: b, and b2 behind it, without gaps.
 */
#include <string.h>

#include "impl.h"

static size_t element_bytes(const struct nnd_tensor *t)
{
    return t->dtype == NND_F64 ? 8 : t->dtype == NND_F32 ? 4 : 2;
}

static size_t tensor_bytes(const struct nnd_tensor *t)
{
    size_t n = ref_given(t) ? element_bytes(t) : 0;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->dim[i];
    return n;
}

/* Numbers of 8 bits have their scales elsewhere: they are left as they are. */
static bool is_packable(const struct nnd_tensor *t)
{
    return t->dtype == NND_F32 || t->dtype == NND_F64 || t->dtype == NND_BF16 ||
           t->dtype == NND_F16;
}

size_t ref_packed_bytes(const struct nnd_tensor *b, const struct nnd_tensor *b2)
{
    return is_packable(b) ? tensor_bytes(b) + tensor_bytes(b2) : 0;
}

struct nnd_tensor ref_packed(const struct nnd_tensor *b,
                             const struct nnd_tensor *packed, size_t offset)
{
    struct nnd_tensor t = *b;
    int64_t stride = 1;
    if (!ref_given(packed) || !ref_given(b))
        return t;
    for (int i = t.ndim - 1; i >= 0; i--) {
        t.stride[i] = stride;
        stride *= t.dim[i];
    }
    t.data = (char *)packed->data + offset;
    return t;
}

size_t ref_packed_second(const struct nnd_tensor *b)
{
    return tensor_bytes(b);
}

static void copy_axis(const struct nnd_tensor *from, int64_t at,
                      const struct nnd_tensor *to, int64_t to_at, int axis)
{
    size_t size = element_bytes(from);
    for (int64_t i = 0; i < from->dim[axis]; i++) {
        int64_t x = at + i * from->stride[axis], y = to_at + i * to->stride[axis];
        if (axis + 1 < from->ndim)
            copy_axis(from, x, to, y, axis + 1);
        else
            memcpy((char *)to->data + (size_t)y * size,
                   (const char *)from->data + (size_t)x * size, size);
    }
}

int ref_pack(const struct nnd_tensor *b, const struct nnd_tensor *b2,
             const struct nnd_tensor *packed, struct nnd_error *e)
{
    struct nnd_tensor one = ref_packed(b, packed, 0);
    struct nnd_tensor two = ref_packed(b2, packed, tensor_bytes(b));
    if (!ref_given(packed) || (size_t)packed->dim[0] != ref_packed_bytes(b, b2))
        return ref_refuse(e, NND_EINVAL, "packed: wanted %zu bytes",
                          ref_packed_bytes(b, b2));
    copy_axis(b, 0, &one, 0, 0);
    if (ref_given(b2))
        copy_axis(b2, 0, &two, 0, 0);
    return NND_OK;
}
