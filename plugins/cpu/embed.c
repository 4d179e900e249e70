/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - embedding rows.  Backward, a task owns a range of ids: it clears
 * their rows, unless they are added to, and adds the gradients that belong to them,
 * in row order.
 */
#include "op.h"
#include "par.h"
#include "vec.h"

static vf scale_of(const struct nnd_embed *p)
{
    return vec_all(p->scale == 0 ? 1 : p->scale);
}

static void embed_forward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_embed *p = arg;
    int64_t n = p->table.dim[1];
    vf scale = scale_of(p);

    for (int64_t t = lo; t < hi; t++) {
        int real = p->id[t] >= 0; /* padding reads as zeros */
        const void *x = row_of(&p->table, real ? p->id[t] : 0);
        void *y = row_of(&p->y, t);

        for (int64_t i = 0; i < n; i += VL)
            vec_put(y, p->y.dtype, i, n - i,
                    vec_get(x, p->table.dtype, i, real ? n - i : 0) * scale);
    }
}

static void embed_backward(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_embed *p = arg;
    int64_t n = p->dtable.dim[1], rows = p->dy.dim[0];
    vf scale = scale_of(p);

    for (int64_t v = p->accumulate ? hi : lo; v < hi; v++)
        memset(row_of(&p->dtable, v), 0, (size_t)n * sizeof(float));
    for (int64_t t = 0; t < rows; t++) {
        const void *dy = row_of(&p->dy, t);
        float *sum;

        if (p->id[t] < lo || p->id[t] >= hi)
            continue;
        sum = row_of(&p->dtable, p->id[t]);
        for (int64_t i = 0; i < n; i += VL)
            vec_put(sum, NND_F32, i, n - i,
                    vec_get(sum, NND_F32, i, n - i) +
                        vec_get(dy, p->dy.dtype, i, n - i) * scale);
    }
}

static int embed_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_embed *p = params;

    return par_rows(l, p->y.dim[0], p->y.dim[1], embed_forward, p);
}

static int embed_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_embed *p = params;
    int64_t v = p->dtable.dim[0], n = p->dtable.dim[1];
    int64_t rows = v ? p->dy.dim[0] * n / v : 0;
    int64_t work = rows + (p->accumulate ? 0 : n);

    return par_rows(l, v, work, embed_backward, p);
}

const struct op OPS(embed)[] = {
    {.name = "embed.fwd", .launch = embed_fwd},
    {.name = "embed.bwd",
     .params_size = sizeof(struct nnd_embed),
     .args = {ARG(nnd_embed, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_embed, dtable, "VN", IN_F32, 0)},
     .launch = embed_bwd},
    {0},
};
