/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.cu - norm.rms and norm.layer, forward and backward, with a residual's sum
 * before and its gradient behind.
 *
 * A row is a warp's, or a block's where it is long; it stays in registers up to
 * 32 numbers a thread and is read again beyond.  The weight gradients are sums over
 * rows: of blocks of rows in one pass, then over the blocks, in order.
 */
#include "families.h"
#include "kern.h"

/* Groups of eight that a thread keeps. */
template <int DT> constexpr int KEPT = DT ? 4 : 1;

struct norms {
    struct mat x, w, b, y, dy, dx, add, sum, dsum;
    float *rstd, *mean; /* mean NULL: rms */
    float eps, share;   /* share: 1 / cols */
    int64_t rows, cols;
};

/* f(group, column) for this thread's groups of a row: kept ones, then others. */
template <int TEAM, int KEEP, class L, class F>
DEVICE void over_row(float (&kept)[KEEP][8], int64_t n, L reload, F f)
{
    const int t = threadIdx.x % TEAM;
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = ((int64_t)k * TEAM + t) * 8;
        if (c < n)
            f(kept[k], c);
    }
    for (int64_t c = ((int64_t)KEEP * TEAM + t) * 8; c < n; c += TEAM * 8) {
        float v[8];
        reload(v, c);
        f(v, c);
    }
}

/* Eight numbers that count nowhere behind the row's end. */
DEVICE float masked_sum(const float (&v)[8], int64_t left)
{
    float m[8];
#pragma unroll
    for (int i = 0; i < 8; i++)
        m[i] = i < left ? v[i] : 0;
    return sum8(m);
}

template <int DT, int TEAM>
__global__ void __launch_bounds__(256) norm_forward(struct norms m)
{
    constexpr int KEEP = KEPT<DT>;
    __shared__ float room[8];
    int64_t r = (int64_t)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM, n = m.cols;
    if (r >= m.rows)
        return; /* whole warps: blocks of several rows have no barrier */
    float kept[KEEP][8], s = 0, mean = 0;
    auto first = [&](float(&v)[8], int64_t c) {
        get8<DT>(m.x, r, c, n - c, v);
        if (m.add.data) {
            float a[8];
            get8<DT>(m.add, r, c, n - c, a);
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = rounded(DT ? DT : m.sum.dtype, v[i] + a[i]);
            put8<DT>(m.sum, r, c, n - c, v);
        }
    };
    auto again = [&](float(&v)[8], int64_t c) {
        get8<DT>(m.add.data ? m.sum : m.x, r, c, n - c, v);
    };
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = ((int64_t)k * TEAM + threadIdx.x % TEAM) * 8;
        if (c < n)
            first(kept[k], c);
    }
    if (m.mean) {
        over_row<TEAM>(kept, n, first,
                       [&](float(&v)[8], int64_t c) { s += masked_sum(v, n - c); });
        mean = team_sum<TEAM>(s, room) / (float)n;
        s = 0;
        over_row<TEAM>(kept, n, again, [&](float(&v)[8], int64_t c) {
            float d[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                d[i] = (v[i] - mean) * (v[i] - mean);
            s += masked_sum(d, n - c);
        });
    } else {
        over_row<TEAM>(kept, n, first, [&](float(&v)[8], int64_t c) {
            float d[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                d[i] = v[i] * v[i];
            s += masked_sum(d, n - c);
        });
    }
    float rstd = 1.0f / sqrtf(team_sum<TEAM>(s, room) / (float)n + m.eps);
    if (threadIdx.x % TEAM == 0) {
        m.rstd[r] = rstd;
        if (m.mean)
            m.mean[r] = mean;
    }
    over_row<TEAM>(kept, n, again, [&](float(&v)[8], int64_t c) {
        float w[8], b[8] = {0}, y[8];
        get8<0>(m.w, 0, c, n - c, w);
        if (m.b.data)
            get8<0>(m.b, 0, c, n - c, b);
#pragma unroll
        for (int i = 0; i < 8; i++)
            y[i] = (v[i] - mean) * rstd * w[i] + b[i];
        put8<DT>(m.y, r, c, n - c, y);
    });
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) + dsum, g = w dy; rms leaves out
 * mean(g). */
template <int DT, int TEAM>
__global__ void __launch_bounds__(256, 2) norm_backward(struct norms m)
{
    constexpr int KEEP = KEPT<DT>;
    __shared__ float room[8];
    int64_t r = (int64_t)blockIdx.x * (256 / TEAM) + threadIdx.x / TEAM, n = m.cols;
    if (r >= m.rows)
        return;
    float g[KEEP][8], xhat[KEEP][8], sg = 0, sgx = 0;
    float rstd = m.rstd[r], mean = m.mean ? m.mean[r] : 0;
    auto load = [&](float(&gv)[8], float(&xv)[8], int64_t c) {
        float w[8];
        get8<DT>(m.dy, r, c, n - c, gv);
        get8<DT>(m.x, r, c, n - c, xv);
        get8<0>(m.w, 0, c, n - c, w);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            gv[i] *= w[i];
            xv[i] = (xv[i] - mean) * rstd;
        }
    };
    auto collect = [&](const float(&gv)[8], const float(&xv)[8], int64_t c) {
        float p[8];
#pragma unroll
        for (int i = 0; i < 8; i++)
            p[i] = gv[i] * xv[i];
        sg += masked_sum(gv, n - c);
        sgx += masked_sum(p, n - c);
    };
    const int64_t t = threadIdx.x % TEAM, rest = (KEEP * TEAM + t) * 8;
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = (k * TEAM + t) * 8;
        if (c < n) {
            load(g[k], xhat[k], c);
            collect(g[k], xhat[k], c);
        }
    }
    for (int64_t c = rest; c < n; c += TEAM * 8) {
        float gv[8], xv[8];
        load(gv, xv, c);
        collect(gv, xv, c);
    }
    float mg = m.mean ? team_sum<TEAM>(sg, room) * m.share : 0;
    float mgx = team_sum<TEAM>(sgx, room) * m.share;
    auto store = [&](float(&gv)[8], const float(&xv)[8], int64_t c) {
        float d[8] = {0};
        if (m.dsum.data)
            get8<DT>(m.dsum, r, c, n - c, d);
#pragma unroll
        for (int i = 0; i < 8; i++)
            gv[i] = (gv[i] - mg - xv[i] * mgx) * rstd + d[i];
        put8<DT>(m.dx, r, c, n - c, gv);
    };
#pragma unroll
    for (int k = 0; k < KEEP; k++) {
        int64_t c = (k * TEAM + t) * 8;
        if (c < n)
            store(g[k], xhat[k], c);
    }
    for (int64_t c = rest; c < n; c += TEAM * 8) {
        float gv[8], xv[8];
        load(gv, xv, c);
        store(gv, xv, c);
    }
}

#define COLUMN_THREADS 64

/* Sums of a block of rows, for this thread's eight columns: [blocks,2,cols]. */
template <int DT>
__global__ void __launch_bounds__(COLUMN_THREADS)
    norm_weights(struct norms m, float *sums)
{
    int64_t c = ((int64_t)blockIdx.x * COLUMN_THREADS + threadIdx.x) * 8, n = m.cols;
    int64_t r = (int64_t)blockIdx.y * NND_BLOCK_ROWS;
    int64_t end = r + NND_BLOCK_ROWS < m.rows ? r + NND_BLOCK_ROWS : m.rows;
    float dw[8] = {0}, db[8] = {0};
    if (c >= n)
        return;
#pragma unroll 4
    for (; r < end; r++) {
        float d[8], x[8];
        get8<DT>(m.dy, r, c, n - c, d);
        get8<DT>(m.x, r, c, n - c, x);
        float rstd = m.rstd[r], mean = m.mean ? m.mean[r] : 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            dw[i] += d[i] * ((x[i] - mean) * rstd);
            db[i] += d[i];
        }
    }
    float *to = sums + (int64_t)blockIdx.y * 2 * n;
    for (int i = 0; i < 8 && c + i < n; i++) {
        to[c + i] = dw[i];
        to[n + c + i] = db[i];
    }
}

__global__ void __launch_bounds__(256)
    add_blocks(const float *sums, int64_t blocks, int64_t n, float *dw, float *db)
{
    int64_t c = (int64_t)blockIdx.x * 256 + threadIdx.x;
    float w = 0, b = 0;
    if (c >= n)
        return;
    for (int64_t i = 0; i < blocks; i++) {
        w += sums[i * 2 * n + c];
        b += sums[i * 2 * n + n + c];
    }
    if (dw)
        dw[c] = w;
    if (db)
        db[c] = b;
}

static struct norms norms_of(const struct nnd_norm *p, bool centred)
{
    return {mat_of(&p->x),
            mat_of(&p->w),
            mat_of(&p->b),
            mat_of(&p->y),
            mat_of(&p->dy),
            mat_of(&p->dx),
            mat_of(&p->add),
            mat_of(&p->sum),
            mat_of(&p->dsum),
            (float *)p->rstd.data,
            centred ? (float *)p->mean.data : NULL,
            p->eps,
            1.0f / (float)p->x.dim[1],
            p->x.dim[0],
            p->x.dim[1]};
}

/* Rows of up to this many columns are a warp's. */
#define WARP_COLS 1024

template <int DT>
static int forward_typed(const struct norms &m, const struct nnd_launch *l)
{
    if (m.cols <= WARP_COLS)
        return launch(norm_forward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                      dim3(256), 0, l, m);
    return launch(norm_forward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0, l, m);
}

static int forward(const struct nnd_norm *p, bool centred, const struct nnd_launch *l)
{
    const struct nnd_tensor *t[] = {&p->x, &p->y, &p->add, &p->sum};
    struct norms m = norms_of(p, centred);
    switch (common_type(t, 4)) {
    case NND_BF16:
        return forward_typed<NND_BF16>(m, l);
    case NND_F32:
        return forward_typed<NND_F32>(m, l);
    default:
        return forward_typed<0>(m, l);
    }
}

static int64_t row_blocks(const struct nnd_norm *p)
{
    return blocks_for(p->x.dim[0], NND_BLOCK_ROWS);
}

template <int DT>
static int backward_typed(const struct norms &m, float *sums,
                          const struct nnd_launch *l)
{
    int64_t blocks = blocks_for(m.rows, NND_BLOCK_ROWS);
    int r = m.cols <= WARP_COLS
                ? launch(norm_backward<DT, 32>, dim3((unsigned)blocks_for(m.rows, 8)),
                         dim3(256), 0, l, m)
                : launch(norm_backward<DT, 256>, dim3((unsigned)m.rows), dim3(256), 0,
                         l, m);
    if (r || !sums)
        return r;
    return launch(
        norm_weights<DT>,
        dim3((unsigned)blocks_for(m.cols, COLUMN_THREADS * 8), (unsigned)blocks),
        dim3(COLUMN_THREADS), 0, l, m, sums);
}

static int backward(const struct nnd_norm *p, bool centred, const struct nnd_launch *l)
{
    const struct nnd_tensor *t[] = {&p->x, &p->dy, &p->dx, &p->dsum};
    struct norms m = norms_of(p, centred);
    bool weights = p->dw.ndim || p->db.ndim;
    float *sums = weights ? (float *)l->workspace : NULL;
    int dtype = common_type(t, 4);
    int r = dtype == NND_BF16  ? backward_typed<NND_BF16>(m, sums, l)
            : dtype == NND_F32 ? backward_typed<NND_F32>(m, sums, l)
                               : backward_typed<0>(m, sums, l);
    if (r || !weights)
        return r;
    return launch(add_blocks, dim3((unsigned)blocks_for(m.cols, 256)), dim3(256), 0, l,
                  (const float *)sums, row_blocks(p), m.cols,
                  p->dw.ndim ? (float *)p->dw.data : NULL,
                  p->db.ndim ? (float *)p->db.data : NULL);
}

static int rms_fwd(const void *params, const struct nnd_launch *l)
{
    return forward((const struct nnd_norm *)params, false, l);
}

static int layer_fwd(const void *params, const struct nnd_launch *l)
{
    return forward((const struct nnd_norm *)params, true, l);
}

static int rms_bwd(const void *params, const struct nnd_launch *l)
{
    return backward((const struct nnd_norm *)params, false, l);
}

static int layer_bwd(const void *params, const struct nnd_launch *l)
{
    return backward((const struct nnd_norm *)params, true, l);
}

static size_t backward_workspace(const void *params)
{
    const struct nnd_norm *p = (const struct nnd_norm *)params;
    return (size_t)(row_blocks(p) * 2 * p->x.dim[1]) * sizeof(float);
}

static int norm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_norm *p = (const struct nnd_norm *)params;
    if (!p->add.ndim != !p->sum.ndim)
        return op_refuse(e, NND_EINVAL, "add and sum: wanted both or none");
    return NND_OK;
}

/* Blocks of rows are the grid's second axis. */
static int rows_check(const void *params, struct nnd_error *e)
{
    const struct nnd_norm *p = (const struct nnd_norm *)params;
    if (row_blocks(p) > 65535)
        return op_refuse(e, NND_EUNSUPPORTED, "x: %lld rows, wanted at most %d",
                         (long long)p->x.dim[0], 65535 * NND_BLOCK_ROWS);
    return NND_OK;
}

extern "C" const struct op cuda_norm_ops[] = {
    {.name = "norm.rms.fwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, b, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, y, "TN", IN_FLOATS, 0), ARG(nnd_norm, rstd, "T", IN_F32, 0),
              ARG(nnd_norm, add, "TN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, sum, "TN", IN_FLOATS, ARG_OPTIONAL)},
     .check = norm_check,
     .launch = rms_fwd},
    {.name = "norm.layer.fwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, b, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, y, "TN", IN_FLOATS, 0), ARG(nnd_norm, rstd, "T", IN_F32, 0),
              ARG(nnd_norm, mean, "T", IN_F32, 0),
              ARG(nnd_norm, add, "TN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, sum, "TN", IN_FLOATS, ARG_OPTIONAL)},
     .check = norm_check,
     .launch = layer_fwd},
    {.name = "norm.rms.bwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, rstd, "T", IN_F32, 0),
              ARG(nnd_norm, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dw, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, db, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, dsum, "TN", IN_FLOATS, ARG_OPTIONAL)},
     .check = rows_check,
     .workspace = backward_workspace,
     .launch = rms_bwd},
    {.name = "norm.layer.bwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, rstd, "T", IN_F32, 0), ARG(nnd_norm, mean, "T", IN_F32, 0),
              ARG(nnd_norm, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dw, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, db, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, dsum, "TN", IN_FLOATS, ARG_OPTIONAL)},
     .check = rows_check,
     .workspace = backward_workspace,
     .launch = layer_bwd},
    {},
};
