/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_report.c - what all ranks know of a step when it ends.
 *
 *   moe.load      add a layer's counts to the step's loads
 *   load.reduce   the loads of all ranks; whole numbers, so any order serves
 *   stats.gather  every chunk's row of statistics to every rank
 */
#include "graph/exec.h"
#include "graph/op_list.h"
#include "graph/ops.h"

static int no_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)g;
    (void)n;
    (void)e;
    return 0;
}

struct load_attr {
    int row;
};

static int load_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    const struct load_attr *at = n->attr;
    int64_t experts = shape_cols(&n->in[0]->shape);
    const int32_t *count = exec_data(x, n->in[0]);
    int64_t *load = (int64_t *)exec_data(x, n->in[1]) + at->row * experts;
    for (int64_t i = 0; i < shape_elements(&n->in[0]->shape); i++)
        load[i % experts] += count[i];
    return 0;
}

static int load_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct load_attr *at = n->attr;
    struct nnd_tensor load = bind_vector(b, n->in[1]);
    load.dim[0] = shape_cols(&n->in[0]->shape);
    bind_behind(&load, at->row * load.dim[0]);
    if (b)
        load.data = (int64_t *)load.data + at->row * load.dim[0];
    *(struct nnd_balance *)params = (struct nnd_balance){
        .struct_size = sizeof(struct nnd_balance),
        .count = bind_matrix(b, n->in[0]),
        .load = load,
        .top_k = 1,
        .layers = 1,
    };
    return 0;
}

const struct op op_moe_load = {.name = "moe.load",
                               .attr_size = sizeof(struct load_attr),
                               .shape = no_shape,
                               .kernel = "moe.balance",
                               .params_size = sizeof(struct nnd_balance),
                               .bind = load_bind,
                               .run = load_run};

void op_load(struct graph *g, struct value *count, struct value *load, int row)
{
    struct value *in[] = {count, load};
    struct load_attr at = {row};
    if (count && load)
        graph_add(g, &op_moe_load, &at, in, 2);
}

/* ------------------------------------------------------------------------- */

static int load_reduce_run(struct exec *x, const struct node *n, struct err *e)
{
    return comm_allreduce(exec_comms_of(x)->world, exec_data(x, n->in[0]),
                          (size_t)shape_elements(&n->in[0]->shape), COMM_SUM, e);
}

static int64_t load_reduce_wire(const struct graph *g, const struct node *n)
{
    return (int64_t)value_bytes(n->in[0]) * (g->mesh.dp - 1);
}

const struct op op_load_reduce = {.name = "load.reduce",
                                  .shape = no_shape,
                                  .run = load_reduce_run,
                                  .wire = load_reduce_wire};

void op_load_sum(struct graph *g, struct value *load)
{
    if (load && g->mesh.dp > 1)
        graph_add(g, &op_load_reduce, NULL, &load, 1);
}

/* ------------------------------------------------------------------------- */

static size_t stats_bytes(const struct graph *g)
{
    return (size_t)g->mesh.chunks_local * STATS_COUNT * sizeof(double);
}

static int stats_gather_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct graph *g = exec_graph(x);
    size_t len[MESH_MAX], off[MESH_MAX];
    for (int r = 0; r < g->mesh.dp; r++) {
        len[r] = stats_bytes(g);
        off[r] = (size_t)mesh_chunk(&g->mesh, r, 0) * STATS_COUNT * sizeof(double);
    }
    return comm_allgatherv(exec_comms_of(x)->world, exec_data(x, n->in[0]), len, off,
                           e);
}

static int64_t stats_gather_wire(const struct graph *g, const struct node *n)
{
    (void)n;
    return (int64_t)stats_bytes(g) * (g->mesh.dp - 1);
}

const struct op op_stats_gather = {.name = "stats.gather",
                                   .shape = no_shape,
                                   .run = stats_gather_run,
                                   .wire = stats_gather_wire};

void op_stats_all(struct graph *g, struct value *stats)
{
    if (stats && g->mesh.dp > 1)
        graph_add(g, &op_stats_gather, NULL, &stats, 1);
}
