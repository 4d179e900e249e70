/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.cu - products of our own, for all shapes, types and epilogues: what serves
 * where cuBLASLt is missing or refuses, and where bits must not depend on rows.
 */
#include "act.h"
#include "families.h"
#include "tile.h"

struct gemms {
    struct side a, b;
    struct mat c, d, bias, pre, act;
    struct reach reach;
    float *sums;
    float beta;
    int32_t epilogue, slope_of, blocked, trans_a;
    int64_t across; /* tiles of a row of tiles */
};

DEVICE float finish(const struct gemms &g, int64_t m, int64_t n, float x)
{
    float pre = 0;
    if (g.beta != 0)
        x += g.beta * get1(g.c, m, n);
    if (g.bias.data)
        x += get1(g.bias, 0, n);
    if (g.slope_of) {
        pre = get1(g.pre, m, n);
        if (g.act.data)
            put_at(g.act.dtype, g.act.data + m * g.act.step, n,
                   epilogue_of(g.slope_of, pre, pre));
    } else if (g.epilogue != NND_EPI_NONE && g.pre.data) {
        x = rounded(g.pre.dtype, x);
        put_at(g.pre.dtype, g.pre.data + m * g.pre.step, n, x);
    }
    return epilogue_of(g.epilogue, x, pre);
}

template <class CORE>
__global__ void __launch_bounds__(CORE::THREADS) gemm_kernel(struct gemms g)
{
    int64_t m0 = blockIdx.x / g.across * TILE, n0 = blockIdx.x % g.across * TILE;
    typename CORE::sums total = {};
    CORE::run(g.a, g.b, m0, n0, g.reach, g.blocked, total);
    CORE::each(total, [&](int i, int j, float x) {
        int64_t m = m0 + i, n = n0 + j;
        if (m < g.reach.m && n < g.reach.n)
            put_at(g.d.dtype, g.d.data + m * g.d.step, n, finish(g, m, n, x));
    });
}

/* Sums over k of op(A), which lies [K,M], in blocks of rows; a column a thread. */
__global__ void __launch_bounds__(128) gemm_sums(struct gemms g)
{
    int64_t m = (int64_t)blockIdx.x * 128 + threadIdx.x;
    float all = 0;
    if (m >= g.reach.m)
        return;
    for (int64_t k = 0; k < g.reach.k; k += NND_BLOCK_ROWS) {
        int64_t end = k + NND_BLOCK_ROWS < g.reach.k ? k + NND_BLOCK_ROWS : g.reach.k;
        float part = 0;
#pragma unroll 4
        for (int64_t r = k; r < end; r++)
            part += get_at(g.a.dtype, g.a.data + r * g.a.step, m);
        all += part;
    }
    g.sums[m] = all;
}

static struct gemms gemms_of(const struct nnd_gemm *p)
{
    return {side_of(&p->a, !p->trans_a),
            side_of(&p->b, p->trans_b != 0),
            mat_of(&p->c),
            mat_of(&p->d),
            mat_of(&p->bias),
            mat_of(&p->pre),
            mat_of(&p->act),
            {p->d.dim[0], p->d.dim[1], p->a.dim[p->trans_a ? 0 : 1]},
            p->sums.ndim ? (float *)p->sums.data : NULL,
            p->beta,
            p->epilogue,
            nnd_slope_of(p->epilogue),
            p->trans_a,
            p->trans_a,
            blocks_for(p->d.dim[1], TILE)};
}

extern "C" int cuda_gemm_sums(const struct nnd_gemm *p, const struct nnd_launch *l)
{
    struct gemms g = gemms_of(p);
    return launch(gemm_sums, dim3((unsigned)blocks_for(g.reach.m, 128)), dim3(128), 0,
                  l, g);
}

static int gemm_launch(const struct nnd_gemm *p, const struct gemms &g,
                       const struct nnd_launch *l)
{
    dim3 grid((unsigned)(blocks_for(g.reach.m, TILE) * g.across));
    int r = NND_OK;
    switch (core_of(p->a.dtype, p->b.dtype)) {
    case CORE_BF16:
        r = launch(gemm_kernel<mma<true>>, grid, dim3(mma<true>::THREADS),
                   mma<true>::SHARED, l, g);
        break;
    case CORE_F16:
        r = launch(gemm_kernel<mma<false>>, grid, dim3(mma<false>::THREADS),
                   mma<false>::SHARED, l, g);
        break;
    case CORE_SIMT:
        r = launch(gemm_kernel<simt>, grid, dim3(simt::THREADS), simt::SHARED, l, g);
    }
    return r || !g.sums ? r : cuda_gemm_sums(p, l);
}

extern "C" int cuda_gemm_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_gemm *p = (const struct nnd_gemm *)params;
    return gemm_launch(p, gemms_of(p), l);
}

extern "C" int cuda_gemm_masked(const struct nnd_gemm *p, const int32_t *mask,
                                const struct nnd_launch *l)
{
    struct gemms g = gemms_of(p);
    g.b.mask = mask;
    return gemm_launch(p, g, l);
}

/* Of one product: those of pairs are gemm.grouped's. */
static bool is_known(int epilogue)
{
    return epilogue >= NND_EPI_NONE && epilogue <= NND_EPI_DRELU &&
           epilogue != NND_EPI_SWIGLU && epilogue != NND_EPI_DSWIGLU;
}

extern "C" int cuda_gemm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = (const struct nnd_gemm *)params;
    int64_t m = p->a.dim[p->trans_a ? 1 : 0], k = p->a.dim[p->trans_a ? 0 : 1];
    int64_t n = p->b.dim[p->trans_b ? 0 : 1], kb = p->b.dim[p->trans_b ? 1 : 0];
    if (k != kb || p->d.dim[0] != m || p->d.dim[1] != n)
        return op_refuse(e, NND_EINVAL, "[%lld,%lld] x [%lld,%lld] into [%lld,%lld]",
                         (long long)m, (long long)k, (long long)kb, (long long)n,
                         (long long)p->d.dim[0], (long long)p->d.dim[1]);
    if (p->beta != 0 && p->c.ndim == 0)
        return op_refuse(e, NND_EINVAL, "beta is %g and c is absent", (double)p->beta);
    if (!is_known(p->epilogue))
        return op_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if (nnd_slope_of(p->epilogue) && p->pre.ndim == 0)
        return op_refuse(e, NND_EINVAL, "epilogue %d and pre is absent", p->epilogue);
    if (p->sums.ndim && !p->trans_a)
        return op_refuse(e, NND_EUNSUPPORTED, "sums without trans_a");
    if (p->act.ndim && !nnd_slope_of(p->epilogue))
        return op_refuse(e, NND_EINVAL, "act with epilogue %d", p->epilogue);
    return NND_OK;
}

extern "C" const struct op cuda_gemm_ops[] = {
    {.name = "gemm",
     .params_size = sizeof(struct nnd_gemm),
     .args = {ARG(nnd_gemm, a, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, b, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, d, "MN", IN_FLOATS, 0),
              ARG(nnd_gemm, c, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, bias, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, pre, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, act, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, sums, "M", IN_F32, ARG_OPTIONAL)},
     .check = cuda_gemm_check,
     .launch = cuda_gemm_launch},
    {},
};
