/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_outside.c - operators that plugins bring: a node's rules come from the
 * plugin's definition, its params are a frame of tensors and attributes.
 */
#include <string.h>

#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "kernel/schema.h"

struct outside_attr {
    const struct nnd_op_def *def;
    union nnd_attr attr[NND_FRAME_ATTRS];
    uint32_t wanted; /* backward: which gradients of inputs, a bit each */
};

/* Inputs, outputs (or their places) and attributes of a node. */
static struct nnd_frame frame_of(const struct node *n, const struct bind *b)
{
    const struct outside_attr *at = n->attr;
    struct nnd_frame f = {
        .struct_size = sizeof(f), .nin = n->nin, .nattr = (int32_t)at->def->nattr};
    memcpy(f.attr, at->attr, sizeof(f.attr));
    for (int i = 0; i < n->nin; i++)
        f.in[i] = bind_tensor(b, n->in[i]);
    return f;
}

static int outside_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct outside_attr *at = n->attr;
    struct nnd_frame f = frame_of(n, NULL);
    f.nout = (int32_t)at->def->nout;
    if (schema_shape(at->def, &f, GRAPH_DIMS, e) < 0) {
        e->code = ERR_FAILED;
        return err_prefix(e, "%s", n->where);
    }
    for (uint32_t i = 0; i < at->def->nout; i++) {
        struct shape s = {.ndim = f.out[i].ndim};
        memcpy(s.dim, f.out[i].dim, (size_t)s.ndim * sizeof(s.dim[0]));
        graph_out(g, n, f.out[i].dtype, s);
    }
    return 0;
}

static int outside_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_frame *f = params;
    *f = frame_of(n, b);
    f->nout = n->nout;
    for (int i = 0; i < n->nout; i++)
        f->out[i] = bind_tensor(b, n->out[i]);
    return 0;
}

static int64_t outside_flops(const struct node *n)
{
    const struct outside_attr *at = n->attr;
    struct nnd_frame f;
    outside_bind(n, NULL, &f);
    return at->def->flops ? at->def->flops(&f) : 0;
}

/* The gradients of those of forward's inputs that want one. */
static int outside_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct outside_attr *at = n->attr;
    (void)e;
    for (int i = 0; i < NND_FRAME_OUT; i++)
        if (at->wanted >> i & 1)
            graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    return 0;
}

static int outside_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct outside_attr *at = n->attr;
    struct nnd_frame *f = params;
    int next = 0;
    *f = frame_of(n, b);
    for (int i = 0; i < NND_FRAME_OUT; i++)
        if (at->wanted >> i & 1) {
            f->out[i] = bind_tensor(b, n->out[next++]);
            f->nout = i + 1;
        }
    return 0;
}

/* A row of the table of its own, as every operator has one. */
static const struct op *op_named(struct graph *g, const struct op *like,
                                 const char *name)
{
    struct op *op = arena_memdup(g->mem, like, sizeof(*op));
    op->name = op->kernel = name;
    return op;
}

static void outside_grad(struct graph *g, const struct node *n)
{
    static const struct op like = {
        .attr_size = sizeof(struct outside_attr),
        .shape = outside_bwd_shape,
        .params_size = sizeof(struct nnd_frame),
        .bind = outside_bwd_bind,
    };
    struct outside_attr at = *(const struct outside_attr *)n->attr;
    struct value *in[GRAPH_INPUTS] = {0};
    int nin = n->nin + 2 * n->nout;
    if (!at.def->backward)
        return;
    for (int i = 0; i < n->nin; i++)
        in[i] = n->in[i];
    for (int i = 0; i < n->nout; i++) {
        in[n->nin + i] = n->out[i];
        in[n->nin + n->nout + i] = grad_of(g, n->out[i]);
    }
    for (int i = 0; i < n->nin; i++)
        at.wanted |= n->in[i] && n->in[i]->wants_grad ? 1u << i : 0;
    struct node *d = graph_add(g, op_named(g, &like, at.def->backward), &at, in, nin);
    for (int i = 0, next = 0; d && i < n->nin; i++)
        if (at.wanted >> i & 1)
            grad_add(g, n->in[i], d->out[next++]);
}

static bool may_stand(struct graph *g, const struct nnd_op_def *def,
                      struct value *const *in)
{
    for (uint32_t i = 0; i < def->nin; i++)
        if (!in[i] && !def->in[i].optional) {
            graph_fail(g, "%s: %s: %s is absent", g->scope, def->name, def->in[i].name);
            return false;
        }
    bool fits = def->nin + 2 * def->nout <= NND_FRAME_IN && def->nin <= NND_FRAME_OUT;
    if (def->backward && !fits)
        graph_fail(g, "%s: %s: too many inputs and outputs for a backward", g->scope,
                   def->name);
    return !def->backward || fits;
}

int op_outside(struct graph *g, const struct nnd_op_def *def,
               const union nnd_attr *attr, struct value *const *in, struct value **out)
{
    static const struct op like = {
        .attr_size = sizeof(struct outside_attr),
        .shape = outside_shape,
        .grad = outside_grad,
        .flops = outside_flops,
        .params_size = sizeof(struct nnd_frame),
        .bind = outside_bind,
    };
    struct outside_attr at = {.def = def};
    for (uint32_t i = 0; i < def->nout; i++)
        out[i] = NULL;
    if (!may_stand(g, def, in))
        return -1;
    if (def->nattr)
        memcpy(at.attr, attr, def->nattr * sizeof(*attr));
    struct node *n =
        graph_add(g, op_named(g, &like, def->name), &at, in, (int)def->nin);
    for (uint32_t i = 0; n && i < def->nout; i++)
        out[i] = n->out[i];
    return n ? 0 : -1;
}
