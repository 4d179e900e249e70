/* SPDX-License-Identifier: Apache-2.0 */
/*
 * again.c - which of forward's values backward makes once more, and where.
 *
 * A value is made again when its operator has a rule and all that the rule reads is
 * there in backward: weights, inputs, what some node of backward reads anyway, or what
 * can be made again itself.  Then backward's nodes are appended anew, each behind the
 * makers of what it is the first to read.
 *
 * With whole blocks, what a block of forward kept to itself has its makers run again,
 * the first time that a node of backward reads any of it; what other blocks read stays.
 *
 * Within a loop values are those of a round.  What the loop made is made again within
 * it, what stood outside before it; nodes that compute once more what forward kept of
 * round 0 alone (node.redo) stay where somebody still reads what they make.
 */
#include "graph/again.h"

#include <string.h>

#include "graph/op.h"

enum verdict {
    UNKNOWN,
    NO,
    RULE, /* by its operator's rule                     */
    WHOLE /* by its maker once more, in a block (graph.h) */
};

struct pass {
    struct graph *g;
    int forward, backward;
    struct node **node; /* backward's, as they were */
    int nnode;
    /* By number of a value: */
    enum verdict *verdict;
    bool *read;          /* root: a node of backward reads it              */
    bool *written;       /* root: a node writes it that did not make it    */
    bool *border;        /* root: another block of forward reads it        */
    bool *live;          /* root: read in backward when all is done        */
    struct value **copy; /* what backward reads in its place, once made     */
};

bool again_same(const struct node *n, struct again *a)
{
    *a = (struct again){.op = n->op, .attr = n->attr, .nin = n->nin, .nout = n->nout};
    memcpy(a->in, n->in, sizeof(a->in));
    return true;
}

static bool is_view(const struct node *n)
{
    return !n->op->kernel && !n->op->run;
}

/* The rule by which v's operator makes it again, if it has one. */
static bool rule(const struct pass *p, const struct value *v, struct again *a)
{
    const struct node *n = v->maker;
    if (!n->op->again || n->op->again_from > p->g->recompute || !n->op->again(n, a))
        return false;
    for (int i = 0; i < a->nout; i++)
        if (n->out[i] == v)
            return true;
    return false;
}

/* Made in a block and read by nodes of forward outside it, or what makes that. */
static void find_border(struct pass *p)
{
    const struct program *f = &p->g->program[p->forward];
    for (int i = f->end - 1; i >= f->first; i--) {
        const struct node *n = p->g->node[i];
        struct again a;
        for (int j = 0; j < n->nin; j++) {
            const struct value *v = n->in[j] ? n->in[j]->root : NULL;
            if (v && v->maker && v->maker->block != n->block)
                p->border[v->id] = true;
        }
        if (n->nout && p->border[n->out[0]->id] && rule(p, n->out[0], &a))
            for (int j = 0; j < a.nin; j++)
                if (a.in[j])
                    p->border[a.in[j]->root->id] = true;
    }
}

/* Of nodes that write into what they are given. */
static void find_written(struct pass *p)
{
    for (int i = 0; i < p->g->nnode; i++) {
        const struct node *n = p->g->node[i];
        for (int j = 0; j < n->nout; j++)
            if (n->out[j]->root != n->out[j] && !is_view(n))
                p->written[n->out[j]->root->id] = true;
    }
}

/* A value that a loop made is there for the nodes of its loop's backward alone. */
static void find_read(struct pass *p)
{
    for (int i = 0; i < p->nnode; i++) {
        const struct node *n = p->node[i];
        for (int j = 0; j < n->nin && !is_view(n); j++) {
            const struct value *v = n->in[j] ? n->in[j]->root : NULL;
            if (v && v->maker && v->maker->program == p->forward)
                p->read[v->id] |= !v->maker->loop || n->loop;
        }
    }
}

static enum verdict verdict(struct pass *p, const struct value *root);

/* Is u there in backward, for a node that forward had in loop `loop`?  kept: and is no
 * product that would have to be made for it. */
static bool available(struct pass *p, const struct value *u, int loop, bool kept)
{
    const struct value *r = u ? u->root : NULL;
    if (!r)
        return true;
    if (r->storage == STORAGE_STATE)
        return r->fill || r->stride;
    if (r->storage != STORAGE_ARENA)
        return r->storage != STORAGE_GRAD;
    if (r->maker->program != p->forward || p->written[r->id] ||
        (r->maker->loop && r->maker->loop != loop))
        return false;
    enum verdict how = verdict(p, r);
    return how == NO ? p->read[r->id] || !kept : how == RULE || !kept;
}

static bool all_available(struct pass *p, const struct node *n, struct value *const *in,
                          int nin, bool kept)
{
    for (int i = 0; i < nin; i++)
        if (!available(p, in[i], n->loop, kept))
            return false;
    return true;
}

static bool has_rule(struct pass *p, const struct value *v)
{
    struct again a;
    return rule(p, v, &a) && all_available(p, v->maker, a.in, a.nin, true);
}

/* Its maker may run once more in backward. */
static bool is_of_block(const struct graph *g, const struct node *n)
{
    return g->recompute == RECOMPUTE_BLOCKS && n->block && !n->loop && n->op->kernel &&
           (!g->recompute_blocks || n->block <= g->recompute_blocks);
}

/* What a block keeps to itself is made again from what it reads of others. */
static bool goes_whole(struct pass *p, const struct value *v)
{
    const struct node *n = v->maker;
    return is_of_block(p->g, n) && !p->border[v->id] &&
           all_available(p, n, n->in, n->nin, false);
}

bool again_beside(const struct graph *g, const struct node *n)
{
    return g->recompute != RECOMPUTE_NOTHING && !is_of_block(g, n);
}

static enum verdict judge(struct pass *p, const struct value *v)
{
    if (v->storage != STORAGE_ARENA || v->maker->program != p->forward ||
        p->written[v->id])
        return NO;
    return has_rule(p, v) ? RULE : goes_whole(p, v) ? WHOLE : NO;
}

static enum verdict verdict(struct pass *p, const struct value *root)
{
    if (!root->maker)
        return NO;
    if (p->verdict[root->id] == UNKNOWN)
        p->verdict[root->id] = judge(p, root);
    return p->verdict[root->id];
}

static bool can(struct pass *p, const struct value *root)
{
    return verdict(p, root) != NO;
}

/* ------------------------------------------------------------------------- */

/* What makes v, which may be a view. */
static struct again maker_of(struct pass *p, const struct value *v)
{
    struct again a;
    if (v->root != v || verdict(p, v) == WHOLE || !rule(p, v, &a))
        again_same(v->maker, &a);
    return a;
}

/* What is read in the end when v is. */
static void mark_live(struct pass *p, const struct value *v)
{
    if (!v)
        return;
    if (!can(p, v->root)) {
        p->live[v->root->id] = true;
        return;
    }
    struct again a = maker_of(p, v);
    for (int i = 0; i < a.nin; i++)
        mark_live(p, a.in[i]);
}

static bool is_needed(const struct pass *p, const struct node *n)
{
    bool any = !n->redo;
    for (int i = 0; i < n->nout; i++)
        any |= p->live[n->out[i]->root->id];
    return any;
}

static void find_live(struct pass *p)
{
    for (int i = p->nnode - 1; i >= 0; i--) {
        const struct node *n = p->node[i];
        for (int j = 0; j < n->nin && is_needed(p, n); j++)
            mark_live(p, n->in[j]);
    }
}

/* ------------------------------------------------------------------------- */

static struct value *stand_in(struct pass *p, struct value *v);

static void make(struct pass *p, const struct value *v)
{
    struct again a = maker_of(p, v);
    for (int i = 0; i < a.nin; i++)
        a.in[i] = stand_in(p, a.in[i]);
    const char *dot = strrchr(v->maker->where, '.');
    graph_scope(p->g, "%.*s", dot ? (int)(dot - v->maker->where) : 0, v->maker->where);
    struct node *n = graph_add(p->g, a.op, a.attr, a.in, a.nin);
    for (int i = 0; n && i < a.nout; i++)
        p->copy[v->maker->out[i]->id] = n->out[i];
    if (n)
        n->again = true;
}

/* What a node of backward reads for v: v, or what is made of it now. */
static struct value *stand_in(struct pass *p, struct value *v)
{
    if (!v || !can(p, v->root))
        return v;
    if (!p->copy[v->id])
        make(p, v);
    return p->copy[v->id];
}

/* Before a loop: make what v needs that stood outside of forward's loops. */
static void provide(struct pass *p, struct value *v)
{
    if (!v || !can(p, v->root))
        return;
    if (!v->root->maker->loop) {
        stand_in(p, v);
        return;
    }
    struct again a = maker_of(p, v);
    for (int i = 0; i < a.nin; i++)
        provide(p, a.in[i]);
}

static void begin_loop(struct pass *p, int i)
{
    int loop = p->node[i]->loop;
    for (; i < p->nnode && p->node[i]->loop == loop; i++)
        for (int j = 0; j < p->node[i]->nin && is_needed(p, p->node[i]); j++)
            provide(p, p->node[i]->in[j]);
    p->g->loop[loop].first = p->g->nnode;
}

/* Results of a redone node that nobody reads any more are for itself alone. */
static void disown(struct pass *p, struct node *n)
{
    int nout = n->nout;
    for (int i = 0; i < nout && n->redo; i++) {
        const struct value *v = n->out[i];
        if (v->root != v || p->live[v->id])
            continue;
        n->nout = i;
        graph_out(p->g, n, v->dtype, v->shape);
    }
    n->nout = nout;
}

static void append(struct pass *p, int i)
{
    struct graph *g = p->g;
    struct node *n = p->node[i];
    if (n->loop != g->open_loop) {
        g->open_loop = 0;
        if (n->loop)
            begin_loop(p, i);
        g->open_loop = n->loop;
    }
    if (!is_needed(p, n) || (is_view(n) && can(p, n->out[0]->root)))
        return;
    for (int j = 0; j < n->nin; j++)
        n->in[j] = stand_in(p, n->in[j]);
    disown(p, n);
    graph_append(g, n);
    if (n->loop)
        g->loop[n->loop].end = g->nnode;
}

void graph_again(struct graph *g, int forward, int backward)
{
    if (g->err.code)
        return;
    size_t n = (size_t)g->nvalue + 1;
    int first = g->program[backward].first;
    struct pass p = {.g = g, .forward = forward, .backward = backward};
    p.nnode = g->nnode - first;
    p.node = arena_memdup(g->mem, g->node + first, (size_t)p.nnode * sizeof(*p.node));
    p.verdict = arena_calloc(g->mem, n, sizeof(*p.verdict));
    p.read = arena_calloc(g->mem, n, sizeof(*p.read));
    p.written = arena_calloc(g->mem, n, sizeof(*p.written));
    p.border = arena_calloc(g->mem, n, sizeof(*p.border));
    p.live = arena_calloc(g->mem, n, sizeof(*p.live));
    p.copy = arena_calloc(g->mem, n, sizeof(*p.copy));
    find_border(&p);
    find_written(&p);
    find_read(&p);
    find_live(&p);
    g->nnode = first;
    for (int i = 0; i < p.nnode && !g->err.code; i++)
        append(&p, i);
    g->open_loop = 0;
    graph_scope(g, "%s", "");
}
