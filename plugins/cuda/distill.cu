/* SPDX-License-Identifier: Apache-2.0 */
/*
 * distill.cu - a student's loss beside its teacher: three passes forward, for the
 * largest numbers, three sums of exponentials and the divergence, one backward.
 */
#include "families.h"
#include "kern.h"

struct beside {
    struct mat z, y, dz;
    float *loss, *lse, *soft, *teacher;
    const int32_t *target;
    const float *seed;
    float alpha, temperature;
    int64_t rows, cols;
};

/* Thread `at` of a team: every TEAM-th group of 8. */
template <int DT, int TEAM>
DEVICE void largest(const struct beside &m, int64_t r, int at, float *z, float *y)
{
    for (int64_t c = at * 8; c < m.cols; c += TEAM * 8) {
        float v[8], w[8];
        get8<DT>(m.z, r, c, m.cols - c, v, -INFINITY);
        get8<DT>(m.y, r, c, m.cols - c, w, -INFINITY);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            *z = fmaxf(*z, v[i]);
            *y = fmaxf(*y, w[i]);
        }
    }
}

/* Sums of exp(z - most), exp((z - most) / T), exp((y - best) / T). */
template <int DT, int TEAM>
DEVICE void add_up(const struct beside &m, int64_t r, int at, float most, float best,
                   float (&sum)[3])
{
    float scale = 1.0f / m.temperature;
    for (int64_t c = at * 8; c < m.cols; c += TEAM * 8) {
        float v[8], w[8], p[3][8];
        get8<DT>(m.z, r, c, m.cols - c, v, -INFINITY);
        get8<DT>(m.y, r, c, m.cols - c, w, -INFINITY);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            bool in = i < m.cols - c;
            p[0][i] = in ? expf(v[i] - most) : 0;
            p[1][i] = in ? expf((v[i] - most) * scale) : 0;
            p[2][i] = in ? expf((w[i] - best) * scale) : 0;
        }
        for (int k = 0; k < 3; k++)
            sum[k] += sum8(p[k]);
    }
}

template <int DT, int TEAM>
DEVICE float divergence(const struct beside &m, int64_t r, int at, float soft,
                        float teacher)
{
    float scale = 1.0f / m.temperature, all = 0;
    for (int64_t c = at * 8; c < m.cols; c += TEAM * 8) {
        float v[8], w[8], p[8];
        get8<DT>(m.z, r, c, m.cols - c, v);
        get8<DT>(m.y, r, c, m.cols - c, w);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float taught = w[i] * scale - teacher;
            p[i] = i < m.cols - c ? expf(taught) * (taught - (v[i] * scale - soft)) : 0;
        }
        all += sum8(p);
    }
    return all;
}

template <int DT, int TEAM>
__global__ void __launch_bounds__(256, 2) distill_forward(struct beside m)
{
    __shared__ float room[8];
    int64_t r = (int64_t)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM;
    int at = threadIdx.x % TEAM;
    if (r >= m.rows)
        return;
    int32_t target = m.target[r];
    float most = -INFINITY, best = -INFINITY, sum[3] = {0, 0, 0};
    if (target < 0) {
        if (at == 0)
            m.loss[r] = m.lse[r] = m.soft[r] = m.teacher[r] = 0;
        return;
    }
    largest<DT, TEAM>(m, r, at, &most, &best);
    most = team_max<TEAM>(most, room);
    best = team_max<TEAM>(best, room);
    add_up<DT, TEAM>(m, r, at, most, best, sum);
    for (int k = 0; k < 3; k++)
        sum[k] = team_sum<TEAM>(sum[k], room);
    float scale = 1.0f / m.temperature, lse = most + logf(sum[0]);
    float soft = most * scale + logf(sum[1]), teacher = best * scale + logf(sum[2]);
    float kl = divergence<DT, TEAM>(m, r, at, soft, teacher);
    kl = team_sum<TEAM>(kl, room);
    if (at)
        return;
    m.lse[r] = lse;
    m.soft[r] = soft;
    m.teacher[r] = teacher;
    m.loss[r] = (1.0f - m.alpha) * (lse - get1(m.z, r, target)) +
                m.alpha * m.temperature * m.temperature * kl;
}

template <int DT> struct distill_slope {
    struct beside m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8] = {0}, w[8], seed = *m.seed, scale = 1.0f / m.temperature;
        float hard = 1.0f - m.alpha, soft = m.alpha * m.temperature;
        int32_t target = m.target[r];
        if (target >= 0) {
            get8<DT>(m.z, r, c, left, v);
            get8<DT>(m.y, r, c, left, w);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float g =
                    expf(v[i] * scale - m.soft[r]) - expf(w[i] * scale - m.teacher[r]);
                float h = expf(v[i] - m.lse[r]) - (c + i == target ? 1.0f : 0.0f);
                v[i] = (g * soft + h * hard) * seed;
            }
        }
        put8<DT>(m.dz, r, c, left, v);
    }
};

static struct beside beside_of(const struct nnd_distill *p)
{
    return {mat_of(&p->logits),
            mat_of(&p->teacher),
            mat_of(&p->dlogits),
            (float *)p->loss.data,
            (float *)p->lse.data,
            (float *)p->lse_soft.data,
            (float *)p->lse_teacher.data,
            p->target,
            p->seed,
            p->alpha,
            p->temperature,
            p->logits.dim[0],
            p->logits.dim[1]};
}

template <int DT>
static int forward_typed(const struct beside &m, const struct nnd_launch *l)
{
    if (m.cols <= 1024)
        return launch(distill_forward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                      dim3(256), 0, l, m);
    return launch(distill_forward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0, l, m);
}

static int distill_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_distill *p = (const struct nnd_distill *)params;
    const struct nnd_tensor *t[] = {&p->logits, &p->teacher};
    if (common_type(t, 2) == NND_F32)
        return forward_typed<NND_F32>(beside_of(p), l);
    return forward_typed<0>(beside_of(p), l);
}

static int distill_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_distill *p = (const struct nnd_distill *)params;
    const struct nnd_tensor *t[] = {&p->logits, &p->teacher, &p->dlogits};
    return each_typed<distill_slope>(l, common_type(t, 3), p->logits.dim[0],
                                     p->logits.dim[1], beside_of(p));
}

static int check(const void *params, struct nnd_error *e)
{
    const struct nnd_distill *p = (const struct nnd_distill *)params;
    if (p->temperature > 0)
        return NND_OK;
    return op_refuse(e, NND_EINVAL, "temperature %g, wanted one above 0",
                     (double)p->temperature);
}

extern "C" const struct op cuda_distill_ops[] = {
    {.name = "distill.fwd", .check = check, .launch = distill_fwd},
    {.name = "distill.bwd", .check = check, .launch = distill_bwd},
    {},
};
