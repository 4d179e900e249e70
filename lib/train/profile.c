/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c - the time of nodes, by operator, slowest first.
 */
#include <stdlib.h>
#include <string.h>

#include "train/trainer_impl.h"

struct line {
    const struct op *op;
    int64_t ns, calls;
    double flops;
};

static int slowest_first(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    return (x->ns < y->ns) - (x->ns > y->ns);
}

static size_t count_ops(void)
{
    size_t n = 0;
    while (op_table[n])
        n++;
    return n;
}

static void add_node(struct line *line, size_t n, const struct node *node,
                     const struct exec_cost *cost)
{
    for (size_t i = 0; i < n; i++) {
        if (line[i].op != node->op)
            continue;
        line[i].ns += cost->ns;
        line[i].calls += cost->calls;
        if (node->op->flops)
            line[i].flops += (double)node->op->flops(node) * (double)cost->calls;
    }
}

void trainer_profile(struct trainer *t, struct buf *out)
{
    size_t n = count_ops();
    struct line *line = calloc(n, sizeof(*line));
    const struct exec_cost *cost = exec_profile(t->x);
    int64_t total = 0;
    for (size_t i = 0; line && i < n; i++)
        line[i].op = op_table[i];
    for (int i = 0; line && i < t->p.g->nnode; i++) {
        add_node(line, n, t->p.g->node[i], &cost[i]);
        total += cost[i].ns;
    }
    if (line)
        qsort(line, n, sizeof(*line), slowest_first);
    for (size_t i = 0; line && i < n && line[i].ns; i++)
        buf_printf(out, "%-18s %6.2f %%  %9.3f s  %8lld calls  %7.1f GFLOP/s\n",
                   line[i].op->name, 100.0 * (double)line[i].ns / (double)total,
                   (double)line[i].ns * 1e-9, (long long)line[i].calls,
                   line[i].flops / (double)line[i].ns);
    free(line);
    exec_profile_reset(t->x);
}
