/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step.cu - what is left to do with a step's sums, so that the host waits for none of
 * them: total, opt.hyper, moe.balance, moe.window.
 *
 * All are small, and their order of additions is the contract's: one block each.
 * Products and sums in f64 are never contracted.
 */
#include "families.h"
#include "kern.h"

#define IN_I64 (1u << NND_I64)

/* ---- total ---- */

#define TOTAL_THREADS 256
#define TOTAL_TILE    1024

struct totals {
    const void *x;
    const int32_t *order;
    double *y;
    int64_t n;
    int wide, root; /* wide: x is f64 */
};

/* One thread adds what the others fetch meanwhile. */
__global__ void __launch_bounds__(TOTAL_THREADS) total_kernel(struct totals m)
{
    __shared__ double tile[2][TOTAL_TILE];
    double sum = 0;
    auto fetch = [&](int64_t first, double *to, int from, int threads) {
        for (int i = (int)threadIdx.x - from; i < TOTAL_TILE; i += threads) {
            if (i < 0 || first + i >= m.n)
                continue;
            int64_t at = m.order ? m.order[first + i] : first + i;
            to[i] =
                m.wide ? ((const double *)m.x)[at] : (double)((const float *)m.x)[at];
        }
    };
    fetch(0, tile[0], 0, TOTAL_THREADS);
    __syncthreads();
    for (int64_t first = 0; first < m.n; first += TOTAL_TILE) {
        int now = (int)(first / TOTAL_TILE % 2);
        int64_t left = m.n - first < TOTAL_TILE ? m.n - first : TOTAL_TILE;
        if (threadIdx.x >= 32)
            fetch(first + TOTAL_TILE, tile[!now], 32, TOTAL_THREADS - 32);
        else if (threadIdx.x == 0)
            for (int64_t i = 0; i < left; i++)
                sum = __dadd_rn(sum, tile[now][i]);
        __syncthreads();
    }
    if (threadIdx.x == 0)
        *m.y = m.root ? sqrt(sum) : sum;
}

static int total_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_total *p = (const struct nnd_total *)params;
    struct totals m = {p->x.data,
                       p->order.ndim ? (const int32_t *)p->order.data : NULL,
                       (double *)p->y.data,
                       p->x.dim[0],
                       p->x.dtype == NND_F64,
                       p->root};
    return launch(total_kernel, dim3(1), dim3(TOTAL_THREADS), 0, l, m);
}

/* ---- opt.hyper ---- */

struct rates {
    const double *given, *norm, *stats;
    float *hyper;
    int32_t *skip;
    int64_t chunks, step; /* step: from one chunk's losses to the next */
};

DEVICE bool is_finite(double x)
{
    return fabs(x) <= 1.7976931348623157e308;
}

__global__ void hyper_kernel(struct rates m)
{
    double losses = 0, c = 1, scale = m.given[NND_HYPER_LOSS_SCALE];
    double n = *m.norm / scale, clip = m.given[NND_HYPER_CLIP];
    for (int64_t i = 0; i < m.chunks; i++)
        losses = __dadd_rn(losses, m.stats[i * m.step]);
    if (clip > 0 && n > 0)
        c = fmin(1.0, clip / __dadd_rn(n, 1e-6));
    for (int i = 0; i < NND_HYPER_COUNT; i++)
        m.hyper[i] = 0;
    m.hyper[NND_HYPER_LR] = (float)m.given[NND_HYPER_LR];
    m.hyper[NND_HYPER_GRAD_SCALE] = (float)(c / scale);
    m.hyper[NND_HYPER_BIAS1] = (float)m.given[NND_HYPER_BIAS1];
    m.hyper[NND_HYPER_BIAS2] = (float)m.given[NND_HYPER_BIAS2];
    *m.skip = !is_finite(n) || !is_finite(losses);
}

static int hyper_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_hyper *p = (const struct nnd_hyper *)params;
    struct rates m = {(const double *)p->given.data,
                      (const double *)p->norm.data,
                      (const double *)p->stats.data,
                      (float *)p->hyper.data,
                      (int32_t *)p->skip.data,
                      p->stats.dim[0],
                      p->stats.stride[0]};
    return launch(hyper_kernel, dim3(1), dim3(1), 0, l, m);
}

static int hyper_check(const void *params, struct nnd_error *e)
{
    const struct nnd_hyper *p = (const struct nnd_hyper *)params;
    if (p->given.dim[0] == NND_HYPER_COUNT && p->hyper.dim[0] == NND_HYPER_COUNT)
        return NND_OK;
    return op_refuse(e, NND_EINVAL, "given, hyper: wanted %d and %d numbers",
                     (int)NND_HYPER_COUNT, (int)NND_HYPER_COUNT);
}

/* ---- moe.balance ---- */

#define BALANCE_THREADS 256

struct balances {
    struct mat count, psum, count0, psum0, count_sum, psum_sum, aux_weight;
    int64_t *load;
    const double *zsq;
    float *z_weight;
    double *stats;
    const float *scale;
    double aux_coef, z_coef;
    int64_t groups, experts;
    int top_k, layers, concat;
};

template <class T> DEVICE T &at_of(const struct mat &m, int64_t r, int64_t c)
{
    return ((T *)(m.data + r * m.step))[c];
}

__global__ void __launch_bounds__(BALANCE_THREADS) balance_sums(struct balances m)
{
    int64_t i = (int64_t)blockIdx.x * BALANCE_THREADS + threadIdx.x;
    if (m.load && i < m.experts)
        for (int64_t g = 0; g < m.groups; g++)
            m.load[i] += at_of<int32_t>(m.count, g, i);
    int64_t g = i / m.experts, k = i % m.experts;
    if (!m.count_sum.data || g >= m.groups)
        return;
    at_of<int32_t>(m.count_sum, g, k) =
        at_of<int32_t>(m.count0, g, k) + at_of<int32_t>(m.count, g, k);
    at_of<double>(m.psum_sum, g, k) =
        __dadd_rn(at_of<double>(m.psum0, g, k), at_of<double>(m.psum, g, k));
}

/* A thread for each group, and one that adds their losses in order. */
__global__ void __launch_bounds__(BALANCE_THREADS) balance_losses(struct balances m)
{
    __shared__ double losses[BALANCE_THREADS], choices[BALANCE_THREADS];
    double loss = 0, rows = 0;
    for (int64_t first = 0; first < m.groups; first += BALANCE_THREADS) {
        int64_t g = first + threadIdx.x;
        if (g < m.groups) {
            double n = 0, sum = 0;
            for (int64_t i = 0; i < m.experts; i++)
                n += at_of<int32_t>(m.count, g, i);
            choices[threadIdx.x] = n;
            n /= m.top_k;
            double f = n > 0 ? (double)m.experts /
                                   __dmul_rn(__dmul_rn(n, n), m.concat ? 1 : m.top_k)
                             : 0;
            double factor = __dmul_rn(m.aux_coef, (double)*m.scale);
            for (int64_t i = 0; i < m.experts; i++) {
                double w = __dmul_rn(f, at_of<int32_t>(m.count, g, i));
                sum = __dadd_rn(sum, __dmul_rn(w, at_of<double>(m.psum, g, i)));
                at_of<float>(m.aux_weight, g, i) =
                    (float)(__dmul_rn(factor, w) / (double)m.groups);
            }
            losses[threadIdx.x] = sum;
        }
        __syncthreads();
        for (int64_t i = 0; i < BALANCE_THREADS && first + i < m.groups; i++) {
            loss = __dadd_rn(loss, losses[i]);
            rows = __dadd_rn(rows, choices[i]);
        }
        __syncthreads();
    }
    if (threadIdx.x)
        return;
    rows /= (double)(m.top_k * m.layers);
    *m.z_weight = rows > 0 ? (float)(__dmul_rn(m.z_coef, (double)*m.scale) / rows) : 0;
    m.stats[0] = __dadd_rn(m.stats[0], m.aux_coef > 0 ? loss / (double)m.groups : 0);
    m.stats[1] = __dadd_rn(m.stats[1], m.z_coef > 0 && rows > 0 ? *m.zsq / rows : 0);
}

static int balance_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_balance *p = (const struct nnd_balance *)params;
    int64_t groups = p->count.dim[0], experts = p->count.dim[1];
    struct balances m = {mat_of(&p->count),
                         mat_of(&p->psum),
                         mat_of(&p->count0),
                         mat_of(&p->psum0),
                         mat_of(&p->count_sum),
                         mat_of(&p->psum_sum),
                         mat_of(&p->aux_weight),
                         p->load.ndim ? (int64_t *)p->load.data : NULL,
                         (const double *)p->zsq.data,
                         (float *)p->z_weight.data,
                         (double *)p->stats.data,
                         p->scale,
                         p->aux_coef,
                         p->z_coef,
                         groups,
                         experts,
                         p->top_k,
                         p->layers,
                         p->concat};
    int64_t blocks = blocks_for(groups * experts, BALANCE_THREADS);
    int r = NND_OK;
    if (p->load.ndim || p->count_sum.ndim)
        r = launch(balance_sums, dim3((unsigned)blocks), dim3(BALANCE_THREADS), 0, l,
                   m);
    if (r || !p->aux_weight.ndim)
        return r;
    return launch(balance_losses, dim3(1), dim3(BALANCE_THREADS), 0, l, m);
}

static int balance_check(const void *params, struct nnd_error *e)
{
    const struct nnd_balance *p = (const struct nnd_balance *)params;
    if (p->count_sum.ndim &&
        (!p->count0.ndim || !p->psum.ndim || !p->psum0.ndim || !p->psum_sum.ndim))
        return op_refuse(e, NND_EINVAL, "count_sum: wanted psum, and all to be added");
    if (p->aux_weight.ndim &&
        (!p->psum.ndim || !p->zsq.ndim || !p->z_weight.ndim || p->stats.dim[0] != 2))
        return op_refuse(e, NND_EINVAL,
                         "aux_weight: wanted psum, zsq, z_weight and two of stats");
    if (p->top_k < 1 || p->layers < 1)
        return op_refuse(e, NND_EINVAL, "top_k %d of %d layers, wanted at least 1",
                         p->top_k, p->layers);
    return NND_OK;
}

/* ---- moe.window ---- */

__global__ void __launch_bounds__(256)
    window_kernel(const int32_t *count, int64_t experts, struct mat segments,
                  struct mat leaves)
{
    int64_t e = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int32_t row = 0;
    if (e >= experts)
        return;
    for (int64_t i = 0; i < e; i++)
        row += count[i];
    struct nnd_segment s = {row, count[e], (int32_t)e, 0};
    at_of<struct nnd_segment>(segments, e, 0) = s;
    at_of<struct nnd_segment>(leaves, e, 0) = s;
}

static int window_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_balance *p = (const struct nnd_balance *)params;
    int64_t experts = p->count.dim[0];
    return launch(window_kernel, dim3((unsigned)blocks_for(experts, 256)), dim3(256), 0,
                  l, (const int32_t *)p->count.data, experts, mat_of(&p->segments),
                  mat_of(&p->leaves));
}

static int window_check(const void *params, struct nnd_error *e)
{
    const struct nnd_balance *p = (const struct nnd_balance *)params;
    return p->segments.dim[1] == 4
               ? NND_OK
               : op_refuse(e, NND_EINVAL, "segments: %lld columns, wanted 4",
                           (long long)p->segments.dim[1]);
}

extern "C" const struct op cuda_step_ops[] = {
    {.name = "total",
     .params_size = sizeof(struct nnd_total),
     .args = {ARG(nnd_total, x, "N", IN_F32 | IN_F64, 0),
              ARG(nnd_total, order, "N", IN_I32, ARG_OPTIONAL),
              ARG(nnd_total, y, "1", IN_F64, 0)},
     .launch = total_launch},
    {.name = "opt.hyper",
     .params_size = sizeof(struct nnd_hyper),
     .args = {ARG(nnd_hyper, given, "G", IN_F64, 0),
              ARG(nnd_hyper, norm, "1", IN_F64, 0),
              ARG(nnd_hyper, stats, "CK", IN_F64, 0),
              ARG(nnd_hyper, hyper, "H", IN_F32, 0),
              ARG(nnd_hyper, skip, "1", IN_I32, 0)},
     .check = hyper_check,
     .launch = hyper_launch},
    {.name = "moe.balance",
     .params_size = sizeof(struct nnd_balance),
     .args = {ARG(nnd_balance, count, "GE", IN_I32, 0),
              ARG(nnd_balance, psum, "GE", IN_F64, ARG_OPTIONAL),
              ARG(nnd_balance, load, "E", IN_I64, ARG_OPTIONAL),
              ARG(nnd_balance, count0, "GE", IN_I32, ARG_OPTIONAL),
              ARG(nnd_balance, psum0, "GE", IN_F64, ARG_OPTIONAL),
              ARG(nnd_balance, count_sum, "GE", IN_I32, ARG_OPTIONAL),
              ARG(nnd_balance, psum_sum, "GE", IN_F64, ARG_OPTIONAL),
              ARG(nnd_balance, zsq, "1", IN_F64, ARG_OPTIONAL),
              ARG(nnd_balance, aux_weight, "GE", IN_F32, ARG_OPTIONAL),
              ARG(nnd_balance, z_weight, "1", IN_F32, ARG_OPTIONAL),
              ARG(nnd_balance, stats, "S", IN_F64, ARG_OPTIONAL)},
     .check = balance_check,
     .launch = balance_launch},
    {.name = "moe.window",
     .params_size = sizeof(struct nnd_balance),
     .args = {ARG(nnd_balance, count, "E", IN_I32, 0),
              ARG(nnd_balance, segments, "EF", IN_I32, 0),
              ARG(nnd_balance, leaves, "EF", IN_I32, 0)},
     .check = window_check,
     .launch = window_launch},
    {},
};
