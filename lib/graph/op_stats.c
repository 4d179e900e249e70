/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_stats.c - what a chunk leaves behind for people: losses and expert loads.
 *
 *   stats.begin  clear this chunk's row of the statistics
 *   stats.loss   its loss: the f64 sum over rows, in row order
 *   moe.tally    add a layer's counts and probabilities to running totals
 *   moe.balance  the balancing losses, their values and their gradients' weights
 *                (Fedus et al. 2021, eq. 4-6; Zoph et al. 2022, eq. 5)
 *
 * Where the host is apart from the device, kernels do the same (graph.apart).
 *
 * One row of statistics belongs to one chunk, so that the sum over chunks can
 * follow the tree whatever the layout (op_report.c brings them together).  Only
 * forward writes here.
 */
#include <string.h>

#include "graph/exec.h"
#include "graph/op_list.h"
#include "graph/ops.h"

static double *stats_row(struct exec *x, const struct value *stats)
{
    const struct mesh *m = &exec_graph(x)->mesh;
    int chunk = mesh_chunk(m, m->rank, exec_position(x));
    return (double *)exec_data(x, stats) + chunk * STATS_COUNT;
}

/* `count` numbers from column `first` of the row, for kernels. */
static struct nnd_tensor stats_part(const struct bind *b, const struct value *stats,
                                    int first, int count)
{
    struct nnd_tensor t = bind_vector(b, stats);
    t.dim[0] = count;
    bind_behind(&t, STATS_COUNT);
    bind_behind(&t, first);
    if (b) {
        const struct mesh *m = &exec_graph(b->exec)->mesh;
        t.data = (double *)t.data + mesh_chunk(m, m->rank, b->position) * STATS_COUNT +
                 first;
    }
    return t;
}

static int no_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)g;
    (void)n;
    (void)e;
    return 0;
}

static int begin_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    memset(stats_row(x, n->in[0]), 0, STATS_COUNT * sizeof(double));
    return 0;
}

static int begin_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_sum *)params = (struct nnd_sum){
        .struct_size = sizeof(struct nnd_sum),
        .y = stats_part(b, n->in[0], 0, STATS_COUNT),
        .x = {bind_vector(b, n->in[1])},
        .n = 1,
    };
    return 0;
}

const struct op op_stats_start = {.name = "stats.begin",
                                  .shape = no_shape,
                                  .kernel = "sum",
                                  .params_size = sizeof(struct nnd_sum),
                                  .by_chunk = true,
                                  .bind = begin_bind,
                                  .run = begin_run};

static void zeros(const struct shape *s, float *out)
{
    memset(out, 0, (size_t)shape_elements(s) * sizeof(*out));
}

void op_stats_begin(struct graph *g, struct value *stats)
{
    if (!stats)
        return;
    struct value *in[] = {stats, NULL};
    if (g->apart)
        in[1] = graph_constant(g, "stats.zero", NND_F64,
                               shape_of(1, (int64_t)STATS_COUNT), zeros);
    graph_add(g, &op_stats_start, NULL, in, g->apart ? 2 : 1);
}

/* ------------------------------------------------------------------------- */

static int loss_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    int64_t rows = shape_elements(&n->in[0]->shape);
    const void *loss = exec_data(x, n->in[0]);
    bool f64 = n->in[0]->dtype == NND_F64;
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
        sum += f64 ? ((const double *)loss)[i] : (double)((const float *)loss)[i];
    stats_row(x, n->in[1])[STATS_LOSS] = sum;
    return 0;
}

static int loss_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_total *)params = (struct nnd_total){
        .struct_size = sizeof(struct nnd_total),
        .x = bind_vector(b, n->in[0]),
        .y = stats_part(b, n->in[1], STATS_LOSS, 1),
    };
    return 0;
}

const struct op op_stats_sum = {.name = "stats.loss",
                                .shape = no_shape,
                                .kernel = "total",
                                .params_size = sizeof(struct nnd_total),
                                .by_chunk = true,
                                .bind = loss_bind,
                                .run = loss_run};

void op_stats_loss(struct graph *g, struct value *loss, struct value *stats)
{
    struct value *in[] = {loss, stats};
    if (loss && stats)
        graph_add(g, &op_stats_sum, NULL, in, 2);
}

/* ------------------------------------------------------------------------- */

static int tally_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    graph_out(g, n, NND_I32, n->in[0]->shape);
    graph_out(g, n, NND_F64, n->in[1]->shape);
    return 0;
}

static int tally_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    const int32_t *c = exec_data(x, n->in[0]), *c0 = exec_data(x, n->in[2]);
    const double *p = exec_data(x, n->in[1]), *p0 = exec_data(x, n->in[3]);
    int32_t *count = exec_data(x, n->out[0]);
    double *psum = exec_data(x, n->out[1]);
    for (int64_t i = 0; i < shape_elements(&n->in[0]->shape); i++) {
        count[i] = c0[i] + c[i];
        psum[i] = p0[i] + p[i];
    }
    return 0;
}

static int tally_bind(const struct node *n, const struct bind *b, void *params)
{
    *(struct nnd_balance *)params = (struct nnd_balance){
        .struct_size = sizeof(struct nnd_balance),
        .count = bind_matrix(b, n->in[0]),
        .psum = bind_matrix(b, n->in[1]),
        .count0 = bind_matrix(b, n->in[2]),
        .psum0 = bind_matrix(b, n->in[3]),
        .count_sum = bind_matrix(b, n->out[0]),
        .psum_sum = bind_matrix(b, n->out[1]),
        .top_k = 1,
        .layers = 1,
    };
    return 0;
}

const struct op op_moe_tally = {.name = "moe.tally",
                                .shape = tally_shape,
                                .kernel = "moe.balance",
                                .params_size = sizeof(struct nnd_balance),
                                .bind = tally_bind,
                                .run = tally_run};

struct tally op_tally(struct graph *g, struct tally sum, struct tally more)
{
    if (!sum.count)
        return more;
    struct value *in[] = {more.count, more.psum, sum.count, sum.psum};
    struct node *n = more.count ? graph_add(g, &op_moe_tally, NULL, in, 4) : NULL;
    return n ? (struct tally){n->out[0], n->out[1]} : (struct tally){0};
}

/* ------------------------------------------------------------------------- */

static int balance_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    graph_out(g, n, g->wide, n->in[0]->shape);
    graph_out(g, n, NND_F32, shape_of(1, (int64_t)1)); /* read through a pointer */
    return 0;
}

static void put(const struct value *v, void *data, int64_t i, double x)
{
    if (v->dtype == NND_F64)
        ((double *)data)[i] = x;
    else
        ((float *)data)[i] = (float)x;
}

static double get(const struct value *v, const void *data, int64_t i)
{
    return v->dtype == NND_F64 ? ((const double *)data)[i]
                               : (double)((const float *)data)[i];
}

/* One balancing group: rows seen follow from the counts, as each row has top_k
 * choices a layer.  Returns its loss; weight[i] = d loss / d p_ti. */
static double balance_group(const struct balance_config *c, const int32_t *count,
                            const double *psum, int experts, double *weight)
{
    double rows = 0, loss = 0, norm;
    for (int i = 0; i < experts; i++)
        rows += count[i];
    rows /= c->top_k;
    norm = rows > 0 ? experts / (rows * rows * (c->concat ? 1 : c->top_k)) : 0;
    for (int i = 0; i < experts; i++) {
        weight[i] = norm * count[i];
        loss += weight[i] * psum[i];
    }
    return loss;
}

static int balance_run(struct exec *x, const struct node *n, struct err *e)
{
    (void)e;
    const struct balance_config *c = n->attr;
    int experts = (int)shape_cols(&n->in[0]->shape);
    int64_t groups = shape_rows(&n->in[0]->shape);
    const int32_t *count = exec_data(x, n->in[0]);
    const double *psum = exec_data(x, n->in[1]), *zsq = exec_data(x, n->in[2]);
    double scale = get(n->in[4], exec_data(x, n->in[4]), 0);
    void *weight = exec_data(x, n->out[0]);
    double loss = 0, rows = 0, w[BALANCE_EXPERTS_MAX];
    for (int64_t i = 0; i < groups; i++) {
        loss += balance_group(c, count + i * experts, psum + i * experts, experts, w);
        for (int k = 0; k < experts; k++) {
            put(n->out[0], weight, i * experts + k,
                c->aux_coef * scale * w[k] / groups);
            rows += count[i * experts + k];
        }
    }
    rows /= c->top_k * c->layers;
    put(n->out[1], exec_data(x, n->out[1]), 0, rows > 0 ? c->z_coef * scale / rows : 0);
    double *row = stats_row(x, n->in[3]);
    row[STATS_AUX] += c->aux_coef > 0 ? loss / (double)groups : 0;
    row[STATS_Z] += c->z_coef > 0 && rows > 0 ? *zsq / rows : 0;
    return 0;
}

static int balance_bind(const struct node *n, const struct bind *b, void *params)
{
    const struct balance_config *c = n->attr;
    *(struct nnd_balance *)params = (struct nnd_balance){
        .struct_size = sizeof(struct nnd_balance),
        .count = bind_matrix(b, n->in[0]),
        .psum = bind_matrix(b, n->in[1]),
        .zsq = bind_vector(b, n->in[2]),
        .aux_weight = bind_matrix(b, n->out[0]),
        .z_weight = bind_vector(b, n->out[1]),
        .stats = stats_part(b, n->in[3], STATS_AUX, 2),
        .scale = bind_data(b, n->in[4]),
        .aux_coef = c->aux_coef,
        .z_coef = c->z_coef,
        .top_k = c->top_k,
        .layers = c->layers,
        .concat = c->concat,
    };
    return 0;
}

const struct op op_moe_balance = {
    .name = "moe.balance",
    .attr_size = sizeof(struct balance_config),
    .shape = balance_shape,
    .kernel = "moe.balance",
    .params_size = sizeof(struct nnd_balance),
    .by_chunk = true,
    .bind = balance_bind,
    .run = balance_run,
};

struct balance op_balance(struct graph *g, struct balance_config c, struct tally t,
                          struct value *zsq, struct value *stats, struct value *scale)
{
    struct value *in[] = {t.count, t.psum, zsq, stats, scale};
    for (int i = 0; i < 5; i++)
        if (!in[i])
            return (struct balance){0};
    if (shape_cols(&t.count->shape) > BALANCE_EXPERTS_MAX) {
        graph_fail(g, "model.moe.experts: wanted at most %d", BALANCE_EXPERTS_MAX);
        return (struct balance){0};
    }
    struct node *n = graph_add(g, &op_moe_balance, &c, in, 5);
    return n ? (struct balance){n->out[0], n->out[1]} : (struct balance){0};
}
