/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent.c - cross entropy over the vocabulary.  Two passes over a row forward
 * (largest logit, then the sum of exponentials; a third with smoothing), one
 * backward from lse.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

static float row_max(const void *z, int dtype, int64_t n)
{
    struct lanes m;

    for (int u = 0; u < PER; u++)
        m.v[u] = vec_all(-__builtin_inff());
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            m.v[u] = vec_max(vec_get_or(z, dtype, i, n - i, -__builtin_inff()), m.v[u]);
        }
    return lanes_max(&m);
}

static float row_lse(const void *z, int dtype, int64_t n)
{
    float most = row_max(z, dtype, n);
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            s.v[u] += vec_exp(vec_get_or(z, dtype, i, n - i, -__builtin_inff()) - most);
        }
    return most + log_one(lanes_sum(&s));
}

static float row_mean(const void *z, int dtype, int64_t n)
{
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++)
            s.v[u] += vec_get(z, dtype, c + u * VL, n - c - u * VL);
    return lanes_sum(&s) / (float)n;
}

static float row_loss(const struct nnd_xent *p, const void *z, int64_t t, float lse)
{
    float at = vec_get(z, p->logits.dtype, p->target[t], 1)[0];
    float loss = lse - (1.0f - p->smoothing) * at;

    if (p->smoothing > 0)
        loss -= p->smoothing * row_mean(z, p->logits.dtype, p->logits.dim[1]);
    return loss + p->z_loss * (lse * lse);
}

static void forward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_xent *p = arg;
    float *loss = p->loss.data, *lse = p->lse.data;

    for (int64_t t = lo; t < hi; t++) {
        const void *z = row_of(&p->logits, t);

        loss[t] = lse[t] = 0;
        if (p->target[t] < 0)
            continue;
        lse[t] = row_lse(z, p->logits.dtype, p->logits.dim[1]);
        loss[t] = row_loss(p, z, t, lse[t]);
    }
}

static void backward_row(const struct nnd_xent *p, int64_t t, float lse, float seed)
{
    const void *z = row_of(&p->logits, t);
    void *dz = row_of(&p->dlogits, t);
    int64_t n = p->logits.dim[1];
    float factor = 1.0f + 2.0f * p->z_loss * lse, even = p->smoothing / (float)n;
    float at = vec_get(z, p->logits.dtype, p->target[t], 1)[0];
    vf g;

    for (int64_t i = 0; i < n; i += VL) {
        g = vec_exp(vec_get(z, p->logits.dtype, i, n - i) - lse) * factor - even;
        vec_put(dz, p->dlogits.dtype, i, n - i, g * seed);
    }
    g = vec_exp(vec_all(at - lse)) * factor - even - (1.0f - p->smoothing);
    vec_put(dz, p->dlogits.dtype, p->target[t], 1, g * seed);
}

static void backward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_xent *p = arg;
    const float *lse = p->lse.data;

    for (int64_t t = lo; t < hi; t++)
        if (p->target[t] >= 0)
            backward_row(p, t, lse[t], *p->seed);
        else
            memset(row_of(&p->dlogits, t), 0,
                   (size_t)p->dlogits.dim[1] * dtype_size(p->dlogits.dtype));
}

static int xent_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent *p = params;

    return par_rows(l, p->logits.dim[0], p->logits.dim[1] * 4, forward_rows, p);
}

static int xent_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent *p = params;

    return par_rows(l, p->logits.dim[0], p->logits.dim[1] * 4, backward_rows, p);
}

const struct op OPS(xent)[] = {
    {.name = "xent.fwd", .launch = xent_fwd},
    {.name = "xent.bwd", .launch = xent_bwd},
    {0},
};
