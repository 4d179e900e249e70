/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c - appending values, weights, nodes and loops to a graph.
 */
#include "graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "graph/op.h"
#include "tensor/dtype.h"

/* Offsets of weights within a plane: tensors start at multiples of this. */
#define PLANE_ALIGN 16

struct graph *graph_create(const struct mesh *mesh, int act, int wide)
{
    struct arena *mem = arena_create();
    struct graph *g = arena_alloc(mem, sizeof(*g));
    g->mem = mem;
    g->mesh = *mesh;
    g->act = act;
    g->wide = wide;
    g->wire = wide;
    g->nloop = 1;
    g->cap_loop = 8;
    g->loop = arena_calloc(mem, (size_t)g->cap_loop, sizeof(*g->loop));
    return g;
}

void graph_destroy(struct graph *g)
{
    if (g)
        arena_destroy(g->mem);
}

int graph_status(const struct graph *g, struct err *e)
{
    return g->err.code ? err_set(e, (enum err_code)g->err.code, "%s", g->err.text) : 0;
}

void *graph_fail(struct graph *g, const char *fmt, ...)
{
    if (g->err.code)
        return NULL;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err_set(&g->err, ERR_FAILED, "%s", text);
    return NULL;
}

/* Room for one more element in an arena-owned array of pointers or structs. */
static void *grow(struct graph *g, void *array, int n, int *cap, size_t size)
{
    if (n < *cap)
        return array;
    int more = *cap ? 2 * *cap : 64;
    void *p = arena_calloc(g->mem, (size_t)more, size);
    if (n)
        memcpy(p, array, (size_t)n * size);
    *cap = more;
    return p;
}

/* ------------------------------------------------------------------------- */

struct shape shape_of(int ndim, ...)
{
    struct shape s = {.ndim = ndim};
    va_list ap;
    va_start(ap, ndim);
    for (int i = 0; i < ndim; i++)
        s.dim[i] = va_arg(ap, int64_t);
    va_end(ap);
    return s;
}

int64_t shape_elements(const struct shape *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->ndim != b->ndim)
        return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

int64_t shape_cols(const struct shape *s)
{
    return s->ndim ? s->dim[s->ndim - 1] : 1;
}

int64_t shape_rows(const struct shape *s)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < s->ndim; i++)
        n *= s->dim[i];
    return n;
}

size_t value_bytes(const struct value *v)
{
    return (size_t)shape_elements(&v->shape) * dtype_size(v->dtype);
}

/* ------------------------------------------------------------------------- */

int graph_program(struct graph *g, const char *name)
{
    if (g->nprogram == GRAPH_PROGRAMS) {
        graph_fail(g, "graph: more than %d programs", GRAPH_PROGRAMS);
        return 0;
    }
    g->program[g->nprogram] = (struct program){
        .name = arena_strdup(g->mem, name), .first = g->nnode, .end = g->nnode};
    g->nblock = 0;
    return g->nprogram++;
}

int graph_find_program(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->nprogram; i++)
        if (strcmp(g->program[i].name, name) == 0)
            return i;
    return -1;
}

void graph_scope(struct graph *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->scope, sizeof(g->scope), fmt, ap);
    va_end(ap);
}

static struct value *new_value(struct graph *g, const char *name, int dtype,
                               struct shape s, enum storage storage)
{
    struct value *v = arena_alloc(g->mem, sizeof(*v));
    v->name = name;
    v->id = g->nvalue;
    v->dtype = dtype;
    v->shape = s;
    v->storage = storage;
    v->root = v;
    g->value = grow(g, g->value, g->nvalue, &g->cap_value, sizeof(*g->value));
    g->value[g->nvalue++] = v;
    return v;
}

struct value *graph_find(const struct graph *g, const char *name)
{
    for (int i = 0; i < g->nvalue; i++)
        if (g->value[i]->storage != STORAGE_ARENA &&
            strcmp(g->value[i]->name, name) == 0)
            return g->value[i];
    return NULL;
}

static struct value *lasting(struct graph *g, const char *name, int dtype,
                             struct shape s, enum storage storage)
{
    struct value *v = graph_find(g, name);
    if (!v)
        return new_value(g, arena_strdup(g->mem, name), dtype, s, storage);
    if (v->dtype != dtype || !shape_equal(&v->shape, &s) || v->storage != storage)
        return graph_fail(g, "%s: asked for again with another shape or type", name);
    return v;
}

struct value *graph_input(struct graph *g, const char *name, int dtype, struct shape s)
{
    return lasting(g, name, dtype, s, STORAGE_INPUT);
}

struct value *graph_state(struct graph *g, const char *name, int dtype, struct shape s)
{
    return lasting(g, name, dtype, s, STORAGE_STATE);
}

struct value *graph_constant(struct graph *g, const char *name, int dtype,
                             struct shape s, constant_f *fill)
{
    struct value *v = graph_state(g, name, dtype, s);
    if (v)
        v->fill = fill;
    return v;
}

struct value *graph_index(struct graph *g, int64_t first, int64_t stride, int64_t count)
{
    char name[80];
    snprintf(name, sizeof(name), "index.%lld.%lld.%lld", (long long)first,
             (long long)stride, (long long)count);
    struct value *v = graph_state(g, name, NND_I32, shape_of(1, count));
    if (v) {
        v->first = first;
        v->stride = stride;
    }
    return v;
}

struct value *graph_numbers(struct graph *g, const char *name, const int32_t *number,
                            int64_t count)
{
    struct value *v = graph_state(g, name, NND_I32, shape_of(1, count));
    if (v)
        v->number = number;
    return v;
}

/* ------------------------------------------------------------------------- */

static int find_plane(struct graph *g, enum param_group group, int dtype)
{
    for (int i = 0; i < g->nplane; i++)
        if (g->plane[i].group == group && g->plane[i].dtype == dtype)
            return i;
    if (g->nplane == GRAPH_PLANES) {
        graph_fail(g, "graph: more than %d kinds of weights", GRAPH_PLANES);
        return 0;
    }
    g->plane[g->nplane] = (struct plane){.group = group, .dtype = dtype};
    return g->nplane++;
}

/* Put a weight at the end of its plane. */
static void place_param(struct graph *g, struct param *p)
{
    p->plane = find_plane(g, p->group, p->value->dtype);
    struct plane *pl = &g->plane[p->plane];
    p->offset = pl->elements;
    int64_t n = shape_elements(&p->value->shape);
    pl->elements += (n + PLANE_ALIGN - 1) / PLANE_ALIGN * PLANE_ALIGN;
}

static struct value *new_param(struct graph *g, struct param p, int dtype,
                               struct shape s)
{
    struct value *v = graph_find(g, p.name);
    if (v) {
        if (v->dtype != dtype || !shape_equal(&v->shape, &s) || !v->param)
            return graph_fail(g, "%s: weight asked for with another shape", p.name);
        return v;
    }
    p.name = arena_strdup(g->mem, p.name);
    v = new_value(g, p.name, dtype, s, STORAGE_PARAM);
    v->wants_grad = true;
    p.value = v;
    v->param = arena_memdup(g->mem, &p, sizeof(p));
    place_param(g, v->param);
    g->param = grow(g, g->param, g->nparam, &g->cap_param, sizeof(*g->param));
    g->param[g->nparam++] = v->param;
    return v;
}

struct value *graph_weight(struct graph *g, const char *name, int dtype, struct shape s,
                           struct param_init init, bool decay)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s%s", g->scope, g->scope[0] ? "." : "", name);
    struct param p = {.name = full, .group = PARAM_DENSE, .decay = decay, .init = init};
    return new_param(g, p, dtype ? dtype : g->act, s);
}

struct value *graph_stack(struct graph *g, const char *name, int total, int first,
                          int count, struct shape s, struct param_init init)
{
    char full[256];
    snprintf(full, sizeof(full), "%s%s%s", g->scope, g->scope[0] ? "." : "", name);
    struct shape stacked = {.ndim = s.ndim + 1, .dim = {count}};
    if (stacked.ndim > GRAPH_DIMS)
        return graph_fail(g, "%s: more than %d dimensions", full, GRAPH_DIMS);
    memcpy(stacked.dim + 1, s.dim, (size_t)s.ndim * sizeof(s.dim[0]));
    struct param p = {.name = full,
                      .group = PARAM_EXPERT,
                      .stack = count,
                      .first = first,
                      .total = total,
                      .decay = true,
                      .init = init};
    return new_param(g, p, g->act, stacked);
}

struct value *graph_grad(struct graph *g, struct param *p)
{
    if (!p->grad) {
        p->grad = new_value(g, p->name, g->wide, p->value->shape, STORAGE_GRAD);
        p->grad->param = p;
    }
    return p->grad;
}

void param_name(const struct param *p, int i, char *out, size_t size)
{
    const char *hole = p->stack ? strstr(p->name, "{}") : NULL;
    if (!hole)
        snprintf(out, size, "%s", p->name);
    else
        snprintf(out, size, "%.*s%d%s", (int)(hole - p->name), p->name, p->first + i,
                 hole + 2);
}

/* ------------------------------------------------------------------------- */

struct value *graph_out(struct graph *g, struct node *n, int dtype, struct shape s)
{
    if (n->nout == GRAPH_OUTPUTS)
        return graph_fail(g, "%s: more than %d outputs", n->where, GRAPH_OUTPUTS);
    struct value *v = new_value(g, n->where, dtype, s, STORAGE_ARENA);
    v->maker = n;
    n->out[n->nout++] = v;
    return v;
}

struct value *graph_out_view(struct graph *g, struct node *n, struct value *of,
                             int64_t offset, struct shape s)
{
    struct value *v = graph_out(g, n, of->dtype, s);
    if (!v)
        return NULL;
    v->storage = of->storage;
    v->root = of->root;
    v->root_offset = of->root_offset + offset;
    v->param = of->param;
    return v;
}

static void mark_grads(struct node *n)
{
    bool any = false;
    for (int i = 0; i < n->nin; i++)
        any |= n->in[i] && n->in[i]->wants_grad;
    for (int i = 0; i < n->nout; i++)
        n->out[i]->wants_grad = any && n->op->grad != NULL;
}

void graph_append(struct graph *g, struct node *n)
{
    g->node = grow(g, g->node, g->nnode, &g->cap_node, sizeof(*g->node));
    n->id = g->nnode;
    g->node[g->nnode++] = n;
    g->program[n->program].end = g->nnode;
}

struct node *graph_add(struct graph *g, const struct op *op, const void *attr,
                       struct value *const *in, int nin)
{
    if (g->err.code)
        return NULL;
    if (nin > GRAPH_INPUTS || !g->nprogram)
        return graph_fail(g, "%s: %s: %s", g->scope, op->name,
                          g->nprogram ? "too many inputs" : "no program is open");
    struct node *n = arena_alloc(g->mem, sizeof(*n));
    n->op = op;
    n->id = g->nnode;
    n->program = g->nprogram - 1;
    n->loop = g->open_loop;
    n->block = g->block;
    n->where =
        arena_printf(g->mem, "%s%s%s", g->scope, g->scope[0] ? "." : "", op->name);
    n->attr = op->attr_size ? arena_memdup(g->mem, attr, op->attr_size) : NULL;
    n->nin = nin;
    if (nin)
        memcpy(n->in, in, (size_t)nin * sizeof(*in));
    if (op->shape(g, n, &g->err))
        return NULL;
    mark_grads(n);
    graph_append(g, n);
    return n;
}

void graph_block(struct graph *g)
{
    g->block = ++g->nblock;
}

void graph_block_end(struct graph *g)
{
    g->block = 0;
}

void graph_loop_begin(struct graph *g, const struct value *counts, int64_t capacity,
                      bool descending)
{
    g->loop = grow(g, g->loop, g->nloop, &g->cap_loop, sizeof(*g->loop));
    g->loop[g->nloop] = (struct loop){.first = g->nnode,
                                      .counts = counts,
                                      .capacity = capacity,
                                      .descending = descending};
    g->open_loop = g->nloop++;
}

void graph_loop_end(struct graph *g)
{
    g->loop[g->open_loop].end = g->nnode;
    g->open_loop = 0;
}
