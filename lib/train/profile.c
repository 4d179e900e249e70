/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c - the time of nodes: by operator, slowest first, and by layer, in the order
 * of the model.
 */
#include <ctype.h>
#include <stdio.h>
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

static void by_operator(struct trainer *t, struct buf *out)
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
}

/* --- layers --------------------------------------------------------------- */

struct layer {
    char name[64];
    int64_t forward, backward; /* ns; all of what is neither is forward's */
    double flops;
};

/* How much of "model.layers.3.mlp.up_proj" names its layer: up to the number, or two
 * parts where there is none. */
static int layer_length(const char *where)
{
    int at = 0, part = 0;
    for (int i = 0, begin = 0;; i++) {
        if (where[i] != '.' && where[i])
            continue;
        bool number = isdigit((unsigned char)where[begin]);
        part++;
        if (number || part <= 2)
            at = i;
        if (number || !where[i])
            return at;
        begin = i + 1;
    }
}

/* What neither forward nor backward runs goes by the name of its program. */
static void name_layer(const struct trainer *t, const struct node *n, char *out,
                       size_t size)
{
    bool inside = n->program == t->p.forward || n->program == t->p.backward;
    const char *name = inside ? n->where : t->p.g->program[n->program].name;
    int length = inside ? layer_length(name) : (int)strlen(name);
    snprintf(out, size, "%.*s", length, name);
}

static struct layer *find_layer(struct layer *all, int *count, const char *name)
{
    for (int i = 0; i < *count; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    struct layer *l = &all[(*count)++];
    snprintf(l->name, sizeof(l->name), "%s", name);
    return l;
}

static int sum_layers(const struct trainer *t, struct layer *layer, int64_t *total)
{
    const struct exec_cost *cost = exec_profile(t->x);
    int count = 0;
    for (int i = 0; i < t->p.g->nnode; i++) {
        const struct node *n = t->p.g->node[i];
        char name[sizeof(layer->name)];
        if (!cost[i].calls)
            continue;
        name_layer(t, n, name, sizeof(name));
        struct layer *l = find_layer(layer, &count, name);
        *(n->program == t->p.backward ? &l->backward : &l->forward) += cost[i].ns;
        if (n->op->flops)
            l->flops += (double)n->op->flops(n) * (double)cost[i].calls;
        *total += cost[i].ns;
    }
    return count;
}

static void by_layer(struct trainer *t, struct buf *out)
{
    struct layer *layer = calloc((size_t)t->p.g->nnode + 1, sizeof(*layer));
    int64_t total = 0;
    int n = layer ? sum_layers(t, layer, &total) : 0;
    for (int i = 0; i < n; i++) {
        int64_t ns = layer[i].forward + layer[i].backward;
        buf_printf(out, "%-26s %6.2f %%  %9.3f s  backward %9.3f s  %7.1f GFLOP/s\n",
                   layer[i].name, 100.0 * (double)ns / (double)total,
                   (double)layer[i].forward * 1e-9, (double)layer[i].backward * 1e-9,
                   layer[i].flops / (double)ns);
    }
    free(layer);
}

void trainer_eager(const struct trainer *t, struct buf *out)
{
    const struct graph *g = t->p.g;
    for (int i = 0; i < g->nprogram; i++) {
        const char *why = exec_eager(t->x, i);
        const char *next = i + 1 < g->nprogram ? exec_eager(t->x, i + 1) : NULL;
        if (!why)
            continue;
        buf_printf(out, "%s", g->program[i].name);
        if (next && strcmp(why, next) == 0)
            buf_printf(out, ", ");
        else
            buf_printf(out, ": launched node by node: %s\n", why);
    }
}

static void put_way(struct buf *out, const char *what, struct exec_way w)
{
    bool host = strcmp(w.by, "host") == 0;
    buf_printf(out, "%s %s %s: %s\n", what,
               host ? "pass the" : "go from device to device by", w.by, w.why);
}

void trainer_ways(const struct trainer *t, struct buf *out)
{
    struct exec_way dense = exec_way(t->x, PARAM_DENSE),
                    expert = exec_way(t->x, PARAM_EXPERT);
    bool alike = !expert.by || (dense.by && strcmp(dense.by, expert.by) == 0 &&
                                strcmp(dense.why, expert.why) == 0);
    if (dense.by)
        put_way(out, "gradients and weights", dense);
    if (!alike)
        put_way(out, "gradients and weights of experts", expert);
}

void trainer_profile(struct trainer *t, struct buf *out)
{
    by_operator(t, out);
    buf_printf(out, "\n");
    by_layer(t, out);
    trainer_eager(t, out);
    trainer_ways(t, out);
    exec_profile_reset(t->x);
}
