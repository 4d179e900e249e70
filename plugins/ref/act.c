/* SPDX-License-Identifier: Apache-2.0 */
/*
 * act.c - SwiGLU (Shazeer 2020), GELU (Hendrycks & Gimpel 2016) and ReLU (Nair & Hinton
 * 2010): "act.swiglu.fwd|bwd", "act.gelu.fwd|bwd", "act.relu.fwd|bwd".
 */
#include <math.h>

#include "impl.h"

double ref_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---- functions of one number ---- */

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * M_SQRT1_2);
}

static double gelu_back(double dy, double x)
{
    double density = 0.5 * M_2_SQRTPI * M_SQRT1_2 * exp(-0.5 * x * x);
    return dy * (0.5 * erfc(-x * M_SQRT1_2) + x * density);
}

static double gelu_tanh(double x)
{
    return 0.5 * x * (1 + tanh(M_2_SQRTPI * M_SQRT1_2 * (x + 0.044715 * x * x * x)));
}

static double gelu_tanh_back(double dy, double x)
{
    double k = M_2_SQRTPI * M_SQRT1_2, t = tanh(k * (x + 0.044715 * x * x * x));
    double slope =
        0.5 * (1 + t) + 0.5 * x * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
    return dy * slope;
}

static double silu(double x)
{
    return x * ref_sigmoid(x);
}

static double silu_back(double dy, double x)
{
    double s = ref_sigmoid(x);
    return dy * s * (1 + x * (1 - s));
}

static double relu(double x)
{
    return x <= 0 ? 0 : x; /* a NaN is not */
}

static double relu_back(double dy, double x)
{
    return x > 0 ? dy : relu(x);
}

static const struct ref_function functions[] = {
    {NND_EPI_GELU, gelu, gelu_back},
    {NND_EPI_GELU_TANH, gelu_tanh, gelu_tanh_back},
    {NND_EPI_SILU, silu, silu_back},
    {NND_EPI_RELU, relu, relu_back},
};

const struct ref_function *ref_function(int epilogue)
{
    int32_t slope_of = nnd_slope_of(epilogue);
    int32_t wanted = slope_of != NND_EPI_NONE ? slope_of : epilogue;
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (functions[i].epilogue == wanted)
            return &functions[i];
    return NULL;
}

/* ---- kernels ---- */

static int supports_swiglu_fwd(const void *self, const void *params,
                               struct nnd_error *e)
{
    const struct nnd_act *p = params;
    int64_t t = p->a.dim[0], n = p->a.dim[1];
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 2, {t, n}},
        {"y", &p->y, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int supports_swiglu_bwd(const void *self, const void *params,
                               struct nnd_error *e)
{
    const struct nnd_act *p = params;
    int64_t t = p->a.dim[0], n = p->a.dim[1];
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"b", &p->b, REF_FLOAT, 2, {t, n}},
        {"dy", &p->dy, REF_FLOAT, 2, {t, n}},
        {"da", &p->da, REF_FLOAT, 2, {t, n}},
        {"db", &p->db, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 5, e);
}

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    int64_t t = p->a.dim[0], n = p->a.dim[1];
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"y", &p->y, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    int64_t t = p->a.dim[0], n = p->a.dim[1];
    const struct ref_shape shapes[] = {
        {"a", &p->a, REF_FLOAT, 2, {REF_ANY, REF_ANY}},
        {"dy", &p->dy, REF_FLOAT, 2, {t, n}},
        {"da", &p->da, REF_FLOAT, 2, {t, n}},
    };
    (void)self;
    return ref_check(p->struct_size, sizeof *p, shapes, 3, e);
}

static int launch_swiglu_fwd(const void *self, void *plan, const void *params,
                             const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t t = 0; t < p->a.dim[0]; t++)
        for (int64_t n = 0; n < p->a.dim[1]; n++) {
            double a = ref_get(&p->a, at2(&p->a, t, n));
            double b = ref_get(&p->b, at2(&p->b, t, n));
            ref_put(&p->y, at2(&p->y, t, n), a * ref_sigmoid(a) * b);
        }
    return NND_OK;
}

/* silu'(a) = ref_sigmoid(a) (1 + a (1 - ref_sigmoid(a))). */
static int launch_swiglu_bwd(const void *self, void *plan, const void *params,
                             const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t t = 0; t < p->a.dim[0]; t++)
        for (int64_t n = 0; n < p->a.dim[1]; n++) {
            double a = ref_get(&p->a, at2(&p->a, t, n)), s = ref_sigmoid(a);
            double b = ref_get(&p->b, at2(&p->b, t, n));
            double dy = ref_get(&p->dy, at2(&p->dy, t, n));
            ref_put(&p->da, at2(&p->da, t, n), dy * b * s * (1 + a * (1 - s)));
            ref_put(&p->db, at2(&p->db, t, n), dy * a * s);
        }
    return NND_OK;
}

static int forward(const struct nnd_act *p, int epilogue)
{
    const struct ref_function *f = ref_function(epilogue);
    for (int64_t t = 0; t < p->a.dim[0]; t++)
        for (int64_t n = 0; n < p->a.dim[1]; n++)
            ref_put(&p->y, at2(&p->y, t, n), f->of(ref_get(&p->a, at2(&p->a, t, n))));
    return NND_OK;
}

static int backward(const struct nnd_act *p, int epilogue)
{
    const struct ref_function *f = ref_function(epilogue);
    for (int64_t t = 0; t < p->a.dim[0]; t++)
        for (int64_t n = 0; n < p->a.dim[1]; n++) {
            double a = ref_get(&p->a, at2(&p->a, t, n));
            double dy = ref_get(&p->dy, at2(&p->dy, t, n));
            ref_put(&p->da, at2(&p->da, t, n), f->back(dy, a));
        }
    return NND_OK;
}

static int launch_gelu_fwd(const void *self, void *plan, const void *params,
                           const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    return forward(p, p->approx ? NND_EPI_GELU_TANH : NND_EPI_GELU);
}

static int launch_gelu_bwd(const void *self, void *plan, const void *params,
                           const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    (void)self, (void)plan, (void)l, (void)e;
    return backward(p, p->approx ? NND_EPI_GELU_TANH : NND_EPI_GELU);
}

static int launch_relu_fwd(const void *self, void *plan, const void *params,
                           const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    return forward(params, NND_EPI_RELU);
}

static int launch_relu_bwd(const void *self, void *plan, const void *params,
                           const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)l, (void)e;
    return backward(params, NND_EPI_RELU);
}

const struct nnd_kernel ref_swiglu_fwd =
    REF_KERNEL("act.swiglu.fwd", supports_swiglu_fwd, ref_need_none, launch_swiglu_fwd);
const struct nnd_kernel ref_swiglu_bwd =
    REF_KERNEL("act.swiglu.bwd", supports_swiglu_bwd, ref_need_none, launch_swiglu_bwd);
const struct nnd_kernel ref_gelu_fwd =
    REF_KERNEL("act.gelu.fwd", supports_fwd, ref_need_none, launch_gelu_fwd);
const struct nnd_kernel ref_gelu_bwd =
    REF_KERNEL("act.gelu.bwd", supports_bwd, ref_need_none, launch_gelu_bwd);
const struct nnd_kernel ref_relu_fwd =
    REF_KERNEL("act.relu.fwd", supports_fwd, ref_need_none, launch_relu_fwd);
const struct nnd_kernel ref_relu_bwd =
    REF_KERNEL("act.relu.bwd", supports_bwd, ref_need_none, launch_relu_bwd);
