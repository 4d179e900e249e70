/* SPDX-License-Identifier: Apache-2.0 */
/*
 * softmax.cu - softmax.fwd and softmax.bwd over the columns of each row that count.
 *
 * A row is a warp's, or a block's where it is long; it stays in registers up to
 * 32 numbers a thread and is read again beyond.
 */
#include "families.h"
#include "kern.h"

struct softmaxes {
    struct mat x, y, dy, dx;
    const int32_t *len;
    float sign, size; /* of the scale */
    int64_t rows, cols;
};

/* Numbers that count for nothing behind the row's columns. */
DEVICE void keep_first(int64_t left, float (&v)[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = i < left ? v[i] : 0;
}

/* This thread's row, and how many of its columns count; false: it has none. */
template <int TEAM>
DEVICE bool row_of(const struct softmaxes &m, int64_t &r, int64_t &n)
{
    r = (int64_t)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM;
    if (r >= m.rows)
        return false; /* whole warps: blocks of several rows have no barrier */
    n = m.len ? m.len[r] : m.cols;
    return true;
}

template <int DT, int TEAM>
__global__ void __launch_bounds__(256) softmax_forward(struct softmaxes m)
{
    constexpr int KEEP = KEPT<DT>;
    __shared__ float room[8];
    float kept[KEEP][8], most = -INFINITY, sum = 0;
    int64_t r, n;
    if (!row_of<TEAM>(m, r, n))
        return;
    auto load = [&](float(&v)[8], int64_t c) {
        get8<DT>(m.x, r, c, n - c, v, -m.sign * INFINITY);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] *= m.sign;
    };
#pragma unroll
    for (int k = 0; k < KEEP; k++)
        load(kept[k], ((int64_t)k * TEAM + threadIdx.x % TEAM) * 8);
    over_row<TEAM>(kept, n, load, [&](float(&v)[8], int64_t) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            most = fmaxf(most, v[i]);
    });
    most = team_max<TEAM>(most, room);
    auto part = [&](const float(&v)[8], int64_t c, float(&e)[8]) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            e[i] = expf((v[i] - most) * m.size);
        keep_first(n - c, e);
    };
    over_row<TEAM>(kept, n, load, [&](float(&v)[8], int64_t c) {
        float e[8];
        part(v, c, e);
        sum += sum8(e);
    });
    float share = 1.0f / team_sum<TEAM>(sum, room);
    over_row<TEAM>(kept, m.cols, load, [&](float(&v)[8], int64_t c) {
        float e[8];
        part(v, c, e);
#pragma unroll
        for (int i = 0; i < 8; i++)
            e[i] *= share;
        keep_first(n - c, e);
        put8<DT>(m.y, r, c, m.cols - c, e);
    });
}

/* dx = scale (dy - <dy, y>) y */
template <int DT, int TEAM>
__global__ void __launch_bounds__(256, 2) softmax_backward(struct softmaxes m)
{
    constexpr int KEEP = KEPT<DT>;
    __shared__ float room[8];
    float kept_y[KEEP][8], kept_d[KEEP][8], sum = 0, scale = m.sign * m.size;
    int64_t r, n;
    if (!row_of<TEAM>(m, r, n))
        return;
    const int64_t t = threadIdx.x % TEAM, rest = (KEEP * TEAM + t) * 8;
    auto add = [&](float(&y)[8], float(&d)[8], int64_t c) {
        float p[8];
        get8<DT>(m.y, r, c, n - c, y);
        get8<DT>(m.dy, r, c, n - c, d);
#pragma unroll
        for (int i = 0; i < 8; i++)
            p[i] = d[i] * y[i];
        sum += sum8(p);
    };
#pragma unroll
    for (int k = 0; k < KEEP; k++)
        add(kept_y[k], kept_d[k], (k * TEAM + t) * 8);
    for (int64_t c = rest; c < n; c += TEAM * 8) {
        float y[8], d[8];
        add(y, d, c);
    }
    float mean = team_sum<TEAM>(sum, room);
    auto store = [&](const float(&y)[8], float(&d)[8], int64_t c) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            d[i] = scale * ((d[i] - mean) * y[i]);
        keep_first(n - c, d);
        put8<DT>(m.dx, r, c, m.cols - c, d);
    };
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = (k * TEAM + t) * 8;
        if (c < m.cols)
            store(kept_y[k], kept_d[k], c);
    }
    for (int64_t c = rest; c < m.cols; c += TEAM * 8) {
        float y[8], d[8];
        get8<DT>(m.y, r, c, n - c, y);
        get8<DT>(m.dy, r, c, n - c, d);
        store(y, d, c);
    }
}

static struct softmaxes softmaxes_of(const struct nnd_softmax *p)
{
    float scale = p->scale == 0 ? 1.0f : p->scale;
    return {mat_of(&p->x),  mat_of(&p->y), mat_of(&p->dy),
            mat_of(&p->dx), p->len,        scale < 0 ? -1.0f : 1.0f,
            fabsf(scale),   p->y.dim[0],   p->y.dim[1]};
}

template <int DT>
static int forward_typed(const struct softmaxes &m, const struct nnd_launch *l)
{
    if (m.cols <= WARP_COLS)
        return launch(softmax_forward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                      dim3(256), 0, l, m);
    return launch(softmax_forward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0, l, m);
}

template <int DT>
static int backward_typed(const struct softmaxes &m, const struct nnd_launch *l)
{
    if (m.cols <= WARP_COLS)
        return launch(softmax_backward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                      dim3(256), 0, l, m);
    return launch(softmax_backward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0, l,
                  m);
}

static int softmax_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_softmax *p = (const struct nnd_softmax *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    switch (common_type(t, 2)) {
    case NND_BF16:
        return forward_typed<NND_BF16>(softmaxes_of(p), l);
    case NND_F32:
        return forward_typed<NND_F32>(softmaxes_of(p), l);
    default:
        return forward_typed<0>(softmaxes_of(p), l);
    }
}

static int softmax_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_softmax *p = (const struct nnd_softmax *)params;
    const struct nnd_tensor *t[] = {&p->y, &p->dy, &p->dx};
    switch (common_type(t, 3)) {
    case NND_BF16:
        return backward_typed<NND_BF16>(softmaxes_of(p), l);
    case NND_F32:
        return backward_typed<NND_F32>(softmaxes_of(p), l);
    default:
        return backward_typed<0>(softmaxes_of(p), l);
    }
}

extern "C" const struct op cuda_softmax_ops[] = {
    {.name = "softmax.fwd", .launch = softmax_fwd},
    {.name = "softmax.bwd", .launch = softmax_bwd},
    {},
};
