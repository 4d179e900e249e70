/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.cu - opt.adamw, opt.adam, opt.sgd in one pass over the parameters, and
 * sqnorm, which the gradient's norm is made of.
 */
#include "families.h"
#include "kern.h"

struct update {
    struct mat grad, w, m, v, out;
    const float *hyper;
    float beta1, beta2, eps, decay;
    const int32_t *skip; /* or NULL */
};

enum { ADAMW, ADAM, SGD };

template <int KIND> struct optim_step {
    struct update u;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float g[8], w[8], m[8], v[8];
        float lr = u.hyper[NND_HYPER_LR], scale = u.hyper[NND_HYPER_GRAD_SCALE];
        if (u.skip && *u.skip)
            return;
        get8<NND_F32>(u.grad, r, c, left, g);
        get8<NND_F32>(u.w, r, c, left, w);
        get8<NND_F32>(u.m, r, c, left, m);
        if (KIND != SGD)
            get8<NND_F32>(u.v, r, c, left, v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            g[i] *= scale;
            if (KIND == SGD) {
                m[i] = u.beta1 * m[i] + (g[i] + u.decay * w[i]);
                w[i] -= lr * m[i];
                continue;
            }
            if (KIND == ADAM)
                g[i] += u.decay * w[i];
            m[i] = m[i] * u.beta1 + (1.0f - u.beta1) * g[i];
            v[i] = v[i] * u.beta2 + (1.0f - u.beta2) * (g[i] * g[i]);
            float step = m[i] * u.hyper[NND_HYPER_BIAS1] /
                         (sqrtf(v[i] * u.hyper[NND_HYPER_BIAS2]) + u.eps);
            if (KIND == ADAMW)
                step += u.decay * w[i];
            w[i] -= lr * step;
        }
        put8<NND_F32>(u.w, r, c, left, w);
        put8<NND_F32>(u.m, r, c, left, m);
        if (KIND != SGD)
            put8<NND_F32>(u.v, r, c, left, v);
        if (u.out.data)
            put8<0>(u.out, r, c, left, w);
    }
};

template <int KIND>
static int step_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_optim *p = (const struct nnd_optim *)params;
    struct update u = {mat_of(&p->grad),
                       mat_of(&p->w),
                       mat_of(&p->m),
                       mat_of(&p->v),
                       mat_of(&p->out),
                       p->hyper,
                       p->beta1,
                       p->beta2,
                       p->eps,
                       p->decay,
                       (const int32_t *)p->skip.data};
    return each(l, 1, p->w.dim[0], optim_step<KIND>{u});
}

#define NORM_LANES 16

/* A block of 4096 numbers: sixteen interleaved sums in f64, each of them in order,
 * then a tree.  Four blocks of numbers to a warp pair would not be faster: the pass
 * is bound by its loads, which 16 threads share as 64 bytes. */
__global__ void __launch_bounds__(256)
    sqnorm_kernel(const float *x, double *y, int64_t n, int64_t blocks)
{
    int64_t b = (int64_t)blockIdx.x * (256 / NORM_LANES) + threadIdx.x / NORM_LANES;
    int lane = threadIdx.x % NORM_LANES;
    int64_t first = b * NND_BLOCK_ELEMS;
    int64_t end = n - first < NND_BLOCK_ELEMS ? n - first : NND_BLOCK_ELEMS;
    double s = 0;
    if (b < blocks)
        for (int64_t i = lane; i < end; i += NORM_LANES) {
            double v = (double)x[first + i];
            s += v * v;
        }
    for (int w = NORM_LANES / 2; w > 0; w /= 2)
        s += __shfl_down_sync(0xffffffffu, s, w);
    if (b < blocks && lane == 0)
        y[b] = s;
}

static int sqnorm_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sqnorm *p = (const struct nnd_sqnorm *)params;
    int64_t blocks = p->y.dim[0];
    return launch(sqnorm_kernel, dim3((unsigned)blocks_for(blocks, 256 / NORM_LANES)),
                  dim3(256), 0, l, (const float *)p->x.data, (double *)p->y.data,
                  p->x.dim[0], blocks);
}

static int sqnorm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sqnorm *p = (const struct nnd_sqnorm *)params;
    int64_t want = (p->x.dim[0] + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS;
    if (p->y.dim[0] != want)
        return op_refuse(e, NND_EINVAL, "y: %lld elements, wanted %lld",
                         (long long)p->y.dim[0], (long long)want);
    return NND_OK;
}

extern "C" const struct op cuda_optim_ops[] = {
    {.name = "opt.adamw",
     .params_size = sizeof(struct nnd_optim),
     .args = {ARG(nnd_optim, grad, "N", IN_F32, 0), ARG(nnd_optim, w, "N", IN_F32, 0),
              ARG(nnd_optim, m, "N", IN_F32, 0), ARG(nnd_optim, v, "N", IN_F32, 0),
              ARG(nnd_optim, out, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_optim, skip, "1", IN_I32, ARG_OPTIONAL)},
     .launch = step_launch<ADAMW>},
    {.name = "opt.adam",
     .params_size = sizeof(struct nnd_optim),
     .args = {ARG(nnd_optim, grad, "N", IN_F32, 0), ARG(nnd_optim, w, "N", IN_F32, 0),
              ARG(nnd_optim, m, "N", IN_F32, 0), ARG(nnd_optim, v, "N", IN_F32, 0),
              ARG(nnd_optim, out, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_optim, skip, "1", IN_I32, ARG_OPTIONAL)},
     .launch = step_launch<ADAM>},
    {.name = "opt.sgd", .launch = step_launch<SGD>},
    {.name = "sqnorm", .check = sqnorm_check, .launch = sqnorm_launch},
    {},
};
