/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent_linear.cu - xent.linear: cross entropy of x w^T, whose logits are never stored
 * whole.
 *
 * Forward a block has 64 rows and a part of the vocabulary: tile by tile, in registers,
 * each row's largest logit and sum of exponentials go on (Milakov & Gimelshein 2018); a
 * second kernel adds the parts in order.  Backward takes a slice of the vocabulary at a
 * time: the gradients of its logits from logits made again, dw's rows from these, and
 * what they add to dx, in f32.  How the vocabulary is cut is part of the bits.
 */
#include "families.h"
#include "xent_linear.h"

/* A row's part goes on with a thread's columns of a tile. */
template <class CORE>
DEVICE void go_on(const typename CORE::sums &total, int i, int64_t first, int64_t end,
                  int64_t target, float4 &part)
{
    float most = part.x;
#pragma unroll
    for (int j = 0; j < CORE::COLS; j++)
        if (first + CORE::col(j) < end)
            most = fmaxf(most, CORE::sum(total, i, j));
    part.y *= exp_of(part.x, most);
    part.x = most;
#pragma unroll
    for (int j = 0; j < CORE::COLS; j++) {
        int64_t c = first + CORE::col(j);
        float v = CORE::sum(total, i, j);
        if (c >= end)
            continue;
        part.y += exp_of(v, most);
        part.z += v;
        part.w = c == target ? v : part.w;
    }
}

template <class CORE>
__global__ void __launch_bounds__(CORE::THREADS) linear_parts(struct linears m)
{
    __shared__ float4 room[TILE][CORE::SHARE];
    int64_t m0 = (int64_t)blockIdx.x * TILE, first = (int64_t)blockIdx.y * PART_COLS;
    int64_t end = min(first + PART_COLS, m.reach.n), target[CORE::ROWS];
    float4 part[CORE::ROWS];
#pragma unroll
    for (int i = 0; i < CORE::ROWS; i++) {
        int64_t r = m0 + CORE::row(i);
        target[i] = r < m.reach.m ? m.target[r] : -1;
        part[i] = NOTHING;
    }
    for (int64_t n0 = first; n0 < end; n0 += TILE) {
        typename CORE::sums total = {};
        CORE::run(m.x, m.w, m0, n0, m.reach, false, total);
#pragma unroll
        for (int i = 0; i < CORE::ROWS; i++)
            go_on<CORE>(total, i, n0, end, target[i], part[i]);
    }
#pragma unroll
    for (int i = 0; i < CORE::ROWS; i++)
        room[CORE::row(i)][CORE::share()] = part[i];
    __syncthreads();
    int64_t r = m0 + threadIdx.x;
    if (threadIdx.x >= TILE || r >= m.reach.m)
        return;
    float4 all = NOTHING;
    for (int i = 0; i < CORE::SHARE; i++)
        all = joined(all, room[threadIdx.x][i]);
    m.parts[r * m.nparts + blockIdx.y] = all;
}

#define LOSS_THREADS 128

__global__ void __launch_bounds__(LOSS_THREADS) linear_losses(struct linears m)
{
    int64_t r = (int64_t)blockIdx.x * LOSS_THREADS + threadIdx.x;
    float4 all = NOTHING;
    if (r >= m.reach.m)
        return;
    if (m.target[r] < 0) {
        m.loss[r] = m.lse[r] = 0;
        return;
    }
    for (int64_t i = 0; i < m.nparts; i++)
        all = joined(all, m.parts[r * m.nparts + i]);
    float lse = all.x + logf(all.y);
    float loss = lse - (1.0f - m.smoothing) * all.w;
    if (m.smoothing > 0)
        loss -= m.smoothing * (all.z / (float)m.classes);
    m.lse[r] = lse;
    m.loss[r] = loss + m.z_loss * (lse * lse);
}

/* dz = d loss / d logits of a slice. */
template <class CORE>
__global__ void __launch_bounds__(CORE::THREADS) linear_slopes(struct linears m)
{
    int64_t m0 = blockIdx.x / m.across * TILE, n0 = blockIdx.x % m.across * TILE;
    typename CORE::sums total = {};
    CORE::run(m.x, m.w, m0, n0, m.reach, false, total);
    float seed = *m.seed;
#pragma unroll
    for (int i = 0; i < CORE::ROWS; i++) {
        int64_t r = m0 + CORE::row(i);
        if (r >= m.reach.m)
            continue;
        int64_t target = m.target[r];
        float lse = m.lse[r];
#pragma unroll
        for (int j = 0; j < CORE::COLS; j++) {
            int64_t c = n0 + CORE::col(j);
            float g = slope_of(m, CORE::sum(total, i, j), lse, m.first + c == target);
            if (c < m.reach.n)
                put_at(m.dz.dtype, m.dz.data + r * m.dz.step, c,
                       target < 0 ? 0 : g * seed);
        }
    }
}

/* The kernel K of the core that x and w want. */
#define BY_CORE(K, CORE, GRID, L, M)                                                   \
    ((CORE) == CORE_BF16 ? launch(K<mma<true>>, GRID, dim3(mma<true>::THREADS),        \
                                  mma<true>::SHARED, L, M)                             \
     : (CORE) == CORE_F16                                                              \
         ? launch(K<mma<false>>, GRID, dim3(mma<false>::THREADS), mma<false>::SHARED,  \
                  L, M)                                                                \
         : launch(K<simt>, GRID, dim3(simt::THREADS), simt::SHARED, L, M))

struct linears cuda_linears_of(const struct nnd_xent_linear *p)
{
    struct linears m = {};
    m.x = side_of(&p->x, 1);
    m.w = side_of(&p->w, 1);
    m.reach = {p->x.dim[0], p->w.dim[0], p->x.dim[1]};
    m.target = p->target;
    m.seed = p->seed;
    m.loss = (float *)p->loss.data;
    m.lse = (float *)p->lse.data;
    m.smoothing = p->smoothing;
    m.z_loss = p->z_loss;
    m.classes = p->w.dim[0];
    m.nparts = blocks_for(m.classes, PART_COLS);
    return m;
}

size_t cuda_linear_forward_workspace(const void *params)
{
    const struct nnd_xent_linear *p = (const struct nnd_xent_linear *)params;
    return (size_t)(p->x.dim[0] * blocks_for(p->w.dim[0], PART_COLS)) * sizeof(float4);
}

int cuda_linear_losses(const struct linears *m, const struct nnd_launch *l)
{
    return launch(linear_losses, dim3((unsigned)blocks_for(m->reach.m, LOSS_THREADS)),
                  dim3(LOSS_THREADS), 0, l, *m);
}

static int linear_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent_linear *p = (const struct nnd_xent_linear *)params;
    struct linears m = cuda_linears_of(p);
    dim3 grid((unsigned)blocks_for(m.reach.m, TILE), (unsigned)m.nparts);
    m.parts = (float4 *)l->workspace;
    int r = BY_CORE(linear_parts, core_of(p->x.dtype, p->w.dtype), grid, l, m);
    return r ? r : cuda_linear_losses(&m, l);
}

/* ---- backward ---- */

/* What a slice is made in: its gradients of logits, in x's type where that is w's too,
 * and dx so far, where dx itself is not f32. */
struct slices {
    struct nnd_tensor dz, dx;
    size_t size;
};

static struct nnd_tensor matrix(void *data, int dtype, int64_t rows, int64_t cols)
{
    struct nnd_tensor t = {};
    t.data = data;
    t.dtype = dtype;
    t.ndim = 2;
    t.dim[0] = rows, t.dim[1] = cols;
    t.stride[0] = cols, t.stride[1] = 1;
    return t;
}

static struct nnd_tensor rows_of(const struct nnd_tensor *t, int64_t first, int64_t n)
{
    struct nnd_tensor r = *t;
    r.data = (char *)t->data + first * t->stride[0] * size_of(t->dtype);
    r.dim[0] = n;
    return r;
}

static struct slices slices_of(const struct nnd_xent_linear *p, void *workspace)
{
    int64_t rows = p->x.dim[0], cols = p->x.dim[1], classes = p->w.dim[0];
    int64_t width = blocks_for(classes < SLICE_COLS ? classes : SLICE_COLS, 8) * 8;
    int dtype =
        core_of(p->x.dtype, p->w.dtype) == CORE_SIMT ? (int)NND_F32 : p->x.dtype;
    struct slices s = {matrix(workspace, dtype, rows, width), p->dx, 0};
    s.size = (size_t)blocks_for(rows * width * size_of(dtype), 16) * 16;
    if (p->dx.dtype == NND_F32 || classes <= SLICE_COLS)
        return s;
    s.dx = matrix((char *)workspace + s.size, NND_F32, rows, cols);
    s.size += (size_t)(rows * cols) * sizeof(float);
    return s;
}

size_t cuda_linear_backward_workspace(const void *params)
{
    return slices_of((const struct nnd_xent_linear *)params, NULL).size;
}

/* dx (+)= dz w, and dw = dz^T x, of the slice whose weights are w. */
static int products(const struct nnd_xent_linear *p, const struct slices *s,
                    const struct nnd_tensor *dz, const struct nnd_tensor *w,
                    int64_t first, linear_product_f *product,
                    const struct nnd_launch *l)
{
    struct nnd_gemm g = {};
    g.struct_size = sizeof g;
    g.a = *dz;
    g.b = *w;
    g.d = first + w->dim[0] < p->w.dim[0] ? s->dx : p->dx;
    if (first)
        g.c = s->dx, g.beta = 1;
    int r = product(&g, NULL, l);
    if (r)
        return r;
    g.b = p->x;
    g.d = rows_of(&p->dw, first, w->dim[0]);
    g.c.ndim = 0, g.beta = 0;
    g.trans_a = 1;
    return product(&g, p->target, l);
}

int cuda_linear_back(const struct nnd_xent_linear *p, const struct nnd_launch *l,
                     const struct linear_way *way)
{
    struct slices s = slices_of(p, l->workspace);
    int r = NND_OK;
    for (int64_t first = 0; !r && first < p->w.dim[0]; first += SLICE_COLS) {
        int64_t left = p->w.dim[0] - first;
        struct nnd_tensor w =
            rows_of(&p->w, first, left < SLICE_COLS ? left : SLICE_COLS);
        struct nnd_tensor dz = s.dz;
        struct linears m = cuda_linears_of(p);
        dz.dim[1] = w.dim[0];
        m.w = side_of(&w, 1);
        m.dz = mat_of(&dz);
        m.reach.n = w.dim[0];
        m.first = first;
        r = way->slopes(p, &m, &w, l);
        if (!r)
            r = products(p, &s, &dz, &w, first, way->product, l);
    }
    return r;
}

static int slopes(const struct nnd_xent_linear *p, const struct linears *of,
                  const struct nnd_tensor *w, const struct nnd_launch *l)
{
    struct linears m = *of;
    m.across = blocks_for(w->dim[0], TILE);
    dim3 grid((unsigned)(blocks_for(m.reach.m, TILE) * m.across));
    return BY_CORE(linear_slopes, core_of(p->x.dtype, p->w.dtype), grid, l, m);
}

static int linear_bwd(const void *params, const struct nnd_launch *l)
{
    static const struct linear_way way = {slopes, cuda_gemm_masked};
    return cuda_linear_back((const struct nnd_xent_linear *)params, l, &way);
}

/* Parts of the vocabulary are the grid's second axis. */
int cuda_linear_check(const void *params, struct nnd_error *e)
{
    const struct nnd_xent_linear *p = (const struct nnd_xent_linear *)params;
    if (blocks_for(p->w.dim[0], PART_COLS) > 65535)
        return op_refuse(e, NND_EUNSUPPORTED, "w: %lld rows, wanted at most %d",
                         (long long)p->w.dim[0], 65535 * PART_COLS);
    return NND_OK;
}

extern "C" const struct op cuda_xent_linear_ops[] = {
    {.name = "xent.linear.fwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {LINEAR_BOTH, ARG(nnd_xent_linear, loss, "T", IN_F32, 0)},
     .check = cuda_linear_check,
     .workspace = cuda_linear_forward_workspace,
     .launch = linear_fwd},
    {.name = "xent.linear.bwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {LINEAR_BOTH, ARG(nnd_xent_linear, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_xent_linear, dw, "VN", IN_F32, 0)},
     .workspace = cuda_linear_backward_workspace,
     .launch = linear_bwd},
    {},
};
