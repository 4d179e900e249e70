/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_linear.c - y = x W^T + b, and its two products backward.
 *
 * Backward: dx = dy W; dW = dy^T x (a sum over rows, in the wide type), and with
 * it db = the column sums of dy.  All three products are the kernel "gemm".
 *
 * A linear layer may end in an activation, y = act(z): z is its second output.
 * Where another linear layer alone reads y, its product for dy ends in act'(z), and
 * so gives dz at once; dy itself is never stored.  Nor need y be kept: that product
 * makes it once more in the place of z, in front of dW, which alone reads it.
 */
#include "graph/again.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct linear_attr {
    bool trans_a, trans_b;
    bool sums;        /* out[1]: the sums over K of op(a), wide  */
    int epilogue;     /* enum nnd_epilogue; forward: out[1] is z */
    enum act ends;    /* with an epilogue: in what, or in whose slope */
    bool act;         /* of a slope: out[1] is act(z), where z was */
    int dtype;        /* of the result */
    struct shape out; /* of the result */
};

enum { LINEAR_A, LINEAR_B, LINEAR_BIAS, LINEAR_PRE, LINEAR_INPUTS };

static bool is_forward(int epilogue)
{
    return epilogue != NND_EPI_NONE && nnd_slope_of(epilogue) == NND_EPI_NONE;
}

/* in: a, b, bias or NULL, z or NULL; the result's shape stands in the attributes. */
static int linear_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct linear_attr *at = n->attr;
    const struct shape *a = &n->in[0]->shape, *b = &n->in[1]->shape;
    int64_t ka = at->trans_a ? shape_rows(a) : shape_cols(a);
    int64_t kb = at->trans_b ? shape_cols(b) : shape_rows(b);
    if (ka != kb)
        return err_set(e, ERR_FAILED, "%s: linear: inner sizes differ: %lld and %lld",
                       n->where, (long long)ka, (long long)kb);
    graph_out(g, n, at->dtype, at->out);
    if (is_forward(at->epilogue))
        graph_out(g, n, at->dtype, at->out);
    if (at->act)
        graph_out_view(g, n, n->in[LINEAR_PRE], 0, at->out);
    if (at->sums)
        graph_out(g, n, g->wide, shape_of(1, shape_cols(a)));
    return 0;
}

static struct node *gemm_node(struct graph *g, struct value *a, struct value *b,
                              struct value *bias, struct value *pre,
                              struct linear_attr at)
{
    struct value *in[LINEAR_INPUTS] = {a, b, bias, pre};
    return graph_add(g, &op_gemm, &at, in, LINEAR_INPUTS);
}

static struct value *gemm(struct graph *g, struct value *a, struct value *b,
                          struct value *bias, struct linear_attr at)
{
    struct node *n = gemm_node(g, a, b, bias, NULL, at);
    return n ? n->out[0] : NULL;
}

struct value *op_linear_wgrad(struct graph *g, struct value *dy, struct value *x,
                              struct value *w)
{
    struct linear_attr at = {
        .trans_a = true, .dtype = grad_dtype(g, w), .out = w->shape};
    return gemm(g, dy, x, NULL, at);
}

/* The gradient of what the product itself made: of z, when it ends in a function
 * and not all who read y have passed it. */
static struct value *product_grad(struct graph *g, const struct node *n)
{
    const struct linear_attr *at = n->attr;
    struct value *dy = grad_of(g, n->out[0]);
    if (!is_forward(at->epilogue))
        return dy;
    struct value *z = n->out[1];
    if (dy)
        grad_add(g, z, op_act_slope(g, z, dy, at->ends));
    return grad_of(g, z);
}

/* dW, and the bias's gradient beside it; x: what n read, or the same once more. */
static void weight_grad(struct graph *g, const struct node *n, struct value *x,
                        struct value *dy)
{
    struct value *w = n->in[LINEAR_B], *bias = n->in[LINEAR_BIAS];
    bool sums = bias && bias->wants_grad;
    if (sums && w->wants_grad) {
        struct linear_attr at = {
            .trans_a = true, .sums = true, .dtype = grad_dtype(g, w), .out = w->shape};
        struct node *d = gemm_node(g, dy, x, NULL, NULL, at);
        grad_add(g, w, d ? d->out[0] : NULL);
        grad_add(g, bias, d ? d->out[1] : NULL);
    } else if (w->wants_grad) {
        grad_add(g, w, op_linear_wgrad(g, dy, x, w));
    } else if (sums) {
        grad_add(g, bias, op_rows_sum(g, dy));
    }
}

/* What made x = act(z), when x is nobody else's; or NULL. */
static const struct node *act_behind(const struct graph *g, const struct value *x)
{
    const struct node *m = x->maker;
    const struct linear_attr *at = m && m->op == &op_gemm ? m->attr : NULL;
    bool is_act = at && is_forward(at->epilogue) && x == m->out[0];
    return is_act && grad_users(g, x) == 1 ? m : NULL;
}

/* dz from dy; with `again` act(z) beside it. */
static struct node *slope_node(struct graph *g, const struct node *n,
                               const struct node *behind, struct value *dy, bool again)
{
    const struct linear_attr *of = behind->attr;
    struct linear_attr at = {.act = again,
                             .epilogue = op_act_epilogue(of->ends, true),
                             .ends = of->ends,
                             .dtype = grad_dtype(g, behind->out[0]),
                             .out = behind->out[0]->shape};
    return gemm_node(g, dy, n->in[LINEAR_B], NULL, behind->out[1], at);
}

/* dx, or dz where x = act(z) is nobody else's. */
static void input_grad(struct graph *g, const struct node *n, struct value *dy)
{
    struct value *x = n->in[LINEAR_A];
    struct linear_attr at = {.dtype = grad_dtype(g, x), .out = x->shape};
    const struct node *behind = act_behind(g, x);
    if (behind) {
        struct node *d = slope_node(g, n, behind, dy, false);
        grad_add(g, behind->out[1], d ? d->out[0] : NULL);
    } else if (x->wants_grad) {
        grad_add(g, x, gemm(g, dy, n->in[LINEAR_B], NULL, at));
    }
}

/* May x = act(z) be made beside dz, for dW, in the place of z? */
static bool makes_again(const struct graph *g, const struct node *n,
                        const struct node *behind)
{
    return behind && n->in[LINEAR_B]->wants_grad && behind->loop == n->loop &&
           grad_alone(g, n, behind->out[1]) && again_beside(g, behind);
}

static void linear_grad(struct graph *g, const struct node *n)
{
    struct value *dy = product_grad(g, n), *x = n->in[LINEAR_A];
    const struct node *behind = act_behind(g, x);
    if (!makes_again(g, n, behind)) {
        weight_grad(g, n, x, dy);
        input_grad(g, n, dy);
        return;
    }
    struct node *d = slope_node(g, n, behind, dy, true);
    if (d) {
        weight_grad(g, n, d->out[1], dy);
        grad_add(g, behind->out[1], d->out[0]);
    }
}

/* y = act(z) of z, where the product ended in it. */
static bool linear_again(const struct node *n, struct again *a)
{
    const struct linear_attr *at = n->attr;
    return is_forward(at->epilogue) && op_act_again(n->out[1], at->ends, a);
}

static int64_t linear_flops(const struct node *n)
{
    const struct linear_attr *at = n->attr;
    const struct shape *a = &n->in[0]->shape;
    int64_t k = at->trans_a ? shape_rows(a) : shape_cols(a);
    return 2 * shape_elements(&n->out[0]->shape) * k;
}

static int linear_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct linear_attr *at = n->attr;
    const struct value *z = is_forward(at->epilogue) ? n->out[1] : n->in[LINEAR_PRE];
    *(struct nnd_gemm *)params = (struct nnd_gemm){
        .struct_size = sizeof(struct nnd_gemm),
        .a = bind_matrix(b, n->in[LINEAR_A]),
        .b = bind_matrix(b, n->in[LINEAR_B]),
        .d = bind_matrix(b, n->out[0]),
        .bias = bind_tensor(b, n->in[LINEAR_BIAS]),
        .trans_a = at->trans_a,
        .trans_b = at->trans_b,
        .epilogue = at->epilogue,
        .pre = bind_matrix(b, z),
        .sums = bind_tensor(b, at->sums ? n->out[1] : NULL),
        .act = bind_matrix(b, at->act ? n->out[1] : NULL),
    };
    return 0;
}

const struct op op_gemm = {
    .name = "linear",
    .attr_size = sizeof(struct linear_attr),
    .shape = linear_shape,
    .grad = linear_grad,
    .again = linear_again,
    .again_from = RECOMPUTE_ACTIVATIONS,
    .flops = linear_flops,
    .kernel = "gemm",
    .params_size = sizeof(struct nnd_gemm),
    .weight = {1 + LINEAR_B},
    .bind = linear_bind,
};

/* at: what is not that of every layer. */
static struct value *linear(struct graph *g, struct value *x, struct value *w,
                            struct value *b, struct linear_attr at)
{
    if (!x || !w)
        return NULL;
    at.trans_b = true;
    at.out = x->shape;
    at.out.dim[at.out.ndim - 1] = shape_rows(&w->shape);
    return gemm(g, x, w, b, at);
}

struct value *op_linear(struct graph *g, struct value *x, struct value *w,
                        struct value *b)
{
    return linear(g, x, w, b, (struct linear_attr){.dtype = g->act});
}

struct value *op_linear_act(struct graph *g, struct value *x, struct value *w,
                            struct value *b, enum act act)
{
    int epilogue = op_act_epilogue(act, false);
    struct linear_attr at = {.dtype = g->act, .epilogue = epilogue, .ends = act};
    struct value *y = linear(g, x, w, b, at);
    return epilogue != NND_EPI_NONE ? y : op_act(g, y, act);
}

struct value *op_linear_wide(struct graph *g, struct value *x, struct value *w)
{
    return linear(g, x, w, NULL, (struct linear_attr){.dtype = g->wide});
}
