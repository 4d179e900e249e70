/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_record.c - programs whose launches the device keeps (on CUDA: graphs).
 *
 * The first run of a program at a position goes node by node, so that whatever a kernel
 * does once is done; the second is recorded, and from then on the record is run: one
 * call instead of hundreds.  A program with a node that the host computes, or with
 * rounds that data decides, is not recorded.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "graph/exec_impl.h"
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

void exec_record_plan(struct exec *x)
{
    for (int i = 0; x->mirror && i < x->g->nprogram; i++) {
        struct bound *b = &x->bound[i];
        b->eager = why_program(x, i);
        if (!b->eager)
            b->recorded = arena_calloc(x->mem, (size_t)(b->positions * b->slots),
                                       sizeof(*b->recorded));
    }
}

void exec_record_free(struct exec *x)
{
    for (int i = 0; i < x->g->nprogram; i++) {
        struct bound *b = &x->bound[i];
        for (int j = 0; b->recorded && j < b->positions * b->slots; j++)
            if (b->recorded[j].graph)
                x->dev->graph_del(b->recorded[j].graph);
    }
}

static int replay(struct exec *x, const struct program *p, const struct recorded *k,
                  struct err *e)
{
    struct nnd_error why = {{0}};
    atomic_store_explicit(&x->progress.where, p->name, memory_order_relaxed);
    atomic_store_explicit(&x->progress.op, "graph", memory_order_relaxed);
    atomic_fetch_add_explicit(&x->progress.nodes, p->end - p->first,
                              memory_order_relaxed);
    int rc = x->dev->graph_launch(&x->stream, k->graph);
    if (rc == NND_OK)
        return 0;
    x->dev->health(x->stream.device, &why);
    return err_set(e, ERR_FAILED, "%s: failed with status %d: %s", p->name, rc,
                   why.text[0] ? why.text : "no reason given");
}

/* Keep what run() enqueues; a record that the device does not make is done without. */
static int record(struct exec *x, struct bound *b, const struct program *p,
                  struct recorded *k, const struct record *r, exec_run_f *run,
                  struct err *e)
{
    if (x->dev->graph_begin(&x->stream) != NND_OK)
        return 0;
    int rc = run(x, p, r, e);
    bool kept = x->dev->graph_end(&x->stream, &k->graph) == NND_OK;
    if (rc || kept)
        return rc;
    k->graph = NULL;
    b->recorded = NULL;
    b->eager = "the device could not keep its launches";
    log_warn("%s is launched node by node: %s", p->name, b->eager);
    return 0;
}

int exec_record_run(struct exec *x, int program, int index, exec_run_f *run,
                    struct err *e)
{
    const struct program *p = &x->g->program[program];
    struct bound *b = &x->bound[program];
    const struct record *r = b->record + (size_t)index * (size_t)(p->end - p->first);
    struct recorded *k = b->recorded ? &b->recorded[index] : NULL;
    if (k && k->runs++ == 1 && record(x, b, p, k, r, run, e))
        return e->code;
    return k && k->graph ? replay(x, p, k, e) : run(x, p, r, e);
}

const char *exec_eager(const struct exec *x, int program)
{
    return x->bound[program].eager;
}
