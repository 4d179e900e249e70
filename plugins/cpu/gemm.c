/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm.c - "gemm": the tasks of D, shared out to the host's threads.
 */
#include "gemm.h"
#include "work.h"

#define FLOATS (GEMM_WORD == 1 ? IN_FLOATS : 1u << NND_BF16)

struct gemm_job {
    const struct nnd_gemm *p;
    struct side a, b;
    struct gemm_grid grid;
    struct gemm_finish end;
    int64_t k;
    int through_room; /* D does not serve itself */
};

static void *element(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return (char *)row_of(t, i) + j * (int64_t)dtype_size(t->dtype);
}

static void gemm_one(void *arg, int number, void *place)
{
    const struct gemm_job *job = arg;
    const struct nnd_gemm *p = job->p;
    struct gemm_tile t = gemm_tile_at(&job->grid, number);
    struct gemm_room room = gemm_room_at(place);
    struct gemm_task task = {.a = side_at(&job->a, t.i, 0),
                             .b = side_at(&job->b, 0, t.j),
                             .add = p->beta != 0,
                             .m = t.m,
                             .n = t.n,
                             .cols = t.n,
                             .k = job->k,
                             .d = element(&p->d, t.i, t.j),
                             .ld = p->d.stride[0],
                             .end = &job->end,
                             .i = t.i,
                             .j = t.j};

    if (job->through_room) {
        task.d = room.d;
        task.ld = t.n;
    }
    if (task.add)
        gemm_convert(task.d, NND_F32, task.ld, element(&p->c, t.i, t.j), p->c.dtype,
                     p->c.stride[0], t.m, t.n, p->beta);
    if (p->sums.ndim && t.j == 0)
        task.sums = (float *)p->sums.data + t.i;
    gemm_product(&task, &room);
}

static int through_room(const struct nnd_gemm *p)
{
    return p->d.dtype != NND_F32;
}

#if VL == 16 && GEMM_WORD == 1

/* Up to so many rows, a matrix twice as large whose rows lie along K is not packed: its
 * rows are read where they lie, what is packed is A, and it is the transpose of D that
 * comes of it and is turned.  Each sum is the same, term by term. */
#define TURNED_ROWS 128
#define TURNED_ROOM ((size_t)GEMM_ROOM_ROWS * (TURNED_ROWS + VL))

static int is_turned(const struct nnd_gemm *p)
{
    return p->trans_b && !p->trans_a && p->a.dtype == NND_F32 &&
           p->b.dtype == NND_F32 && p->d.dtype == NND_F32 && p->beta == 0 &&
           p->d.dim[0] > FEW_ROWS && p->d.dim[0] <= TURNED_ROWS &&
           p->d.dim[1] >= 2 * p->d.dim[0];
}

/* d [m,n] = the transpose of x [n,m]. */
static void turn(float *d, int64_t ld, const float *x, int64_t ldx, int64_t m,
                 int64_t n)
{
    for (int64_t i = 0; i < m; i += VL)
        for (int64_t j = 0; j < n; j += VL) {
            const float *from = x + j * ldx + i;
            float *to = d + i * ld + j;

            if (m - i >= VL && n - j >= VL) {
                turn_block(to, ld, from, ldx);
                continue;
            }
            for (int64_t r = 0; r < VL && r < m - i; r++)
                for (int64_t c = 0; c < VL && c < n - j; c++)
                    to[r * ld + c] = from[c * ldx + r];
        }
}

static void turned_one(void *arg, int number, void *place)
{
    const struct gemm_job *job = arg;
    const struct nnd_gemm *p = job->p;
    struct gemm_tile t = gemm_tile_at(&job->grid, number);
    struct gemm_room room = gemm_room_at(place);
    struct gemm_task task = {.a = side_at(&job->a, t.i, 0),
                             .b = side_at(&job->b, 0, t.j),
                             .m = t.m,
                             .n = t.n,
                             .cols = t.n,
                             .k = job->k,
                             .d = room.d,
                             .ld = (t.n + VL - 1) / VL * VL + VL};
    float *d = element(&p->d, t.j, t.i);

    gemm_product(&task, &room);
    turn(d, p->d.stride[0], task.d, task.ld, t.n, t.m);
    gemm_end(&job->end, t.j, t.i, t.n, t.m, d, p->d.stride[0]);
}

static int turned_launch(struct gemm_job *j, const struct nnd_launch *l)
{
    const struct nnd_gemm *p = j->p;

    j->a = side_of(&p->b, !p->trans_b);
    j->b = side_of(&p->a, !p->trans_a);
    j->grid = gemm_cut(p->d.dim[1], p->d.dim[0], j->k, l->nthreads, GEMM_ROOM_ROWS,
                       GEMM_COLS);
    return work_run(l, j->grid.rows * j->grid.cols, gemm_room_bytes(TURNED_ROOM),
                    l->workspace, l->workspace_size, turned_one, j);
}

#else

#define TURNED_ROOM 0

static int is_turned(const struct nnd_gemm *p)
{
    (void)p;
    return 0;
}

static int turned_launch(struct gemm_job *j, const struct nnd_launch *l)
{
    (void)j, (void)l;
    return NND_EUNSUPPORTED;
}

#endif

/* D has no columns; A may still be summed. */
static void launch_empty(const struct gemm_job *j)
{
    const struct nnd_gemm *p = j->p;
    struct gemm_task t = {.a = j->a, .add = 1, .m = p->d.dim[0], .k = j->k};

    if (p->sums.ndim)
        t.sums = p->sums.data;
    gemm_product(&t, NULL);
}

/* Bytes of a worker's room. */
static size_t room_of(const struct nnd_gemm *p)
{
    return gemm_room_bytes(through_room(p) ? GEMM_ROOM_D
                           : is_turned(p)  ? TURNED_ROOM
                                           : 0);
}

static int gemm_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_gemm *p = params;
    struct gemm_job j = {.p = p, .through_room = through_room(p)};
    int64_t m = p->d.dim[0], n = p->d.dim[1];

    if (m == 0)
        return NND_OK;
    j.k = p->a.dim[p->trans_a ? 0 : 1];
    j.a = side_of(&p->a, p->trans_a);
    if (n == 0) {
        launch_empty(&j);
        return NND_OK;
    }
    j.b = side_of(&p->b, p->trans_b);
    j.end = (struct gemm_finish){.epilogue = p->epilogue,
                                 .bias = p->bias,
                                 .d = p->d,
                                 .pre = p->pre,
                                 .act = p->act};
    if (is_turned(p))
        return turned_launch(&j, l);
    j.grid = gemm_cut(m, n, j.k, l->nthreads, j.through_room ? GEMM_ROOM_ROWS : m,
                      GEMM_COLS);
    return work_run(l, j.grid.rows * j.grid.cols, room_of(p), l->workspace,
                    l->workspace_size, gemm_one, &j);
}

static size_t gemm_workspace(const void *params)
{
    return work_room(room_of(params));
}

static int check_shapes(const struct nnd_gemm *p, struct nnd_error *e)
{
    int64_t m = p->a.dim[p->trans_a ? 1 : 0], k = p->a.dim[p->trans_a ? 0 : 1];
    int64_t n = p->b.dim[p->trans_b ? 0 : 1], kb = p->b.dim[p->trans_b ? 1 : 0];

    if (k != kb || p->d.dim[0] != m || p->d.dim[1] != n)
        return op_refuse(e, NND_EINVAL, "[%lld,%lld] x [%lld,%lld] into [%lld,%lld]",
                         (long long)m, (long long)k, (long long)kb, (long long)n,
                         (long long)p->d.dim[0], (long long)p->d.dim[1]);
    if (p->beta != 0 && p->c.ndim == 0)
        return op_refuse(e, NND_EINVAL, "beta is %g and c is absent", (double)p->beta);
    return NND_OK;
}

/* Of one product: those of pairs are gemm.grouped's. */
static int is_known(int epilogue)
{
    return epilogue >= NND_EPI_NONE && epilogue <= NND_EPI_DRELU &&
           epilogue != NND_EPI_SWIGLU && epilogue != NND_EPI_DSWIGLU;
}

static int gemm_check(const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = params;
    int r = check_shapes(p, e);

    if (r)
        return r;
    if (!is_known(p->epilogue))
        return op_refuse(e, NND_EUNSUPPORTED, "epilogue %d", p->epilogue);
    if (nnd_slope_of(p->epilogue) && p->pre.ndim == 0)
        return op_refuse(e, NND_EINVAL, "epilogue %d and pre is absent", p->epilogue);
    if (p->sums.ndim && !p->trans_a)
        return op_refuse(e, NND_EUNSUPPORTED, "sums without trans_a");
    if (p->act.ndim && !nnd_slope_of(p->epilogue))
        return op_refuse(e, NND_EINVAL, "act with epilogue %d", p->epilogue);
    return NND_OK;
}

const struct op OPS(gemm)[] = {
    {.name = "gemm",
     .params_size = sizeof(struct nnd_gemm),
     .args = {ARG(nnd_gemm, a, "**", FLOATS, 0), ARG(nnd_gemm, b, "**", FLOATS, 0),
              ARG(nnd_gemm, d, "MN", IN_FLOATS, 0),
              ARG(nnd_gemm, c, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, bias, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, pre, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, act, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, sums, "M", IN_F32, ARG_OPTIONAL)},
     .check = gemm_check,
     .workspace = gemm_workspace,
     .launch = gemm_launch},
    {0},
};
