/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_zero.c - gradients to their owners, the norm of all of them, and updated
 * weights back to everybody (ZeRO stage 1; Rajbhandari et al. 2020).
 *
 *   grad.reduce   every replica's sum, added in a binary tree over replicas, ends
 *                 at the owner of its elements
 *   norm.gather   partial sums of squares of all owners, added in one order
 *   param.gather  every owner's weights to all replicas
 *
 * On the way gradients are g->wire, and wide again before they are added; between
 * devices (peers.h) they stay wide, and the first and the last are the device's.
 * Chunks below a replica were added by the same tree (plan/tree.h), so the sum
 * has the same bits however many replicas there are.  What is sent when, and by
 * which thread, is overlap.h's business: each element is added once, in one order.
 */
#include <math.h>
#include <stdio.h>

#include "graph/exec.h"
#include "graph/mirror.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "graph/overlap.h"
#include "graph/peers.h"
#include "tensor/dtype.h"

/* Elements that a rank sends another at once: they stay in the cache until they are
 * added.  256 KiB was the fastest of 64 KiB to 2 MiB (bench/allreduce.c). */
#define REDUCE_WINDOW (1 << 16)

int zero_rank(const struct graph *g, int plane)
{
    return g->plane[plane].group == PARAM_EXPERT ? g->mesh.ep_group : g->mesh.rank;
}

int64_t zero_owned(const struct shard *s, int r)
{
    return s->end[r] - s->begin[r];
}

int64_t zero_largest(const struct shard *s)
{
    int64_t most = 0;
    for (int r = 0; r < s->replicas; r++)
        if (zero_owned(s, r) > most)
            most = zero_owned(s, r);
    return most;
}

struct comm *zero_comm(const struct graph *g, const struct exec_comms *c, int plane)
{
    return g->plane[plane].group == PARAM_EXPERT ? c->edp : c->world;
}

static int64_t at_most(int64_t x, int64_t most)
{
    return x < most ? x : most;
}

static int64_t at_least(int64_t x, int64_t least)
{
    return x > least ? x : least;
}

/* ------------------------------------------------------------------------- */

struct peers *zero_peers(const struct exec *x, const struct node *n)
{
    const struct zero_attr *at = n->attr;
    bool sends = n->op == &op_grad_reduce || n->op == &op_param_gather;
    return sends ? exec_peers(x, at->plane) : NULL;
}

/* Where the host finds [at, at + bytes): there, or in a copy that it returns. */
static int fetch(const struct zero_part *z, void *at, size_t bytes, void **host,
                 struct err *e)
{
    struct mirror *m = exec_mirror(z->exec);
    *host = at;
    return m ? mirror_fetch(m, at, bytes, host, e) : 0;
}

static int give_back(const struct zero_part *z, void *at, size_t offset, size_t bytes,
                     struct err *e)
{
    struct mirror *m = exec_mirror(z->exec);
    return m ? mirror_return(m, at, offset, bytes, e) : 0;
}

/* The room of a reduction; the lane's thread asks on the processor alone. */
static void *scratch_of(const struct zero_part *z)
{
    const struct value *room = z->node->in[0];
    return exec_mirror(z->exec) ? exec_data(z->exec, room)
                                : exec_address(z->exec, room, 0, 0);
}

/* Not by a kernel: in the lane's thread it would run beside another of its plugin. */
static int add_window(void *arg, void *y, const void *x, size_t bytes, struct err *e)
{
    const struct zero_part *z = arg;
    int dtype = exec_graph(z->exec)->wide;
    (void)e;
    dtype_add(dtype, y, x, bytes / dtype_size(dtype));
    return 0;
}

static void to_bf16(void *to, const void *from, size_t n)
{
    dtype_from_f32(NND_BF16, from, to, n);
}

static void from_bf16(void *to, const void *from, size_t n)
{
    dtype_to_f32(NND_BF16, from, to, n);
}

static const struct comm_wire bf16_wire = {
    .here = sizeof(float),
    .there = sizeof(uint16_t),
    .narrow = to_bf16,
    .widen = from_bf16,
};

/* Through the host. */
static int reduce_staged(const struct zero_part *z, void *at0, const size_t *len,
                         const size_t *off, struct err *e)
{
    const struct graph *g = exec_graph(z->exec);
    int plane = ((const struct zero_attr *)z->node->attr)->plane;
    size_t size = dtype_size(g->wide);
    struct comm_sum sum = {.add = add_window,
                           .arg = (void *)z,
                           .scratch = scratch_of(z),
                           .window = REDUCE_WINDOW * size,
                           .wire = g->wire == g->wide ? NULL : &bf16_wire};
    size_t all = (size_t)g->plane[plane].elements * size;
    int me = zero_rank(g, plane);
    void *host;
    if (fetch(z, at0, all, &host, e) ||
        comm_reduce_scatter(z->comm, host, len, off, &sum, e))
        return e->code;
    return give_back(z, at0, off[me], len[me], e);
}

int zero_reduce(const struct zero_part *z, struct err *e)
{
    const struct graph *g = exec_graph(z->exec);
    const struct zero_attr *at = z->node->attr;
    const struct shard *s = &at->shard;
    struct peers *peers = exec_peers(z->exec, at->plane);
    size_t size = dtype_size(g->wide), len[MESH_MAX], off[MESH_MAX], given = 0;
    for (int r = 0; r < s->replicas; r++) {
        int64_t lo = at_least(s->begin[r], z->lo), hi = at_most(s->end[r], z->hi);
        len[r] = (size_t)at_least(hi - lo, 0) * size;
        off[r] = (size_t)lo * size;
        given += r == zero_rank(g, at->plane) ? 0 : len[r];
    }
    void *at0 = exec_grad_buffer(z->exec, at->plane, 0);
    if (!peers)
        return reduce_staged(z, at0, len, off, e);
    exec_add_wire(z->exec, z->node, (int64_t)given);
    return peers_reduce(peers, at0, g->wide, len, off, e);
}

static int reduce_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct zero_attr *at = n->attr;
    struct zero_part all = {.hi = exec_graph(x)->plane[at->plane].elements};
    return overlap_run(exec_overlap(x), n, zero_reduce, &all, e);
}

static int64_t reduce_wire(const struct graph *g, const struct node *n)
{
    const struct zero_attr *at = n->attr;
    int64_t sent = 0;
    for (int r = 0; r < at->shard.replicas; r++)
        if (r != zero_rank(g, at->plane))
            sent += zero_owned(&at->shard, r);
    return sent * (int64_t)dtype_size(g->wire);
}

static int no_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)g;
    (void)n;
    (void)e;
    return 0;
}

const struct op op_grad_reduce = {
    .name = "grad.reduce",
    .attr_size = sizeof(struct zero_attr),
    .shape = no_shape,
    .run = reduce_run,
    .wire = reduce_wire,
};

/* Room for a window of each other replica, and for as much in two windows of bf16; a
 * state, for it is used while programs run whose values have places of their own. */
static struct value *window_room(struct graph *g, int plane, const struct shard *s)
{
    char name[32];
    int64_t window =
        at_most(zero_largest(s), REDUCE_WINDOW) * (g->wire == g->wide ? 1 : 2);
    snprintf(name, sizeof(name), "reduce.window.%d", plane);
    return graph_state(g, name, g->wide, shape_of(1, (s->replicas - 1) * window));
}

void op_reduce(struct graph *g, int plane, const struct shard *s)
{
    struct zero_attr at = {plane, *s};
    struct value *room = s->replicas > 1 ? window_room(g, plane, s) : NULL;
    if (room)
        graph_add(g, &op_grad_reduce, &at, &room, 1);
}

/* ------------------------------------------------------------------------- */

static int64_t gather_wire(const struct graph *g, const struct node *n)
{
    const struct zero_attr *at = n->attr;
    return zero_owned(&at->shard, zero_rank(g, at->plane)) * (at->shard.replicas - 1) *
           (int64_t)dtype_size(g->plane[at->plane].dtype);
}

int zero_gather(const struct zero_part *z, struct err *e)
{
    const struct zero_attr *at = z->node->attr;
    const struct shard *s = &at->shard;
    const struct graph *g = exec_graph(z->exec);
    size_t len[MESH_MAX], off[MESH_MAX], size = dtype_size(g->plane[at->plane].dtype);
    for (int r = 0; r < s->replicas; r++) {
        int64_t lo = at_most(z->lo, zero_owned(s, r)),
                hi = at_most(z->hi, zero_owned(s, r));
        len[r] = (size_t)(hi - lo) * size;
        off[r] = (size_t)(s->begin[r] + lo) * size;
    }
    void *at0 = exec_plane(z->exec, at->plane), *host;
    struct peers *peers = exec_peers(z->exec, at->plane);
    if (peers) {
        exec_add_wire(z->exec, z->node,
                      (int64_t)len[zero_rank(g, at->plane)] * (s->replicas - 1));
        return peers_gather(peers, at0, len, off, e);
    }
    size_t all = (size_t)g->plane[at->plane].elements * size;
    if (fetch(z, at0, all, &host, e) || comm_allgatherv(z->comm, host, len, off, e))
        return e->code;
    return give_back(z, at0, 0, all, e);
}

static int gather_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct zero_attr *at = n->attr;
    struct zero_part all = {.hi = zero_largest(&at->shard)};
    return overlap_run(exec_overlap(x), n, zero_gather, &all, e);
}

const struct op op_param_gather = {
    .name = "param.gather",
    .attr_size = sizeof(struct zero_attr),
    .shape = no_shape,
    .run = gather_run,
    .wire = gather_wire,
};

void op_gather(struct graph *g, int plane, const struct shard *s)
{
    struct zero_attr at = {plane, *s};
    if (s->replicas > 1)
        graph_add(g, &op_param_gather, &at, NULL, 0);
}

/* ------------------------------------------------------------------------- */

/* Partial sums lie in the order of ranks; `order` is where each stands among
 * the blocks of all logical tensors. */
static int norm_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct norm_layout *l = n->attr;
    const struct graph *g = exec_graph(x);
    double *block = exec_data(x, n->in[0]), *sorted = exec_data(x, n->out[0]), sum = 0;
    size_t len[MESH_MAX], off[MESH_MAX];
    for (int r = 0; r < g->mesh.dp; r++) {
        len[r] = (size_t)l->blocks[r] * sizeof(double);
        off[r] = (size_t)l->first[r] * sizeof(double);
    }
    if (g->mesh.dp > 1 && comm_allgatherv(exec_comms_of(x)->world, block, len, off, e))
        return e->code;
    for (int64_t i = 0; i < l->total; i++)
        sorted[l->order[i]] = block[i];
    for (int64_t i = 0; i < l->total; i++)
        sum += sorted[i];
    *(double *)exec_data(x, n->in[1]) = sqrt(sum);
    return 0;
}

static int norm_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_total *)params = (struct nnd_total){
        .struct_size = sizeof(struct nnd_total),
        .x = bind_vector(b, n->in[0]),
        .order = bind_vector(b, n->nin > 2 ? n->in[2] : NULL),
        .y = bind_vector(b, n->in[1]),
        .root = 1,
    };
    return 0;
}

static int norm_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    graph_out(g, n, NND_F64, n->in[0]->shape);
    return 0;
}

static int64_t norm_wire(const struct graph *g, const struct node *n)
{
    const struct norm_layout *l = n->attr;
    return l->blocks[g->mesh.rank] * (g->mesh.dp - 1) * (int64_t)sizeof(double);
}

const struct op op_norm_gather = {
    .name = "norm.gather",
    .attr_size = sizeof(struct norm_layout),
    .shape = norm_shape,
    .kernel = "total",
    .params_size = sizeof(struct nnd_total),
    .bind = norm_bind,
    .run = norm_run,
    .wire = norm_wire,
};

/* Where the blocks lie, in the order in which they are added. */
static const int32_t *places(struct graph *g, const struct norm_layout *l)
{
    int32_t *at = arena_calloc(g->mem, (size_t)l->total + 1, sizeof(*at));
    for (int64_t i = 0; i < l->total; i++)
        at[l->order[i]] = (int32_t)i;
    return at;
}

void op_norm(struct graph *g, struct norm_layout l, struct value *blocks,
             struct value *norm)
{
    struct value *in[] = {blocks, norm, NULL};
    if (!blocks || !norm)
        return;
    if (g->apart && g->mesh.dp == 1)
        in[2] = graph_numbers(g, "norm.order", places(g, &l), l.total);
    graph_add(g, &op_norm_gather, &l, in, in[2] ? 3 : 2);
}
