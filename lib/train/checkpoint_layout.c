/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checkpoint_layout.c - from a graph and its pieces to tensors of files.
 */
#include "train/checkpoint_layout.h"

#include <stdio.h>
#include <string.h>

#include "model/model.h"

const char *const layout_file_name[LAYOUT_FILES] = {
    [LAYOUT_MODEL] = "model.safetensors",
    [LAYOUT_OPTIMIZER] = "optimizer.safetensors",
};

#define NAME_SIZE 320

struct builder {
    struct layout *l;
    const struct graph *g;
    const struct update *u; /* may be NULL */
    int *first;             /* [nparam] number of a weight's first tensor */
    int nweight, nstate;    /* logical tensors */
    int ncarry;             /* states carried on, behind the moments */
};

/* The one state that belongs to the model; others are scratch or pieces. */
static bool is_model_state(const struct value *v)
{
    size_t len = strlen(v->name), suffix = strlen(MODEL_BIAS_SUFFIX);

    return v->storage == STORAGE_STATE && v->root == v && len >= suffix &&
           strcmp(v->name + len - suffix, MODEL_BIAS_SUFFIX) == 0;
}

/* States of this rank's samples that training carries from step to step. */
static bool is_carry(const struct value *v)
{
    return v->storage == STORAGE_STATE && v->root == v &&
           strncmp(v->name, MODEL_CARRY_PREFIX, strlen(MODEL_CARRY_PREFIX)) == 0;
}

/* Logical tensors of a weight, wherever they are. */
static int logical_count(const struct param *p)
{
    return p->stack ? p->total : 1;
}

/* Shape of one of them. */
static struct shape logical_shape(const struct param *p)
{
    struct shape s = p->value->shape;

    if (!p->stack)
        return s;
    s.ndim--;
    memmove(s.dim, s.dim + 1, (size_t)s.ndim * sizeof s.dim[0]);
    return s;
}

/* ---- tensors ------------------------------------------------------------- */

static int plan_tensor(struct builder *b, enum layout_file file, const char *name,
                       const struct shape *s, struct err *e)
{
    return safetensors_plan_add(b->l->plan[file], name, NND_F32, (uint32_t)s->ndim,
                                s->dim, e);
}

static int plan_moments(struct builder *b, const char *name, const struct shape *s,
                        struct err *e)
{
    char full[NAME_SIZE + 4];

    for (int i = 0; b->u && i < b->u->kinds; i++) {
        snprintf(full, sizeof full, "%s.%s", b->u->kind[i], name);
        if (plan_tensor(b, LAYOUT_OPTIMIZER, full, s, e))
            return e->code;
    }
    return 0;
}

static int plan_param(struct builder *b, const struct param *p, struct err *e)
{
    struct shape s = logical_shape(p);
    char name[NAME_SIZE];

    for (int i = 0; i < logical_count(p); i++) {
        param_name(p, i - p->first, name, sizeof name);
        if (plan_tensor(b, LAYOUT_MODEL, name, &s, e) || plan_moments(b, name, &s, e))
            return e->code;
    }
    b->l->nparams += logical_count(p) * shape_elements(&s);
    return 0;
}

static int plan_states(struct builder *b, struct err *e)
{
    for (int i = 0; i < b->g->nvalue; i++) {
        const struct value *v = b->g->value[i];

        if (!is_model_state(v))
            continue;
        if (v->dtype != NND_F32)
            return err_set(e, ERR_FAILED, "state %s: wanted type f32, found %d",
                           v->name, v->dtype);
        if (plan_tensor(b, LAYOUT_MODEL, v->name, &v->shape, e))
            return e->code;
        b->nstate++;
    }
    return 0;
}

/* Of all samples, whichever rank has them. */
static int plan_carry(struct builder *b, struct err *e)
{
    for (int i = 0; b->u && i < b->g->nvalue; i++) {
        const struct value *v = b->g->value[i];
        struct shape s = v->shape;

        if (!is_carry(v))
            continue;
        s.dim[0] = s.dim[0] / b->g->mesh.chunks_local * b->g->mesh.chunks;
        if (plan_tensor(b, LAYOUT_OPTIMIZER, v->name, &s, e))
            return e->code;
        b->ncarry++;
    }
    return 0;
}

static int plan_files(struct builder *b, struct err *e)
{
    for (int i = 0; i < b->g->nparam; i++) {
        b->first[i] = b->nweight;
        b->nweight += logical_count(b->g->param[i]);
        if (plan_param(b, b->g->param[i], e))
            return e->code;
    }
    if (plan_states(b, e) || plan_carry(b, e))
        return e->code;
    for (int f = 0; f < LAYOUT_FILES; f++)
        if (safetensors_plan_seal(b->l->plan[f], e))
            return e->code;
    return 0;
}

static void list_tensors(struct layout *l)
{
    size_t n = 0;

    for (int f = 0; f < LAYOUT_FILES; f++)
        n += safetensors_plan_count(l->plan[f]);
    l->tensor = arena_calloc(l->mem, n + 1, sizeof *l->tensor);
    for (enum layout_file f = 0; f < LAYOUT_FILES; f++)
        for (size_t i = 0; i < safetensors_plan_count(l->plan[f]); i++)
            l->tensor[l->ntensor++] =
                (struct layout_tensor){f, safetensors_plan_at(l->plan[f], i)};
}

/* ---- sources ------------------------------------------------------------- */

static void add_slice(struct layout *l, int tensor, int64_t lo, int64_t hi,
                      int64_t offset)
{
    l->slice[l->nslice++] =
        (struct layout_slice){.tensor = tensor, .lo = lo, .hi = hi, .offset = offset};
}

static struct layout_source *open_source(struct layout *l, const struct value *v,
                                         bool owned)
{
    struct layout_source *s = &l->source[l->nsource++];

    *s = (struct layout_source){.value = v, .owned = owned, .first = l->nslice};
    return s;
}

/* A value with elements [lo, hi) of weight i, or of its moments: its logical
 * tensors are `stride` numbers apart, the weight's first being `tensor`. */
static void add_source(struct builder *b, const struct value *v, int i, int64_t lo,
                       int64_t hi, int tensor, int stride)
{
    const struct param *p = b->g->param[i];
    struct layout_source *s = open_source(b->l, v, true);
    struct shape shape = logical_shape(p);
    int64_t each = shape_elements(&shape);

    for (int k = 0; k < (p->stack ? p->stack : 1); k++) {
        int64_t from = k * each > lo ? k * each : lo;
        int64_t to = (k + 1) * each < hi ? (k + 1) * each : hi;
        int number = tensor + (p->stack ? p->first + k : 0) * stride;

        if (from < to)
            add_slice(b->l, number, from - k * each, to - k * each, from - lo);
    }
    s->end = b->l->nslice;
}

static void add_piece(struct builder *b, int i, const struct piece *p)
{
    int kinds = b->u->kinds;
    int first = b->nweight + b->nstate + b->first[i] * kinds;

    add_source(b, p->master, i, p->lo, p->hi, b->first[i], 1);
    for (int k = 0; k < kinds; k++)
        add_source(b, update_state(b->u, p, k), i, p->lo, p->hi, first + k, kinds);
}

static void add_pieces(struct builder *b)
{
    for (int i = 0; i < b->g->nparam; i++)
        for (int j = 0; j < b->u->npieces; j++)
            if (b->u->piece[j].param == b->g->param[i])
                add_piece(b, i, &b->u->piece[j]);
}

static void add_weights(struct builder *b)
{
    for (int i = 0; i < b->g->nparam; i++) {
        const struct value *v = b->g->param[i]->value;

        add_source(b, v, i, 0, shape_elements(&v->shape), b->first[i], 1);
    }
}

/* States are the same on all ranks; rank 0 writes them. */
static void add_states(struct builder *b)
{
    int n = b->nweight;

    for (int i = 0; i < b->g->nvalue; i++) {
        const struct value *v = b->g->value[i];
        struct layout_source *s;

        if (!is_model_state(v))
            continue;
        s = open_source(b->l, v, b->g->mesh.rank == 0);
        add_slice(b->l, n++, 0, shape_elements(&v->shape), 0);
        s->end = b->l->nslice;
    }
}

static void add_carry(struct builder *b)
{
    const struct mesh *mesh = &b->g->mesh;
    int n = b->nweight * (1 + b->u->kinds) + b->nstate;

    for (int i = 0; i < b->g->nvalue; i++) {
        const struct value *v = b->g->value[i];
        int64_t own = shape_elements(&v->shape);
        struct layout_source *s;

        if (!is_carry(v))
            continue;
        int64_t lo = own / mesh->chunks_local * mesh_chunk(mesh, mesh->rank, 0);
        s = open_source(b->l, v, true);
        add_slice(b->l, n++, lo, lo + own, 0);
        s->end = b->l->nslice;
    }
}

static void make_sources(struct builder *b)
{
    struct layout *l = b->l;
    size_t sources = (size_t)(b->nstate + b->ncarry), slices = sources;

    for (int i = 0; i < b->g->nparam; i++) {
        sources += 1 + UPDATE_KINDS;
        slices += (1 + UPDATE_KINDS) *
                  (size_t)(b->g->param[i]->stack ? b->g->param[i]->stack : 1);
    }
    l->source = arena_calloc(l->mem, sources + 1, sizeof *l->source);
    l->slice = arena_calloc(l->mem, slices + 1, sizeof *l->slice);
    if (b->u)
        add_pieces(b);
    else
        add_weights(b);
    add_states(b);
    if (b->u)
        add_carry(b);
}

/* ------------------------------------------------------------------------- */

int layout_create(const struct graph *g, const struct update *u, struct layout **out,
                  struct err *e)
{
    struct arena *mem = arena_create();
    struct layout *l = arena_alloc(mem, sizeof *l);
    struct builder b = {.l = l, .g = g, .u = u};

    l->mem = mem;
    b.first = arena_calloc(mem, (size_t)g->nparam + 1, sizeof *b.first);
    for (int f = 0; f < LAYOUT_FILES; f++)
        l->plan[f] = safetensors_plan_create(layout_file_name[f]);
    if (plan_files(&b, e)) {
        layout_destroy(l);
        return e->code;
    }
    list_tensors(l);
    make_sources(&b);
    *out = l;
    return 0;
}

void layout_destroy(struct layout *l)
{
    if (!l)
        return;
    for (int f = 0; f < LAYOUT_FILES; f++)
        safetensors_plan_destroy(l->plan[f]);
    arena_destroy(l->mem);
}

size_t layout_owned_bytes(const struct layout *l)
{
    size_t n = 0;

    for (int i = 0; i < l->nsource; i++)
        if (l->source[i].owned)
            n += (size_t)shape_elements(&l->source[i].value->shape) * sizeof(float);
    return n;
}
