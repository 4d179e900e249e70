/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_record.c - programs whose launches the device keeps (on CUDA: graphs).
 *
 * The first run of a program at a position goes node by node, so that whatever a kernel
 * does once is done; the second is recorded, and from then on the record is run: one
 * call instead of hundreds.  A program with a node that the host computes, or with
 * rounds that data decides, is not recorded.
 *
 * What goes to other ranks beside a program (overlap.h) is no part of a record: where a
 * node lets something go, one stretch of it ends and the next begins.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "graph/exec_impl.h"
#include "graph/overlap.h"
#include "kernel/since.h"

/* Why a node cannot be recorded, or NULL. */
static const char *why_not(const struct exec *x, const struct node *n,
                           const struct record *r)
{
    if (n->loop)
        return "rounds are counted by the host";
    if (!r->kernel && n->op->run)
        return "it is the host's";
    if (r->pack)
        return "its weights are packed when they change";
    if (r->kernel && !(r->kernel->flags & NND_K_CAPTURABLE))
        return arena_printf(x->mem, "kernel %s cannot be captured", r->kernel->name);
    return NULL;
}

static const char *why_program(const struct exec *x, int program)
{
    const struct program *p = &x->g->program[program];
    const struct bound *b = &x->bound[program];
    int nodes = p->end - p->first;
    if (!x->c.capture)
        return "kernels.capture is false";
    if (!since_graphs(x->dev))
        return arena_printf(x->mem, "the device %s keeps no launches", x->dev->type);
    for (int i = 0; i < b->positions * b->slots * nodes; i++) {
        const struct node *n = x->g->node[p->first + i % nodes];
        const char *why = why_not(x, n, &b->record[i]);
        if (why)
            return arena_printf(x->mem, "%s: %s: %s", n->where, n->op->name, why);
    }
    return NULL;
}

/* Behind the node that ends the stretch which begins with node i. */
static int stretch_end(const struct exec *x, const struct program *p, int position,
                       int i)
{
    while (i + 1 < p->end && !overlap_lets_go(x->overlap, x->g->node[i], position))
        i++;
    return i + 1;
}

/* The stretches of a run at a chunk position. */
static void cut(struct exec *x, const struct program *p, int position,
                struct recorded *k)
{
    for (int i = p->first; i < p->end; i = stretch_end(x, p, position, i))
        k->stretches++;
    k->stretch = arena_calloc(x->mem, (size_t)k->stretches + 1, sizeof(*k->stretch));
    for (int i = 0, at = p->first; i < k->stretches; i++) {
        k->stretch[i].first = at;
        k->stretch[i].end = at = stretch_end(x, p, position, at);
    }
}

void exec_record_plan(struct exec *x)
{
    for (int i = 0; x->mirror && i < x->g->nprogram; i++) {
        struct bound *b = &x->bound[i];
        int n = b->positions * b->slots;
        b->eager = why_program(x, i);
        if (b->eager)
            continue;
        b->recorded = arena_calloc(x->mem, (size_t)n, sizeof(*b->recorded));
        for (int j = 0; j < n; j++)
            cut(x, &x->g->program[i], j / b->slots, &b->recorded[j]);
    }
}

static void forget(struct exec *x, struct recorded *k)
{
    for (int i = 0; i < k->stretches; i++) {
        if (k->stretch[i].graph)
            x->dev->graph_del(k->stretch[i].graph);
        k->stretch[i].graph = NULL;
    }
    k->kept = false;
}

static void forget_all(struct exec *x, struct bound *b)
{
    for (int j = 0; b->recorded && j < b->positions * b->slots; j++)
        forget(x, &b->recorded[j]);
    b->recorded = NULL;
}

void exec_record_free(struct exec *x)
{
    for (int i = 0; i < x->g->nprogram; i++)
        forget_all(x, &x->bound[i]);
}

static int replay(struct exec *x, const struct program *p, const struct stretch *k,
                  struct err *e)
{
    struct nnd_error why = {{0}};
    atomic_store_explicit(&x->progress.where, p->name, memory_order_relaxed);
    atomic_store_explicit(&x->progress.op, "graph", memory_order_relaxed);
    atomic_fetch_add_explicit(&x->progress.nodes, k->end - k->first,
                              memory_order_relaxed);
    int rc = k->graph ? x->dev->graph_launch(&x->stream, k->graph) : NND_OK;
    if (rc == NND_OK)
        return overlap_after(x->overlap, x->g->node[k->end - 1], x->position, e);
    x->dev->health(x->stream.device, &why);
    return err_set(e, ERR_FAILED, "%s: failed with status %d: %s", p->name, rc,
                   why.text[0] ? why.text : "no reason given");
}

static int replay_all(struct exec *x, const struct program *p, const struct recorded *k,
                      struct err *e)
{
    for (int i = 0; i < k->stretches; i++)
        if (replay(x, p, &k->stretch[i], e))
            return e->code;
    return 0;
}

/* Keep the launches of a stretch; r: the program's.  Why there is none to keep, or
 * NULL.  Nothing has run by then: what is wrong with a launch that fails here as well
 * as anywhere says the run node by node. */
static const char *record(struct exec *x, const struct program *p, struct stretch *k,
                          const struct record *r)
{
    static const char refused[] = "the device could not keep its launches";
    bool any = false;
    int rc = 0;
    struct err e;
    for (int i = k->first; i < k->end; i++)
        any |= r[i - p->first].kernel != NULL;
    if (!any)
        return NULL;
    if (x->dev->graph_begin(&x->stream) != NND_OK)
        return refused;
    for (int i = k->first; !rc && i < k->end; i++)
        rc = exec_run_node(x, x->g->node[i], &r[i - p->first], &e);
    bool kept = x->dev->graph_end(&x->stream, &k->graph) == NND_OK;
    if (!kept)
        k->graph = NULL;
    if (rc)
        return arena_printf(x->mem, "captured, %s", e.text);
    return kept ? NULL : refused;
}

/* A record that the device does not make is done without. */
static void record_all(struct exec *x, struct bound *b, const struct program *p,
                       struct recorded *k, const struct record *r)
{
    const char *why = NULL;
    for (int i = 0; !why && i < k->stretches; i++)
        why = record(x, p, &k->stretch[i], r);
    k->kept = !why;
    if (!why)
        return;
    forget_all(x, b);
    b->eager = why;
    log_warn("%s is launched node by node: %s", p->name, b->eager);
}

int exec_record_run(struct exec *x, int program, int index, bool *done, struct err *e)
{
    const struct program *p = &x->g->program[program];
    struct bound *b = &x->bound[program];
    const struct record *r = b->record + (size_t)index * (size_t)(p->end - p->first);
    struct recorded *k = b->recorded ? &b->recorded[index] : NULL;
    if (k && k->runs++ == 1)
        record_all(x, b, p, k, r);
    *done = k && k->kept;
    return *done ? replay_all(x, p, k, e) : 0;
}

const char *exec_eager(const struct exec *x, int program)
{
    return x->bound[program].eager;
}
