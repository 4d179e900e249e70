/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.cu - gemm.grouped: products of experts, whose numbers of rows only the
 * device knows.
 *
 * Mode M: a first kernel turns segments into a map of tiles, of which there are at
 * most T / 64 + nsegments; blocks beyond its end have nothing to do.  Mode K: a block
 * owns a tile of one matrix and takes that matrix's segments in order.
 */
#include "act.h"
#include "families.h"
#include "grouped.h"

#define MAP_THREADS 256

__global__ void __launch_bounds__(MAP_THREADS) map_tiles(struct groups g, int high)
{
    __shared__ int32_t end[MAP_THREADS];
    int64_t before = 0;
    int t = threadIdx.x;
    for (int first = 0; first < g.nsegments; first += MAP_THREADS) {
        int s = first + t;
        int32_t tiles = s < g.nsegments ? (g.segments[s].rows + high - 1) / high : 0;
        __syncthreads();
        end[t] = tiles;
        __syncthreads();
        for (int step = 1; step < MAP_THREADS; step *= 2) {
            int32_t more = t >= step ? end[t - step] : 0;
            __syncthreads();
            end[t] += more;
            __syncthreads();
        }
        for (int32_t i = 0; i < tiles; i++)
            g.map[before + end[t] - tiles + i] = make_int2(s, i * high);
        before += end[MAP_THREADS - 1];
    }
    for (int64_t i = before + t; i < g.tiles; i += MAP_THREADS)
        g.map[i] = make_int2(-1, 0);
    if (t == 0)
        g.map[g.tiles] = make_int2((int)before, 0);
}

int cuda_grouped_map(const struct groups *g, int high, const struct nnd_launch *l)
{
    return launch(map_tiles, dim3(1), dim3(MAP_THREADS), 0, l, *g, high);
}

DEVICE float kept(const struct mat &to, int64_t r, int64_t n, float x)
{
    if (!to.data)
        return x;
    x = rounded(to.dtype, x);
    put_at(to.dtype, to.data + r * to.step, n, x);
    return x;
}

/* Element (r, n) of D from its sum, and with SWIGLU from the other product's. */
DEVICE void finish(const struct groups &g, int64_t r, int64_t n, float x, float x2)
{
    float scale = g.scale ? g.scale[r] : 1;
    if (g.epilogue == NND_EPI_SWIGLU) {
        x2 = kept(g.pre2, r, n, x2);
        x = silu_of(kept(g.pre, r, n, x)) * x2;
    } else if (g.epilogue == NND_EPI_DSWIGLU) {
        float a = get1(g.pre, r, n), b = get1(g.pre2, r, n);
        put_at(g.d2.dtype, g.d2.data + r * g.d2.step, n, x * scale * silu_of(a));
        if (g.act.data)
            put_at(g.act.dtype, g.act.data + r * g.act.step, n, silu_of(a) * b);
        x = x * silu_slope(a) * b;
    }
    put_at(g.d.dtype, g.d.data + r * g.d.step, n, x * scale);
}

template <class CORE>
__global__ void __launch_bounds__(CORE::THREADS) grouped_m(struct groups g)
{
    int2 at = g.map[blockIdx.x / g.across];
    if (at.x < 0)
        return;
    struct nnd_segment s = g.segments[at.x];
    int64_t m0 = at.y, n0 = blockIdx.x % g.across * TILE;
    struct reach reach = {s.rows, g.n, g.k};
    struct side a = g.a, b = g.b, a2 = g.a2, b2 = g.b2;
    typename CORE::sums total = {}, other = {};
    a.first = a2.first = s.row;
    b.data += s.index * g.b_step;
    CORE::run(a, b, m0, n0, reach, false, total);
    if (b2.data)
        b2.data += s.index * g.b2_step;
    if (a2.data)
        CORE::run(a2, b2, m0, n0, reach, false, total);
    else if (b2.data)
        CORE::run(a, b2, m0, n0, reach, false, other);
    const float *second = (const float *)&other;
    int i = 0;
    CORE::each(total, [&](int row, int col, float x) {
        if (m0 + row < s.rows && n0 + col < g.n)
            finish(g, s.row + m0 + row, n0 + col, x, second[i]);
        i++;
    });
}

template <class CORE>
__global__ void __launch_bounds__(CORE::THREADS) grouped_k(struct groups g)
{
    int64_t m0 = blockIdx.x / g.across * TILE, n0 = blockIdx.x % g.across * TILE;
    int index = blockIdx.y;
    typename CORE::sums total = {};
    char *d = g.d.data + index * g.b_step;
    bool touched = false;
    for (int i = 0; i < g.nsegments; i++) {
        struct nnd_segment s = g.segments[i];
        if (s.index != index)
            continue;
        if (!touched || !s.accumulate)
            CORE::each(total, [&](int row, int col, float &x) {
                bool mine = m0 + row < g.m && n0 + col < g.n && s.accumulate;
                x = mine ? get_at(NND_F32, d + (m0 + row) * g.d.step, n0 + col) : 0;
            });
        touched = true;
        struct side a = g.a, b = g.b;
        struct reach reach = {g.m, g.n, s.rows};
        a.first = b.first = s.row;
        CORE::run(a, b, m0, n0, reach, true, total);
    }
    CORE::each(total, [&](int row, int col, float &x) {
        if (touched && m0 + row < g.m && n0 + col < g.n)
            put_at(NND_F32, d + (m0 + row) * g.d.step, n0 + col, x);
    });
}

/* Matrices of a stack as lines: rows of one of them. */
static struct side stack_side(const struct nnd_tensor *t, int kmajor)
{
    struct nnd_tensor one = *t;
    one.ndim = 2;
    one.dim[0] = t->dim[1], one.dim[1] = t->dim[2];
    one.stride[0] = t->stride[1], one.stride[1] = t->stride[2];
    struct side s = side_of(&one, kmajor);
    s.wide = s.wide && t->stride[0] * size_of(t->dtype) % 16 == 0;
    return s;
}

struct groups cuda_groups_of(const struct nnd_grouped_gemm *p)
{
    struct groups g = {};
    bool by_rows = p->mode == NND_GROUP_M;
    g.a = side_of(&p->a, by_rows);
    g.b = by_rows ? stack_side(&p->b, p->trans_b != 0) : side_of(&p->b, 0);
    if (p->a2.ndim)
        g.a2 = side_of(&p->a2, 1);
    if (p->b2.ndim)
        g.b2 = stack_side(&p->b2, p->trans_b != 0);
    g.d = mat_of(&p->d), g.d2 = mat_of(&p->d2);
    g.pre = mat_of(&p->pre), g.pre2 = mat_of(&p->pre2);
    g.act = mat_of(&p->act);
    g.scale = p->scale.ndim ? (const float *)p->scale.data : NULL;
    g.segments = p->segments;
    g.nsegments = p->nsegments;
    g.epilogue = p->epilogue;
    struct side *gathered = by_rows ? &g.a : &g.b;
    if (p->gather_div) {
        gathered->gather = p->gather;
        gathered->div = p->gather_div;
    }
    if (!by_rows && p->gather_div)
        g.a.mask = p->gather;
    if (by_rows && p->gather_div) {
        g.a2.gather = p->gather;
        g.a2.div = p->gather_div;
    }
    return g;
}

template <class CORE>
static int run_m(const struct nnd_grouped_gemm *p, struct groups g,
                 const struct nnd_launch *l)
{
    g.n = p->d.dim[1], g.k = p->a.dim[1];
    g.b_step = p->b.stride[0] * size_of(p->b.dtype);
    g.b2_step = p->b2.ndim ? p->b2.stride[0] * size_of(p->b2.dtype) : 0;
    g.across = blocks_for(g.n, TILE);
    g.map = (int2 *)l->workspace;
    g.tiles = grouped_tiles(p, TILE);
    int r = g.tiles ? cuda_grouped_map(&g, TILE, l) : NND_OK;
    return r ? r
             : launch(grouped_m<CORE>, dim3((unsigned)(g.tiles * g.across)),
                      dim3(CORE::THREADS), CORE::SHARED, l, g);
}

template <class CORE>
static int run_k(const struct nnd_grouped_gemm *p, struct groups g,
                 const struct nnd_launch *l)
{
    g.m = p->d.dim[1], g.n = p->d.dim[2];
    g.b_step = p->d.stride[0] * (int64_t)sizeof(float);
    g.d.step = p->d.stride[1] * (int64_t)sizeof(float);
    g.across = blocks_for(g.n, TILE);
    return launch(
        grouped_k<CORE>,
        dim3((unsigned)(blocks_for(g.m, TILE) * g.across), (unsigned)p->d.dim[0]),
        dim3(CORE::THREADS), CORE::SHARED, l, g);
}

template <class CORE>
static int run(const struct nnd_grouped_gemm *p, const struct nnd_launch *l)
{
    struct groups g = cuda_groups_of(p);
    return p->mode == NND_GROUP_M ? run_m<CORE>(p, g, l) : run_k<CORE>(p, g, l);
}

/* The pair has the types of the first, or the ordinary units do it. */
static int grouped_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    enum core core = core_of(p->a.dtype, p->b.dtype);
    if ((p->a2.ndim && p->a2.dtype != p->a.dtype) ||
        (p->b2.ndim && p->b2.dtype != p->b.dtype))
        core = CORE_SIMT;
    return core == CORE_BF16  ? run<mma<true>>(p, l)
           : core == CORE_F16 ? run<mma<false>>(p, l)
                              : run<simt>(p, l);
}

static size_t grouped_workspace(const void *params)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    return p->mode == NND_GROUP_M ? (size_t)(grouped_tiles(p, TILE) + 1) * sizeof(int2)
                                  : 0;
}

static int check_m(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    bool swiglu = p->epilogue == NND_EPI_SWIGLU, back = p->epilogue == NND_EPI_DSWIGLU;
    int64_t k = p->a.dim[1], n = p->d.dim[1];
    if (p->d.ndim != 2 || p->b.ndim != 3)
        return op_refuse(e, NND_EINVAL, "mode M: d of %d dims and b of %d", p->d.ndim,
                         p->b.ndim);
    if (p->b.dim[p->trans_b ? 2 : 1] != k || p->b.dim[p->trans_b ? 1 : 2] != n)
        return op_refuse(e, NND_EINVAL, "mode M: [%lld] x [%lld,%lld] into [%lld]",
                         (long long)k, (long long)p->b.dim[1], (long long)p->b.dim[2],
                         (long long)n);
    if (!p->gather_div && p->a.dim[0] != p->d.dim[0])
        return op_refuse(e, NND_EINVAL, "mode M: %lld rows into %lld",
                         (long long)p->a.dim[0], (long long)p->d.dim[0]);
    if (p->epilogue != NND_EPI_NONE && !swiglu && !back)
        return op_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if ((p->b2.ndim != 0) != (swiglu || p->a2.ndim) ||
        (p->a2.ndim && p->epilogue != NND_EPI_NONE))
        return op_refuse(e, NND_EINVAL, "epilogue %d with a2 of %d and b2 of %d dims",
                         p->epilogue, p->a2.ndim, p->b2.ndim);
    if (p->act.ndim && !back)
        return op_refuse(e, NND_EINVAL, "act with epilogue %d", p->epilogue);
    if (back && (!p->d2.ndim || !p->pre.ndim || !p->pre2.ndim))
        return op_refuse(e, NND_EINVAL, "epilogue %d without d2, pre or pre2",
                         p->epilogue);
    return NND_OK;
}

static int check_k(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    if (p->d.ndim != 3 || p->b.ndim != 2 || p->d.dtype != NND_F32 ||
        p->d.dim[1] != p->a.dim[1] || p->d.dim[2] != p->b.dim[1])
        return op_refuse(e, NND_EINVAL, "mode K: d of %d dims, dtype %d", p->d.ndim,
                         p->d.dtype);
    if (!p->gather_div && p->a.dim[0] != p->b.dim[0])
        return op_refuse(e, NND_EINVAL, "mode K: %lld rows and %lld",
                         (long long)p->a.dim[0], (long long)p->b.dim[0]);
    if (p->epilogue != NND_EPI_NONE || p->scale.ndim || p->a2.ndim || p->b2.ndim ||
        p->act.ndim)
        return op_refuse(e, NND_EUNSUPPORTED, "mode K: an epilogue, scale or pair");
    if (p->d.dim[0] > 65535)
        return op_refuse(e, NND_EUNSUPPORTED, "mode K: %lld matrices, wanted <= 65535",
                         (long long)p->d.dim[0]);
    return NND_OK;
}

/* Dimensions differ by mode, so strides are looked at here. */
static int check_lines(const struct nnd_tensor *t, const char *name,
                       struct nnd_error *e)
{
    int last = t->ndim - 1;
    if (!t->ndim)
        return NND_OK;
    if (t->dtype < 1 || t->dtype > NND_BOOL || !(IN_FLOATS >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s: dtype %d, wanted a float", name,
                         t->dtype);
    if (t->dim[last] > 1 && t->stride[last] != 1)
        return op_refuse(e, NND_EUNSUPPORTED, "%s: the last stride is %lld", name,
                         (long long)t->stride[last]);
    return NND_OK;
}

int cuda_grouped_check(const void *params, struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = (const struct nnd_grouped_gemm *)params;
    static const char *const names[] = {"b", "d", "b2"};
    const struct nnd_tensor *const t[] = {&p->b, &p->d, &p->b2};
    for (int i = 0; i < 3; i++) {
        int r = check_lines(t[i], names[i], e);
        if (r)
            return r;
    }
    if (p->nsegments < 0 || p->gather_div < 0)
        return op_refuse(e, NND_EINVAL, "%d segments, gather_div %d", p->nsegments,
                         p->gather_div);
    if (p->mode == NND_GROUP_M)
        return check_m(p, e);
    return p->mode == NND_GROUP_K ? check_k(p, e)
                                  : op_refuse(e, NND_EINVAL, "mode %d", p->mode);
}

extern "C" const struct op cuda_grouped_ops[] = {
    {.name = "gemm.grouped",
     .params_size = sizeof(struct nnd_grouped_gemm),
     .args = {GROUPED_ARGS},
     .check = cuda_grouped_check,
     .workspace = grouped_workspace,
     .launch = grouped_launch},
    {},
};
