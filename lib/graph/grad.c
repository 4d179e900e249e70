/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad.c - reverse-mode differentiation over nodes.
 *
 * A value's gradient is the sum of the contributions of its users, asked for
 * when its own maker's turn comes.  A weight's is finished when the last of its
 * users has spoken, and then goes into the tree of its plane.  A loop becomes
 * a loop with ascending rounds, that first computes again what forward kept of
 * its last round (round 0) only.
 */
#include "graph/grad.h"

#include <string.h>

#include "graph/again.h"
#include "graph/op.h"
#include "graph/ops.h"

/* Does n read memory of `root`, other than to make a view of it? */
static bool reads(const struct node *n, const struct value *root)
{
    bool any = false;
    for (int i = 0; i < n->nin; i++)
        any |= n->in[i] && n->in[i]->root == root;
    for (int i = 0; i < n->nout; i++)
        any &= n->out[i]->root != root;
    return any;
}

bool grad_alone(const struct graph *g, const struct node *n, const struct value *v)
{
    if (v->root->storage != STORAGE_ARENA)
        return false;
    for (int i = 0; i < g->nnode; i++)
        if (g->node[i] != n && reads(g->node[i], v->root))
            return false;
    return true;
}

int grad_dtype(const struct graph *g, const struct value *v)
{
    return v->param ? g->wide : v->dtype;
}

int grad_users(const struct graph *g, const struct value *v)
{
    const struct program *p = &g->program[v->maker->program];
    int users = 0;
    for (int i = v->maker->id + 1; i < p->end; i++)
        for (int j = 0; j < g->node[i]->nin && g->node[i]->op->grad; j++)
            users += g->node[i]->in[j] && g->node[i]->in[j]->root == v->root;
    return users;
}

struct value *grad_of(struct graph *g, struct value *v)
{
    if (!v->ngrads)
        return NULL;
    if (v->ngrads > 1) {
        v->grads[0] = op_sum(g, v->grads, v->ngrads, grad_dtype(g, v));
        v->ngrads = 1;
    }
    return v->grads[0];
}

/* Does nobody but one list of contributions know this value? */
static bool is_private(const struct graph *g, const struct value *leaf)
{
    int known = 0;
    if (leaf->root != leaf || leaf->storage != STORAGE_ARENA)
        return false;
    for (int i = 0; i < g->nvalue; i++)
        for (int j = 0; j < g->value[i]->ngrads; j++)
            known += g->value[i]->grads[j]->root == leaf;
    for (int i = leaf->maker->id + 1; i < g->nnode; i++)
        known += reads(g->node[i], leaf);
    return known == 1;
}

/* The sum of a weight's contributions becomes a leaf of the tree; when nobody
 * else reads it, its maker writes it straight to the tree's buffer. */
static void finish_param(struct graph *g, struct param *p)
{
    struct value *leaf = grad_of(g, p->value);
    if (!leaf || p->has_grad)
        return;
    p->has_grad = true;
    int sources = p->group == PARAM_EXPERT ? g->mesh.ep : 1;
    if (sources == 1 && leaf->dtype == g->wide && is_private(g, leaf)) {
        leaf->storage = STORAGE_GRAD;
        leaf->param = p;
    }
    for (int s = 0; s < sources; s++)
        op_grad_add(g, p, leaf, s);
}

void grad_added(struct graph *g, struct value *v)
{
    if (v->param && --v->param->uses == 0 && !g->open_loop)
        finish_param(g, v->param);
}

struct value *grad_place(const struct graph *g, const struct value *v)
{
    if (!v->param || !v->ngrads || g->open_loop || v->grads[0]->dtype != g->wide)
        return NULL;
    return is_private(g, v->grads[0]) ? v->grads[0] : NULL;
}

void grad_add(struct graph *g, struct value *v, struct value *dv)
{
    if (!v->wants_grad || !dv)
        return;
    if (v->ngrads == NND_SUM_MAX && g->open_loop) {
        graph_fail(g, "%s: more than %d users want its gradient", v->name, NND_SUM_MAX);
        return;
    }
    if (v->ngrads == NND_SUM_MAX)
        grad_of(g, v); /* a chain of sums has the bits of one */
    if (!v->grads)
        v->grads = arena_calloc(g->mem, NND_SUM_MAX, sizeof(struct value *));
    v->grads[v->ngrads++] = dv;
    grad_added(g, v);
}

/* Users of each weight in the program that will contribute. */
static void count_uses(struct graph *g, const struct program *p)
{
    for (int i = p->first; i < p->end; i++)
        for (int j = 0; j < g->node[i]->nin; j++) {
            const struct value *v = g->node[i]->in[j];
            if (v && v->param && v->storage == STORAGE_PARAM && g->node[i]->op->grad)
                v->param->uses++;
        }
}

static void backward_node(struct graph *g, const struct node *n)
{
    if (!n->op->grad || g->err.code)
        return;
    bool reached = n->op->terminal;
    for (int i = 0; i < n->nout; i++)
        reached |= n->out[i]->ngrads > 0;
    bool wanted = n->op->terminal;
    for (int i = 0; i < n->nout; i++)
        wanted |= n->out[i]->wants_grad;
    if (!reached || !wanted)
        return;
    const char *dot = strrchr(n->where, '.');
    graph_scope(g, "%.*s", dot ? (int)(dot - n->where) : 0, n->where);
    n->op->grad(g, n);
}

/* Which nodes of forward loop `f` made values that nodes [from, end) read? */
static void mark_needed(const struct graph *g, int f, int from, int end, bool *needed)
{
    const struct loop *l = &g->loop[f];
    for (int i = from; i < end; i++)
        for (int j = 0; j < g->node[i]->nin; j++) {
            const struct value *v = g->node[i]->in[j];
            if (v && v->maker && v->maker->loop == f)
                needed[v->maker->id - l->first] = true;
        }
    for (int i = l->end - 1; i >= l->first; i--)
        for (int j = 0; needed[i - l->first] && j < g->node[i]->nin; j++) {
            const struct value *v = g->node[i]->in[j];
            if (v && v->maker && v->maker->loop == f)
                needed[v->maker->id - l->first] = true;
        }
}

/* Insert, at node `at`, copies of the needed nodes of forward loop f; they write
 * the same values again in every round but the first. */
static void insert_redo(struct graph *g, int f, int at, int loop, const bool *needed)
{
    const struct loop *l = &g->loop[f];
    int tail = g->nnode - at, added = 0;
    struct node **moved =
        arena_memdup(g->mem, g->node + at, (size_t)tail * sizeof(*moved));
    struct node **copies =
        arena_calloc(g->mem, (size_t)(l->end - l->first) + 1, sizeof(*copies));
    for (int i = l->first; i < l->end; i++) {
        if (!needed[i - l->first])
            continue;
        struct node *n = arena_memdup(g->mem, g->node[i], sizeof(*n));
        n->redo = true;
        n->loop = loop;
        n->program = g->nprogram - 1;
        copies[added++] = n;
    }
    g->nnode = at;
    for (int i = 0; i < added + tail; i++)
        graph_append(g, i < added ? copies[i] : moved[i - added]);
}

static void backward_loop(struct graph *g, int f)
{
    const struct loop fwd = g->loop[f];
    graph_loop_begin(g, fwd.counts, fwd.capacity, false);
    int loop = g->open_loop, at = g->nnode;
    for (int i = fwd.end - 1; i >= fwd.first; i--)
        backward_node(g, g->node[i]);
    bool *needed =
        arena_calloc(g->mem, (size_t)(fwd.end - fwd.first) + 1, sizeof(bool));
    mark_needed(g, f, at, g->nnode, needed);
    insert_redo(g, f, at, loop, needed);
    graph_loop_end(g);
    for (int i = 0; i < g->nparam; i++)
        if (g->param[i]->uses == 0 && g->param[i]->value->ngrads)
            finish_param(g, g->param[i]);
}

int graph_backward(struct graph *g, int forward, const char *name)
{
    const struct program p = g->program[forward];
    count_uses(g, &p);
    int back = graph_program(g, name);
    g->program[back].behind = forward + 1;
    for (int i = p.end - 1; i >= p.first && !g->err.code; i--) {
        int loop = g->node[i]->loop;
        if (!loop) {
            backward_node(g, g->node[i]);
        } else {
            backward_loop(g, loop);
            i = g->loop[loop].first;
        }
    }
    for (int i = 0; i < g->nparam; i++)
        if (g->param[i]->value->ngrads)
            finish_param(g, g->param[i]);
    if (g->recompute != RECOMPUTE_NOTHING)
        graph_again(g, forward, back);
    graph_scope(g, "%s", "");
    return back;
}
