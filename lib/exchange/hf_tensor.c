/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hf_tensor.c - gathering our tensors under their names.
 */
#include "exchange/hf_tensor.h"

#include <stdlib.h>
#include <string.h>

/* A part that nothing has come for yet. */
enum { MISSING = -1 };

static struct hf_tensor *add(struct hf_tensors *all, const struct safetensors_tensor *s,
                             const struct hf_place *p)
{
    struct hf_tensor *t = arena_alloc(all->mem, sizeof *t);
    int64_t rows = s->dim[0], cols = s->ndim == 2 ? s->dim[1] : 1;

    *t = (struct hf_tensor){.name = arena_strdup(all->mem, p->name),
                            .ndim = s->ndim,
                            .elements = s->elements * (uint64_t)p->parts,
                            .place = *p,
                            .parts = p->parts,
                            .rows = rows,
                            .cols = cols};
    t->dim[0] = p->transposed ? cols : rows * p->parts;
    t->dim[1] = p->transposed ? rows * p->parts : cols;
    for (int i = 0; i < t->parts; i++)
        t->part[i] = MISSING;
    map_put(all->named, t->name, t);
    return t;
}

/* Tensor i of ours becomes a part of one of theirs. */
static int place(struct hf_tensors *all, const struct outline *o, int i,
                 const struct hf_arch *arch, struct err *e)
{
    const struct safetensors_tensor *s = outline_at(o, i);
    struct hf_tensor *t;
    struct hf_place p;

    if (hf_arch_place(arch, s->name, &p, e) < 0)
        return e->code;
    t = map_get(all->named, p.name);
    if (!t)
        t = add(all, s, &p);
    if (t->elements != s->elements * (uint64_t)p.parts || t->part[p.part] != MISSING)
        return err_set(e, ERR_SPEC, "%s: %s has another place for it in %s", s->name,
                       hf_arch_class(arch), p.name);
    t->part[p.part] = i;
    return 0;
}

static int check_parts(const struct hf_tensors *all, const struct hf_arch *arch,
                       struct err *e)
{
    for (size_t i = 0; i < all->n; i++)
        for (int k = 0; k < all->at[i]->parts; k++)
            if (all->at[i]->part[k] == MISSING)
                return err_set(e, ERR_NOTFOUND,
                               "%s: part %d of %d: %s wants it, the model has none",
                               all->at[i]->name, k + 1, all->at[i]->parts,
                               hf_arch_class(arch));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct hf_tensor *const *x = a, *const *y = b;

    return strcmp((*x)->name, (*y)->name);
}

int hf_tensors_create(const struct outline *o, const struct hf_arch *arch,
                      struct hf_tensors **out, struct err *e)
{
    struct arena *mem = arena_create();
    struct hf_tensors *all = arena_alloc(mem, sizeof *all);
    int rc = 0;

    all->mem = mem;
    all->named = map_create();
    for (int i = 0; rc == 0 && i < outline_count(o); i++)
        rc = place(all, o, i, arch, e);
    all->n = map_count(all->named);
    all->at = arena_calloc(mem, all->n + 1, sizeof *all->at);
    for (size_t i = 0; i < all->n; i++)
        all->at[i] = map_value(all->named, i);
    if (all->n)
        qsort(all->at, all->n, sizeof *all->at, by_name);
    if (rc == 0)
        rc = check_parts(all, arch, e);
    if (rc < 0)
        hf_tensors_destroy(all);
    else
        *out = all;
    return rc;
}

void hf_tensors_destroy(struct hf_tensors *t)
{
    if (!t)
        return;
    map_destroy(t->named);
    arena_destroy(t->mem);
}

static struct hf_place of_part(const struct hf_tensor *t, int part)
{
    struct hf_place p = t->place;

    p.part = part;
    return p;
}

void hf_tensor_take(const struct hf_tensor *t, int part, const float *theirs,
                    float *ours)
{
    struct hf_place p = of_part(t, part);

    for (int64_t i = 0; i < t->rows * t->cols; i++)
        ours[i] = theirs[hf_place_element(&p, t->rows, t->cols, i)];
}

void hf_tensor_give(const struct hf_tensor *t, int part, const float *ours,
                    float *theirs)
{
    struct hf_place p = of_part(t, part);

    for (int64_t i = 0; i < t->rows * t->cols; i++)
        theirs[hf_place_element(&p, t->rows, t->cols, i)] = ours[i];
}
