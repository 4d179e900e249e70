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
 * Chunks below a replica were added by the same tree (plan/tree.h), so the sum
 * has the same bits however many replicas there are.
 */
#include <math.h>
#include <string.h>

#include "graph/exec.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "tensor/dtype.h"

/* Elements of each owner that are exchanged at once. */
#define REDUCE_WINDOW (1 << 18)

struct zero_attr {
    int plane;
    struct shard shard;
};

static int replicas_rank(const struct graph *g, int plane)
{
    return g->plane[plane].group == PARAM_EXPERT ? g->mesh.ep_group : g->mesh.rank;
}

static struct comm *replicas_comm(struct exec *x, int plane)
{
    const struct exec_comms *c = exec_comms_of(x);
    return exec_graph(x)->plane[plane].group == PARAM_EXPERT ? c->edp : c->world;
}

static int64_t owned(const struct shard *s, int r)
{
    return s->end[r] - s->begin[r];
}

static int64_t largest(const struct shard *s)
{
    int64_t most = 0;
    for (int r = 0; r < s->replicas; r++)
        if (owned(s, r) > most)
            most = owned(s, r);
    return most;
}

/* The part of owner r's elements in the window that starts at `at`. */
static int64_t window_of(const struct shard *s, int r, int64_t at)
{
    int64_t left = owned(s, r) - at;
    return left < 0 ? 0 : left < REDUCE_WINDOW ? left : REDUCE_WINDOW;
}

/* ------------------------------------------------------------------------- */

static int reduce_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    const struct zero_attr *at = n->attr;
    int64_t most = largest(&at->shard);
    int64_t window = most < REDUCE_WINDOW ? most : REDUCE_WINDOW;
    graph_out(g, n, g->wide, shape_of(2, (int64_t)at->shard.replicas, window));
    return 0;
}

/* piece[0..n) become one in piece[0]: neighbours first, then their sums. */
static int add_tree(struct exec *x, char **piece, int n, int64_t elements,
                    struct err *e)
{
    for (int step = 1; step < n; step *= 2)
        for (int i = 0; i + step < n; i += 2 * step) {
            void *in[] = {piece[i], piece[i + step]};
            if (exec_sum(x, piece[i], in, 2, exec_graph(x)->wide, elements, e))
                return e->code;
        }
    return 0;
}

static int reduce_window(struct exec *x, const struct zero_attr *at, int64_t from,
                         char *grads, char *scratch, struct err *e)
{
    const struct shard *s = &at->shard;
    size_t size = dtype_size(exec_graph(x)->wide);
    size_t send_len[MESH_MAX], send_off[MESH_MAX], recv_len[MESH_MAX],
        recv_off[MESH_MAX];
    int me = replicas_rank(exec_graph(x), at->plane);
    int64_t mine = window_of(s, me, from);
    char *piece[MESH_MAX];
    for (int r = 0; r < s->replicas; r++) {
        send_len[r] = (size_t)window_of(s, r, from) * size;
        send_off[r] = (size_t)(s->begin[r] + from) * size;
        recv_len[r] = (size_t)mine * size;
        recv_off[r] = (size_t)r * recv_len[r];
        piece[r] = scratch + recv_off[r];
    }
    if (comm_alltoallv(replicas_comm(x, at->plane), grads, send_len, send_off, scratch,
                       recv_len, recv_off, e))
        return e->code;
    if (!mine)
        return 0;
    if (add_tree(x, piece, s->replicas, mine, e))
        return e->code;
    memcpy(grads + (size_t)(s->begin[me] + from) * size, scratch, (size_t)mine * size);
    return 0;
}

static int reduce_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct zero_attr *at = n->attr;
    char *grads = exec_grad_buffer(x, at->plane, 0);
    for (int64_t from = 0; from < largest(&at->shard); from += REDUCE_WINDOW)
        if (reduce_window(x, at, from, grads, exec_data(x, n->out[0]), e))
            return e->code;
    return 0;
}

static int64_t reduce_wire(const struct graph *g, const struct node *n)
{
    const struct zero_attr *at = n->attr;
    int64_t sent = 0;
    for (int r = 0; r < at->shard.replicas; r++)
        if (r != replicas_rank(g, at->plane))
            sent += owned(&at->shard, r);
    return sent * (int64_t)dtype_size(g->wide);
}

const struct op op_grad_reduce = {
    .name = "grad.reduce",
    .attr_size = sizeof(struct zero_attr),
    .shape = reduce_shape,
    .run = reduce_run,
    .wire = reduce_wire,
};

void op_reduce(struct graph *g, int plane, const struct shard *s)
{
    struct zero_attr at = {plane, *s};
    if (s->replicas > 1)
        graph_add(g, &op_grad_reduce, &at, NULL, 0);
}

/* ------------------------------------------------------------------------- */

static int no_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)g;
    (void)n;
    (void)e;
    return 0;
}

static int gather_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct zero_attr *at = n->attr;
    const struct plane *p = &exec_graph(x)->plane[at->plane];
    size_t size = dtype_size(p->dtype), len[MESH_MAX], off[MESH_MAX];
    for (int r = 0; r < at->shard.replicas; r++) {
        len[r] = (size_t)owned(&at->shard, r) * size;
        off[r] = (size_t)at->shard.begin[r] * size;
    }
    return comm_allgatherv(replicas_comm(x, at->plane), exec_plane(x, at->plane), len,
                           off, e);
}

static int64_t gather_wire(const struct graph *g, const struct node *n)
{
    const struct zero_attr *at = n->attr;
    return owned(&at->shard, replicas_rank(g, at->plane)) * (at->shard.replicas - 1) *
           (int64_t)dtype_size(g->plane[at->plane].dtype);
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
    .run = norm_run,
    .wire = norm_wire,
};

void op_norm(struct graph *g, struct norm_layout l, struct value *blocks,
             struct value *norm)
{
    struct value *in[] = {blocks, norm};
    if (blocks && norm)
        graph_add(g, &op_norm_gather, &l, in, 2);
}
