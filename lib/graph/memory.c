/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.c - liveness, and a first-fit place for every value.
 *
 * Node numbers are time.  A value lives from its maker to the last node that
 * reads it or a view of it; whatever touches a loop from outside lives through
 * the whole loop, because the loop's nodes run again.
 *
 * Which value is placed first decides how much is left between them: several orders
 * are tried, and the one that takes least is kept.
 */
#include "graph/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/dtype.h"

struct life {
    struct value *v;
    int from, to;
    size_t offset, bytes;
};

static size_t align_up(size_t n)
{
    return (n + MEMORY_ALIGN - 1) / MEMORY_ALIGN * MEMORY_ALIGN;
}

enum region memory_region(const struct value *v)
{
    static const enum region by_storage[] = {
        [STORAGE_PARAM] = REGION_PARAM, [STORAGE_GRAD] = REGION_GRAD,
        [STORAGE_STATE] = REGION_STATE, [STORAGE_INPUT] = REGION_INPUT,
        [STORAGE_ARENA] = REGION_ARENA,
    };
    const struct value *r = v->root;
    return r->storage == STORAGE_ARENA && r->slotted ? REGION_SLOT
                                                     : by_storage[r->storage];
}

/* Node n touches the root of another program's.  With one slot, what a program leaves
 * to the one that runs right behind it is in nobody's way: all of both is one time. */
static void cross(const struct graph *g, struct value *root, const struct node *n,
                  int slots)
{
    root->saved = true;
    if (slots > 1 || g->program[n->program].behind != root->maker->program + 1)
        root->slotted = true;
}

/* Node n touches v: stretch the life of v's root.  `loop` is where the root is
 * made (0: outside). */
static void touch(const struct graph *g, struct life *lives, const struct value *v,
                  const struct node *n, int slots)
{
    struct value *root = v->root;
    struct life *l = &lives[root->id];
    int made_in = root->maker ? root->maker->loop : 0;
    int from = n->id, to = n->id;
    if (n->loop && n->loop != made_in) {
        from = g->loop[n->loop].first;
        to = g->loop[n->loop].end - 1;
    }
    if (made_in && n->loop != made_in && g->loop[made_in].first < from)
        from = g->loop[made_in].first;
    if (!l->v || from < l->from)
        l->from = from;
    if (!l->v || to > l->to)
        l->to = to;
    l->v = root;
    if (root->storage == STORAGE_ARENA && root->maker &&
        n->program != root->maker->program)
        cross(g, root, n, slots);
}

static void find_lives(const struct graph *g, struct life *lives, int slots)
{
    for (int i = 0; i < g->nnode; i++) {
        const struct node *n = g->node[i];
        for (int j = 0; j < n->nin; j++)
            if (n->in[j])
                touch(g, lives, n->in[j], n, slots);
        for (int j = 0; j < n->nout; j++)
            touch(g, lives, n->out[j], n, slots);
    }
}

/* Orders of placing; ids make them the same everywhere. */
static int by_birth(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->v->id > y->v->id) - (x->v->id < y->v->id);
}

static int by_size(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return by_birth(a, b);
}

static int by_age(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->to - x->from != y->to - y->from)
        return x->to - x->from > y->to - y->from ? -1 : 1;
    return by_birth(a, b);
}

/* The lowest offset at which l fits beside the earlier lives it overlaps;
 * `placed` is sorted by offset. */
static size_t first_fit(const struct life *l, struct life *const *placed, int n)
{
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        const struct life *o = placed[i];
        if (o->to < l->from || o->from > l->to)
            continue;
        if (at + l->bytes <= o->offset)
            break;
        if (o->offset + o->bytes > at)
            at = o->offset + o->bytes;
    }
    return at;
}

static void insert_by_offset(struct life **placed, int n, struct life *l)
{
    int i = n;
    for (; i > 0 && placed[i - 1]->offset > l->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = l;
}

/* Place the lives of one region; returns its size. */
static size_t place(struct life *lives, int n, enum region region, struct life **placed)
{
    size_t top = 0;
    int np = 0;
    for (int i = 0; i < n; i++) {
        struct life *l = &lives[i];
        if (memory_region(l->v) != region)
            continue;
        l->offset = first_fit(l, placed, np);
        l->v->offset = l->offset;
        insert_by_offset(placed, np++, l);
        if (l->offset + l->bytes > top)
            top = l->offset + l->bytes;
    }
    return top;
}

/* The same in the order that takes least; sorts the lives. */
static size_t place_best(struct life *lives, int n, enum region region,
                         struct life **placed)
{
    static int (*const order[])(const void *, const void *) = {by_birth, by_size,
                                                               by_age};
    size_t least = SIZE_MAX;
    int best = 0;
    for (int i = 0; i < 3; i++) {
        qsort(lives, (size_t)n, sizeof(*lives), order[i]);
        size_t top = place(lives, n, region, placed);
        best = top < least ? i : best;
        least = top < least ? top : least;
    }
    qsort(lives, (size_t)n, sizeof(*lives), order[best]);
    return place(lives, n, region, placed);
}

static void plan_arena(struct graph *g, struct memory *m)
{
    struct life *lives = arena_calloc(g->mem, (size_t)g->nvalue + 1, sizeof(*lives));
    struct life **placed = arena_calloc(g->mem, (size_t)g->nvalue + 1, sizeof(*placed));
    find_lives(g, lives, m->slots);
    int n = 0;
    for (int i = 0; i < g->nvalue; i++) {
        if (!lives[i].v || lives[i].v->storage != STORAGE_ARENA)
            continue;
        lives[n] = lives[i];
        lives[n].bytes = align_up(value_bytes(lives[i].v));
        n++;
    }
    m->bytes[REGION_SLOT] = place_best(lives, n, REGION_SLOT, placed);
    m->bytes[REGION_ARENA] = place_best(lives, n, REGION_ARENA, placed);
}

/* States and inputs stay where they are put, one after the other. */
static size_t plan_lasting(struct graph *g, enum storage storage)
{
    size_t top = 0;
    for (int i = 0; i < g->nvalue; i++) {
        struct value *v = g->value[i];
        if (v->storage != storage || v->root != v)
            continue;
        v->offset = top;
        top += align_up(value_bytes(v));
    }
    return top;
}

static void plan_planes(struct graph *g, struct memory *m)
{
    for (int i = 0; i < g->nplane; i++) {
        struct plane *p = &g->plane[i];
        p->param_offset = m->bytes[REGION_PARAM];
        p->grad_offset = m->bytes[REGION_GRAD];
        m->bytes[REGION_PARAM] += align_up((size_t)p->elements * dtype_size(p->dtype));
        m->bytes[REGION_GRAD] +=
            align_up((size_t)p->elements * dtype_size(g->wide)) * (size_t)p->buffers;
    }
    for (int i = 0; i < g->nparam; i++) {
        struct param *p = g->param[i];
        const struct plane *pl = &g->plane[p->plane];
        p->value->offset = pl->param_offset + (size_t)p->offset * dtype_size(pl->dtype);
    }
}

int memory_plan(struct graph *g, int slots, struct memory *out, struct err *e)
{
    if (graph_status(g, e))
        return e ? e->code : ERR_FAILED;
    memset(out, 0, sizeof(*out));
    out->slots = slots;
    plan_planes(g, out);
    out->bytes[REGION_STATE] = plan_lasting(g, STORAGE_STATE);
    out->bytes[REGION_INPUT] = plan_lasting(g, STORAGE_INPUT);
    plan_arena(g, out);
    return 0;
}
