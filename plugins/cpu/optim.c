/* SPDX-License-Identifier: Apache-2.0 */
/*
 * optim.c - opt.adamw, opt.adam, opt.sgd in one pass over the parameters, and
 * sqnorm, which the gradient's norm is made of.
 */
#include "op.h"
#include "par.h"
#include "vec.h"

#define RUN 4096 /* elements of a task's smallest piece */

/* One vector of a step: w and the moments at index i, `left` elements. */
typedef vf step_f(const struct nnd_optim *p, vf w, vf g, int64_t i, int64_t left);

static vf adam_moments(const struct nnd_optim *p, vf g, int64_t i, int64_t left)
{
    const float *hyper = p->hyper;
    vf m = vec_get(p->m.data, NND_F32, i, left) * p->beta1 + (1.0f - p->beta1) * g;
    vf v =
        vec_get(p->v.data, NND_F32, i, left) * p->beta2 + (1.0f - p->beta2) * (g * g);

    vec_put(p->m.data, NND_F32, i, left, m);
    vec_put(p->v.data, NND_F32, i, left, v);
    return m * hyper[NND_HYPER_BIAS1] / (vec_sqrt(v * hyper[NND_HYPER_BIAS2]) + p->eps);
}

static vf adamw_step(const struct nnd_optim *p, vf w, vf g, int64_t i, int64_t left)
{
    vf update = adam_moments(p, g, i, left) + p->decay * w;

    return w - p->hyper[NND_HYPER_LR] * update;
}

static vf adam_step(const struct nnd_optim *p, vf w, vf g, int64_t i, int64_t left)
{
    return w - p->hyper[NND_HYPER_LR] * adam_moments(p, g + p->decay * w, i, left);
}

static vf sgd_step(const struct nnd_optim *p, vf w, vf g, int64_t i, int64_t left)
{
    vf m = p->beta1 * vec_get(p->m.data, NND_F32, i, left) + (g + p->decay * w);

    vec_put(p->m.data, NND_F32, i, left, m);
    return w - p->hyper[NND_HYPER_LR] * m;
}

static inline __attribute__((always_inline)) void
over_run(const struct nnd_optim *p, int64_t first, int64_t end, step_f *step)
{
    float scale = p->hyper[NND_HYPER_GRAD_SCALE];

    for (int64_t i = first; i < end; i += VL) {
        int64_t left = end - i;
        vf g = vec_get(p->grad.data, NND_F32, i, left) * scale;
        vf w = step(p, vec_get(p->w.data, NND_F32, i, left), g, i, left);

        vec_put(p->w.data, NND_F32, i, left, w);
        if (p->out.ndim)
            vec_put(p->out.data, p->out.dtype, i, left, w);
    }
}

static int64_t run_end(const struct nnd_optim *p, int64_t hi)
{
    return hi * RUN < p->w.dim[0] ? hi * RUN : p->w.dim[0];
}

static void adamw_runs(const void *arg, int64_t lo, int64_t hi)
{
    over_run(arg, lo * RUN, run_end(arg, hi), adamw_step);
}

static void adam_runs(const void *arg, int64_t lo, int64_t hi)
{
    over_run(arg, lo * RUN, run_end(arg, hi), adam_step);
}

static void sgd_runs(const void *arg, int64_t lo, int64_t hi)
{
    over_run(arg, lo * RUN, run_end(arg, hi), sgd_step);
}

static int runs(const struct nnd_optim *p, const struct nnd_launch *l, rows_f *fn)
{
    if (p->skip.ndim && *(const int32_t *)p->skip.data)
        return NND_OK;
    return par_rows(l, (p->w.dim[0] + RUN - 1) / RUN, RUN * 4, fn, p);
}

static int adamw_launch(const void *params, const struct nnd_launch *l)
{
    return runs(params, l, adamw_runs);
}

static int adam_launch(const void *params, const struct nnd_launch *l)
{
    return runs(params, l, adam_runs);
}

static int sgd_launch(const void *params, const struct nnd_launch *l)
{
    return runs(params, l, sgd_runs);
}

/* Sixteen interleaved sums in f64, then a tree.  Of one stream the processor brings
 * too little near by itself, so what `next` is gets said: n elements, too. */
static double block_sqnorm(const float *x, int64_t n, const float *next)
{
    vd s[2 * PER] = {0};
    double a[LANES];

    for (int64_t c = 0; c < n; c += LANES) {
        __builtin_prefetch(next + c, 0, 2);
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf v = vec_get(x, NND_F32, i, n - i);
            vfhalf half[2];

            memcpy(half, &v, sizeof half);
            for (int h = 0; h < 2; h++) {
                vd d = vec_to_f64(half[h]);

                s[2 * u + h] += d * d;
            }
        }
    }
    memcpy(a, s, sizeof a);
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            a[i] += a[i + w];
    return a[0];
}

static void sqnorm_blocks(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_sqnorm *p = arg;
    const float *x = (const float *)p->x.data + lo * NND_BLOCK_ELEMS;
    double *y = p->y.data;

    for (int64_t b = lo; b < hi; b++, x += NND_BLOCK_ELEMS) {
        int64_t left = p->x.dim[0] - b * NND_BLOCK_ELEMS;

        if (left >= 2 * NND_BLOCK_ELEMS)
            y[b] = block_sqnorm(x, NND_BLOCK_ELEMS, x + NND_BLOCK_ELEMS);
        else
            y[b] = block_sqnorm(x, left < NND_BLOCK_ELEMS ? left : NND_BLOCK_ELEMS, x);
    }
}

static int sqnorm_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sqnorm *p = params;

    return par_rows(l, p->y.dim[0], NND_BLOCK_ELEMS, sqnorm_blocks, p);
}

static int sqnorm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sqnorm *p = params;
    int64_t want = (p->x.dim[0] + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS;

    if (p->y.dim[0] != want)
        return op_refuse(e, NND_EINVAL, "y: %lld elements, wanted %lld",
                         (long long)p->y.dim[0], (long long)want);
    return NND_OK;
}

#define ADAM_ARGS                                                                      \
    {                                                                                  \
        ARG(nnd_optim, grad, "N", IN_F32, 0), ARG(nnd_optim, w, "N", IN_F32, 0),       \
            ARG(nnd_optim, m, "N", IN_F32, 0), ARG(nnd_optim, v, "N", IN_F32, 0),      \
            ARG(nnd_optim, out, "N", IN_FLOATS, ARG_OPTIONAL),                         \
            ARG(nnd_optim, skip, "1", IN_I32, ARG_OPTIONAL)                            \
    }

const struct op OPS(optim)[] = {
    {.name = "opt.adamw",
     .params_size = sizeof(struct nnd_optim),
     .args = ADAM_ARGS,
     .launch = adamw_launch},
    {.name = "opt.adam",
     .params_size = sizeof(struct nnd_optim),
     .args = ADAM_ARGS,
     .launch = adam_launch},
    {.name = "opt.sgd", .launch = sgd_launch},
    {.name = "sqnorm", .check = sqnorm_check, .launch = sqnorm_launch},
    {0},
};
