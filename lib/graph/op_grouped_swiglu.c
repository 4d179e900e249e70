/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_grouped_swiglu.c - y[seg] = silu(x[seg] G^T) * (x[seg] U^T): the first half of
 * SwiGLU experts (Shazeer 2020) in one call, and its backward.
 *
 *   grouped.swiglu    both products, and the activation where they end; what it was
 *                     made of, a and b, are outputs two and three
 *   grouped.dswiglu   da and db from the gradient dz of the next product z = y W^T:
 *                     dz W ends in the activation's slope and is never stored; y
 *                     once more, in the place of a, where it is not kept for dW
 *   grouped.two       dx = da G + db U
 */
#include "graph/again.h"
#include "graph/grad.h"
#include "graph/op_grouped.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct swiglu_attr {
    int leaves;
};

enum {
    SWIGLU_X,
    SWIGLU_GATE,
    SWIGLU_UP,
    SWIGLU_SEG_M,
    SWIGLU_SEG_K,
    SWIGLU_PLACE,  /* or NULL */
    SWIGLU_SOURCE, /* or NULL */
    SWIGLU_INPUTS
};

static int stack_want(const struct node *n, int i, const struct value *like,
                      struct err *e)
{
    const struct value *w = n->in[i];
    if (w->shape.ndim != 3 || !shape_equal(&w->shape, &like->shape))
        return err_set(e, ERR_FAILED, "%s: grouped weights: wanted two alike [G,N,K]",
                       n->where);
    return 0;
}

static int swiglu_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *gate = n->in[SWIGLU_GATE], *x = n->in[SWIGLU_X];
    if (stack_want(n, SWIGLU_GATE, gate, e) || stack_want(n, SWIGLU_UP, gate, e) ||
        op_want(n, SWIGLU_X, "grouped input", gate->dtype, -1, gate->shape.dim[2], e) ||
        op_want(n, SWIGLU_SEG_M, "segments", NND_I32, -1, 4, e) ||
        op_want(n, SWIGLU_SEG_K, "segments of leaves", NND_I32, -1, 4, e))
        return -1;
    for (int i = 0; i < 3; i++)
        graph_out(
            g, n, x->dtype,
            shape_of(2, grouped_rows(x, n->in[SWIGLU_SOURCE]), gate->shape.dim[1]));
    return 0;
}

static int64_t swiglu_flops(const struct node *n)
{
    const struct shape *w = &n->in[SWIGLU_GATE]->shape;
    return 4 * shape_rows(&n->out[0]->shape) * w->dim[1] * w->dim[2];
}

/* What all of the file's calls have: a, b, d and segments. */
static struct nnd_grouped_gemm product(const struct bind *b, struct value *const in[2],
                                       const struct value *out, const struct value *seg,
                                       bool trans_b)
{
    return (struct nnd_grouped_gemm){
        .struct_size = sizeof(struct nnd_grouped_gemm),
        .a = bind_matrix(b, in[0]),
        .b = bind_tensor(b, in[1]),
        .d = bind_matrix(b, out),
        .segments = bind_data(b, seg),
        .nsegments = (int32_t)shape_rows(&seg->shape),
        .mode = NND_GROUP_M,
        .trans_b = trans_b,
    };
}

static int swiglu_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_grouped_gemm *p = params;
    *p = product(b, n->in, n->out[0], n->in[SWIGLU_SEG_M], true);
    p->b2 = bind_tensor(b, n->in[SWIGLU_UP]);
    p->epilogue = NND_EPI_SWIGLU;
    p->pre = bind_matrix(b, n->out[1]);
    p->pre2 = bind_matrix(b, n->out[2]);
    grouped_bind_rows(p, b, n->in[SWIGLU_PLACE], n->in[SWIGLU_SOURCE]);
    return 0;
}

/* ------------------------------------------------------------------------- */

struct dswiglu_attr {
    bool act; /* a third result: y */
};

enum { BACK_DZ, BACK_W, BACK_A, BACK_B, BACK_SEG_M };
enum { BACK_DA, BACK_DB, BACK_ACT };

static int dswiglu_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct dswiglu_attr *at = n->attr;
    const struct value *w = n->in[BACK_W], *a = n->in[BACK_A];
    if (stack_want(n, BACK_W, w, e) ||
        op_want(n, BACK_DZ, "grouped gradient", w->dtype, shape_rows(&a->shape),
                w->shape.dim[1], e) ||
        op_want(n, BACK_B, "swiglu input", a->dtype, shape_rows(&a->shape),
                w->shape.dim[2], e))
        return -1;
    for (int i = BACK_A; i <= BACK_B; i++)
        graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    if (at->act)
        graph_out_view(g, n, n->in[BACK_A], 0, a->shape);
    return 0;
}

static int64_t dswiglu_flops(const struct node *n)
{
    return 2 * shape_elements(&n->in[BACK_DZ]->shape) * n->in[BACK_W]->shape.dim[2];
}

static int dswiglu_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct dswiglu_attr *at = n->attr;
    struct nnd_grouped_gemm *p = params;
    *p = product(b, n->in, n->out[0], n->in[BACK_SEG_M], false);
    p->epilogue = NND_EPI_DSWIGLU;
    p->d2 = bind_matrix(b, n->out[BACK_DB]);
    p->pre = bind_matrix(b, n->in[BACK_A]);
    p->pre2 = bind_matrix(b, n->in[BACK_B]);
    p->act = bind_matrix(b, at->act ? n->out[BACK_ACT] : NULL);
    return 0;
}

const struct op op_grouped_dswiglu = {
    .name = "grouped.dswiglu",
    .attr_size = sizeof(struct dswiglu_attr),
    .shape = dswiglu_shape,
    .flops = dswiglu_flops,
    .kernel = "gemm.grouped",
    .params_size = sizeof(struct nnd_grouped_gemm),
    .weight = {1 + BACK_W},
    .bind = dswiglu_bind,
};

bool grouped_swiglu_behind(const struct graph *g, const struct value *y)
{
    const struct node *m = y->maker;
    return m && m->op == &op_grouped_swiglu_fwd && y == m->out[0] &&
           grad_users(g, y) == 1;
}

bool grouped_swiglu_again(const struct graph *g, const struct node *n,
                          const struct value *y)
{
    return grouped_swiglu_behind(g, y) && y->maker->loop == n->loop &&
           grad_alone(g, n, y->maker->out[1]) && again_beside(g, y->maker);
}

struct value *grouped_through_swiglu(struct graph *g, struct value *y, struct value *dz,
                                     struct value *w, struct value *seg_m, bool again)
{
    const struct node *m = y->maker;
    struct value *in[] = {dz, w, m->out[1], m->out[2], seg_m};
    struct dswiglu_attr at = {.act = again};
    struct node *d = graph_add(g, &op_grouped_dswiglu, &at, in, 5);
    for (int i = 0; d && i < 2; i++)
        grad_add(g, m->out[1 + i], d->out[i]);
    return d && again ? d->out[BACK_ACT] : y;
}

/* ------------------------------------------------------------------------- */

enum { TWO_DA, TWO_GATE, TWO_DB, TWO_UP, TWO_SEG_M };

static int two_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *w = n->in[TWO_GATE], *da = n->in[TWO_DA];
    if (stack_want(n, TWO_GATE, w, e) || stack_want(n, TWO_UP, w, e) ||
        op_want(n, TWO_DB, "grouped gradient", da->dtype, shape_rows(&da->shape),
                w->shape.dim[1], e))
        return -1;
    graph_out(g, n, da->dtype, shape_of(2, shape_rows(&da->shape), w->shape.dim[2]));
    return 0;
}

static int64_t two_flops(const struct node *n)
{
    return 4 * shape_elements(&n->in[TWO_DA]->shape) * n->in[TWO_GATE]->shape.dim[2];
}

static int two_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_grouped_gemm *p = params;
    *p = product(b, n->in, n->out[0], n->in[TWO_SEG_M], false);
    p->a2 = bind_matrix(b, n->in[TWO_DB]);
    p->b2 = bind_tensor(b, n->in[TWO_UP]);
    return 0;
}

const struct op op_grouped_two = {
    .name = "grouped.two",
    .shape = two_shape,
    .flops = two_flops,
    .kernel = "gemm.grouped",
    .params_size = sizeof(struct nnd_grouped_gemm),
    .weight = {1 + TWO_GATE, 1 + TWO_UP},
    .bind = two_bind,
};

/* ------------------------------------------------------------------------- */

static void swiglu_grad(struct graph *g, const struct node *n)
{
    const struct swiglu_attr *at = n->attr;
    struct value *x = n->in[SWIGLU_X], *dy = grad_of(g, n->out[0]);
    struct sort order = {.place = n->in[SWIGLU_PLACE], .source = n->in[SWIGLU_SOURCE]};
    if (dy) {
        struct value *in[] = {n->out[1], n->out[2], dy};
        struct node *d = graph_add(g, &op_swiglu_bwd, NULL, in, 3);
        for (int i = 0; d && i < 2; i++)
            grad_add(g, n->out[1 + i], d->out[i]);
    }
    struct value *da = grad_of(g, n->out[1]), *db = grad_of(g, n->out[2]);
    if (!da || !db)
        return;
    grad_add(g, n->in[SWIGLU_GATE],
             grouped_wgrad(g, da, x, n->in[SWIGLU_SEG_K], at->leaves, &order));
    grad_add(g, n->in[SWIGLU_UP],
             grouped_wgrad(g, db, x, n->in[SWIGLU_SEG_K], at->leaves, &order));
    if (!x->wants_grad)
        return;
    struct value *in[] = {da, n->in[SWIGLU_GATE], db, n->in[SWIGLU_UP],
                          n->in[SWIGLU_SEG_M]};
    struct node *d = graph_add(g, &op_grouped_two, NULL, in, 5);
    grouped_flow(g, x, d ? d->out[0] : NULL, &order);
}

/* Of a and b. */
static bool swiglu_again(const struct node *n, struct again *a)
{
    *a = (struct again){
        .op = &op_swiglu_fwd, .in = {n->out[1], n->out[2]}, .nin = 2, .nout = 1};
    return true;
}

const struct op op_grouped_swiglu_fwd = {
    .name = "grouped.swiglu",
    .attr_size = sizeof(struct swiglu_attr),
    .shape = swiglu_shape,
    .grad = swiglu_grad,
    .again = swiglu_again,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .flops = swiglu_flops,
    .kernel = "gemm.grouped",
    .params_size = sizeof(struct nnd_grouped_gemm),
    .weight = {1 + SWIGLU_GATE, 1 + SWIGLU_UP},
    .bind = swiglu_bind,
};

struct value *op_grouped_swiglu(struct graph *g, struct value *x,
                                const struct sort *order, struct value *gate,
                                struct value *up, struct window seg, int leaves)
{
    static const struct sort as_is;
    order = order ? order : &as_is;
    if (!x || !gate || !up || !seg.seg_m || !seg.seg_k)
        return NULL;
    struct value *in[] = {x,         gate,         up,           seg.seg_m,
                          seg.seg_k, order->place, order->source};
    struct swiglu_attr at = {.leaves = leaves};
    struct node *n = graph_add(g, &op_grouped_swiglu_fwd, &at, in, SWIGLU_INPUTS);
    return n ? n->out[0] : NULL;
}
