/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xent_linear.c - "xent.linear.fwd|bwd": cross entropy of x w^T over blocks of the
 * vocabulary, which are the only logits there are.
 *
 * Forward carries each row's maximum and sum of exponentials from block to block,
 * as attention does.  Backward makes each block again, turns it into gradients in
 * its place, and adds its part of dx and all of its dw.  The matrix products are
 * those of "gemm", and all threads work on one block after the other.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

#define BLOCK 1024 /* classes; how sums over them are cut, so part of the bits */
#define INF   __builtin_inff()

#ifdef __AVX512BF16__
#define FLOATS (1u << NND_BF16)
#else
#define FLOATS IN_FLOATS
#endif

/* What a row has of the blocks so far. */
struct row_state {
    float most, sum, at, total; /* at: the target's logit; total: of all logits */
};

/* A call at work on the block of classes [first, first + classes). */
struct xent_job {
    const struct nnd_xent_linear *p;
    struct nnd_tensor x;  /* with zeros in rows that do not count, backward */
    struct nnd_tensor z;  /* f32 [T,classes]                 */
    struct nnd_tensor g;  /* its gradient, in x's type       */
    struct nnd_tensor w;  /* the block's rows of p->w        */
    struct nnd_tensor dx; /* f32 [T,N]: the sum             */
    struct row_state *rows;
    int64_t first, classes;
    void *workspace; /* of the matrix products */
    size_t workspace_size;
};

static struct nnd_tensor matrix(void *data, int dtype, int64_t m, int64_t n)
{
    return (struct nnd_tensor){
        .data = data, .dim = {m, n}, .stride = {n, 1}, .ndim = 2, .dtype = dtype};
}

/* ---- room ---- */

static size_t round_up(size_t size)
{
    return (size + 255) & ~(size_t)255;
}

static int64_t widest(const struct nnd_xent_linear *p)
{
    return p->w.dim[0] < BLOCK ? p->w.dim[0] : BLOCK;
}

extern const struct op OPS(gemm)[];

/* D = op(A) op(B), or D += with add. */
static struct nnd_gemm product(const struct nnd_tensor *a, int trans_a,
                               const struct nnd_tensor *b, int trans_b,
                               const struct nnd_tensor *d, int add)
{
    return (struct nnd_gemm){.struct_size = sizeof(struct nnd_gemm),
                             .a = *a,
                             .b = *b,
                             .c = *d,
                             .d = *d,
                             .trans_a = trans_a,
                             .trans_b = trans_b,
                             .beta = add ? 1.0f : 0.0f};
}

static int multiply(const struct xent_job *j, const struct nnd_launch *l,
                    struct nnd_gemm g)
{
    struct nnd_launch mine = *l;

    mine.workspace = j->workspace;
    mine.workspace_size = j->workspace_size;
    return OPS(gemm)->launch(&g, &mine);
}

/* Set up a job in the workspace; with NULL, say how much it takes. */
static size_t job_make(const struct nnd_xent_linear *p, int bwd,
                       const struct nnd_launch *l, struct xent_job *j)
{
    int64_t t = p->x.dim[0], n = p->x.dim[1], classes = widest(p);
    int own = bwd && p->x.dtype != NND_F32, own_dx = bwd && p->dx.dtype != NND_F32;
    char *at = l ? l->workspace : NULL, *start = at;
    struct nnd_gemm g;

    *j = (struct xent_job){.p = p, .x = p->x, .w = p->w, .dx = p->dx};
    j->rows = (struct row_state *)at;
    at += round_up((size_t)t * sizeof *j->rows);
    j->z = j->g = matrix(at, NND_F32, t, classes);
    at += round_up((size_t)(t * classes) * sizeof(float));
    if (own)
        j->g = matrix(at, p->x.dtype, t, classes);
    at += own ? round_up((size_t)(t * classes) * dtype_size(p->x.dtype)) : 0;
    if (bwd)
        j->x = matrix(at, p->x.dtype, t, n);
    at += bwd ? round_up((size_t)(t * n) * dtype_size(p->x.dtype)) : 0;
    if (own_dx)
        j->dx = matrix(at, NND_F32, t, n);
    at += own_dx ? round_up((size_t)(t * n) * sizeof(float)) : 0;
    j->workspace = at;
    g = product(&p->x, 0, &p->w, 1, &j->z, 0);
    j->workspace_size = round_up(OPS(gemm)->workspace(&g));
    return (size_t)(at - start) + j->workspace_size;
}

static void block_set(struct xent_job *j, int64_t first)
{
    const struct nnd_xent_linear *p = j->p;
    int64_t left = p->w.dim[0] - first;

    j->first = first;
    j->classes = left < BLOCK ? left : BLOCK;
    j->w = p->w;
    j->w.dim[0] = j->classes;
    j->w.data = row_of(&p->w, first);
    j->z = matrix(j->z.data, NND_F32, j->z.dim[0], j->classes);
    j->g = matrix(j->g.data, j->g.dtype, j->g.dim[0], j->classes);
}

/* ---- forward ---- */

static float row_most(const float *z, int64_t n)
{
    struct lanes m;

    for (int u = 0; u < PER; u++)
        m.v[u] = vec_all(-INF);
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            m.v[u] = vec_max(vec_get_or(z, NND_F32, i, n - i, -INF), m.v[u]);
        }
    return lanes_max(&m);
}

static void carry_row(const struct xent_job *j, int64_t t)
{
    struct row_state *s = &j->rows[t];
    const float *z = row_of(&j->z, t);
    int64_t n = j->classes, target = j->p->target[t] - j->first;
    float most = row_most(z, n), old = s->most;
    struct lanes sum = {0}, total = {0};

    most = most > old ? most : old;
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            sum.v[u] += vec_exp(vec_get_or(z, NND_F32, i, n - i, -INF) - most);
            total.v[u] += vec_get(z, NND_F32, i, n - i);
        }
    s->sum = s->sum * vec_exp(vec_all(old - most))[0] + lanes_sum(&sum);
    s->total += lanes_sum(&total);
    s->most = most;
    if (target >= 0 && target < n)
        s->at = z[target];
}

static void carry_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct xent_job *j = arg;

    for (int64_t t = lo; t < hi; t++)
        if (j->p->target[t] >= 0)
            carry_row(j, t);
}

static void finish_row(const struct xent_job *j, int64_t t)
{
    const struct nnd_xent_linear *p = j->p;
    const struct row_state *s = &j->rows[t];
    float lse = 0, loss = 0;

    if (p->target[t] >= 0) {
        lse = s->most + log_one(s->sum);
        loss = lse - (1.0f - p->smoothing) * s->at + p->z_loss * (lse * lse);
        loss -= p->smoothing * (s->total / (float)p->w.dim[0]);
    }
    ((float *)p->lse.data)[t] = lse;
    ((float *)p->loss.data)[t] = loss;
}

static int forward(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent_linear *p = params;
    int64_t rows = p->x.dim[0];
    struct xent_job j;
    int r = NND_OK;

    job_make(p, 0, l, &j);
    for (int64_t t = 0; t < rows; t++)
        j.rows[t] = (struct row_state){.most = -INF};
    for (int64_t v = 0; v < p->w.dim[0] && !r; v += BLOCK) {
        block_set(&j, v);
        r = multiply(&j, l, product(&p->x, 0, &j.w, 1, &j.z, 0));
        if (!r)
            r = par_rows(l, rows, j.classes * 4, carry_rows, &j);
    }
    for (int64_t t = 0; t < rows; t++)
        finish_row(&j, t);
    return r;
}

/* ---- backward ---- */

static void slope_row(const struct xent_job *j, int64_t t)
{
    const struct nnd_xent_linear *p = j->p;
    const float *z = row_of(&j->z, t);
    void *g = row_of(&j->g, t);
    int64_t n = j->classes, target = p->target[t] - j->first;
    float lse = ((const float *)p->lse.data)[t], seed = *p->seed;
    float factor = 1.0f + 2.0f * p->z_loss * lse;
    float even = p->smoothing / (float)p->w.dim[0];
    float at = target >= 0 && target < n ? z[target] : 0;

    for (int64_t i = 0; i < n; i += VL) {
        vf x = vec_exp(vec_get(z, NND_F32, i, n - i) - lse) * factor - even;

        vec_put(g, j->g.dtype, i, n - i, x * seed);
    }
    if (target >= 0 && target < n) {
        vf x = vec_exp(vec_all(at - lse)) * factor - even - (1.0f - p->smoothing);

        vec_put(g, j->g.dtype, target, 1, x * seed);
    }
}

static void slope_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct xent_job *j = arg;

    for (int64_t t = lo; t < hi; t++)
        if (j->p->target[t] >= 0)
            slope_row(j, t);
        else
            memset(row_of(&j->g, t), 0, (size_t)j->classes * dtype_size(j->g.dtype));
}

/* x without what stands in rows that do not count. */
static void copy_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct xent_job *j = arg;
    size_t size = (size_t)j->x.dim[1] * dtype_size(j->x.dtype);

    for (int64_t t = lo; t < hi; t++)
        if (j->p->target[t] >= 0)
            memcpy(row_of(&j->x, t), row_of(&j->p->x, t), size);
        else
            memset(row_of(&j->x, t), 0, size);
}

static void put_dx(const void *arg, int64_t lo, int64_t hi)
{
    const struct xent_job *j = arg;
    int64_t n = j->x.dim[1];

    for (int64_t t = lo; t < hi; t++)
        for (int64_t i = 0; i < n; i += VL)
            vec_put(row_of(&j->p->dx, t), j->p->dx.dtype, i, n - i,
                    vec_get(row_of(&j->dx, t), NND_F32, i, n - i));
}

static int backward_block(struct xent_job *j, const struct nnd_launch *l)
{
    struct nnd_tensor dw = j->p->dw;
    int r = multiply(j, l, product(&j->x, 0, &j->w, 1, &j->z, 0));

    dw.dim[0] = j->classes;
    dw.data = row_of(&j->p->dw, j->first);
    if (!r)
        r = par_rows(l, j->x.dim[0], j->classes * 4, slope_rows, j);
    if (!r)
        r = multiply(j, l, product(&j->g, 0, &j->w, 0, &j->dx, j->first > 0));
    return r ? r : multiply(j, l, product(&j->g, 1, &j->x, 0, &dw, 0));
}

static int backward(const void *params, const struct nnd_launch *l)
{
    const struct nnd_xent_linear *p = params;
    int64_t rows = p->x.dim[0], n = p->x.dim[1];
    struct xent_job j;
    int r;

    job_make(p, 1, l, &j);
    r = par_rows(l, rows, n, copy_rows, &j);
    for (int64_t v = 0; v < p->w.dim[0] && !r; v += BLOCK) {
        block_set(&j, v);
        r = backward_block(&j, l);
    }
    if (!r && j.dx.data != p->dx.data)
        r = par_rows(l, rows, n, put_dx, &j);
    return r;
}

/* ---- */

static size_t forward_workspace(const void *params)
{
    struct xent_job j;

    return job_make(params, 0, NULL, &j);
}

static size_t backward_workspace(const void *params)
{
    struct xent_job j;

    return job_make(params, 1, NULL, &j);
}

extern const struct op OPS(xent_linear)[];

const struct op OPS(xent_linear)[] = {
    {.name = "xent.linear.fwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {ARG(nnd_xent_linear, x, "TN", FLOATS, 0),
              ARG(nnd_xent_linear, w, "VN", FLOATS, 0),
              ARG(nnd_xent_linear, loss, "T", IN_F32, 0),
              ARG(nnd_xent_linear, lse, "T", IN_F32, 0)},
     .workspace = forward_workspace,
     .launch = forward},
    {.name = "xent.linear.bwd",
     .params_size = sizeof(struct nnd_xent_linear),
     .args = {ARG(nnd_xent_linear, x, "TN", FLOATS, 0),
              ARG(nnd_xent_linear, w, "VN", FLOATS, 0),
              ARG(nnd_xent_linear, lse, "T", IN_F32, 0),
              ARG(nnd_xent_linear, dx, "TN", IN_FLOATS, 0),
              ARG(nnd_xent_linear, dw, "VN", IN_F32, 0)},
     .workspace = backward_workspace,
     .launch = backward},
    {0},
};
