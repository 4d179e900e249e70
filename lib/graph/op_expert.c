/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_expert.c - rows to their experts and back, over an expert-parallel group.
 *
 *   moe.exchange  everybody learns how many rows go from whom to which expert
 *   moe.window    which rows of which segment arrive in this round
 *   moe.dispatch  sorted rows -> arrivals at the experts' rank
 *   moe.collect   arrivals -> sorted rows; each is the other's backward
 *
 * Rows arrive ordered by (source rank, expert, row), which is the canonical
 * order of chunks.  With one rank per group nothing is sent.
 */
#include <string.h>

#include "graph/exec.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "plan/rounds.h"
#include "tensor/dtype.h"

struct expert_attr {
    int64_t capacity; /* rows of the arrivals' buffer    */
    int64_t rows;     /* sorted rows of this rank: T * K */
};

static struct rounds rounds_of(struct exec *x, const struct value *counts,
                               int64_t capacity)
{
    return (struct rounds){.counts = exec_data(x, counts),
                           .ranks = exec_graph(x)->mesh.ep,
                           .experts = (int)shape_cols(&counts->shape),
                           .capacity = capacity,
                           .block = NND_BLOCK_ROWS};
}

/* ------------------------------------------------------------------------- */

static int exchange_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    int64_t experts = shape_elements(&n->in[0]->shape);
    graph_out(g, n, NND_I32, shape_of(2, (int64_t)g->mesh.ep, experts));
    return 0;
}

static int exchange_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct mesh *m = &exec_graph(x)->mesh;
    size_t row = value_bytes(n->in[0]);
    char *counts = exec_data(x, n->out[0]);
    memcpy(counts + (size_t)m->ep_rank * row, exec_data(x, n->in[0]), row);
    if (m->ep == 1)
        return 0;
    size_t len[MESH_MAX], off[MESH_MAX];
    for (int i = 0; i < m->ep; i++) {
        len[i] = row;
        off[i] = (size_t)i * row;
    }
    return comm_allgatherv(exec_comms_of(x)->ep, counts, len, off, e);
}

static int64_t exchange_wire(const struct graph *g, const struct node *n)
{
    return (int64_t)value_bytes(n->in[0]) * (g->mesh.ep - 1);
}

const struct op op_moe_exchange = {
    .name = "moe.exchange",
    .shape = exchange_shape,
    .run = exchange_run,
    .wire = exchange_wire,
};

struct value *op_exchange(struct graph *g, struct value *total)
{
    if (total && g->apart && g->mesh.ep == 1)
        return op_view(g, total,
                       shape_of(2, (int64_t)1, shape_elements(&total->shape)));
    struct node *n = total ? graph_add(g, &op_moe_exchange, NULL, &total, 1) : NULL;
    return n ? n->out[0] : NULL;
}

/* ------------------------------------------------------------------------- */

static int window_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    struct shape s = shape_of(2, shape_elements(&n->in[0]->shape) / g->mesh.ep,
                              (int64_t)(sizeof(struct nnd_segment) / sizeof(int32_t)));
    graph_out(g, n, NND_I32, s);
    graph_out(g, n, NND_I32, s);
    return 0;
}

/* Segments (source, local expert) of the round.  The weight's gradient of a
 * segment of no rows is set to zero in round 0, and added to afterwards. */
static int window_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    const struct expert_attr *at = n->attr;
    const struct mesh *m = &exec_graph(x)->mesh;
    struct rounds r = rounds_of(x, n->in[0], at->capacity);
    int local = r.experts / r.ranks;
    struct nnd_segment *by_weight = exec_data(x, n->out[0]);
    struct nnd_segment *by_leaf = exec_data(x, n->out[1]);
    int64_t row = 0;
    for (int i = 0; i < r.ranks * local; i++) {
        int64_t first, rows;
        rounds_segment(&r, exec_round(x), i / local, m->ep_rank * local + i % local,
                       &first, &rows);
        by_weight[i] = (struct nnd_segment){
            .row = (int32_t)row, .rows = (int32_t)rows, .index = i % local};
        by_leaf[i] = by_weight[i];
        by_leaf[i].index = i;
        by_leaf[i].accumulate = exec_round(x) > 0;
        row += rows;
    }
    return 0;
}

/* Of one rank, whose rows all come at once. */
static int window_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_balance *)params = (struct nnd_balance){
        .struct_size = sizeof(struct nnd_balance),
        .count = bind_vector(b, n->in[0]),
        .segments = bind_matrix(b, n->out[0]),
        .leaves = bind_matrix(b, n->out[1]),
    };
    return 0;
}

const struct op op_moe_window = {
    .name = "moe.window",
    .attr_size = sizeof(struct expert_attr),
    .shape = window_shape,
    .kernel = "moe.window",
    .params_size = sizeof(struct nnd_balance),
    .bind = window_bind,
    .run = window_run,
};

struct window op_window(struct graph *g, struct value *counts, int64_t capacity)
{
    struct expert_attr at = {.capacity = capacity};
    struct node *n = counts ? graph_add(g, &op_moe_window, &at, &counts, 1) : NULL;
    return n ? (struct window){n->out[0], n->out[1]} : (struct window){0};
}

/* ------------------------------------------------------------------------- */

/* Byte ranges of one round: this rank's sorted rows by destination, and the
 * arrivals by source. */
struct route_bytes {
    size_t sorted_len[MESH_MAX], sorted_off[MESH_MAX];
    size_t arrived_len[MESH_MAX], arrived_off[MESH_MAX];
};

static void find_bytes(struct exec *x, const struct rounds *r, size_t row_bytes,
                       struct route_bytes *b)
{
    int me = exec_graph(x)->mesh.ep_rank, local = r->experts / r->ranks;
    const int32_t *mine = r->counts + (int64_t)me * r->experts;
    int64_t sorted = 0, arrived = 0;
    for (int i = 0; i < r->ranks; i++) {
        int64_t start, unused, to = rounds_rows(r, exec_round(x), me, i, &start);
        int64_t from = rounds_rows(r, exec_round(x), i, me, &unused);
        b->sorted_len[i] = (size_t)to * row_bytes;
        b->sorted_off[i] = (size_t)(sorted + start) * row_bytes;
        b->arrived_len[i] = (size_t)from * row_bytes;
        b->arrived_off[i] = (size_t)arrived * row_bytes;
        arrived += from;
        for (int k = i * local; k < (i + 1) * local; k++)
            sorted += mine[k];
    }
}

static size_t row_bytes_of(const struct value *v)
{
    return (size_t)shape_cols(&v->shape) * dtype_size(v->dtype);
}

static int moved_shape(struct graph *g, struct node *n, int64_t rows)
{
    graph_out(g, n, n->in[0]->dtype, shape_of(2, rows, shape_cols(&n->in[0]->shape)));
    return 0;
}

static int dispatch_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    return moved_shape(g, n, ((const struct expert_attr *)n->attr)->capacity);
}

static int collect_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    return moved_shape(g, n, ((const struct expert_attr *)n->attr)->rows);
}

static int dispatch_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct expert_attr *at = n->attr;
    struct rounds r = rounds_of(x, n->in[1], at->capacity);
    struct route_bytes b;
    find_bytes(x, &r, row_bytes_of(n->in[0]), &b);
    return comm_alltoallv(exec_comms_of(x)->ep, exec_data(x, n->in[0]), b.sorted_len,
                          b.sorted_off, exec_data(x, n->out[0]), b.arrived_len,
                          b.arrived_off, e);
}

static int collect_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct expert_attr *at = n->attr;
    struct rounds r = rounds_of(x, n->in[1], at->capacity);
    struct route_bytes b;
    find_bytes(x, &r, row_bytes_of(n->in[0]), &b);
    return comm_alltoallv(exec_comms_of(x)->ep, exec_data(x, n->in[0]), b.arrived_len,
                          b.arrived_off, exec_data(x, n->out[0]), b.sorted_len,
                          b.sorted_off, e);
}

static void dispatch_grad(struct graph *g, const struct node *n)
{
    const struct expert_attr *at = n->attr;
    grad_add(g, n->in[0],
             op_collect(g, grad_of(g, n->out[0]), n->in[1], at->capacity, at->rows));
}

static void collect_grad(struct graph *g, const struct node *n)
{
    const struct expert_attr *at = n->attr;
    grad_add(g, n->in[0],
             op_dispatch(g, grad_of(g, n->out[0]), n->in[1], at->capacity));
}

/* Handed over, kept rows included: the split is up to the routing. */
static int64_t moved_wire(const struct graph *g, const struct node *n)
{
    (void)g;
    const struct expert_attr *at = n->attr;
    return at->rows * (int64_t)row_bytes_of(n->in[0]);
}

const struct op op_moe_dispatch = {
    .name = "moe.dispatch",
    .attr_size = sizeof(struct expert_attr),
    .shape = dispatch_shape,
    .grad = dispatch_grad,
    .run = dispatch_run,
    .wire = moved_wire,
    .routed = true,
};

const struct op op_moe_collect = {
    .name = "moe.collect",
    .attr_size = sizeof(struct expert_attr),
    .shape = collect_shape,
    .grad = collect_grad,
    .run = collect_run,
    .wire = moved_wire,
    .routed = true,
};

static struct value *move(struct graph *g, const struct op *op, struct value *v,
                          struct value *counts, struct expert_attr at)
{
    if (!v || !counts)
        return NULL;
    if (g->mesh.ep == 1)
        return v;
    struct value *in[] = {v, counts};
    struct node *n = graph_add(g, op, &at, in, 2);
    return n ? n->out[0] : NULL;
}

struct value *op_dispatch(struct graph *g, struct value *x, struct value *counts,
                          int64_t capacity)
{
    struct expert_attr at = {.capacity = capacity,
                             .rows = x ? shape_rows(&x->shape) : 0};
    return move(g, &op_moe_dispatch, x, counts, at);
}

struct value *op_collect(struct graph *g, struct value *y, struct value *counts,
                         int64_t capacity, int64_t rows)
{
    struct expert_attr at = {.capacity = capacity, .rows = rows};
    return move(g, &op_moe_collect, y, counts, at);
}
