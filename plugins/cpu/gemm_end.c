/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_end.c - the end of a product: bias, activation, scale, and D's own type, in
 * one pass over a task's sums while they are in the cache.
 */
#include "act.h"
#include "gemm.h"

/* A row's x [cols], and where its results and what they need lie, NULL for what is
 * absent. */
struct row {
    const struct gemm_finish *f;
    const float *x;
    void *d, *d2, *pre, *pre2, *act;
    const void *bias;
    int64_t cols;
    float scale;
};

static void *at(const struct nnd_tensor *t, int64_t r, int64_t j)
{
    return t->ndim ? (char *)row_of(t, r) + j * (int64_t)dtype_size(t->dtype) : NULL;
}

static inline __attribute__((always_inline)) vf get(const struct row *w, const void *p,
                                                    int dtype, int64_t i)
{
    return vec_get(p, dtype, i, w->cols - i);
}

static inline __attribute__((always_inline)) void put(const struct row *w, void *p,
                                                      int dtype, int64_t i, vf y)
{
    vec_put(p, dtype, i, w->cols - i, y);
}

/* Store x where it is wanted for backward; what is there is what counts. */
static inline __attribute__((always_inline)) vf keep(const struct row *w, void *p,
                                                     int dtype, int64_t i, vf x)
{
    if (!p)
        return x;
    put(w, p, dtype, i, x);
    return dtype == NND_F32 ? x : get(w, p, dtype, i);
}

/* GELU where its input is kept in 16 bits: what it makes of that, forward and back,
 * need not be better than 16 bits are. */
enum { SHORT_GELU = 1000, SHORT_DGELU };

static int shorten(int epilogue, const struct nnd_tensor *pre)
{
    if (!pre->ndim || dtype_size(pre->dtype) != 2)
        return epilogue;
    return epilogue == NND_EPI_GELU    ? SHORT_GELU
           : epilogue == NND_EPI_DGELU ? SHORT_DGELU
                                       : epilogue;
}

/* What the epilogue makes of x; pre: what is at the same place there. */
static inline __attribute__((always_inline)) vf made_of(int epilogue, vf x, vf pre)
{
    switch (epilogue) {
    case NND_EPI_GELU:
        return act_gelu(x, 0);
    case SHORT_GELU:
        return act_gelu_short(x);
    case SHORT_DGELU:
        return x * act_gelu_slope_short(pre);
    case NND_EPI_GELU_TANH:
        return act_gelu(x, 1);
    case NND_EPI_SILU:
        return act_silu(x);
    case NND_EPI_DGELU:
        return x * act_gelu_slope(pre, 0);
    case NND_EPI_DGELU_TANH:
        return x * act_gelu_slope(pre, 1);
    case NND_EPI_DSILU:
        return x * act_silu_slope(pre);
    case NND_EPI_RELU:
        return act_relu(x);
    case NND_EPI_DRELU:
        return act_relu_back(x, pre);
    default:
        return x;
    }
}

/* epilogue is a constant where this is inlined. */
static inline __attribute__((always_inline)) void end_as(int epilogue,
                                                         const struct row *w)
{
    const struct gemm_finish *f = w->f;
    int slope_of = epilogue == SHORT_DGELU ? SHORT_GELU : nnd_slope_of(epilogue);
    int pre_type = f->pre.dtype;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf x = get(w, w->x, NND_F32, i), pre = x;

        if (w->bias)
            x = x + get(w, w->bias, f->bias.dtype, i);
        if (slope_of)
            pre = get(w, w->pre, pre_type, i);
        else
            x = keep(w, w->pre, pre_type, i, x);
        x = made_of(epilogue, x, pre) * w->scale;
        if (slope_of && w->act) /* of what the slope has computed already */
            put(w, w->act, f->act.dtype, i, made_of(slope_of, pre, pre));
        put(w, w->d, f->d.dtype, i, x);
    }
}

/* The two products lie vector by vector beside one another. */
static void end_swiglu(const struct row *w)
{
    const struct gemm_finish *f = w->f;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf a = vec_get(w->x, NND_F32, 2 * i, VL);
        vf b = vec_get(w->x, NND_F32, 2 * i + VL, VL);

        a = keep(w, w->pre, f->pre.dtype, i, a);
        b = keep(w, w->pre2, f->pre2.dtype, i, b);
        put(w, w->d, f->d.dtype, i, act_silu(a) * b * w->scale);
    }
}

static void end_dswiglu(const struct row *w)
{
    const struct gemm_finish *f = w->f;

    for (int64_t i = 0; i < w->cols; i += VL) {
        vf x = get(w, w->x, NND_F32, i) * w->scale;
        vf a = get(w, w->pre, f->pre.dtype, i), b = get(w, w->pre2, f->pre2.dtype, i);

        put(w, w->d, f->d.dtype, i, x * b * act_silu_slope(a));
        put(w, w->d2, f->d2.dtype, i, x * act_silu(a));
        if (w->act)
            put(w, w->act, f->act.dtype, i, act_silu(a) * b);
    }
}

static void end_row(const struct row *w)
{
    switch (shorten(w->f->epilogue, &w->f->pre)) {
    case NND_EPI_GELU:
        end_as(NND_EPI_GELU, w);
        break;
    case SHORT_GELU:
        end_as(SHORT_GELU, w);
        break;
    case SHORT_DGELU:
        end_as(SHORT_DGELU, w);
        break;
    case NND_EPI_GELU_TANH:
        end_as(NND_EPI_GELU_TANH, w);
        break;
    case NND_EPI_SILU:
        end_as(NND_EPI_SILU, w);
        break;
    case NND_EPI_DGELU:
        end_as(NND_EPI_DGELU, w);
        break;
    case NND_EPI_DGELU_TANH:
        end_as(NND_EPI_DGELU_TANH, w);
        break;
    case NND_EPI_DSILU:
        end_as(NND_EPI_DSILU, w);
        break;
    case NND_EPI_RELU:
        end_as(NND_EPI_RELU, w);
        break;
    case NND_EPI_DRELU:
        end_as(NND_EPI_DRELU, w);
        break;
    case NND_EPI_SWIGLU:
        end_swiglu(w);
        break;
    case NND_EPI_DSWIGLU:
        end_dswiglu(w);
        break;
    default:
        end_as(NND_EPI_NONE, w);
        break;
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
    for (int64_t r = i; r < i + m; r++, x += ld) {
        struct row w = {f,
                        x,
                        at(&f->d, r, j),
                        at(&f->d2, r, j),
                        at(&f->pre, r, j),
                        at(&f->pre2, r, j),
                        at(&f->act, r, j),
                        NULL,
                        n,
                        f->scale.ndim ? ((const float *)f->scale.data)[r] : 1.0f};

        if (f->bias.ndim)
            w.bias = element_of(f->bias.data, f->bias.dtype, j);
        end_row(&w);
    }
}
