/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.cu - norm.rms and norm.layer, forward and backward, with a residual's sum
 * before and its gradient behind.
 *
 * A row is a warp's, or a block's where it is long; it stays in registers up to
 * 32 numbers a thread and is read again beyond.  The weight gradients are sums over
 * rows: of parts of 32 rows in the pass that makes dx, where a row stays in registers,
 * or of blocks of rows in a pass of their own; then over parts and blocks, in order.
 */
#include "families.h"
#include "kern.h"

struct norms {
    struct mat x, w, b, y, dy, dx, add, sum, dsum;
    float *rstd, *mean; /* mean NULL: rms */
    float eps, share;   /* share: 1 / cols */
    int64_t rows, cols;
};

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

/* ---- rows that stay in registers, once ---- */

/* Eight numbers as they were read. */
template <int DT> struct held {
    uint4 u;
    __device__ __forceinline__ float at(int i) const
    {
        const unsigned w = i < 2 ? u.x : i < 4 ? u.y : i < 6 ? u.z : u.w;
        return half_get(DT, i % 2 ? w >> 16 : w & 0xffff);
    }
};

template <> struct held<NND_F32> {
    float v[8];
    __device__ __forceinline__ float at(int i) const
    {
        return v[i];
    }
};

/* Columns [c, c + 8) of row r, `left` of which there are, zeros behind. */
DEVICE void hold(const struct mat &m, int64_t r, int64_t c, int64_t left,
                 struct held<NND_F32> &h)
{
    get8<NND_F32>(m, r, c, left, h.v);
}

DEVICE void hold(const struct mat &m, int64_t r, int64_t c, int64_t left,
                 struct held<NND_BF16> &h)
{
    const uint16_t *p = (const uint16_t *)(m.data + r * m.step) + c;
    if (m.wide && left >= 8) {
        h.u = *(const uint4 *)p;
        return;
    }
    unsigned w[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        w[i] = (2 * i < left ? p[2 * i] : 0u) |
               (2 * i + 1 < left ? (unsigned)p[2 * i + 1] << 16 : 0u);
    h.u = make_uint4(w[0], w[1], w[2], w[3]);
}

/* Two sums over a team of a block's warps; all threads of the block come here. */
template <int TEAM> DEVICE void team_sums(float &a, float &b, float (&room)[2][8])
{
    a = warp_sum(a);
    b = warp_sum(b);
    if (TEAM == 32)
        return;
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        room[0][threadIdx.x / 32] = a;
        room[1][threadIdx.x / 32] = b;
    }
    __syncthreads();
    a = b = 0;
#pragma unroll
    for (int i = 0; i < TEAM / 32; i++) {
        a += room[0][threadIdx.x / TEAM * (TEAM / 32) + i];
        b += room[1][threadIdx.x / TEAM * (TEAM / 32) + i];
    }
}

#define PART_ROWS 32 /* of a block of rows, a part's */

/* Groups of eight that a thread holds of a row, beside its sums. */
template <int DT, bool DB> constexpr int HELD = DT == NND_F32 || DB ? 2 : 4;

/* to [KINDS,n] = what each thread has of its columns, added team by team. */
template <int TEAM, int KINDS, int KEEP>
DEVICE void add_teams(const float (&sums)[KINDS][KEEP][8],
                      float (&column)[256 / TEAM][TEAM * 8 * KEEP], int64_t n,
                      float *to)
{
    const int t = threadIdx.x % TEAM, team = threadIdx.x / TEAM;
#pragma unroll
    for (int s = 0; s < KINDS; s++) {
        __syncthreads();
#pragma unroll
        for (int k = 0; k < KEEP; k++)
#pragma unroll
            for (int i = 0; i < 8; i++)
                column[team][(k * TEAM + t) * 8 + i] = sums[s][k][i];
        __syncthreads();
        for (int64_t c = threadIdx.x; c < n; c += 256) {
            float all = column[0][c];
#pragma unroll
            for (int i = 1; i < 256 / TEAM; i++)
                all += column[i][c];
            to[s * n + c] = all;
        }
    }
}

/* dx of PART_ROWS rows, and their part of dw and of db, [parts,1 + DB,cols]: a
 * team has a run of rows, whose sums are added team by team. */
template <int DT, int TEAM, bool DB>
__global__ void __launch_bounds__(256, 2)
    norm_backward_once(struct norms m, float *part)
{
    constexpr int KEEP = HELD<DT, DB>, TEAMS = 256 / TEAM, ROWS = PART_ROWS / TEAMS;
    __shared__ float room[2][8], column[TEAMS][TEAM * 8 * KEEP];
    const int t = threadIdx.x % TEAM, team = threadIdx.x / TEAM;
    const int64_t n = m.cols, first = (int64_t)blockIdx.x * PART_ROWS + team * ROWS;
    float sums[1 + DB][KEEP][8] = {};
#pragma unroll 1
    for (int64_t r = first; r < first + ROWS; r++) {
        struct held<DT> d[KEEP] = {}, x[KEEP] = {
        };
        float rstd = 0, mean = 0, sg = 0, sgx = 0;
        if (r < m.rows) {
            rstd = m.rstd[r];
            mean = m.mean ? m.mean[r] : 0;
#pragma unroll
            for (int k = 0; k < KEEP; k++) {
                int64_t c = (k * TEAM + t) * 8;
                if (c < n) {
                    hold(m.dy, r, c, n - c, d[k]);
                    hold(m.x, r, c, n - c, x[k]);
                }
            }
        }
#pragma unroll
        for (int k = 0; k < KEEP; k++) {
            int64_t c = (k * TEAM + t) * 8;
            float w[8], g[8], gx[8];
            if (c >= n)
                continue;
            get8<0>(m.w, 0, c, n - c, w);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float xhat = (x[k].at(i) - mean) * rstd;
                g[i] = d[k].at(i) * w[i];
                gx[i] = g[i] * xhat;
                sums[0][k][i] += d[k].at(i) * xhat;
                if (DB)
                    sums[DB][k][i] += d[k].at(i);
            }
            sg += sum8(g);
            sgx += sum8(gx);
        }
        team_sums<TEAM>(sg, sgx, room);
        float mg = m.mean ? sg * m.share : 0, mgx = sgx * m.share;
#pragma unroll
        for (int k = 0; k < KEEP; k++) {
            int64_t c = (k * TEAM + t) * 8;
            float w[8], v[8] = {0};
            if (c >= n || r >= m.rows)
                continue;
            get8<0>(m.w, 0, c, n - c, w);
            if (m.dsum.data)
                get8<DT>(m.dsum, r, c, n - c, v);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float xhat = (x[k].at(i) - mean) * rstd;
                v[i] = (d[k].at(i) * w[i] - mg - xhat * mgx) * rstd + v[i];
            }
            put8<DT>(m.dx, r, c, n - c, v);
        }
    }
    add_teams<TEAM>(sums, column, n, part + (int64_t)blockIdx.x * (1 + DB) * n);
}

/* ---- sums over blocks of rows ---- */

#define ADD_COLS   32
#define ADD_LANES  8   /* that fetch, of a column           */
#define ADD_BLOCKS 128 /* that are in shared memory at once */

/* What is added up: [parts,kinds,cols], `per` parts to a block of rows. */
struct parts {
    const float *part;
    int64_t parts, cols;
    int per, kinds;
    float *to[2];
};

/* Parts of a block of rows, in order; then the blocks, in order. */
__global__ void __launch_bounds__(ADD_COLS *ADD_LANES) add_blocks(struct parts m)
{
    __shared__ float room[ADD_BLOCKS][ADD_COLS];
    int col = threadIdx.x % ADD_COLS, lane = threadIdx.x / ADD_COLS;
    int64_t c = (int64_t)blockIdx.x * ADD_COLS + col;
    int64_t blocks = (m.parts + m.per - 1) / m.per, step = m.kinds * m.cols;
    float all = 0;
    for (int64_t first = 0; first < blocks; first += ADD_BLOCKS) {
        int64_t n = min(blocks - first, (int64_t)ADD_BLOCKS);
        for (int64_t i = lane; i < n && c < m.cols; i += ADD_LANES) {
            int64_t p = (first + i) * m.per, end = min(p + m.per, m.parts);
            float sum = 0;
            for (; p < end; p++)
                sum += m.part[p * step + blockIdx.y * m.cols + c];
            room[i][col] = sum;
        }
        __syncthreads();
        for (int64_t i = 0; i < n && lane == 0 && c < m.cols; i++)
            all += room[i][col];
        __syncthreads();
    }
    if (lane == 0 && c < m.cols && m.to[blockIdx.y])
        m.to[blockIdx.y][c] = all;
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

/* The type of the rows of backward. */
static int back_type(const struct nnd_norm *p)
{
    const struct nnd_tensor *t[] = {&p->x, &p->dy, &p->dx, &p->dsum};
    return common_type(t, 4);
}

/* Threads of a row that stays in registers while its weights' gradients are made; 0:
 * it does not, or none are wanted. */
static int team_of(const struct nnd_norm *p)
{
    int dtype = back_type(p), groups = HELD<NND_BF16, false>;
    if (dtype == NND_F32 || p->db.ndim)
        groups = HELD<NND_BF16, true>;
    if (!dtype || (!p->dw.ndim && !p->db.ndim))
        return 0;
    for (int team = 32; team <= 256; team *= 2)
        if (p->x.dim[1] <= team * 8 * groups)
            return team;
    return 0;
}

/* What backward has of weights' gradients before they are added up. */
static struct parts parts_of(const struct nnd_norm *p, float *workspace)
{
    bool once = team_of(p) > 0;
    struct parts m = {workspace,
                      once ? blocks_for(p->x.dim[0], PART_ROWS) : row_blocks(p),
                      p->x.dim[1],
                      once ? NND_BLOCK_ROWS / PART_ROWS : 1,
                      once && !p->db.ndim ? 1 : 2,
                      {}};
    m.to[0] = p->dw.ndim ? (float *)p->dw.data : NULL;
    m.to[1] = p->db.ndim ? (float *)p->db.data : NULL;
    return m;
}

template <int DT, bool DB>
static int backward_once(const struct norms &m, int team, float *part,
                         const struct nnd_launch *l)
{
    dim3 grid((unsigned)blocks_for(m.rows, PART_ROWS));
    switch (team) {
    case 32:
        return launch(norm_backward_once<DT, 32, DB>, grid, dim3(256), 0, l, m, part);
    case 64:
        return launch(norm_backward_once<DT, 64, DB>, grid, dim3(256), 0, l, m, part);
    case 128:
        return launch(norm_backward_once<DT, 128, DB>, grid, dim3(256), 0, l, m, part);
    default:
        return launch(norm_backward_once<DT, 256, DB>, grid, dim3(256), 0, l, m, part);
    }
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
    struct norms m = norms_of(p, centred);
    bool weights = p->dw.ndim || p->db.ndim;
    float *room = weights ? (float *)l->workspace : NULL;
    int dtype = back_type(p), team = team_of(p), r;
    if (team && dtype == NND_BF16)
        r = p->db.ndim ? backward_once<NND_BF16, true>(m, team, room, l)
                       : backward_once<NND_BF16, false>(m, team, room, l);
    else if (team)
        r = p->db.ndim ? backward_once<NND_F32, true>(m, team, room, l)
                       : backward_once<NND_F32, false>(m, team, room, l);
    else
        r = dtype == NND_BF16  ? backward_typed<NND_BF16>(m, room, l)
            : dtype == NND_F32 ? backward_typed<NND_F32>(m, room, l)
                               : backward_typed<0>(m, room, l);
    if (r || !weights)
        return r;
    struct parts all = parts_of(p, room);
    return launch(add_blocks,
                  dim3((unsigned)blocks_for(m.cols, ADD_COLS), (unsigned)all.kinds),
                  dim3(ADD_COLS * ADD_LANES), 0, l, all);
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
    struct parts m = parts_of(p, NULL);
    bool weights = p->dw.ndim || p->db.ndim;
    return weights ? (size_t)(m.parts * m.kinds * m.cols) * sizeof(float) : 0;
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
    {.name = "norm.rms.fwd", .check = norm_check, .launch = rms_fwd},
    {.name = "norm.layer.fwd", .check = norm_check, .launch = layer_fwd},
    {.name = "norm.rms.bwd",
     .check = rows_check,
     .workspace = backward_workspace,
     .launch = rms_bwd},
    {.name = "norm.layer.bwd",
     .check = rows_check,
     .workspace = backward_workspace,
     .launch = layer_bwd},
    {},
};
