/* SPDX-License-Identifier: Apache-2.0 */
/*
 * norm.c - norm.rms and norm.layer, forward and backward, with a residual's sum
 * before and its gradient behind.
 *
 * A row is read twice or three times, from cache after the first.  The weight
 * gradients are sums over rows: of blocks of rows, which the rows' own pass adds up
 * where there are blocks enough for the threads; or a task owns a few columns and
 * goes down all the rows.  Both add the same numbers in the same order.
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

/* What the norm is taken of. */
static const struct nnd_tensor *input_of(const struct nnd_norm *p)
{
    return p->add.ndim ? &p->sum : &p->x;
}

static void add_row(const struct nnd_norm *p, int64_t r)
{
    const void *x = row_of(&p->x, r), *add = row_of(&p->add, r);
    void *sum = row_of(&p->sum, r);
    int64_t n = p->x.dim[1];

    for (int64_t i = 0; i < n; i += VL)
        vec_put(sum, p->sum.dtype, i, n - i,
                vec_get(x, p->x.dtype, i, n - i) +
                    vec_get(add, p->add.dtype, i, n - i));
}

static void forward_row(const struct nnd_norm *p, int64_t r, float mean, float rstd)
{
    const struct nnd_tensor *in = input_of(p);
    const void *x = row_of(in, r);
    void *y = row_of(&p->y, r);
    int64_t n = p->x.dim[1];
    int biased = p->b.ndim != 0;

    for (int64_t i = 0; i < n; i += VL) {
        int64_t left = n - i;
        vf v = (vec_get(x, in->dtype, i, left) - mean) * rstd;

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
        float ms;

        if (p->add.ndim)
            add_row(p, r);
        ms = row_moment(input_of(p), r, 0, 2) / (float)p->x.dim[1];
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
        const struct nnd_tensor *in = input_of(p);

        if (p->add.ndim)
            add_row(p, r);
        mean[r] = row_moment(in, r, 0, 1) / n;
        rstd[r] = 1.0f / __builtin_sqrtf(row_moment(in, r, mean[r], 2) / n + p->eps);
        forward_row(p, r, mean[r], rstd[r]);
    }
}

/* Sums of one block of rows: dw [N], db [N], in order; or NULL. */
struct sums {
    float *dw, *db;
};

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) + dsum, g = w dy; rms leaves out
 * mean(g). */
static inline __attribute__((always_inline)) void backward_row(const struct nnd_norm *p,
                                                               int64_t r, float mean,
                                                               float rstd, int centred,
                                                               struct sums to)
{
    const void *x = row_of(&p->x, r), *dy = row_of(&p->dy, r);
    const void *dsum = p->dsum.ndim ? row_of(&p->dsum, r) : NULL;
    void *dx = row_of(&p->dx, r);
    int64_t n = p->x.dim[1];
    struct lanes sg = {0}, sgx = {0};
    float mg, mgx;

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL, left = n - i;
            vf d = vec_get(dy, p->dy.dtype, i, left);
            vf g = d * vec_get(p->w.data, p->w.dtype, i, left);
            vf xhat = (vec_get(x, p->x.dtype, i, left) - mean) * rstd;

            sg.v[u] += g;
            sgx.v[u] += g * xhat;
            if (to.dw)
                vec_put(to.dw, NND_F32, i, left,
                        vec_get(to.dw, NND_F32, i, left) + d * xhat);
            if (to.db)
                vec_put(to.db, NND_F32, i, left, vec_get(to.db, NND_F32, i, left) + d);
        }
    mg = centred ? lanes_sum(&sg) / (float)n : 0;
    mgx = lanes_sum(&sgx) / (float)n;
    for (int64_t i = 0; i < n; i += VL) {
        int64_t left = n - i;
        vf g =
            vec_get(dy, p->dy.dtype, i, left) * vec_get(p->w.data, p->w.dtype, i, left);
        vf xhat = (vec_get(x, p->x.dtype, i, left) - mean) * rstd;
        vf d = (g - mg - xhat * mgx) * rstd;

        if (dsum)
            d += vec_get(dsum, p->dsum.dtype, i, left);
        vec_put(dx, p->dx.dtype, i, left, d);
    }
}

static void backward_some(const struct nnd_norm *p, int64_t lo, int64_t hi,
                          struct sums to)
{
    const float *rstd = p->rstd.data, *mean = stat_of(&p->mean);

    for (int64_t r = lo; r < hi; r++)
        backward_row(p, r, mean ? mean[r] : 0, rstd[r], mean != NULL, to);
}

static void backward_rows(const void *arg, int64_t lo, int64_t hi)
{
    backward_some(arg, lo, hi, (struct sums){NULL, NULL});
}

/* ---- weight gradients with the rows ---- */

struct blocks_job {
    const struct nnd_norm *p;
    float *sums; /* [blocks,2,N] */
};

static void backward_blocks(const void *arg, int64_t lo, int64_t hi)
{
    const struct blocks_job *j = arg;
    int64_t n = j->p->x.dim[1], rows = j->p->x.dim[0];

    for (int64_t b = lo; b < hi; b++) {
        float *sums = j->sums + b * 2 * n;
        int64_t end = (b + 1) * NND_BLOCK_ROWS;

        memset(sums, 0, (size_t)(2 * n) * sizeof *sums);
        backward_some(j->p, b * NND_BLOCK_ROWS, end < rows ? end : rows,
                      (struct sums){j->p->dw.ndim ? sums : NULL,
                                    j->p->db.ndim ? sums + n : NULL});
    }
}

static int64_t blocks_of(const struct nnd_norm *p)
{
    return (p->x.dim[0] + NND_BLOCK_ROWS - 1) / NND_BLOCK_ROWS;
}

static void add_blocks(const struct blocks_job *j, const struct nnd_tensor *out,
                       const float *sums)
{
    int64_t n = j->p->x.dim[1];

    for (int64_t i = 0; i < n; i += VL) {
        vf all = vec_all(0);

        for (int64_t b = 0; b < blocks_of(j->p); b++)
            all += vec_get(sums + b * 2 * n, NND_F32, i, n - i);
        vec_put(out->data, NND_F32, i, n - i, all);
    }
}

static int backward_whole(const struct nnd_norm *p, const struct nnd_launch *l)
{
    struct blocks_job j = {p, l->workspace};
    int r = par_rows(l, blocks_of(p), NND_BLOCK_ROWS * p->x.dim[1] * 2, backward_blocks,
                     &j);

    if (!r && p->dw.ndim)
        add_blocks(&j, &p->dw, j.sums);
    if (!r && p->db.ndim)
        add_blocks(&j, &p->db, j.sums + p->x.dim[1]);
    return r;
}

static size_t backward_workspace(const void *params)
{
    const struct nnd_norm *p = params;

    return (size_t)(blocks_of(p) * 2 * p->x.dim[1]) * sizeof(float);
}

/* ---- or after them ---- */

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
    int r, weights = p->dw.ndim || p->db.ndim;

    if (weights && (l->nthreads < 2 || blocks_of(p) >= 4 * l->nthreads))
        return backward_whole(p, l);
    r = par_rows(l, rows, n * 2, backward_rows, p);
    if (r || !weights)
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

static int sum_check(const void *params, struct nnd_error *e)
{
    const struct nnd_norm *p = params;

    if (!p->add.ndim != !p->sum.ndim)
        return op_refuse(e, NND_EINVAL, "add and sum: wanted both or none");
    return NND_OK;
}

const struct op OPS(norm)[] = {
    {.name = "norm.rms.fwd", .check = sum_check, .launch = rms_launch},
    {.name = "norm.layer.fwd", .check = sum_check, .launch = layer_launch},
    {.name = "norm.rms.bwd", .workspace = backward_workspace, .launch = rms_back},
    {.name = "norm.layer.bwd", .workspace = backward_workspace, .launch = layer_back},
    {0},
};
