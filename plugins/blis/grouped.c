/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c - "gemm.grouped" over BLIS: the tiles of all segments in one queue,
 * so that threads stay busy whatever the experts' shares are.
 */
#include "plugins/cpu/op.h"
#include "plugins/cpu/vec.h"
#include "product.h"
#include "plugins/cpu/work.h"

struct grouped_job {
    const struct nnd_grouped_gemm *p;
    struct grid grid; /* K mode: of every matrix; M mode: of the largest segment */
    int32_t *first;   /* M mode [nsegments + 1]: number of a segment's first tile */
    unsigned uses;
};

/* ---- mode M: rows of a segment times its matrix ---- */

static void rows_tile(void *arg, int task, void *room)
{
    const struct grouped_job *job = arg;
    const struct nnd_grouped_gemm *p = job->p;
    const struct nnd_segment *seg = p->segments;
    struct slot s = slot_at(room, job->uses);
    struct side a = side_of(&p->a, 0), b;
    struct grid g = job->grid;
    int through_slot = p->d.dtype != NND_F32, number = 0;
    struct tile t;
    char *out;

    while (task >= job->first[number + 1])
        number++;
    seg += number;
    g.m = seg->rows;
    t = grid_tile(&g, task - job->first[number]);
    b = side_of_stack(&p->b, seg->index, p->trans_b);
    a = side_at(&a, seg->row + t.i, 0);
    b = side_at(&b, 0, t.j);
    out = (char *)row_of(&p->d, seg->row + t.i) + t.j * (int64_t)dtype_size(p->d.dtype);
    if (!through_slot) {
        product(&a, &b, t.m, t.n, p->a.dim[1], 0, (float *)out, p->d.stride[0], &s);
        return;
    }
    product(&a, &b, t.m, t.n, p->a.dim[1], 0, s.d, t.n, &s);
    convert(out, p->d.dtype, p->d.stride[0], s.d, NND_F32, t.n, t.m, t.n, 1.0f);
}

static int rows_launch(const struct nnd_grouped_gemm *p, const struct nnd_launch *l,
                       char *slots, size_t size)
{
    struct grouped_job j = {
        .p = p, .first = l->workspace, .uses = uses_of(&p->a, &p->b, &p->d)};
    int64_t n = p->d.dim[1], largest = 0, all = 0, tiles = 0;

    for (int i = 0; i < p->nsegments; i++) {
        all += p->segments[i].rows;
        if (p->segments[i].rows > largest)
            largest = p->segments[i].rows;
    }
    if (all == 0 || n == 0)
        return NND_OK;
    j.grid = grid_make(largest, n, (double)largest * (double)n * (double)p->a.dim[1],
                       (int)(l->nthreads * 2 * largest / all) + 1, 1);
    for (int i = 0; i < p->nsegments; i++) {
        int64_t rows = p->segments[i].rows, step = j.grid.m_step;

        j.first[i] = (int32_t)tiles;
        tiles += (rows + step - 1) / step * j.grid.cols;
    }
    j.first[p->nsegments] = (int32_t)tiles;
    return work_run(l, (int)tiles, slot_bytes(j.uses), slots, size, rows_tile, &j);
}

/* ---- mode K: a matrix from the rows of its segments ---- */

static void matrix_tile(void *arg, int task, void *room)
{
    const struct grouped_job *job = arg;
    const struct nnd_grouped_gemm *p = job->p;
    int tiles = job->grid.rows * job->grid.cols, number = task / tiles;
    const struct nnd_segment *seg = p->segments;
    int32_t index = seg[number].index;
    struct tile t = grid_tile(&job->grid, task % tiles);
    struct slot s = slot_at(room, job->uses);
    struct side a = side_of(&p->a, 1), b = side_of(&p->b, 0);
    float *d = (float *)row_of(&p->d, index) + t.i * p->d.stride[1] + t.j;

    for (int i = 0; i < number; i++)
        if (seg[i].index == index)
            return; /* that segment's task adds this one, in order */
    for (int i = number; i < p->nsegments; i++) {
        struct side a_rows = side_at(&a, t.i, seg[i].row);
        struct side b_rows = side_at(&b, seg[i].row, t.j);

        if (seg[i].index == index)
            product(&a_rows, &b_rows, t.m, t.n, seg[i].rows, seg[i].accumulate, d,
                    p->d.stride[1], &s);
    }
}

static int matrix_launch(const struct nnd_grouped_gemm *p, const struct nnd_launch *l,
                         char *slots, size_t size)
{
    struct grouped_job j = {.p = p, .uses = uses_of(&p->a, &p->b, &p->d)};
    int64_t m = p->d.dim[1], n = p->d.dim[2];
    int threads = 2 * l->nthreads / (p->nsegments ? p->nsegments : 1) + 1;

    if (m == 0 || n == 0 || p->nsegments == 0)
        return NND_OK;
    j.grid = grid_make(m, n, (double)p->a.dim[0] * (double)m * (double)n, threads, 1);
    return work_run(l, p->nsegments * j.grid.rows * j.grid.cols, slot_bytes(j.uses),
                    slots, size, matrix_tile, &j);
}

/* ---- */

static size_t table_bytes(const struct nnd_grouped_gemm *p)
{
    return ((size_t)(p->nsegments + 1) * sizeof(int32_t) + 255) & ~(size_t)255;
}

static int grouped_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_grouped_gemm *p = params;
    size_t table = table_bytes(p);
    char *slots = (char *)l->workspace + table;

    if (p->mode == NND_GROUP_K)
        return matrix_launch(p, l, slots, l->workspace_size - table);
    return rows_launch(p, l, slots, l->workspace_size - table);
}

static size_t grouped_workspace(const void *params)
{
    const struct nnd_grouped_gemm *p = params;

    return table_bytes(p) + work_room(slot_bytes(uses_of(&p->a, &p->b, &p->d)));
}

static int rows_check(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    int64_t k = p->b.dim[p->trans_b ? 2 : 1], n = p->b.dim[p->trans_b ? 1 : 2];

    if (p->b.ndim != 3 || p->d.ndim != 2)
        return op_refuse(e, NND_EINVAL,
                         "mode M: b and d of %d and %d dims, wanted 3 and 2", p->b.ndim,
                         p->d.ndim);
    if (p->a.dim[1] != k || p->d.dim[1] != n)
        return op_refuse(e, NND_EINVAL,
                         "mode M: a, d have %lld, %lld columns, wanted "
                         "%lld, %lld",
                         (long long)p->a.dim[1], (long long)p->d.dim[1], (long long)k,
                         (long long)n);
    return NND_OK;
}

static int matrix_check(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    if (p->b.ndim != 2 || p->d.ndim != 3 || p->d.dtype != NND_F32)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "mode K: b, d of %d, %d dims, wanted 2 and "
                         "3, d in f32",
                         p->b.ndim, p->d.ndim);
    if (p->a.dim[0] != p->b.dim[0] || p->d.dim[1] != p->a.dim[1] ||
        p->d.dim[2] != p->b.dim[1])
        return op_refuse(e, NND_EINVAL,
                         "mode K: [%lld,%lld]^T [%lld,%lld] into "
                         "[%lld,%lld]",
                         (long long)p->a.dim[0], (long long)p->a.dim[1],
                         (long long)p->b.dim[0], (long long)p->b.dim[1],
                         (long long)p->d.dim[1], (long long)p->d.dim[2]);
    return NND_OK;
}

static int last_stride(const struct nnd_tensor *t, const char *name,
                       struct nnd_error *e)
{
    int last = t->ndim - 1;

    if (!(t->dtype > 0 && t->dtype <= NND_BOOL && IN_FLOATS >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s: dtype %d, wanted a float", name,
                         t->dtype);
    for (int i = 0; i < last; i++)
        if (t->dim[i] > 1 && t->stride[i] < t->dim[last])
            return op_refuse(e, NND_EUNSUPPORTED, "%s: stride %d is %lld", name, i,
                             (long long)t->stride[i]);
    if (t->dim[last] > 1 && t->stride[last] != 1)
        return op_refuse(e, NND_EUNSUPPORTED, "%s: the last stride is %lld, wanted 1",
                         name, (long long)t->stride[last]);
    return NND_OK;
}

static int grouped_check(const void *params, struct nnd_error *e)
{
    const struct nnd_grouped_gemm *p = params;
    int r;

    if (p->a.ndim != 2 || (p->mode != NND_GROUP_M && p->mode != NND_GROUP_K) ||
        p->nsegments < 0)
        return op_refuse(e, NND_EINVAL, "a of %d dims, mode %d, %d segments", p->a.ndim,
                         p->mode, p->nsegments);
    if (p->epilogue != NND_EPI_NONE || p->gather_div || p->a2.ndim || p->b2.ndim ||
        p->scale.ndim)
        return op_refuse(e, NND_EUNSUPPORTED, "plain products only");
    r = p->mode == NND_GROUP_M ? rows_check(p, e) : matrix_check(p, e);
    if (!r)
        r = last_stride(&p->a, "a", e);
    if (!r)
        r = last_stride(&p->b, "b", e);
    return r ? r : last_stride(&p->d, "d", e);
}

extern const struct op grouped_ops[];

const struct op grouped_ops[] = {
    {.name = "gemm.grouped",
     .params_size = sizeof(struct nnd_grouped_gemm),
     .check = grouped_check,
     .workspace = grouped_workspace,
     .launch = grouped_launch},
    {0},
};
