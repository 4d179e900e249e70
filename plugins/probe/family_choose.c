/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_choose.c - "argmax", "sample", "select".
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int r, v, k;
    double spread;
    bool ties; /* a few numbers only */
    enum { WHOLE, NANS, NANS_AND_INFS } holes;
    bool bare; /* without value */
} largest[] = {
    {1, 1, 1, 1, false, WHOLE, false},          {0, 4, 2, 1, false, WHOLE, false},
    {5, 17, 3, 4, false, WHOLE, true},          {3, 8, 8, 1, true, WHOLE, false},
    {9, 100, 5, 2, true, NANS_AND_INFS, false}, {2, 1000, 1, 60, false, WHOLE, true},
    {7, 23, 23, 2, true, NANS, false},          {2, 9001, 3, 60, false, WHOLE, false},
};

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, enum kind kind, int64_t r, int64_t n,
                        const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, kind, r, n, -1);
    s->row = row;
    s->slack = SLACK_COPY;
    return s;
}

/* Numbers that are exact in every type. */
static void make_ties(struct call *c, struct slot *s, int holes)
{
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        uint64_t place =
            (uint64_t)s->row[i / s->dim[1]] << 24 | (uint64_t)(i % s->dim[1]);
        int32_t n = call_number(71, place, -3, 3);
        value[i] = holes == WHOLE || n > -2   ? n
                   : n == -2 || holes == NANS ? NAN
                                              : -INFINITY;
    }
    s->value = value;
}

bool family_argmax(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(largest))
        return false;
    struct nnd_choose *p = &c->params.choose;
    int64_t r = window_rows(w, largest[i].r) + w->tail;
    const int64_t *row = window_ids(c, w, largest[i].r);
    *p = (struct nnd_choose){.struct_size = sizeof *p};
    c->rows = largest[i].r;
    c->big = largest[i].v > 1000;
    struct slot *x = add(c, "x", &p->x, ROLE_IN, KIND_ACT, r, largest[i].v, row);
    x->spread = largest[i].spread;
    if (largest[i].ties)
        make_ties(c, x, largest[i].holes);
    add(c, "index", &p->index, ROLE_OUT, KIND_I32, r, largest[i].k, row);
    if (!largest[i].bare)
        add(c, "value", &p->value, ROLE_OUT, KIND_F32, r, largest[i].k, row);
    snprintf(c->text, sizeof c->text, "r=%d v=%d k=%d%s%s%s", largest[i].r,
             largest[i].v, largest[i].k, largest[i].ties ? " ties" : "",
             largest[i].holes ? " holes" : "", largest[i].bare ? " no value" : "");
    return true;
}

static const struct {
    int r, v, top_k;
    float temperature, top_p;
} draws[] = {
    {1, 1, 0, 1, 1},        {7, 5, 0, 1, 1},        {20, 50, 0, 0.7f, 0.9f},
    {9, 33, 4, 1.5f, 1},    {6, 11, 0, 0, 1},       {5, 300, 40, 1, 0.5f},
    {4, 16, 100, 2, 0.01f}, {2, 3001, 50, 1, 0.9f},
};

/* Every fourth row is nobody's, and NaN. */
static const int64_t *some_rows(struct call *c, int i, const struct window *w,
                                int64_t r)
{
    const int64_t *all = window_ids(c, w, draws[i].r);
    int64_t *row = call_row_ids(c, r, 0);
    int32_t *pos = call_ints(c, r);
    uint64_t *seed = arena_calloc(c->arena, (size_t)r + 1, sizeof *seed);
    for (int64_t j = 0; j < r; j++) {
        row[j] = all[j] >= 0 && all[j] % 4 == 3 ? ROW_NAN : all[j];
        pos[j] = row[j] < 0 ? -1 : (int32_t)(1000 * row[j] + 7);
        seed[j] = row[j] < 0 ? 0 : nnd_rng_mix((uint64_t)row[j]);
    }
    call_array(c, &c->params.choose.pos, pos, (size_t)r * sizeof *pos);
    call_array(c, &c->params.choose.seed, seed, (size_t)r * sizeof *seed);
    return row;
}

bool family_sample(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(draws))
        return false;
    struct nnd_choose *p = &c->params.choose;
    int64_t r = window_rows(w, draws[i].r) + w->tail;
    *p = (struct nnd_choose){.struct_size = sizeof *p,
                             .temperature = draws[i].temperature,
                             .top_p = draws[i].top_p,
                             .top_k = draws[i].top_k};
    const int64_t *row = some_rows(c, i, w, r);
    c->rows = draws[i].r;
    c->big = draws[i].v > 1000;
    add(c, "x", &p->x, ROLE_IN, KIND_ACT, r, draws[i].v, row)->spread = 3;
    add(c, "index", &p->index, ROLE_OUT, KIND_I32, r, 1, row);
    add(c, "value", &p->value, ROLE_OUT, KIND_F32, r, 1, row);
    snprintf(c->text, sizeof c->text, "r=%d v=%d top_k=%d temperature=%g top_p=%g",
             draws[i].r, draws[i].v, draws[i].top_k, (double)draws[i].temperature,
             (double)draws[i].top_p);
    return true;
}

bool family_select(struct call *c, int i, const struct window *w)
{
    static const struct {
        int r, v, k;
    } shapes[] = {{1, 1, 1},   {0, 3, 2}, {7, 10, 1},
                  {5, 64, 17}, {3, 2, 9}, {2, 9001, 1100}};
    if (i >= COUNT(shapes))
        return false;
    struct nnd_select *p = &c->params.select;
    int64_t r = window_rows(w, shapes[i].r) + w->tail, k = shapes[i].k;
    const int64_t *row = window_ids(c, w, shapes[i].r);
    *p = (struct nnd_select){.struct_size = sizeof *p};
    c->rows = shapes[i].r;
    c->big = shapes[i].v > 1000;
    add(c, "x", &p->x, ROLE_IN, KIND_ACT, r, shapes[i].v, row);
    int32_t *number = call_ints(c, r * k);
    for (int64_t j = 0; j < r * k; j++)
        number[j] = row[j / k] < 0 ? -1
                                   : call_number(73, (uint64_t)(row[j / k] * k + j % k),
                                                 -1, shapes[i].v - 1);
    add(c, "index", &p->index, ROLE_IN, KIND_I32, r, k, row)->number = number;
    add(c, "y", &p->y, ROLE_OUT, KIND_ACT, r, k, row);
    snprintf(c->text, sizeof c->text, "r=%d v=%d k=%d", shapes[i].r, shapes[i].v,
             shapes[i].k);
    return true;
}
