/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.c - rows.sum, rows.gather, rows.scatter, dropout.
 */
#include "op.h"
#include "par.h"
#include "philox.h"

#define COLUMNS 64 /* of one task of the sum over rows */
#define WORDS   256

#define IN_ANY (~0u)

static void sum_columns(const struct nnd_rows *p, int64_t i)
{
    int64_t rows = p->x.dim[0], left = p->x.dim[1] - i;
    vf sum = vec_all(0);

    for (int64_t block = 0; block < rows; block += NND_BLOCK_ROWS) {
        vf s = vec_all(0);

        for (int64_t r = block; r < rows && r < block + NND_BLOCK_ROWS; r++)
            s += vec_get(row_of(&p->x, r), p->x.dtype, i, left);
        sum += s;
    }
    vec_put(p->y.data, NND_F32, i, left, sum);
}

static void sum_parts(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_rows *p = arg;

    for (int64_t part = lo; part < hi; part++)
        for (int64_t i = part * COLUMNS; i < (part + 1) * COLUMNS; i += VL)
            if (i < p->x.dim[1])
                sum_columns(p, i);
}

static void copy_row(const struct nnd_tensor *x, int64_t from,
                     const struct nnd_tensor *y, int64_t to)
{
    const void *src = row_of(x, from);
    void *dst = row_of(y, to);
    int64_t n = x->dim[1];

    if (x->dtype == y->dtype)
        memcpy(dst, src, (size_t)n * dtype_size(x->dtype));
    else
        for (int64_t i = 0; i < n; i += VL)
            vec_put(dst, y->dtype, i, n - i, vec_get(src, x->dtype, i, n - i));
}

static void gather_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_rows *p = arg;

    for (int64_t i = lo; i < hi; i++)
        if (p->index[i] >= 0)
            copy_row(&p->x, p->index[i], &p->y, i);
}

static void scatter_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_rows *p = arg;

    for (int64_t i = lo; i < hi; i++)
        if (p->index[i] >= 0)
            copy_row(&p->x, i, &p->y, p->index[i]);
}

struct drop_job {
    const struct nnd_drop *p;
    struct drop drop;
};

static void drop_row(const struct drop_job *j, int64_t t)
{
    const struct nnd_drop *p = j->p;
    const void *x = row_of(&p->x, t);
    void *y = row_of(&p->y, t);
    int64_t n = p->x.dim[1];
    uint32_t words[WORDS] = {0};

    for (int64_t c = 0; c < n; c += WORDS) {
        int64_t m = n - c < WORDS ? n - c : WORDS;

        if (p->dropout.p > 0)
            drop_words(j->drop.key, p->dropout.sample[t], 0xffffffffu,
                       p->dropout.pos[t], c, m, words);
        for (int64_t i = 0; i < m; i += VL) {
            vf keep = drop_factor(&j->drop, words + i);
            vf v = vec_get(x, p->x.dtype, c + i, m - i) * keep;

            vec_put(y, p->y.dtype, c + i, m - i, vec_pick(keep == 0.0f, vec_all(0), v));
        }
    }
}

static void drop_rows(const void *arg, int64_t lo, int64_t hi)
{
    for (int64_t t = lo; t < hi; t++)
        drop_row(arg, t);
}

static int sum_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rows *p = params;
    int64_t parts = (p->x.dim[1] + COLUMNS - 1) / COLUMNS;

    return par_rows(l, parts, p->x.dim[0] * COLUMNS, sum_parts, p);
}

static int gather_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rows *p = params;

    return par_rows(l, p->y.dim[0], p->y.dim[1], gather_rows, p);
}

static int scatter_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rows *p = params;

    return par_rows(l, p->x.dim[0], p->x.dim[1], scatter_rows, p);
}

static int drop_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_drop *p = params;
    struct drop_job j = {p, drop_make(&p->dropout)};

    return par_rows(l, p->x.dim[0], p->x.dim[1] * 4, drop_rows, &j);
}

static int move_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rows *p = params;
    int floats = (IN_FLOATS >> p->x.dtype & 1) && (IN_FLOATS >> p->y.dtype & 1);

    if (p->x.dtype != p->y.dtype && !floats)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "x and y of dtypes %d and %d, wanted equal", p->x.dtype,
                         p->y.dtype);
    return NND_OK;
}

static int drop_check(const void *params, struct nnd_error *e)
{
    const struct nnd_drop *p = params;

    if (!(p->dropout.p >= 0 && p->dropout.p < 1))
        return op_refuse(e, NND_EINVAL, "dropout.p is %g, wanted 0 <= p < 1",
                         (double)p->dropout.p);
    return NND_OK;
}

const struct op OPS(rows)[] = {
    {.name = "rows.sum", .launch = sum_launch},
    {.name = "rows.gather",
     .params_size = sizeof(struct nnd_rows),
     .args = {ARG(nnd_rows, x, "SN", IN_ANY, 0), ARG(nnd_rows, y, "TN", IN_ANY, 0)},
     .check = move_check,
     .launch = gather_launch},
    {.name = "rows.scatter",
     .params_size = sizeof(struct nnd_rows),
     .args = {ARG(nnd_rows, x, "TN", IN_ANY, 0), ARG(nnd_rows, y, "SN", IN_ANY, 0)},
     .check = move_check,
     .launch = scatter_launch},
    {.name = "dropout", .check = drop_check, .launch = drop_launch},
    {0},
};
