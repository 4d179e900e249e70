/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_rows.c - rows added up (a bias gradient), fetched and placed by number
 * (decoding).  None has a gradient.
 */
#include "graph/op_list.h"
#include "graph/ops.h"

enum { ROWS_X, ROWS_INDEX, ROWS_DST };

static int rows_sum_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, ROWS_X, "rows", 0, -1, -1, e))
        return -1;
    graph_out(g, n, g->wide, shape_of(1, shape_cols(&n->in[ROWS_X]->shape)));
    return 0;
}

static int rows_sum_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_rows *)params = (struct nnd_rows){
        .struct_size = sizeof(struct nnd_rows),
        .x = bind_matrix(b, n->in[ROWS_X]),
        .y = bind_vector(b, n->out[0]),
    };
    return 0;
}

const struct op op_rows_sum_fwd = {
    .name = "rows.sum",
    .shape = rows_sum_shape,
    .kernel = "rows.sum",
    .params_size = sizeof(struct nnd_rows),
    .bind = rows_sum_bind,
};

/* in: x [S,N], index [R]; out: [R,N]. */
static int rows_gather_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, ROWS_X, "rows", 0, -1, -1, e) ||
        op_want(n, ROWS_INDEX, "row numbers", NND_I32, 1, -1, e))
        return -1;
    const struct value *x = n->in[ROWS_X];
    graph_out(
        g, n, x->dtype,
        shape_of(2, shape_cols(&n->in[ROWS_INDEX]->shape), shape_cols(&x->shape)));
    return 0;
}

/* in: x [R,N], index [R], dst [S,N]; out: dst. */
static int rows_scatter_shape(struct graph *g, struct node *n, struct err *e)
{
    if (op_want(n, ROWS_X, "rows", 0, -1, -1, e))
        return -1;
    const struct value *x = n->in[ROWS_X];
    if (op_want(n, ROWS_INDEX, "row numbers", NND_I32, 1, shape_rows(&x->shape), e) ||
        op_want(n, ROWS_DST, "rows to overwrite", x->dtype, -1, shape_cols(&x->shape),
                e))
        return -1;
    graph_out_view(g, n, n->in[ROWS_DST], 0, n->in[ROWS_DST]->shape);
    return 0;
}

static int rows_move_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_rows *)params = (struct nnd_rows){
        .struct_size = sizeof(struct nnd_rows),
        .x = bind_matrix(b, n->in[ROWS_X]),
        .y = bind_matrix(b, n->out[0]),
        .index = bind_data(b, n->in[ROWS_INDEX]),
    };
    return 0;
}

const struct op op_rows_gather_fwd = {
    .name = "rows.gather",
    .shape = rows_gather_shape,
    .kernel = "rows.gather",
    .params_size = sizeof(struct nnd_rows),
    .bind = rows_move_bind,
};

const struct op op_rows_scatter_fwd = {
    .name = "rows.scatter",
    .shape = rows_scatter_shape,
    .kernel = "rows.scatter",
    .params_size = sizeof(struct nnd_rows),
    .bind = rows_move_bind,
};

struct value *op_rows_sum(struct graph *g, struct value *x)
{
    if (!x)
        return NULL;
    struct node *n = graph_add(g, &op_rows_sum_fwd, NULL, &x, 1);
    return n ? n->out[0] : NULL;
}

/* v as a matrix whose rows have `cols` elements. */
static struct value *by_rows(struct graph *g, struct value *v, int64_t cols)
{
    if (v->shape.ndim == 2 && v->shape.dim[1] == cols)
        return v;
    int64_t n = shape_elements(&v->shape);
    if (cols < 1 || n % cols)
        return graph_fail(g, "%s: not whole rows of %lld elements", v->name,
                          (long long)cols);
    return op_view(g, v, shape_of(2, n / cols, cols));
}

struct value *op_rows_gather(struct graph *g, struct value *x, struct value *index)
{
    if (!x || !index)
        return NULL;
    struct shape out = x->shape;
    int64_t cols = shape_elements(&out) / out.dim[0];
    struct value *in[] = {by_rows(g, x, cols), index};
    struct node *n = graph_add(g, &op_rows_gather_fwd, NULL, in, 2);
    if (!n)
        return NULL;
    out.dim[0] = shape_elements(&index->shape);
    return out.ndim == 2 ? n->out[0] : op_view(g, n->out[0], out);
}

struct value *op_rows_scatter(struct graph *g, struct value *x, struct value *index,
                              struct value *dst)
{
    if (!x || !index || !dst)
        return NULL;
    int64_t cols = shape_elements(&x->shape) / x->shape.dim[0];
    struct value *in[] = {by_rows(g, x, cols), index, by_rows(g, dst, cols)};
    struct node *n = graph_add(g, &op_rows_scatter_fwd, NULL, in, 3);
    if (!n)
        return NULL;
    return in[ROWS_DST] == dst ? n->out[0] : op_view(g, n->out[0], dst->shape);
}
