/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_sum.c - adding: of two activations, of several gradients, and of a chunk's
 * gradient into the tree of its plane (plan/tree.h).
 */
#include "graph/exec.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "graph/overlap.h"
#include "tensor/dtype.h"

struct sum_attr {
    int dtype;
};

static int sum_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct sum_attr *at = n->attr;
    for (int i = 1; i < n->nin; i++)
        if (!shape_equal(&n->in[0]->shape, &n->in[i]->shape))
            return err_set(e, ERR_FAILED, "%s: summands differ in shape", n->where);
    graph_out(g, n, at->dtype, n->in[0]->shape);
    return 0;
}

static void sum_grad(struct graph *g, const struct node *n)
{
    for (int i = 0; i < n->nin; i++)
        grad_add(g, n->in[i], grad_of(g, n->out[0]));
}

static int sum_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_sum *p = params;
    *p = (struct nnd_sum){.struct_size = sizeof(*p), .n = n->nin};
    p->y = bind_vector(b, n->out[0]);
    for (int i = 0; i < n->nin; i++)
        p->x[i] = bind_vector(b, n->in[i]);
    return 0;
}

const struct op op_plus = {
    .name = "sum",
    .attr_size = sizeof(struct sum_attr),
    .shape = sum_shape,
    .grad = sum_grad,
    .again = again_same,
    .kernel = "sum",
    .params_size = sizeof(struct nnd_sum),
    .bind = sum_bind,
};

struct value *op_sum(struct graph *g, struct value *const *x, int n, int dtype)
{
    for (int i = 0; i < n; i++)
        if (!x[i])
            return NULL;
    struct node *node = graph_add(g, &op_plus, &(struct sum_attr){dtype}, x, n);
    return node ? node->out[0] : NULL;
}

struct value *op_add(struct graph *g, struct value *a, struct value *b)
{
    struct value *x[] = {a, b};
    return a && b ? op_sum(g, x, 2, a->dtype) : NULL;
}

/* ------------------------------------------------------------------------- */

static int copy_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    graph_out_view(g, n, n->in[1], 0, n->in[1]->shape);
    return 0;
}

static int copy_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_sum *p = params;
    *p = (struct nnd_sum){.struct_size = sizeof(*p),
                          .n = 1,
                          .x = {bind_vector(b, n->in[0])},
                          .y = bind_vector(b, n->out[0])};
    return 0;
}

const struct op op_copy_to = {
    .name = "copy",
    .shape = copy_shape,
    .kernel = "sum",
    .params_size = sizeof(struct nnd_sum),
    .bind = copy_bind,
};

struct value *op_copy(struct graph *g, struct value *x, struct value *dst)
{
    struct value *in[] = {x, dst};
    struct node *n = x && dst ? graph_add(g, &op_copy_to, NULL, in, 2) : NULL;
    return n ? n->out[0] : NULL;
}

/* ------------------------------------------------------------------------- */

/* in: what is kept of all of this rank's chunks, and the chunk's own. */
enum { CARRY_KEPT, CARRY_OWN };

struct carry_attr {
    bool back;
};

static int carry_shape(struct graph *g, struct node *n, struct err *e)
{
    int64_t own = shape_elements(&n->in[CARRY_OWN]->shape) * g->mesh.chunks_local;
    return op_want(n, CARRY_KEPT, "states", NND_F32, -1, -1, e) ||
                   shape_elements(&n->in[CARRY_KEPT]->shape) != own
               ? err_set(e, ERR_FAILED, "%s: states of %d chunks differ in size",
                         n->where, g->mesh.chunks_local)
               : 0;
}

static int carry_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct carry_attr *at = n->attr;
    struct nnd_tensor own = bind_vector(b, n->in[CARRY_OWN]),
                      kept = bind_vector(b, n->in[CARRY_KEPT]);
    kept.dim[0] = own.dim[0];
    bind_behind(&kept, own.dim[0]);
    if (b)
        kept.data = (float *)kept.data + b->position * own.dim[0];
    *(struct nnd_sum *)params = (struct nnd_sum){.struct_size = sizeof(struct nnd_sum),
                                                 .n = 1,
                                                 .x = {at->back ? own : kept},
                                                 .y = at->back ? kept : own};
    return 0;
}

const struct op op_carry_move = {
    .name = "carry",
    .attr_size = sizeof(struct carry_attr),
    .shape = carry_shape,
    .kernel = "sum",
    .params_size = sizeof(struct nnd_sum),
    .by_chunk = true,
    .bind = carry_bind,
};

void op_carry(struct graph *g, struct value *kept, struct value *own, bool back)
{
    struct value *in[] = {kept, own};
    if (kept && own)
        graph_add(g, &op_carry_move, &(struct carry_attr){back}, in, 2);
}

/* ------------------------------------------------------------------------- */

struct grad_tree_attr {
    struct param *param;
    int source, sources;
};

static int grad_tree_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct grad_tree_attr *at = n->attr;
    int64_t want = shape_elements(&at->param->value->shape) * at->sources;
    (void)g;
    if (shape_elements(&n->in[0]->shape) != want)
        return err_set(e, ERR_FAILED, "%s: gradient of %lld elements, wanted %lld",
                       at->param->name, (long long)shape_elements(&n->in[0]->shape),
                       (long long)want);
    return 0;
}

_Static_assert(1 + TREE_CHAIN_MAX <= NND_SUM_MAX, "a step of the tree is one call");

/* Buffer `buffer` of the weight's gradient. */
static struct nnd_tensor buffer_tensor(const struct bind *b, const struct param *p,
                                       int wide, int buffer)
{
    struct nnd_tensor t = bind_vector(NULL, p->value);
    t.dtype = wide; /* larger: the same place among the elements is aligned as well */
    if (b)
        t.data = (char *)exec_grad_buffer(b->exec, p->plane, buffer) +
                 (size_t)p->offset * dtype_size(wide);
    return t;
}

static int grad_tree_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct grad_tree_attr *at = n->attr;
    const struct param *p = at->param;
    struct value *leaf = n->in[0];
    bool in_place = leaf->storage == STORAGE_GRAD && leaf->param == p;
    struct nnd_sum *s = params;
    static const struct tree_step none = {.n = 1};
    int wide = b ? exec_graph(b->exec)->wide : leaf->dtype;
    const struct tree_step *step =
        b ? &exec_tree_of(b->exec, p->plane)
                 ->step[b->position * at->sources + at->source]
          : &none;
    *s = (struct nnd_sum){.struct_size = sizeof(*s), .n = 1 + step->n};
    if (in_place && step->n == 0)
        return 1;
    s->y = buffer_tensor(b, p, wide, step->into);
    s->x[0] = in_place ? buffer_tensor(b, p, wide, step->leaf) : bind_vector(b, leaf);
    s->x[0].dim[0] = s->y.dim[0];
    if (!in_place)
        bind_behind(&s->x[0], at->source * s->y.dim[0]);
    if (b && !in_place)
        s->x[0].data = (char *)s->x[0].data +
                       (size_t)(at->source * s->y.dim[0]) * dtype_size(leaf->dtype);
    for (int i = 0; i < step->n; i++)
        s->x[1 + i] = buffer_tensor(b, p, wide, step->with[i]);
    return 0;
}

const struct op op_grad_tree = {
    .name = "grad.add",
    .attr_size = sizeof(struct grad_tree_attr),
    .shape = grad_tree_shape,
    .kernel = "sum",
    .params_size = sizeof(struct nnd_sum),
    .bind = grad_tree_bind,
};

struct param *grad_tree_finishes(const struct node *n)
{
    const struct grad_tree_attr *at = n->op == &op_grad_tree ? n->attr : NULL;
    return at && at->source == at->sources - 1 ? at->param : NULL;
}

void op_grad_add(struct graph *g, struct param *p, struct value *leaf, int source)
{
    int sources = p->group == PARAM_EXPERT ? g->mesh.ep : 1;
    struct grad_tree_attr at = {p, source, sources};
    if (leaf)
        graph_add(g, &op_grad_tree, &at, &leaf, 1);
}
