/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cast.cu - fill, scale, amax.
 */
#include "families.h"
#include "kern.h"

struct casts {
    struct mat x, y;
    const float *factor;
    float value;
};

template <int DT> struct fill_numbers {
    struct casts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = m.value;
        put8<DT>(m.y, r, c, left, v);
    }
};

template <int DT> struct scale_numbers {
    struct casts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8], factor = *m.factor;
        get8<DT>(m.x, r, c, left, v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] *= factor;
        put8<DT>(m.y, r, c, left, v);
    }
};

static int fill_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    const struct nnd_tensor *t[] = {&p->y};
    struct casts m = {mat_of(&p->y), mat_of(&p->y), NULL, p->value};
    struct extent e = extent_of(t, 1);
    return each_typed<fill_numbers>(l, common_type(t, 1), e.rows, e.cols, m);
}

static int scale_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    struct casts m = {mat_of(&p->x), mat_of(&p->y), p->factor, 0};
    struct extent e = extent_of(t, 2);
    return each_typed<scale_numbers>(l, common_type(t, 2), e.rows, e.cols, m);
}

__global__ void set_zero(unsigned *at)
{
    *at = 0;
}

/* As bits, positive numbers are in order and NaN is beyond them all; a maximum does
 * not care who comes first. */
struct find_most {
    struct mat x;
    unsigned *amax;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8];
        unsigned most = 0;
        get8<0>(x, r, c, left, v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            unsigned bits = __float_as_uint(fabsf(v[i]));
            most = bits > most ? bits : most;
        }
        if (most > *(volatile unsigned *)amax)
            atomicMax(amax, most);
    }
};

static int amax_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    const struct nnd_tensor *t[] = {&p->x};
    struct extent e = extent_of(t, 1);
    unsigned *amax = (unsigned *)p->amax.data;
    int r = launch(set_zero, dim3(1), dim3(1), 0, l, amax);
    return r ? r : each(l, e.rows, e.cols, find_most{mat_of(&p->x), amax});
}

static int amax_check(const void *params, struct nnd_error *e)
{
    const struct nnd_cast *p = (const struct nnd_cast *)params;
    return p->amax.dim[0] == 1
               ? NND_OK
               : op_refuse(e, NND_EINVAL, "amax: %lld numbers, wanted 1",
                           (long long)p->amax.dim[0]);
}

extern "C" const struct op cuda_cast_ops[] = {
    {.name = "fill",
     .params_size = sizeof(struct nnd_cast),
     .args = {ARG(nnd_cast, y, "TN", IN_FLOATS, 0)},
     .launch = fill_launch},
    {.name = "scale",
     .params_size = sizeof(struct nnd_cast),
     .args = {ARG(nnd_cast, x, "TN", IN_FLOATS, 0),
              ARG(nnd_cast, y, "TN", IN_FLOATS, 0)},
     .launch = scale_launch},
    {.name = "amax",
     .params_size = sizeof(struct nnd_cast),
     .args = {ARG(nnd_cast, x, "TN", IN_FLOATS, 0),
              ARG(nnd_cast, amax, "A", IN_F32, 0)},
     .check = amax_check,
     .launch = amax_launch},
    {},
};
