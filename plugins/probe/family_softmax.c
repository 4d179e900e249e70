/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_softmax.c - "softmax.*": columns behind a row's length are NaN.
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

static const struct {
    int t, n;
    double spread;
    float scale;
    bool lengths, in_place;
} cases[] = {
    {1, 1, 1, 0, false, false},        {0, 5, 1, 1, true, false},
    {3, 7, 4, 1, true, false},         {6, 64, 8, -0.5f, true, true},
    {17, 33, 30, 0.125f, true, false}, {5, 129, 4, 1, false, true},
    {4, 0, 1, 1, true, false},         {3, 300, 60, 0.5f, false, false},
    {4, 1025, 8, 0.25f, true, true},   {3, 8300, 2, 2, true, false},
    {2, 40, 3e4, 1, false, false},     {4, 50, 90, -2, true, false},
    {3, 9, 3, 0, false, false},        {2, 1100, 2, 1, false, false},
};

/* Row 1 has no column, row 2 one, others some. */
static int32_t *lengths_of(struct call *c, int i, const int64_t *row, int64_t t)
{
    int32_t *len = call_ints(c, t), n = cases[i].n;
    for (int64_t r = 0; r < t; r++)
        len[r] = row[r] == 1   ? 0
                 : row[r] == 2 ? n > 0
                               : call_number(5, (uint64_t)row[r], n - n / 3, n);
    return len;
}

/* Columns that nobody may look at. */
static void end_rows(struct call *c, struct slot *s, const int64_t *row,
                     const int32_t *len, uint64_t seed)
{
    int64_t n = s->dim[1];
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        uint64_t place = (uint64_t)row[i / n] << 24 | (uint64_t)(i % n);
        value[i] = i % n >= len[i / n] ? NAN
                   : row[i / n] < 0    ? 0
                                       : s->spread * call_random(seed, place);
    }
    s->value = value;
}

static struct slot *add(struct call *c, int i, const char *name, struct nnd_tensor *x,
                        enum role role, int64_t t, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_ACT, t, cases[i].n, -1);
    s->row = row;
    s->slack = SLACK_FORWARD;
    s->terms = 4 * (cases[i].n + 1);
    return s;
}

static void add_gradients(struct call *c, int i, int64_t t, const int64_t *row,
                          const int32_t *len)
{
    struct nnd_softmax *p = &c->params.softmax;
    bool both = cases[i].in_place;
    struct slot *dy =
        add(c, i, both ? "dy=dx" : "dy", &p->dy, both ? ROLE_INOUT : ROLE_IN, t, row);
    struct slot *dx = dy;
    if (both)
        dy->alias = &p->dx;
    else
        dx = add(c, i, "dx", &p->dx, ROLE_OUT, t, row);
    if (cases[i].lengths)
        end_rows(c, dy, row, len, 62);
    dx->slack = SLACK_BACKWARD;
    /* One column takes all: nothing but rounding is left of its gradient. */
    dx->floor = cases[i].n <= 1 || cases[i].spread > 1000 ? 1 : 0;
}

static bool build(struct call *c, int i, const struct window *w, bool bwd)
{
    if (i >= (int)(sizeof cases / sizeof cases[0]))
        return false;
    struct nnd_softmax *p = &c->params.softmax;
    int64_t t = window_rows(w, cases[i].t) + w->tail;
    const int64_t *row = window_ids(c, w, cases[i].t);
    int32_t *len = lengths_of(c, i, row, t);
    bool both = cases[i].in_place && !bwd;
    *p = (struct nnd_softmax){.struct_size = sizeof *p, .scale = cases[i].scale};
    c->rows = cases[i].t;
    c->derive = bwd ? "softmax.fwd" : NULL;
    struct slot *x =
        add(c, i, both ? "x=y" : "x", &p->x, both ? ROLE_INOUT : ROLE_IN, t, row);
    x->spread = cases[i].spread;
    if (both)
        x->alias = &p->y;
    else
        add(c, i, "y", &p->y, bwd ? ROLE_DERIVED : ROLE_OUT, t, row);
    if (cases[i].lengths) {
        end_rows(c, x, row, len, 61);
        call_array(c, &p->len, len, (size_t)t * sizeof *len);
    }
    if (bwd)
        add_gradients(c, i, t, row, len);
    snprintf(c->text, sizeof c->text, "t=%d n=%d |x|<%g scale=%g%s%s", cases[i].t,
             cases[i].n, cases[i].spread, (double)cases[i].scale,
             cases[i].lengths ? " lengths" : "", cases[i].in_place ? " in place" : "");
    return true;
}

bool family_softmax_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false);
}

bool family_softmax_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true);
}
