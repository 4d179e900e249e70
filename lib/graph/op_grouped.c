/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_grouped.c - y[seg] = x[seg] W[index]^T: the experts' products, many in one
 * call, and the two products backward.
 *
 * Which rows belong to which expert is data (segments), the number of rows is
 * the planned one.  dW is made per leaf (source of rows and expert), which is
 * why it has segments of its own and `leaves` matrices instead of W's.
 * x may stand in the order of tokens: its rows are then found as they are packed, and
 * there is no copy of them in the order of experts.
 */
#include "graph/grad.h"
#include "graph/op_grouped.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct grouped_attr {
    bool trans_b;
    int leaves;
};

enum {
    GROUPED_X,
    GROUPED_W,
    GROUPED_SEG_M,
    GROUPED_SEG_K,
    GROUPED_PLACE,  /* or NULL */
    GROUPED_SOURCE, /* or NULL */
    GROUPED_INPUTS
};

int64_t grouped_rows(const struct value *x, const struct value *source)
{
    return source ? shape_elements(&source->shape) : shape_rows(&x->shape);
}

void grouped_bind_rows(struct nnd_grouped_gemm *p, const struct bind *b,
                       const struct value *place, const struct value *source)
{
    if (!source)
        return;
    p->gather = bind_data(b, source);
    p->gather_div = (int32_t)shape_cols(&place->shape);
}

/* x [R,K], W [G,N,K] (forward) or x [R,N], W [G,N,K] (its dgrad). */
static int grouped_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct grouped_attr *at = n->attr;
    const struct value *w = n->in[GROUPED_W];
    if (w->shape.ndim != 3)
        return err_set(e, ERR_FAILED, "%s: grouped weight: wanted [G,N,K]", n->where);
    int64_t inner = w->shape.dim[at->trans_b ? 2 : 1];
    int64_t outer = w->shape.dim[at->trans_b ? 1 : 2];
    if (op_want(n, GROUPED_X, "grouped input", w->dtype, -1, inner, e) ||
        op_want(n, GROUPED_SEG_M, "segments", NND_I32, -1, 4, e) ||
        op_want(n, GROUPED_SEG_K, "segments of leaves", NND_I32, -1, 4, e))
        return -1;
    const struct value *x = n->in[GROUPED_X];
    graph_out(g, n, x->dtype,
              shape_of(2, grouped_rows(x, n->in[GROUPED_SOURCE]), outer));
    return 0;
}

/* Rows as planned; how many are real is data. */
static int64_t grouped_flops(const struct node *n)
{
    const struct shape *w = &n->in[GROUPED_W]->shape;
    return 2 * shape_rows(&n->out[0]->shape) * w->dim[1] * w->dim[2];
}

static int grouped_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct grouped_attr *at = n->attr;
    const struct value *seg = n->in[GROUPED_SEG_M];
    struct nnd_grouped_gemm *p = params;
    *p = (struct nnd_grouped_gemm){
        .struct_size = sizeof(struct nnd_grouped_gemm),
        .a = bind_matrix(b, n->in[GROUPED_X]),
        .b = bind_tensor(b, n->in[GROUPED_W]),
        .d = bind_matrix(b, n->out[0]),
        .segments = bind_data(b, seg),
        .nsegments = (int32_t)shape_rows(&seg->shape),
        .mode = NND_GROUP_M,
        .trans_b = at->trans_b,
    };
    grouped_bind_rows(p, b, n->in[GROUPED_PLACE], n->in[GROUPED_SOURCE]);
    return 0;
}

/* in: dy [R,N], x [R,K], segments, order; out: dW [leaves,N,K]. */
enum { WGRAD_DY, WGRAD_X, WGRAD_SEG, WGRAD_PLACE, WGRAD_SOURCE, WGRAD_INPUTS };

static int wgrad_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct grouped_attr *at = n->attr;
    const struct value *dy = n->in[WGRAD_DY];
    if (op_want(n, WGRAD_X, "grouped input", dy->dtype,
                n->in[WGRAD_SOURCE] ? -1 : shape_rows(&dy->shape), -1, e))
        return -1;
    graph_out(g, n, g->wide,
              shape_of(3, (int64_t)at->leaves, shape_cols(&dy->shape),
                       shape_cols(&n->in[WGRAD_X]->shape)));
    return 0;
}

static int64_t wgrad_flops(const struct node *n)
{
    const struct shape *dy = &n->in[WGRAD_DY]->shape;
    return 2 * shape_elements(dy) * shape_cols(&n->in[WGRAD_X]->shape);
}

static int wgrad_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct value *seg = n->in[WGRAD_SEG];
    struct nnd_grouped_gemm *p = params;
    *p = (struct nnd_grouped_gemm){
        .struct_size = sizeof(struct nnd_grouped_gemm),
        .a = bind_matrix(b, n->in[WGRAD_DY]),
        .b = bind_matrix(b, n->in[WGRAD_X]),
        .d = bind_tensor(b, n->out[0]),
        .segments = bind_data(b, seg),
        .nsegments = (int32_t)shape_rows(&seg->shape),
        .mode = NND_GROUP_K,
    };
    grouped_bind_rows(p, b, n->in[WGRAD_PLACE], n->in[WGRAD_SOURCE]);
    return 0;
}

const struct op op_grouped_wgrad = {
    .name = "grouped.wgrad",
    .attr_size = sizeof(struct grouped_attr),
    .shape = wgrad_shape,
    .flops = wgrad_flops,
    .kernel = "gemm.grouped",
    .params_size = sizeof(struct nnd_grouped_gemm),
    .bind = wgrad_bind,
};

struct value *grouped_wgrad(struct graph *g, struct value *dy, struct value *x,
                            struct value *seg_k, int leaves, const struct sort *order)
{
    struct value *in[] = {dy, x, seg_k, order->place, order->source};
    struct grouped_attr at = {.leaves = leaves};
    struct node *n = graph_add(g, &op_grouped_wgrad, &at, in, WGRAD_INPUTS);
    return n ? n->out[0] : NULL;
}

void grouped_flow(struct graph *g, struct value *x, struct value *dx,
                  struct sort *order)
{
    grad_add(g, x, order->place ? op_unpermute(g, dx, NULL, order) : dx);
}

static void grouped_grad(struct graph *g, const struct node *n)
{
    struct grouped_attr at = *(const struct grouped_attr *)n->attr;
    struct value *x = n->in[GROUPED_X], *w = n->in[GROUPED_W];
    struct value *dy = grad_of(g, n->out[0]);
    struct sort order = {.place = n->in[GROUPED_PLACE],
                         .source = n->in[GROUPED_SOURCE]};
    bool behind = grouped_swiglu_behind(g, x), again = grouped_swiglu_again(g, n, x);
    if (again)
        x = grouped_through_swiglu(g, x, dy, w, n->in[GROUPED_SEG_M], true);
    if (w->wants_grad)
        grad_add(g, w,
                 grouped_wgrad(g, dy, x, n->in[GROUPED_SEG_K], at.leaves, &order));
    if (behind && !again) {
        grouped_through_swiglu(g, x, dy, w, n->in[GROUPED_SEG_M], false);
    } else if (!behind && x->wants_grad) {
        struct value *in[GROUPED_INPUTS] = {dy, w, n->in[GROUPED_SEG_M],
                                            n->in[GROUPED_SEG_K]};
        at.trans_b = false;
        struct node *d = graph_add(g, &op_grouped_fwd, &at, in, GROUPED_INPUTS);
        grouped_flow(g, x, d ? d->out[0] : NULL, &order);
    }
}

const struct op op_grouped_fwd = {
    .name = "grouped",
    .attr_size = sizeof(struct grouped_attr),
    .shape = grouped_shape,
    .grad = grouped_grad,
    .flops = grouped_flops,
    .kernel = "gemm.grouped",
    .params_size = sizeof(struct nnd_grouped_gemm),
    .weight = {1 + GROUPED_W},
    .bind = grouped_bind,
};

struct value *op_grouped(struct graph *g, struct value *x, const struct sort *order,
                         struct value *w, struct window seg, int leaves)
{
    static const struct sort as_is;
    order = order ? order : &as_is;
    if (!x || !w || !seg.seg_m || !seg.seg_k)
        return NULL;
    struct value *in[] = {x, w, seg.seg_m, seg.seg_k, order->place, order->source};
    struct grouped_attr at = {.trans_b = true, .leaves = leaves};
    struct node *n = graph_add(g, &op_grouped_fwd, &at, in, GROUPED_INPUTS);
    return n ? n->out[0] : NULL;
}
