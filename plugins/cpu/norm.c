/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - norm.rms and norm.layer, forward and backward.
 *
 * A row is read twice or three times, from cache after the first.  The weight
 * gradients are sums over rows: a task owns a few columns and goes down all the
 * rows, so they run in row order without partial results.
 */
#include "op.h"
#include "par.h"
#include "vec.h"

/* Columns that one task of a sum over rows owns. */
#define COLUMNS 64

/* sum of (x - shift)^power over a row, power 1 or 2. */
static float row_moment(const struct nnd_tensor *x, int64_t r, float shift, int power)
{
    const void *p = row_of(x, r);
    int64_t n = x->dim[1];
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf v = vec_get_or(p, x->dtype, i, n - i, shift) - shift;

            s.v[u] += power == 1 ? v : v * v;
        }
    return lanes_sum(&s);
}

static float *stat_of(const struct nnd_tensor *t)
{
    return t->ndim ? t->data : NULL;
}

static void forward_row(const struct nnd_norm *p, int64_t r, float mean, float rstd)
{
    const void *x = row_of(&p->x, r);
    void *y = row_of(&p->y, r);
    int64_t n = p->x.dim[1];
    int biased = p->b.ndim != 0;

    for (int64_t i = 0; i < n; i += VL) {
        int64_t left = n - i;
        vf v = (vec_get(x, p->x.dtype, i, left) - mean) * rstd;

        v *= vec_get(p->w.data, p->w.dtype, i, left);
        if (biased)
            v += vec_get(p->b.data, p->b.dtype, i, left);
        vec_put(y, p->y.dtype, i, left, v);
    }
}

static void rms_forward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_norm *p = arg;
    float *rstd = p->rstd.data;

    for (int64_t r = lo; r < hi; r++) {
        float ms = row_moment(&p->x, r, 0, 2) / (float)p->x.dim[1];

        rstd[r] = 1.0f / __builtin_sqrtf(ms + p->eps);
        forward_row(p, r, 0, rstd[r]);
    }
}

static void layer_forward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_norm *p = arg;
    float *rstd = p->rstd.data, *mean = p->mean.data;
    float n = (float)p->x.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        mean[r] = row_moment(&p->x, r, 0, 1) / n;
        rstd[r] = 1.0f / __builtin_sqrtf(row_moment(&p->x, r, mean[r], 2) / n + p->eps);
        forward_row(p, r, mean[r], rstd[r]);
    }
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)), g = w dy; rms leaves out mean(g). */
static void backward_row(const struct nnd_norm *p, int64_t r, float mean, float rstd,
                         int centred)
{
    const void *x = row_of(&p->x, r), *dy = row_of(&p->dy, r);
    void *dx = row_of(&p->dx, r);
    int64_t n = p->x.dim[1];
    struct lanes sg = {0}, sgx = {0};
    float mg, mgx;

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL, left = n - i;
            vf g = vec_get(dy, p->dy.dtype, i, left) *
                   vec_get(p->w.data, p->w.dtype, i, left);
            vf xhat = (vec_get(x, p->x.dtype, i, left) - mean) * rstd;

            sg.v[u] += g;
            sgx.v[u] += g * xhat;
        }
    mg = centred ? lanes_sum(&sg) / (float)n : 0;
    mgx = lanes_sum(&sgx) / (float)n;
    for (int64_t i = 0; i < n; i += VL) {
        int64_t left = n - i;
        vf g =
            vec_get(dy, p->dy.dtype, i, left) * vec_get(p->w.data, p->w.dtype, i, left);
        vf xhat = (vec_get(x, p->x.dtype, i, left) - mean) * rstd;

        vec_put(dx, p->dx.dtype, i, left, (g - mg - xhat * mgx) * rstd);
    }
}

static void backward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_norm *p = arg;
    const float *rstd = p->rstd.data, *mean = stat_of(&p->mean);

    for (int64_t r = lo; r < hi; r++)
        backward_row(p, r, mean ? mean[r] : 0, rstd[r], mean != NULL);
}

/* dw and db of columns [i, i + VL), summed over the rows in blocks. */
static void weight_columns(const struct nnd_norm *p, int64_t i)
{
    const float *rstd = p->rstd.data, *mean = stat_of(&p->mean);
    int64_t rows = p->x.dim[0], left = p->x.dim[1] - i;
    vf dw = vec_all(0), db = vec_all(0);

    for (int64_t block = 0; block < rows; block += NND_BLOCK_ROWS) {
        vf w = vec_all(0), b = vec_all(0);

        for (int64_t r = block; r < rows && r < block + NND_BLOCK_ROWS; r++) {
            vf dy = vec_get(row_of(&p->dy, r), p->dy.dtype, i, left);
            vf x = vec_get(row_of(&p->x, r), p->x.dtype, i, left);

            w += dy * ((x - (mean ? mean[r] : 0)) * rstd[r]);
            b += dy;
        }
        dw += w;
        db += b;
    }
    if (p->dw.ndim)
        vec_put(p->dw.data, NND_F32, i, left, dw);
    if (p->db.ndim)
        vec_put(p->db.data, NND_F32, i, left, db);
}

static void backward_weights(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_norm *p = arg;

    for (int64_t part = lo; part < hi; part++)
        for (int64_t i = part * COLUMNS; i < (part + 1) * COLUMNS; i += VL)
            if (i < p->x.dim[1])
                weight_columns(p, i);
}

static int rms_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_norm *p = params;

    return par_rows(l, p->x.dim[0], p->x.dim[1], rms_forward, p);
}

static int layer_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_norm *p = params;

    return par_rows(l, p->x.dim[0], p->x.dim[1], layer_forward, p);
}

static int backward(const struct nnd_norm *p, const struct nnd_launch *l)
{
    int64_t rows = p->x.dim[0], n = p->x.dim[1];
    int r = par_rows(l, rows, n * 2, backward_rows, p);

    if (r || (!p->dw.ndim && !p->db.ndim))
        return r;
    return par_rows(l, (n + COLUMNS - 1) / COLUMNS, rows * COLUMNS, backward_weights,
                    p);
}

static int layer_back(const void *params, const struct nnd_launch *l)
{
    return backward(params, l);
}

/* An RMS norm has no mean, whatever its caller left in the field. */
static int rms_back(const void *params, const struct nnd_launch *l)
{
    struct nnd_norm p;

    memcpy(&p, params, sizeof p);
    p.mean.ndim = 0;
    return backward(&p, l);
}

const struct op OPS(norm)[] = {
    {.name = "norm.rms.fwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, b, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, y, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, rstd, "T", IN_F32, 0)},
     .launch = rms_launch},
    {.name = "norm.layer.fwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, b, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_norm, y, "TN", IN_FLOATS, 0), ARG(nnd_norm, rstd, "T", IN_F32, 0),
              ARG(nnd_norm, mean, "T", IN_F32, 0)},
     .launch = layer_launch},
    {.name = "norm.rms.bwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, rstd, "T", IN_F32, 0),
              ARG(nnd_norm, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dw, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, db, "N", IN_F32, ARG_OPTIONAL)},
     .launch = rms_back},
    {.name = "norm.layer.bwd",
     .params_size = sizeof(struct nnd_norm),
     .args = {ARG(nnd_norm, x, "TN", IN_FLOATS, 0), ARG(nnd_norm, w, "N", IN_FLOATS, 0),
              ARG(nnd_norm, rstd, "T", IN_F32, 0), ARG(nnd_norm, mean, "T", IN_F32, 0),
              ARG(nnd_norm, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_norm, dw, "N", IN_F32, ARG_OPTIONAL),
              ARG(nnd_norm, db, "N", IN_F32, ARG_OPTIONAL)},
     .launch = layer_back},
    {0},
};
