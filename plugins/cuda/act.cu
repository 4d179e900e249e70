/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.cu - act.swiglu, act.gelu and act.relu, forward and backward: one pass each.
 */
#include "act.h"
#include "families.h"

struct acts {
    struct mat a, b, y, dy, da, db;
    int32_t approx;
};

template <int DT> struct swiglu_forward {
    struct acts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float a[8], b[8];
        get8<DT>(m.a, r, c, left, a);
        get8<DT>(m.b, r, c, left, b);
#pragma unroll
        for (int i = 0; i < 8; i++)
            a[i] = silu_of(a[i]) * b[i];
        put8<DT>(m.y, r, c, left, a);
    }
};

template <int DT> struct swiglu_backward {
    struct acts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float a[8], b[8], d[8];
        get8<DT>(m.a, r, c, left, a);
        get8<DT>(m.b, r, c, left, b);
        get8<DT>(m.dy, r, c, left, d);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float s = sigmoid_of(a[i]);
            b[i] = d[i] * b[i] * (s * (1.0f + a[i] * (1.0f - s)));
            d[i] = d[i] * (a[i] * s);
        }
        put8<DT>(m.da, r, c, left, b);
        put8<DT>(m.db, r, c, left, d);
    }
};

/* Functions of one number. */
struct gelu {
    static __device__ float of(float a, int approx)
    {
        return gelu_of(a, approx);
    }
    static __device__ float back(float dy, float a, int approx)
    {
        return dy * gelu_slope(a, approx);
    }
};

struct relu {
    static __device__ float of(float a, int)
    {
        return relu_of(a);
    }
    static __device__ float back(float dy, float a, int)
    {
        return relu_back(dy, a);
    }
};

template <class F, int DT> struct forward {
    struct acts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float a[8];
        get8<DT>(m.a, r, c, left, a);
#pragma unroll
        for (int i = 0; i < 8; i++)
            a[i] = F::of(a[i], m.approx);
        put8<DT>(m.y, r, c, left, a);
    }
};

template <class F, int DT> struct backward {
    struct acts m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float a[8], d[8];
        get8<DT>(m.a, r, c, left, a);
        get8<DT>(m.dy, r, c, left, d);
#pragma unroll
        for (int i = 0; i < 8; i++)
            d[i] = F::back(d[i], a[i], m.approx);
        put8<DT>(m.da, r, c, left, d);
    }
};

template <int DT> using gelu_forward = forward<gelu, DT>;
template <int DT> using gelu_backward = backward<gelu, DT>;
template <int DT> using relu_forward = forward<relu, DT>;
template <int DT> using relu_backward = backward<relu, DT>;

/* Run F over the tensors t [n] of which all are [T,N]. */
template <template <int> class F>
static int over(const struct nnd_act *p, const struct nnd_launch *l,
                const struct nnd_tensor *const *t, int n)
{
    struct acts m = {mat_of(&p->a),  mat_of(&p->b),  mat_of(&p->y), mat_of(&p->dy),
                     mat_of(&p->da), mat_of(&p->db), p->approx};
    struct extent e = extent_of(t, n);
    return each_typed<F>(l, common_type(t, n), e.rows, e.cols, m);
}

static int swiglu_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->b, &p->y};
    return over<swiglu_forward>(p, l, t, 3);
}

static int swiglu_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->b, &p->dy, &p->da, &p->db};
    return over<swiglu_backward>(p, l, t, 5);
}

static int gelu_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->y};
    return over<gelu_forward>(p, l, t, 2);
}

static int gelu_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->dy, &p->da};
    return over<gelu_backward>(p, l, t, 3);
}

static int relu_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->y};
    return over<relu_forward>(p, l, t, 2);
}

static int relu_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_act *p = (const struct nnd_act *)params;
    const struct nnd_tensor *t[] = {&p->a, &p->dy, &p->da};
    return over<relu_backward>(p, l, t, 3);
}

extern "C" const struct op cuda_act_ops[] = {
    {.name = "act.swiglu.fwd", .launch = swiglu_fwd},
    {.name = "act.swiglu.bwd", .launch = swiglu_bwd},
    {.name = "act.gelu.fwd", .launch = gelu_fwd},
    {.name = "act.gelu.bwd", .launch = gelu_bwd},
    {.name = "act.relu.fwd", .launch = relu_fwd},
    {.name = "act.relu.bwd", .launch = relu_bwd},
    {},
};
