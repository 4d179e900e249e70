/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grouped.c - "gemm.grouped": the tasks of all segments in one queue, so that
 * threads stay busy whatever the experts' shares are.
 */
#include "gemm.h"
#include "work.h"

#define FLOATS (GEMM_WORD == 1 ? IN_FLOATS : 1u << NND_BF16)

struct grouped_job {
    const struct nnd_grouped_gemm *p;
    struct gemm_grid grid; /* K mode: of every matrix; M mode: of the largest segment */
    int32_t *first; /* M mode [nsegments + 1]: number of a segment's first task */
    int32_t *order; /* K mode [nsegments]: segments, most rows first */
    struct gemm_finish end;
    int through_room;
};

static struct side gathered(const struct nnd_grouped_gemm *p, struct side s)
{
    if (p->gather_div) {
        s.index = p->gather;
        s.divide = p->gather_div;
    }
    return s;
}

/* ---- mode M: rows of a segment times its matrix ---- */

static int is_pair(const struct nnd_grouped_gemm *p)
{
    return p->epilogue == NND_EPI_SWIGLU;
}

static int through_room(const struct nnd_grouped_gemm *p)
{
    return p->mode == NND_GROUP_M && (p->d.dtype != NND_F32 || is_pair(p));
}

static struct side right_of(const struct nnd_grouped_gemm *p,
                            const struct nnd_tensor *b, int32_t index, int64_t j)
{
    struct side s = side_of_stack(b, index, p->trans_b);

    return side_at(&s, 0, j);
}

static void rows_one(void *arg, int number, void *place)
{
    const struct grouped_job *job = arg;
    const struct nnd_grouped_gemm *p = job->p;
    const struct nnd_segment *seg = p->segments;
    struct gemm_room room = gemm_room_at(place);
    struct gemm_grid g = job->grid;
    struct gemm_task task = {.d = room.d, .pair = is_pair(p), .k = p->a.dim[1]};
    struct side a = gathered(p, side_of(&p->a, 0));
    struct gemm_tile t;
    int s = 0;

    while (number >= job->first[s + 1])
        s++;
    seg += s;
    g.m = seg->rows;
    t = gemm_tile_at(&g, number - job->first[s]);
    task.a = side_at(&a, seg->row + t.i, 0);
    task.b = right_of(p, &p->b, seg->index, t.j);
    task.m = t.m;
    task.ld = task.n = task.pair ? (t.n + VL - 1) / VL * GEMM_NR : t.n;
    task.cols = t.n;
    if (task.pair)
        task.b2 = right_of(p, &p->b2, seg->index, t.j);
    if (!job->through_room) {
        task.d = (float *)row_of(&p->d, seg->row + t.i) + t.j;
        task.ld = p->d.stride[0];
    }
    task.i = seg->row + t.i;
    task.j = t.j;
    if (p->a2.ndim) {
        gemm_product(&task, &room);
        a = gathered(p, side_of(&p->a2, 0));
        task.a = side_at(&a, seg->row + t.i, 0);
        task.b = right_of(p, &p->b2, seg->index, t.j);
        task.add = 1;
    }
    task.end = &job->end;
    gemm_product(&task, &room);
}

static int rows_launch(const struct nnd_grouped_gemm *p, const struct nnd_launch *l,
                       struct grouped_job *j, char *rooms, size_t size)
{
    int64_t n = p->d.dim[1], largest = 0, all = 0, tasks = 0;

    for (int i = 0; i < p->nsegments; i++) {
        all += p->segments[i].rows;
        if (p->segments[i].rows > largest)
            largest = p->segments[i].rows;
    }
    if (all == 0 || n == 0)
        return NND_OK;
    j->grid =
        gemm_cut(largest, n, p->a.dim[1], (int)(l->nthreads * 2 * largest / all) + 1,
                 GEMM_ROOM_ROWS, is_pair(p) ? GEMM_COLS / 2 : GEMM_COLS);
    for (int i = 0; i < p->nsegments; i++) {
        int64_t rows = p->segments[i].rows, step = j->grid.m_step;

        j->first[i] = (int32_t)tasks;
        tasks += (rows + step - 1) / step * j->grid.cols;
    }
    j->first[p->nsegments] = (int32_t)tasks;
    return work_run(l, (int)tasks, gemm_room_bytes(j->through_room ? GEMM_ROOM_D : 0),
                    rooms, size, rows_one, j);
}

/* ---- mode K: a matrix from the rows of its segments ---- */

static void matrix_one(void *arg, int number, void *place)
{
    const struct grouped_job *job = arg;
    const struct nnd_grouped_gemm *p = job->p;
    int tasks = job->grid.rows * job->grid.cols, s = job->order[number / tasks];
    const struct nnd_segment *seg = p->segments;
    int32_t index = seg[s].index;
    struct gemm_tile t = gemm_tile_at(&job->grid, number % tasks);
    struct gemm_room room = gemm_room_at(place);
    struct side a = side_of(&p->a, 1), b = gathered(p, side_of(&p->b, 0));
    struct gemm_task task = {.m = t.m, .n = t.n, .cols = t.n, .ld = p->d.stride[1]};

    task.d = (float *)row_of(&p->d, index) + t.i * p->d.stride[1] + t.j;
    for (int i = 0; i < s; i++)
        if (seg[i].index == index)
            return; /* that segment's task adds this one, in order */
    for (int i = s; i < p->nsegments; i++) {
        if (seg[i].index != index)
            continue;
        task.a = side_at(&a, t.i, seg[i].row);
        task.b = side_at(&b, seg[i].row, t.j);
        task.k = seg[i].rows;
        task.add = seg[i].accumulate;
        gemm_product(&task, &room);
    }
}

/* Long tasks first: what is left at the end is short. */
static void sort_segments(const struct nnd_grouped_gemm *p, int32_t *order)
{
    for (int32_t i = 0; i < p->nsegments; i++) {
        int32_t k = i;

        for (; k > 0 && p->segments[order[k - 1]].rows < p->segments[i].rows; k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
}

static int matrix_launch(const struct nnd_grouped_gemm *p, const struct nnd_launch *l,
                         struct grouped_job *j, char *rooms, size_t size)
{
    int64_t m = p->d.dim[1], n = p->d.dim[2];
    int threads = 2 * l->nthreads / (p->nsegments ? p->nsegments : 1) + 1;

    if (m == 0 || n == 0 || p->nsegments == 0)
        return NND_OK;
    sort_segments(p, j->order);
    j->grid = gemm_cut(m, n, p->a.dim[0], threads, m, GEMM_COLS);
    return work_run(l, p->nsegments * j->grid.rows * j->grid.cols, gemm_room_bytes(0),
                    rooms, size, matrix_one, j);
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
    char *rooms = (char *)l->workspace + table;
    struct grouped_job j = {.p = p,
                            .first = l->workspace,
                            .order = l->workspace,
                            .through_room = through_room(p),
                            .end = {.epilogue = p->epilogue,
                                    .d = p->d,
                                    .d2 = p->d2,
                                    .pre = p->pre,
                                    .pre2 = p->pre2,
                                    .scale = p->scale,
                                    .act = p->act}};

    if (p->mode == NND_GROUP_K)
        return matrix_launch(p, l, &j, rooms, l->workspace_size - table);
    return rows_launch(p, l, &j, rooms, l->workspace_size - table);
}

static size_t grouped_workspace(const void *params)
{
    const struct nnd_grouped_gemm *p = params;

    return table_bytes(p) +
           work_room(gemm_room_bytes(through_room(p) ? GEMM_ROOM_D : 0));
}

/* ---- what is refused ---- */

static int is_like(const struct nnd_tensor *t, const struct nnd_tensor *as)
{
    if (t->ndim != as->ndim || t->dtype != as->dtype)
        return 0;
    for (int i = 0; i < as->ndim; i++)
        if (t->dim[i] != as->dim[i])
            return 0;
    return 1;
}

/* With an index, only the last sizes of A are known to fit. */
static int check_pair(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    int swiglu = p->epilogue == NND_EPI_SWIGLU, sum = p->a2.ndim != 0;
    int back = p->epilogue == NND_EPI_DSWIGLU;

    if (p->epilogue != NND_EPI_NONE && !swiglu && !back)
        return op_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if ((p->b2.ndim != 0) != (swiglu || sum) || (sum && p->epilogue != NND_EPI_NONE))
        return op_refuse(e, NND_EINVAL, "epilogue %d with a2 of %d and b2 of %d dims",
                         p->epilogue, p->a2.ndim, p->b2.ndim);
    if (p->b2.ndim && !is_like(&p->b2, &p->b))
        return op_refuse(e, NND_EINVAL, "b2 is not like b");
    if (sum && !is_like(&p->a2, &p->a))
        return op_refuse(e, NND_EINVAL, "a2 is not like a");
    if (back && (!is_like(&p->pre, &p->d) || !is_like(&p->pre2, &p->d) ||
                 !is_like(&p->d2, &p->d)))
        return op_refuse(e, NND_EINVAL, "pre, pre2, d2 are not all like d");
    if (p->act.ndim && (!back || !is_like(&p->act, &p->d)))
        return op_refuse(e, NND_EINVAL, "act with epilogue %d, or not like d",
                         p->epilogue);
    if (swiglu && ((p->pre.ndim && !is_like(&p->pre, &p->d)) ||
                   (p->pre2.ndim && !is_like(&p->pre2, &p->d))))
        return op_refuse(e, NND_EINVAL, "pre, pre2 are not both like d");
    return NND_OK;
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
    if (p->scale.ndim && (p->scale.dtype != NND_F32 || p->scale.ndim != 1 ||
                          p->scale.dim[0] != p->d.dim[0]))
        return op_refuse(e, NND_EINVAL, "scale is not f32 [%lld]",
                         (long long)p->d.dim[0]);
    return check_pair(p, e);
}

static int matrix_check(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    if (p->b.ndim != 2 || p->d.ndim != 3 || p->d.dtype != NND_F32)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "mode K: b, d of %d, %d dims, wanted 2 and "
                         "3, d in f32",
                         p->b.ndim, p->d.ndim);
    if ((!p->gather_div && p->a.dim[0] != p->b.dim[0]) || p->d.dim[1] != p->a.dim[1] ||
        p->d.dim[2] != p->b.dim[1])
        return op_refuse(e, NND_EINVAL,
                         "mode K: [%lld,%lld]^T [%lld,%lld] into "
                         "[%lld,%lld]",
                         (long long)p->a.dim[0], (long long)p->a.dim[1],
                         (long long)p->b.dim[0], (long long)p->b.dim[1],
                         (long long)p->d.dim[1], (long long)p->d.dim[2]);
    if (p->epilogue != NND_EPI_NONE || p->scale.ndim || p->a2.ndim || p->b2.ndim ||
        p->act.ndim)
        return op_refuse(e, NND_EUNSUPPORTED, "mode K: an epilogue, scale or pair");
    return NND_OK;
}

static int check_tensor(const struct nnd_tensor *t, const char *name, unsigned dtypes,
                        struct nnd_error *e)
{
    int last = t->ndim - 1;

    if (t->ndim == 0)
        return NND_OK;
    if (!(t->dtype > 0 && t->dtype <= NND_BOOL && dtypes >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s: dtype %d is not supported", name,
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

static int check_tensors(const struct nnd_grouped_gemm *p, struct nnd_error *e)
{
    const struct {
        const struct nnd_tensor *t;
        const char *name;
        unsigned dtypes;
    } all[] = {{&p->a, "a", FLOATS},        {&p->b, "b", FLOATS},
               {&p->a2, "a2", FLOATS},      {&p->b2, "b2", FLOATS},
               {&p->d, "d", IN_FLOATS},     {&p->d2, "d2", IN_FLOATS},
               {&p->pre, "pre", IN_FLOATS}, {&p->pre2, "pre2", IN_FLOATS},
               {&p->act, "act", IN_FLOATS}, {&p->scale, "scale", IN_F32}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        int r = check_tensor(all[i].t, all[i].name, all[i].dtypes, e);

        if (r)
            return r;
    }
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
    r = p->mode == NND_GROUP_M ? rows_check(p, e) : matrix_check(p, e);
    return r ? r : check_tensors(p, e);
}

const struct op OPS(grouped)[] = {
    {.name = "gemm.grouped",
     .params_size = sizeof(struct nnd_grouped_gemm),
     .check = grouped_check,
     .workspace = grouped_workspace,
     .launch = grouped_launch},
    {0},
};
