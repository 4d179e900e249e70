/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_act.c - element by element: "act.*", "rope", "dropout", "sum".
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, n;
    double spread;
    bool approx;
    /* NaN, or zeros of both signs, among a: relu's alone, since the contract speaks of
     * NaN there, and its slope has a step */
    enum { PLAIN, HOLES, ZEROS } odd;
} acts[] = {
    {1, 1, 1, false, PLAIN},   {0, 3, 1, false, PLAIN},    {3, 5, 4, true, PLAIN},
    {7, 64, 8, false, PLAIN},  {2, 67, 30, true, PLAIN},   {33, 17, 4, true, PLAIN},
    {5, 129, 4, false, PLAIN}, {4, 15, 200, false, PLAIN}, {2, 10007, 4, false, PLAIN},
    {6, 37, 4, false, HOLES},  {6, 37, 4, false, ZEROS},
};

/* Every third number is a NaN, or one 0 and the next -0. */
static void make_odd(struct call *c, struct slot *s, bool holes)
{
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t within = i % s->dim[1], row = s->row[i / s->dim[1]];
        uint64_t place = (uint64_t)row << 24 | (uint64_t)within;
        value[i] = row < 0              ? 0
                   : (row + within) % 3 ? s->spread * call_random(81, place)
                   : holes              ? NAN
                   : (row + within) % 2 ? -0.0
                                        : 0;
    }
    s->value = value;
}

static struct slot *add_act(struct call *c, const char *name, struct nnd_tensor *x,
                            enum role role, int64_t t, int i, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_ACT, t, acts[i].n, -1);
    s->row = row;
    s->terms = 4;
    return s;
}

/* forward: of which operator, or its gradient; two: it has b. */
static bool act(struct call *c, int i, const struct window *w, const char *forward,
                bool two, bool bwd)
{
    if (i >= COUNT(acts) || (acts[i].odd && strcmp(forward, "act.relu.fwd") != 0))
        return false;
    struct nnd_act *p = &c->params.act;
    int64_t t = window_rows(w, acts[i].t) + w->tail;
    const int64_t *row = window_ids(c, w, acts[i].t);
    *p = (struct nnd_act){.struct_size = sizeof *p, .approx = acts[i].approx};
    c->rows = acts[i].t;
    c->big = acts[i].n > 10000;
    struct slot *a = add_act(c, "a", &p->a, ROLE_IN, t, i, row);
    a->spread = acts[i].spread;
    if (acts[i].odd)
        make_odd(c, a, acts[i].odd == HOLES);
    if (two)
        add_act(c, "b", &p->b, ROLE_IN, t, i, row);
    if (!bwd) {
        add_act(c, "y", &p->y, ROLE_OUT, t, i, row);
    } else {
        c->derive = acts[i].odd ? NULL : forward; /* no differences of these */
        add_act(c, "y", &p->y, ROLE_SCRATCH, t, i, row);
        add_act(c, "dy", &p->dy, ROLE_IN, t, i, row);
        add_act(c, "da", &p->da, ROLE_OUT, t, i, row);
        if (two)
            add_act(c, "db", &p->db, ROLE_OUT, t, i, row);
    }
    snprintf(c->text, sizeof c->text, "t=%d n=%d |a|<%g%s%s", acts[i].t, acts[i].n,
             acts[i].spread, acts[i].approx ? " approx" : "",
             ((const char *[]){"", " holes", " zeros"})[acts[i].odd]);
    return true;
}

bool family_swiglu_fwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.swiglu.fwd", true, false);
}

bool family_swiglu_bwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.swiglu.fwd", true, true);
}

bool family_gelu_fwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.gelu.fwd", false, false);
}

bool family_gelu_bwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.gelu.fwd", false, true);
}

bool family_relu_fwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.relu.fwd", false, false);
}

bool family_relu_bwd(struct call *c, int i, const struct window *w)
{
    return act(c, i, w, "act.relu.fwd", false, true);
}

static const struct {
    int t, h, d, last_pos;
    bool interleaved, inverse, in_place, padding;
    float theta;
} ropes[] = {
    {1, 1, 2, 5, false, false, false, false, 10000},
    {0, 2, 4, 1, false, false, false, false, 10000},
    {5, 3, 6, 100, false, true, false, true, 10000},
    {7, 2, 64, 500, true, false, false, true, 500000},
    {13, 1, 128, 2000, false, false, true, true, 10000},
    {3, 5, 10, 30, true, true, true, false, 100},
    {700, 2, 6, 100, false, false, false, true, 10000},
};

/* Row 0 stands at the front of its sequence, every fourth of some cases nowhere. */
static int32_t rope_pos(int i, int64_t row)
{
    if (ropes[i].padding && row == ROW_NAN)
        return -1;
    return row <= 0 ? 0 : call_number(7, (uint64_t)row, 0, ropes[i].last_pos);
}

/* What becomes of padding is nobody's business. */
static void free_padding(struct call *c, struct slot *y)
{
    int64_t inner = y->dim[1] * y->dim[2];
    bool *any = arena_calloc(c->arena, (size_t)y->count + 1, sizeof *any);
    for (int64_t k = 0; k < y->count; k++)
        any[k] = y->row[k / inner] == ROW_NAN;
    y->any = any;
}

bool family_rope(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(ropes))
        return false;
    struct nnd_rope *p = &c->params.rope;
    int64_t t = window_rows(w, ropes[i].t) + w->tail;
    const int64_t *all = window_ids(c, w, ropes[i].t);
    const int64_t *row = ropes[i].padding ? call_padded_ids(c, all, t) : all;
    *p = (struct nnd_rope){.struct_size = sizeof *p,
                           .theta = ropes[i].theta,
                           .interleaved = ropes[i].interleaved,
                           .inverse = ropes[i].inverse};
    c->rows = ropes[i].t;
    c->big = ropes[i].t > 100;
    bool in_place = ropes[i].in_place;
    struct slot *x =
        call_tensor(c, in_place ? "x=y" : "x", &p->x, in_place ? ROLE_INOUT : ROLE_IN,
                    KIND_ACT, t, ropes[i].h, ropes[i].d);
    x->row = row;
    x->alias = in_place ? &p->y : NULL;
    struct slot *y = in_place ? x
                              : call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, t,
                                            ropes[i].h, ropes[i].d);
    y->row = row;
    free_padding(c, y);
    /* An angle in f32 is as far off as its integer part is large. */
    y->terms = 16 + (int64_t)ropes[i].last_pos * ropes[i].last_pos / 16;
    int32_t *pos = call_ints(c, t);
    for (int64_t r = 0; r < t; r++)
        pos[r] = rope_pos(i, row[r]);
    call_array(c, &p->pos, pos, (size_t)t * sizeof *pos);
    snprintf(c->text, sizeof c->text, "t=%d h=%d d=%d pos<=%d theta=%g%s%s%s%s",
             ropes[i].t, ropes[i].h, ropes[i].d, ropes[i].last_pos,
             (double)ropes[i].theta, ropes[i].padding ? " padding" : "",
             ropes[i].interleaved ? " interleaved" : "",
             ropes[i].inverse ? " inverse" : "", in_place ? " in place" : "");
    return true;
}

static const struct {
    int t, n;
    float p;
    bool holes; /* NaN among x */
} drops[] = {{1, 1, 0.5f, false},      {0, 4, 0.5f, false}, {3, 5, 0.1f, false},
             {17, 66, 0.3f, false},    {9, 12, 0, false},   {4, 35, 0.5f, true},
             {2, 257, 0.9375f, false}, {3, 5, 0, true},     {2, 9001, 0.2f, false}};

bool family_dropout(struct call *c, int i, const struct window *w)
{
    static const uint64_t state[] = {99, 1000000};
    if (i >= COUNT(drops))
        return false;
    struct nnd_drop *p = &c->params.drop;
    int64_t t = window_rows(w, drops[i].t) + w->tail;
    const int64_t *row = window_ids(c, w, drops[i].t);
    *p = (struct nnd_drop){.struct_size = sizeof *p,
                           .dropout = {.p = drops[i].p, .op = 12}};
    c->rows = drops[i].t;
    c->big = drops[i].n > 1000;
    struct slot *x = call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, t, drops[i].n, -1);
    x->row = row;
    if (drops[i].holes)
        make_odd(c, x, true);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, t, drops[i].n, -1)->row = row;
    int32_t *sample = call_ints(c, t), *pos = call_ints(c, t);
    for (int64_t r = 0; r < t; r++) {
        sample[r] = (int32_t)(row[r] / 4);
        pos[r] = (int32_t)(row[r] % 4);
    }
    call_array(c, &p->dropout.state, state, sizeof state);
    call_array(c, &p->dropout.sample, sample, (size_t)t * sizeof *sample);
    call_array(c, &p->dropout.pos, pos, (size_t)t * sizeof *pos);
    snprintf(c->text, sizeof c->text, "t=%d n=%d p=%g%s", drops[i].t, drops[i].n,
             (double)drops[i].p, drops[i].holes ? " holes" : "");
    return true;
}

enum { NOWHERE = -1 };

static const struct {
    int t, n, terms;
    enum kind x, y;
    int in_place; /* y is that x; NOWHERE: none */
    bool flat;    /* one axis, of t numbers      */
} sums[] = {
    {1, 1, 1, KIND_ACT, KIND_ACT, NOWHERE, false},
    {0, 3, 2, KIND_ACT, KIND_ACT, NOWHERE, false},
    {5, 67, 1, KIND_F32, KIND_ACT, NOWHERE, false},
    {3, 33, 1, KIND_ACT, KIND_F32, NOWHERE, false},
    {7, 19, 2, KIND_ACT, KIND_ACT, 0, false},
    {2, 65, 3, KIND_F32, KIND_F32, 0, false},
    {4, 31, 16, KIND_ACT, KIND_F32, NOWHERE, false},
    {1, 1000, 2, KIND_F64, KIND_F64, NOWHERE, false},
    {3, 50, 4, KIND_F64, KIND_F32, NOWHERE, false},
    {3, 23, 4, KIND_ACT, KIND_ACT, 2, false},
    {33, 1, 2, KIND_F32, KIND_F32, 1, true}, /* gradients of chunks, added in a tree */
    {70001, 1, 2, KIND_ACT, KIND_ACT, 1, true},
    {300, 1, 16, KIND_F32, KIND_F32, 15, true},
    {257, 1, 3, KIND_F64, KIND_F64, 1, true},
    {4097, 1, 1, KIND_F32, KIND_ACT, NOWHERE, true},
};

bool family_sum(struct call *c, int i, const struct window *w)
{
    static const char *const names[] = {"x0",  "x1",  "x2",  "x3", "x4",  "x5",
                                        "x6",  "x7",  "x8",  "x9", "x10", "x11",
                                        "x12", "x13", "x14", "x15"};
    if (i >= COUNT(sums))
        return false;
    struct nnd_sum *p = &c->params.sum;
    int64_t t = window_rows(w, sums[i].t) + w->tail;
    const int64_t *row = window_ids(c, w, sums[i].t);
    *p = (struct nnd_sum){.struct_size = sizeof *p, .n = sums[i].terms};
    c->rows = sums[i].t;
    c->big = sums[i].t > 1000;
    c->exact = true;
    int64_t n = sums[i].flat ? -1 : sums[i].n;
    int at = sums[i].in_place;
    struct slot *y = call_tensor(c, "y", &p->y, at != NOWHERE ? ROLE_INOUT : ROLE_OUT,
                                 at != NOWHERE ? sums[i].x : sums[i].y, t, n, -1);
    y->row = row;
    y->terms = sums[i].terms;
    y->alias = at != NOWHERE ? &p->x[at] : NULL;
    for (int k = 0; k < sums[i].terms; k++)
        if (k != at)
            call_tensor(c, names[k], &p->x[k], ROLE_IN, sums[i].x, t, n, -1)->row = row;
    int end = snprintf(c->text, sizeof c->text, "t=%d n=%d terms=%d%s%s", sums[i].t,
                       sums[i].n, sums[i].terms, sums[i].flat ? " one axis" : "",
                       sums[i].x != sums[i].y ? " converting" : "");
    if (at != NOWHERE)
        snprintf(c->text + end, sizeof c->text - (size_t)end, " y=x%d", at);
    return true;
}
