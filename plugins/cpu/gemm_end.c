/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_end.c - the end of a product: bias, activation, scale, and D's own type, in
 * one pass over a task's sums while they are in the cache.
 */
#include "act.h"
#include "gemm.h"

/* x [cols] of row r, from column j on; y: where the pair's other result begins. */
struct row {
    const struct gemm_finish *f;
    const float *x;
    int64_t r, j, cols;
};

static vf get(const struct nnd_tensor *t, const struct row *w, int64_t i)
{
    return vec_get(row_of(t, w->r), t->dtype, w->j + i, w->cols - i);
}

static void put(const struct nnd_tensor *t, const struct row *w, int64_t i, vf y)
{
    vec_put(row_of(t, w->r), t->dtype, w->j + i, w->cols - i, y);
}

/* Store x where it is wanted for backward; what is there is what counts. */
static vf keep(const struct nnd_tensor *pre, const struct row *w, int64_t i, vf x)
{
    if (pre->ndim == 0)
        return x;
    put(pre, w, i, x);
    return get(pre, w, i);
}

static vf ended(const struct row *w, int64_t i, vf x)
{
    const struct nnd_tensor *pre = &w->f->pre;

    switch (w->f->epilogue) {
    case NND_EPI_GELU:
        return act_gelu(keep(pre, w, i, x), 0);
    case NND_EPI_GELU_TANH:
        return act_gelu(keep(pre, w, i, x), 1);
    case NND_EPI_SILU:
        return act_silu(keep(pre, w, i, x));
    case NND_EPI_DGELU:
        return x * act_gelu_slope(get(pre, w, i), 0);
    case NND_EPI_DGELU_TANH:
        return x * act_gelu_slope(get(pre, w, i), 1);
    case NND_EPI_DSILU:
        return x * act_silu_slope(get(pre, w, i));
    default:
        return x;
    }
}

static void end_row(const struct row *w, float scale)
{
    const struct gemm_finish *f = w->f;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf x = vec_get(w->x, NND_F32, i, w->cols - i);

        if (f->bias.ndim)
            x = x + vec_get(f->bias.data, f->bias.dtype, w->j + i, w->cols - i);
        put(&f->d, w, i, ended(w, i, x) * scale);
    }
}

/* The two products lie vector by vector beside one another. */
static void end_swiglu(const struct row *w, float scale)
{
    const struct gemm_finish *f = w->f;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf a = vec_get(w->x, NND_F32, 2 * i, VL);
        vf b = vec_get(w->x, NND_F32, 2 * i + VL, VL);

        a = keep(&f->pre, w, i, a);
        b = keep(&f->pre2, w, i, b);
        put(&f->d, w, i, act_silu(a) * b * scale);
    }
}

static void end_dswiglu(const struct row *w, float scale)
{
    const struct gemm_finish *f = w->f;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf x = vec_get(w->x, NND_F32, i, w->cols - i) * scale;
        vf a = get(&f->pre, w, i), b = get(&f->pre2, w, i);

        put(&f->d, w, i, x * b * act_silu_slope(a));
        put(&f->d2, w, i, x * act_silu(a));
    }
}

void gemm_end(const struct gemm_finish *f, int64_t i, int64_t j, int64_t m, int64_t n,
              const float *x, int64_t ld)
{
    int plain = f->epilogue == NND_EPI_NONE && !f->bias.ndim && !f->scale.ndim;

    if (plain) {
        char *d = (char *)row_of(&f->d, i) + j * (int64_t)dtype_size(f->d.dtype);

        if ((const void *)d != (const void *)x)
            gemm_convert(d, f->d.dtype, f->d.stride[0], x, NND_F32, ld, m, n, 1.0f);
        return;
    }
    for (int64_t r = 0; r < m; r++, x += ld) {
        struct row w = {f, x, i + r, j, n};
        float scale = f->scale.ndim ? ((const float *)f->scale.data)[i + r] : 1.0f;

        if (f->epilogue == NND_EPI_SWIGLU)
            end_swiglu(&w, scale);
        else if (f->epilogue == NND_EPI_DSWIGLU)
            end_dswiglu(&w, scale);
        else
            end_row(&w, scale);
    }
}
