/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - addresses of values, and the loop that launches kernels.
 */
#include "graph/exec.h"

#include <string.h>

#include "base/clock.h"
#include "graph/exec_impl.h"
#include "graph/mirror.h"
#include "graph/overlap.h"
#include "graph/trace.h"
#include "plan/rounds.h"
#include "tensor/dtype.h"
#include "trust/crumb.h"

/* ------------------------------------------------------------------------- */
/* Addresses.                                                                */

int exec_tree(const struct graph *g, int plane, int positions, struct arena *a,
              struct tree *out, struct err *e)
{
    int sources = g->plane[plane].group == PARAM_EXPERT ? g->mesh.ep : 1;
    int n = positions * sources;
    int *order = arena_calloc(a, (size_t)n, sizeof(*order));
    for (int i = 0; i < n; i++)
        order[i] = i % sources * positions + i / sources;
    return tree_make(a, order, n, out, e);
}

void *exec_grad_buffer(const struct exec *x, int plane, int buffer)
{
    const struct plane *p = &x->g->plane[plane];
    size_t bytes = (size_t)p->elements * dtype_size(x->g->wide);
    bytes = (bytes + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
    return x->region[REGION_GRAD] + p->grad_offset + (size_t)buffer * bytes;
}

void *exec_address(const struct exec *x, const struct value *v, int slot, int position)
{
    const struct value *r = v->root;
    size_t in = (size_t)v->root_offset * dtype_size(v->dtype);
    enum region region = memory_region(v);
    if (region == REGION_GRAD) {
        int plane = r->param->plane;
        int buffer = r->maker ? x->tree[plane].step[position].leaf : 0;
        in += (size_t)r->param->offset * dtype_size(r->dtype);
        return (char *)exec_grad_buffer(x, plane, buffer) + in;
    }
    char *base = x->region[region];
    if (region == REGION_SLOT)
        base += (size_t)slot * x->m.bytes[REGION_SLOT];
    return base + r->offset + in;
}

void *exec_data(const struct exec *x, const struct value *v)
{
    void *at = exec_address(x, v, x->slot, x->position);
    if (!x->mirror)
        return at;
    return x->hosting ? mirror_data(x->mirror, v) : mirror_hand(x->mirror, v, at);
}

void *exec_renew(const struct exec *x, const struct value *v)
{
    void *at = exec_address(x, v, 0, 0);
    return x->mirror ? mirror_renew(x->mirror, v, at) : at;
}

int exec_fetch(struct exec *x, const struct value *const *v, int n, struct err *e)
{
    for (int i = 0; x->mirror && i < n; i++)
        if (v[i] && mirror_gather(x->mirror, v[i], exec_address(x, v[i], 0, 0), e))
            return e->code;
    if (!x->mirror)
        return 0;
    /* Others may be waited for on the device. */
    atomic_store_explicit(&x->progress.waits, x->peers[PARAM_DENSE] != NULL,
                          memory_order_relaxed);
    int rc = mirror_sync(x->mirror, e);
    atomic_store_explicit(&x->progress.waits, false, memory_order_relaxed);
    return rc;
}

/* ------------------------------------------------------------------------- */
/* Running.                                                                  */

/* Pack a weight that has changed. */
static int refresh(const struct exec *x, const struct record *r,
                   const struct nnd_launch *l, struct nnd_error *why)
{
    if (!r->pack || r->pack->version == x->weights)
        return NND_OK;
    int rc = r->kernel->pack(r->kernel->self, r->params, l, why);
    if (rc == NND_OK)
        r->pack->version = x->weights;
    return rc;
}

static int launch(struct exec *x, const struct node *n, const struct record *r,
                  struct err *e)
{
    const struct nnd_kernel *k = r->kernel;
    struct nnd_launch l = {.struct_size = sizeof(l),
                           .stream = x->stream,
                           .workspace = x->workspace,
                           .workspace_size = x->m.workspace,
                           .nthreads = x->c.threads};
    struct nnd_error why = {{0}};
    crumb_enter(x->crumb, n->id);
    int rc = refresh(x, r, &l, &why), checked = 0;
    if (rc == NND_OK && x->trace)
        rc = trace_launch(x, n, r, &l, &why);
    else if (rc == NND_OK)
        checked = verify_launch(x->c.verify, k, r->plan, r->params, &l, &why, &rc, e);
    crumb_leave(x->crumb);
    if (checked < 0)
        return err_prefix(e, "%s", n->where);
    if (rc == NND_OK)
        return 0;
    return err_set(e, rc == NND_ENOMEM ? ERR_NOMEM : ERR_FAILED,
                   "%s: kernel %s failed with status %d: %s", n->where, k->name, rc,
                   why.text[0] ? why.text : "no reason given");
}

/* Bytes given to this rank's communicators so far. */
static int64_t given(const struct exec *x, bool kept_too)
{
    struct comm *const all[] = {x->c.comms.world, x->c.comms.ep, x->c.comms.edp};
    int64_t n = 0;
    for (int i = 0; i < 3; i++) {
        struct comm_count c = {0};
        if (all[i])
            c = comm_counted(all[i]);
        n += c.remote + (kept_too ? c.local : 0);
    }
    return n;
}

/* Copies of what the host's operator reads and writes, either way. */
static int exchange(struct exec *x, const struct node *n, bool back, struct err *e)
{
    for (int i = 0; i < n->nin + n->nout; i++) {
        const struct value *v = i < n->nin ? n->in[i] : n->out[i - n->nin];
        bool written = i >= n->nin || (v && v->storage == STORAGE_STATE);
        if (!v || (back && !written))
            continue;
        void *at = exec_address(x, v, x->slot, x->position);
        if (back ? mirror_push(x->mirror, v, at, e) : mirror_pull(x->mirror, v, at, e))
            return e->code;
    }
    return back ? 0 : mirror_sync(x->mirror, e);
}

/* What goes from device to device touches nothing of the host's. */
static int run_host(struct exec *x, const struct node *n, struct err *e)
{
    if (!x->mirror || zero_peers(x, n))
        return n->op->run(x, n, e);
    if (exchange(x, n, false, e))
        return e->code;
    x->hosting = true;
    int rc = n->op->run(x, n, e);
    x->hosting = false;
    return rc ? rc : exchange(x, n, true, e);
}

void exec_add_wire(struct exec *x, const struct node *n, int64_t bytes)
{
    x->cost[n->id].wire += bytes;
}

static int run_collective(struct exec *x, const struct node *n, struct err *e)
{
    atomic_fetch_add_explicit(&x->progress.seq, 1, memory_order_relaxed);
    int64_t before = given(x, n->op->routed);
    atomic_store_explicit(&x->progress.waits, true, memory_order_relaxed);
    int rc = run_host(x, n, e);
    atomic_store_explicit(&x->progress.waits, false, memory_order_relaxed);
    x->cost[n->id].wire += given(x, n->op->routed) - before;
    return rc;
}

int exec_run_node(struct exec *x, const struct node *n, const struct record *r,
                  struct err *e)
{
    if ((n->redo && x->round == 0) || (!r->kernel && !n->op->run))
        return 0;
    atomic_store_explicit(&x->progress.where, n->where, memory_order_relaxed);
    atomic_store_explicit(&x->progress.op, n->op->name, memory_order_relaxed);
    atomic_fetch_add_explicit(&x->progress.nodes, 1, memory_order_relaxed);
    int64_t begin = clock_mono_ns();
    if (x->trace)
        trace_before(x, n);
    int rc = r->kernel     ? launch(x, n, r, e)
             : n->op->wire ? run_collective(x, n, e)
                           : run_host(x, n, e);
    if (x->trace && rc == 0)
        trace_behind(x, n, r);
    x->cost[n->id].ns += clock_mono_ns() - begin;
    x->cost[n->id].calls++;
    return rc;
}

static int run_range(struct exec *x, const struct program *p, const struct record *r,
                     int first, int end, struct err *e)
{
    for (int i = first; i < end; i++) {
        const struct node *n = x->g->node[i];
        if (exec_run_node(x, n, &r[i - p->first], e) ||
            overlap_after(x->overlap, n, x->position, e))
            return e->code;
    }
    return 0;
}

static int run_loop(struct exec *x, const struct program *p, const struct record *r,
                    const struct loop *l, struct err *e)
{
    const struct mesh *m = &x->g->mesh;
    void *counts = exec_address(x, l->counts, x->slot, x->position);
    if (x->mirror &&
        (mirror_pull(x->mirror, l->counts, counts, e) || mirror_sync(x->mirror, e)))
        return e->code;
    struct rounds rounds = {.counts =
                                x->mirror ? mirror_data(x->mirror, l->counts) : counts,
                            .ranks = m->ep,
                            .experts = (int)shape_cols(&l->counts->shape),
                            .capacity = l->capacity,
                            .block = NND_BLOCK_ROWS};
    int n = rounds_count(&rounds);
    for (int i = 0; i < n; i++) {
        x->round = l->descending ? n - 1 - i : i;
        x->later = i > 0;
        if (run_range(x, p, r, l->first, l->end, e))
            return e->code;
    }
    x->round = 0;
    x->later = false;
    return 0;
}

static int run_nodes(struct exec *x, const struct program *p, const struct record *r,
                     struct err *e)
{
    for (int i = p->first; i < p->end;) {
        int loop = x->g->node[i]->loop;
        int end = loop ? x->g->loop[loop].end : i + 1;
        int rc = loop ? run_loop(x, p, r, &x->g->loop[loop], e)
                      : run_range(x, p, r, i, end, e);
        if (rc)
            return rc;
        i = end;
    }
    return 0;
}

int exec_run(struct exec *x, int program, int position, int slot, struct err *e)
{
    const struct bound *b = &x->bound[program];
    int at = (b->positions > 1 ? position : 0) * b->slots + (b->slots > 1 ? slot : 0);
    if (x->mirror && mirror_flush(x->mirror, e))
        return e->code;
    x->slot = slot;
    x->position = position;
    x->weights += b->changes_weights;
    if (x->trace)
        trace_program(x->trace);
    const struct program *p = &x->g->program[program];
    bool done = false;
    int rc = exec_record_run(x, program, at, &done, e);
    if (rc || done)
        return rc;
    return run_nodes(x, p, b->record + (size_t)at * (size_t)(p->end - p->first), e);
}

void exec_touch(struct exec *x)
{
    x->weights++;
}

int exec_write(struct exec *x, const struct value *v, const void *src, struct err *e)
{
    void *dst = exec_address(x, v, 0, 0);
    x->weights += v->root->storage == STORAGE_PARAM;
    if (x->mirror)
        mirror_refresh(x->mirror, v, src);
    if (x->dev->copy(&x->stream, dst, src, value_bytes(v)) ||
        x->dev->stream_sync(&x->stream))
        return err_set(e, ERR_FAILED, "%s: cannot be copied to %s", v->name,
                       x->dev->type);
    return 0;
}

int exec_read(struct exec *x, const struct value *v, void *dst, struct err *e)
{
    const void *src = exec_address(x, v, 0, 0);
    if (x->mirror && mirror_flush(x->mirror, e))
        return e->code;
    if (x->dev->copy(&x->stream, dst, src, value_bytes(v)) ||
        x->dev->stream_sync(&x->stream))
        return err_set(e, ERR_FAILED, "%s: cannot be copied from %s", v->name,
                       x->dev->type);
    return 0;
}

/* ------------------------------------------------------------------------- */

void exec_step(struct exec *x, int64_t step)
{
    crumb_step(x->crumb, step);
}

struct mirror *exec_mirror(const struct exec *x)
{
    return x->mirror;
}

struct graph *exec_graph(const struct exec *x)
{
    return x->g;
}

const struct memory *exec_memory(const struct exec *x)
{
    return &x->m;
}

const struct exec_comms *exec_comms_of(const struct exec *x)
{
    return &x->c.comms;
}

struct exec_progress *exec_progress_of(struct exec *x)
{
    return &x->progress;
}

int exec_position(const struct exec *x)
{
    return x->position;
}

int exec_round(const struct exec *x)
{
    return x->round;
}

void *exec_plane(const struct exec *x, int plane)
{
    return x->region[REGION_PARAM] + x->g->plane[plane].param_offset;
}

const struct tree *exec_tree_of(const struct exec *x, int plane)
{
    return &x->tree[plane];
}

struct overlap *exec_overlap(const struct exec *x)
{
    return x->overlap;
}

struct peers *exec_peers(const struct exec *x, int plane)
{
    return x->peers[x->g->plane[plane].group];
}

struct exec_way exec_way(const struct exec *x, enum param_group group)
{
    return x->way[group];
}

struct exec_sent exec_sent(const struct exec *x)
{
    return overlap_sent(x->overlap);
}

const struct exec_cost *exec_profile(const struct exec *x)
{
    return x->cost;
}

void exec_profile_reset(struct exec *x)
{
    memset(x->cost, 0, (size_t)x->g->nnode * sizeof(*x->cost));
}
