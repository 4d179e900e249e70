/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.c - "gemm" over BLIS: tiles of D, shared out to the host's threads.
 */
#include "plugins/cpu/op.h"
#include "plugins/cpu/vec.h"
#include "product.h"
#include "plugins/cpu/work.h"

struct gemm_job {
    const struct nnd_gemm *p;
    struct side a, b;
    struct grid grid;
    int64_t k;
    unsigned uses;
};

static void *element(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return (char *)row_of(t, i) + j * (int64_t)dtype_size(t->dtype);
}

static void add_bias(const struct nnd_tensor *bias, const struct tile *t, float *d,
                     int64_t ld)
{
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j += VL) {
            vf b = vec_get(bias->data, bias->dtype, t->j + j, t->n - j);
            vf v = vec_get(d + i * ld, NND_F32, j, t->n - j);

            vec_put(d + i * ld, NND_F32, j, t->n - j, v + b);
        }
}

static void gemm_tile(void *arg, int task, void *room)
{
    const struct gemm_job *job = arg;
    const struct nnd_gemm *p = job->p;
    struct tile t = grid_tile(&job->grid, task);
    struct slot s = slot_at(room, job->uses);
    struct side a = side_at(&job->a, t.i, 0), b = side_at(&job->b, 0, t.j);
    int through_slot = p->d.dtype != NND_F32, add = p->beta != 0;
    void *out = element(&p->d, t.i, t.j);
    float *d = through_slot ? s.d : out;
    int64_t ld = through_slot ? t.n : p->d.stride[0];

    if (add)
        convert(d, NND_F32, ld, element(&p->c, t.i, t.j), p->c.dtype, p->c.stride[0],
                t.m, t.n, p->beta);
    product(&a, &b, t.m, t.n, job->k, add, d, ld, &s);
    if (p->bias.ndim)
        add_bias(&p->bias, &t, d, ld);
    if (through_slot)
        convert(out, p->d.dtype, p->d.stride[0], d, NND_F32, ld, t.m, t.n, 1.0f);
}

static int gemm_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_gemm *p = params;
    struct gemm_job j = {.p = p, .uses = uses_of(&p->a, &p->b, &p->d)};
    int64_t m = p->d.dim[0], n = p->d.dim[1];

    if (m == 0 || n == 0)
        return NND_OK;
    j.k = p->a.dim[p->trans_a ? 0 : 1];
    j.a = side_of(&p->a, p->trans_a);
    j.b = side_of(&p->b, p->trans_b);
    j.grid =
        grid_make(m, n, (double)m * (double)n * (double)j.k, l->nthreads, j.uses != 0);
    return work_run(l, j.grid.rows * j.grid.cols, slot_bytes(j.uses), l->workspace,
                    l->workspace_size, gemm_tile, &j);
}

static size_t gemm_workspace(const void *params)
{
    const struct nnd_gemm *p = params;

    return work_room(slot_bytes(uses_of(&p->a, &p->b, &p->d)));
}

static int gemm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int64_t m = p->a.dim[p->trans_a ? 1 : 0], k = p->a.dim[p->trans_a ? 0 : 1];
    int64_t n = p->b.dim[p->trans_b ? 0 : 1], kb = p->b.dim[p->trans_b ? 1 : 0];

    if (k != kb || p->d.dim[0] != m || p->d.dim[1] != n)
        return op_refuse(e, NND_EINVAL, "[%lld,%lld] x [%lld,%lld] into [%lld,%lld]",
                         (long long)m, (long long)k, (long long)kb, (long long)n,
                         (long long)p->d.dim[0], (long long)p->d.dim[1]);
    if (p->epilogue != NND_EPI_NONE || p->sums.ndim)
        return op_refuse(e, NND_EUNSUPPORTED, "plain products only");
    if (p->beta != 0 && p->c.ndim == 0)
        return op_refuse(e, NND_EINVAL, "beta is %g and c is absent", (double)p->beta);
    return NND_OK;
}

extern const struct op gemm_ops[];

const struct op gemm_ops[] = {
    {.name = "gemm",
     .params_size = sizeof(struct nnd_gemm),
     .args = {ARG(nnd_gemm, a, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, b, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, d, "MN", IN_FLOATS, 0),
              ARG(nnd_gemm, c, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, bias, "N", IN_FLOATS, ARG_OPTIONAL)},
     .check = gemm_check,
     .workspace = gemm_workspace,
     .launch = gemm_launch},
    {0},
};
