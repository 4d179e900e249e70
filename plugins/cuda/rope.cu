/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rope.cu - rotary positions.  A row's block computes its angles once, in f64, for
 * all heads.
 */
#include "families.h"
#include "kern.h"

#define HEAD_MAX     512
#define ROPE_THREADS 128

struct rope_args {
    char *x, *y;
    int64_t xt, xh, yt, yh; /* bytes from row to row, from head to head */
    int32_t x_dtype, y_dtype, wide, heads, half, interleaved, inverse;
    const int32_t *pos;
    double log_theta;
};

/* Eight numbers of two halves, or of four pairs. */
template <int DT>
DEVICE void rotate(const struct rope_args &a, int64_t t, int h, int c,
                   const float *cosine, const float *sine)
{
    const char *x = a.x + t * a.xt + h * a.xh;
    char *y = a.y + t * a.yt + h * a.yh;
    int xs = bytes_of(DT ? DT : a.x_dtype), ys = bytes_of(DT ? DT : a.y_dtype);
    float u[8], v[8], p[8], q[8];
    if (a.interleaved) {
        load8<DT>(a.x_dtype, x + c * xs, a.wide, 2 * a.half - c, 0, u);
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            int at = min((c + i) / 2, a.half - 1);
            p[i] = u[i] * cosine[at] - u[i + 1] * sine[at];
            p[i + 1] = u[i + 1] * cosine[at] + u[i] * sine[at];
        }
        store8<DT>(a.y_dtype, y + c * ys, a.wide, 2 * a.half - c, p);
        return;
    }
    load8<DT>(a.x_dtype, x + c * xs, a.wide, a.half - c, 0, u);
    load8<DT>(a.x_dtype, x + (a.half + c) * xs, a.wide, a.half - c, 0, v);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        int at = min(c + i, a.half - 1);
        p[i] = u[i] * cosine[at] - v[i] * sine[at];
        q[i] = v[i] * cosine[at] + u[i] * sine[at];
    }
    store8<DT>(a.y_dtype, y + c * ys, a.wide, a.half - c, p);
    store8<DT>(a.y_dtype, y + (a.half + c) * ys, a.wide, a.half - c, q);
}

template <int DT>
__global__ void __launch_bounds__(ROPE_THREADS) rope_kernel(struct rope_args a)
{
    __shared__ float cosine[HEAD_MAX / 2], sine[HEAD_MAX / 2];
    int64_t t = blockIdx.x;
    for (int i = threadIdx.x; i < a.half; i += ROPE_THREADS) {
        double angle =
            (double)a.pos[t] * exp(-a.log_theta * (double)i / (double)a.half);
        cosine[i] = (float)cos(angle);
        sine[i] = (float)(a.inverse ? -sin(angle) : sin(angle));
    }
    __syncthreads();
    int groups = ((a.interleaved ? 2 * a.half : a.half) + 7) / 8;
    for (int i = threadIdx.x; i < groups * a.heads; i += ROPE_THREADS)
        rotate<DT>(a, t, i / groups, i % groups * 8, cosine, sine);
}

static int rope_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rope *p = (const struct nnd_rope *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    int xs = size_of(p->x.dtype), ys = size_of(p->y.dtype);
    struct rope_args a = {(char *)p->x.data,
                          (char *)p->y.data,
                          p->x.stride[0] * xs,
                          p->x.stride[1] * xs,
                          p->y.stride[0] * ys,
                          p->y.stride[1] * ys,
                          p->x.dtype,
                          p->y.dtype,
                          0,
                          (int32_t)p->x.dim[1],
                          (int32_t)(p->x.dim[2] / 2),
                          p->interleaved,
                          p->inverse,
                          p->pos,
                          log((double)p->theta)};
    uint64_t all = (uint64_t)(uintptr_t)a.x | (uint64_t)(uintptr_t)a.y |
                   (uint64_t)a.xt | (uint64_t)a.xh | (uint64_t)a.yt | (uint64_t)a.yh |
                   (uint64_t)(a.half * xs) | (uint64_t)(a.half * ys);
    a.wide = all % 16 == 0;
    dim3 grid((unsigned)p->x.dim[0]);
    switch (p->x.dim[1] && a.half ? common_type(t, 2) : -1) {
    case -1:
        return NND_OK;
    case NND_BF16:
        return launch(rope_kernel<NND_BF16>, grid, dim3(ROPE_THREADS), 0, l, a);
    default:
        return launch(rope_kernel<0>, grid, dim3(ROPE_THREADS), 0, l, a);
    }
}

static int rope_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rope *p = (const struct nnd_rope *)params;
    if (p->x.dim[2] % 2 || p->x.dim[2] > HEAD_MAX)
        return op_refuse(e, NND_EUNSUPPORTED, "head size %lld, wanted even, at most %d",
                         (long long)p->x.dim[2], HEAD_MAX);
    if (!(p->theta > 0))
        return op_refuse(e, NND_EUNSUPPORTED, "theta %g, wanted > 0", (double)p->theta);
    return NND_OK;
}

extern "C" const struct op cuda_rope_ops[] = {
    {.name = "rope", .check = rope_check, .launch = rope_launch},
    {},
};
