/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent.cu - cross entropy over the vocabulary: one pass forward, with the largest
 * logit and the sum of exponentials found together (Milakov & Gimelshein 2018), one
 * backward from lse.
 */
#include "families.h"
#include "kern.h"

struct losses {
    struct mat z, dz;
    float *loss, *lse;
    const int32_t *target;
    const float *seed;
    float smoothing, z_loss;
    int64_t rows, cols;
};

/* exp(v - most) where v may be -inf, and most then too. */
DEVICE float part(float v, float most)
{
    return v == -INFINITY ? 0 : expf(v - most);
}

template <int DT, int TEAM>
__global__ void __launch_bounds__(256) xent_forward(struct losses m)
{
    __shared__ float room[8];
    int64_t r = (int64_t)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM, n = m.cols;
    if (r >= m.rows)
        return;
    int32_t target = m.target[r];
    float most = -INFINITY, sum = 0, all = 0;
    if (target < 0) {
        if (threadIdx.x % TEAM == 0)
            m.loss[r] = m.lse[r] = 0;
        return;
    }
    for (int64_t c = threadIdx.x % TEAM * 8; c < n; c += TEAM * 8) {
        float v[8], top;
        get8<DT>(m.z, r, c, n - c, v, -INFINITY);
        top = fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                    fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7])));
        if (top > most) {
            sum *= part(most, top);
            most = top;
        }
        float p[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            p[i] = part(v[i], most);
        sum += sum8(p);
        if (m.smoothing > 0)
#pragma unroll
            for (int i = 0; i < 8; i++)
                all += i < n - c ? v[i] : 0;
    }
    float top = team_max<TEAM>(most, room);
    sum = team_sum<TEAM>(sum * part(most, top), room);
    if (m.smoothing > 0)
        all = team_sum<TEAM>(all, room);
    if (threadIdx.x % TEAM)
        return;
    float lse = top + logf(sum);
    float loss = lse - (1.0f - m.smoothing) * get1(m.z, r, target);
    if (m.smoothing > 0)
        loss -= m.smoothing * (all / (float)n);
    m.lse[r] = lse;
    m.loss[r] = loss + m.z_loss * (lse * lse);
}

template <int DT> struct xent_slope {
    struct losses m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8] = {0}, seed = *m.seed, lse = m.lse[r];
        float factor = 1.0f + 2.0f * m.z_loss * lse, even = m.smoothing / (float)m.cols;
        int32_t target = m.target[r];
        if (target >= 0) {
            get8<DT>(m.z, r, c, left, v);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float g = expf(v[i] - lse) * factor - even;
                v[i] = (c + i == target ? g - (1.0f - m.smoothing) : g) * seed;
            }
        }
        put8<DT>(m.dz, r, c, left, v);
    }
};

static struct losses losses_of(const struct nnd_xent *p)
{
    return {mat_of(&p->logits),   mat_of(&p->dlogits), (float *)p->loss.data,
            (float *)p->lse.data, p->target,           p->seed,
            p->smoothing,         p->z_loss,           p->logits.dim[0],
            p->logits.dim[1]};
}

template <int DT>
static int forward_typed(const struct losses &m, const struct nnd_launch *l)
{
    if (m.cols <= 1024)
        return launch(xent_forward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                      dim3(256), 0, l, m);
    return launch(xent_forward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0, l, m);
}

static int xent_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent *p = (const struct nnd_xent *)params;
    if (p->logits.dtype == NND_BF16)
        return forward_typed<NND_BF16>(losses_of(p), l);
    return forward_typed<0>(losses_of(p), l);
}

static int xent_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent *p = (const struct nnd_xent *)params;
    const struct nnd_tensor *t[] = {&p->logits, &p->dlogits};
    return each_typed<xent_slope>(l, common_type(t, 2), p->logits.dim[0],
                                  p->logits.dim[1], losses_of(p));
}

extern "C" const struct op cuda_xent_ops[] = {
    {.name = "xent.fwd", .launch = xent_fwd},
    {.name = "xent.bwd", .launch = xent_bwd},
    {},
};
