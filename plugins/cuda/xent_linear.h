/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent_linear.h - what kernels of xent.linear share: how the vocabulary is cut, parts
 * of a row, and what is done with logits whoever makes them.
 */
#ifndef CUDA_XENT_LINEAR_H
#define CUDA_XENT_LINEAR_H

#include "tile.h"

#define PART_COLS  1024 /* forward: classes of a block             */
#define SLICE_COLS 2048 /* backward: classes whose gradients exist */

struct linears {
    struct side x, w;
    struct reach reach; /* rows, classes, depth; backward: the slice's classes */
    struct mat dz;      /* backward: [T,slice] */
    const int32_t *target;
    const float *seed;
    float *loss, *lse;
    float4 *parts; /* forward, [T,parts]: largest, sum, all, the target's */
    float smoothing, z_loss;
    int64_t classes, nparts, first; /* first: of the slice */
    int64_t across;                 /* tiles of a row of tiles */
};

/* exp(v - most) where v may be -inf, and most then too. */
DEVICE float exp_of(float v, float most)
{
    return v == -INFINITY ? 0 : expf(v - most);
}

/* Two parts of a row as one. */
DEVICE float4 joined(float4 a, float4 b)
{
    float most = fmaxf(a.x, b.x);
    return make_float4(most, a.y * exp_of(a.x, most) + b.y * exp_of(b.x, most),
                       a.z + b.z, a.w + b.w);
}

#define NOTHING make_float4(-INFINITY, 0, 0, 0)

/* d loss / d logit, but for the seed; target: the row's class, among m's. */
DEVICE float slope_of(const struct linears &m, float logit, float lse, bool is_target)
{
    float factor = 1.0f + 2.0f * m.z_loss * lse, even = m.smoothing / (float)m.classes;
    float g = expf(logit - lse) * factor - even;
    return is_target ? g - (1.0f - m.smoothing) : g;
}

/* Of xent_linear.cu. */

struct linears cuda_linears_of(const struct nnd_xent_linear *p);
size_t cuda_linear_forward_workspace(const void *params);
size_t cuda_linear_backward_workspace(const void *params);

/* Can the vocabulary's parts be counted? */
int cuda_linear_check(const void *params, struct nnd_error *e);

/* loss and lse out of parts. */
int cuda_linear_losses(const struct linears *m, const struct nnd_launch *l);

/* Who writes m->dz for the slice whose weights are w. */
typedef int linear_slopes_f(const struct nnd_xent_linear *p, const struct linears *m,
                            const struct nnd_tensor *w, const struct nnd_launch *l);

/* Who makes dx and dw of it; mask, or NULL: rows of p->b below 0 count nowhere. */
typedef int linear_product_f(const struct nnd_gemm *p, const int32_t *mask,
                             const struct nnd_launch *l);

struct linear_way {
    linear_slopes_f *slopes;
    linear_product_f *product;
};

int cuda_linear_back(const struct nnd_xent_linear *p, const struct nnd_launch *l,
                     const struct linear_way *way);

#define LINEAR_BOTH                                                                    \
    ARG(nnd_xent_linear, x, "TN", IN_FLOATS, 0),                                       \
        ARG(nnd_xent_linear, w, "VN", IN_FLOATS, 0),                                   \
        ARG(nnd_xent_linear, lse, "T", IN_F32, 0)

#endif
