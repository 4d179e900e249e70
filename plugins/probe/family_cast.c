/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_cast.c - "cast.quant", "cast.dequant", "fill", "scale", "amax".
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

static const struct {
    int t, n;
} shapes[] = {{1, 1}, {0, 5}, {3, 7}, {17, 64}, {5, 257}, {2, 9001}};

/* The case's rows; false when there is no case i. */
static bool begin(struct call *c, int i, const struct window *w, int64_t *t, int64_t *n)
{
    if (i >= (int)(sizeof shapes / sizeof shapes[0]))
        return false;
    *t = window_rows(w, shapes[i].t) + w->tail;
    *n = shapes[i].n;
    c->rows = shapes[i].t;
    c->big = shapes[i].n > 1000;
    c->params.cast = (struct nnd_cast){.struct_size = sizeof c->params.cast};
    snprintf(c->text, sizeof c->text, "t=%d n=%d", shapes[i].t, shapes[i].n);
    return true;
}

/* Numbers of row 1 on are what blocks may come upon: zeros, nothing but the least
 * number, the largest one times a power of 2, an infinity, a NaN; row 0 and the rest of
 * those rows are as ever. */
enum { ODD_ROWS = 6 };

static void make_odd(struct call *c, struct slot *s, const double *odd)
{
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    int64_t n = s->dim[1];
    for (int64_t i = 0; i < s->count; i++)
        value[i] = call_value(s, 1, i);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t row = s->row ? s->row[i / n] : i / n;
        if (row < 1 || row >= ODD_ROWS)
            continue;
        if (i % n == n / 2)
            value[i] = odd[row - 1];
        else if (row <= 2)
            value[i] = 0;
    }
    s->value = value;
}

/* Blocks of MX, of fp8 products' activations and weights, and one scale for all. */
static const struct {
    int t, n, dtype, scale, wide, high;
} blocks[] = {
    {1, 1, NND_E4M3, NND_F32, 0, 1},         {3, 64, NND_E4M3, NND_E8M0, 32, 1},
    {5, 70, NND_E5M2, NND_E8M0, 32, 1},      {7, 257, NND_E4M3, NND_F32, 128, 1},
    {130, 129, NND_E4M3, NND_F32, 128, 128}, {9, 33, NND_E5M2, NND_F32, 0, 1},
    {0, 32, NND_E4M3, NND_E8M0, 32, 1},      {2, 5000, NND_E4M3, NND_E8M0, 32, 1},
    {40, 300, NND_E4M3, NND_F32, 0, 1},      {7, 32, NND_E4M3, NND_E8M0, 32, 1},
    {7, 32, NND_E5M2, NND_E8M0, 32, 1},      {7, 20, NND_E4M3, NND_F32, 128, 1},
};
enum { ODD = 9 }; /* these and those behind have odd numbers, one block a row */

/* A block whose scale is a NaN says nothing more by its numbers. */
static void free_blocks(struct call *c, struct slot *y)
{
    bool *any = arena_calloc(c->arena, (size_t)y->count + 1, sizeof *any);
    for (int64_t i = 0; i < y->count; i++) {
        int64_t row = y->row[i / y->dim[1]];
        any[i] = row >= 4 && row < ODD_ROWS;
    }
    y->any = any;
}

/* The odd numbers of a case: what is quantized, or the scales of what was. */
static void add_odd(struct call *c, int i, bool back, struct slot *x, struct slot *y)
{
    double most = blocks[i].dtype == NND_E4M3 ? 448 : 57344;
    double number[] = {0, 0x1p-149, most / 64, INFINITY, NAN};
    double scale[] = {0x1p-30, 0x1p-60, 64, NAN, NAN};
    if (i < ODD)
        return;
    make_odd(c, x, back ? scale : number);
    if (!back)
        free_blocks(c, y);
}

/* Either way; rows of blocks of one row can be cut. */
static bool cast(struct call *c, int i, const struct window *w, bool back)
{
    if (i >= (int)(sizeof blocks / sizeof blocks[0]))
        return false;
    struct nnd_cast *p = &c->params.cast;
    bool by_rows = blocks[i].wide && blocks[i].high == 1;
    int64_t t = by_rows ? window_rows(w, blocks[i].t) + w->tail : blocks[i].t;
    const int64_t *row =
        window_ids(c, by_rows ? w : &(struct window){.count = -1}, blocks[i].t);
    *p = (struct nnd_cast){.struct_size = sizeof *p};
    c->rows = by_rows ? blocks[i].t : 0;
    c->big = blocks[i].n > 1000 || (blocks[i].n > 200 && !by_rows);
    struct slot *s =
        call_scaled(c, back ? "x" : "y", back ? &p->x : &p->y,
                    back ? ROLE_IN : ROLE_OUT, blocks[i].dtype, blocks[i].scale, t,
                    blocks[i].n, blocks[i].wide, blocks[i].high);
    struct slot *other =
        call_tensor(c, back ? "y" : "x", back ? &p->y : &p->x,
                    back ? ROLE_OUT : ROLE_IN, KIND_ACT, t, blocks[i].n, -1);
    s->row = other->row = row;
    if (by_rows)
        c->slot[s->scales - 1].row = row;
    other->spread = 3;
    add_odd(c, i, back, back ? &c->slot[s->scales - 1] : other, s);
    snprintf(c->text, sizeof c->text, "t=%d n=%d %s scales=%s block=%dx%d%s",
             blocks[i].t, blocks[i].n, blocks[i].dtype == NND_E4M3 ? "e4m3" : "e5m2",
             blocks[i].scale == NND_F32 ? "f32" : "e8m0", blocks[i].high,
             blocks[i].wide, i < ODD ? "" : " odd numbers");
    return true;
}

bool family_quant(struct call *c, int i, const struct window *w)
{
    return cast(c, i, w, false);
}

bool family_dequant(struct call *c, int i, const struct window *w)
{
    return cast(c, i, w, true);
}

bool family_fill(struct call *c, int i, const struct window *w)
{
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    c->params.cast.value = -0.75f;
    struct slot *y =
        call_tensor(c, "y", &c->params.cast.y, ROLE_OUT, KIND_ACT, t, n, -1);
    y->row = window_ids(c, w, shapes[i].t);
    y->slack = SLACK_COPY;
    return true;
}

bool family_scale(struct call *c, int i, const struct window *w)
{
    static const float factor = 0.3f;
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    const int64_t *row = window_ids(c, w, shapes[i].t);
    call_tensor(c, "x", &c->params.cast.x, ROLE_IN, KIND_ACT, t, n, -1)->row = row;
    call_tensor(c, "y", &c->params.cast.y, ROLE_OUT, KIND_ACT, t, n, -1)->row = row;
    call_array(c, &c->params.cast.factor, &factor, sizeof factor);
    return true;
}

bool family_amax(struct call *c, int i, const struct window *w)
{
    int64_t t, n;
    if (!begin(c, i, w, &t, &n))
        return false;
    c->rows = 0; /* one number of all rows */
    struct slot *x =
        call_tensor(c, "x", &c->params.cast.x, ROLE_IN, KIND_ACT, t, n, -1);
    static const double infinity[] = {-1, 1, -INFINITY, 2}, holes[] = {-1, 1, NAN, 2};
    if (i == 3 || i == 4)
        make_odd(c, x, i == 3 ? infinity : holes);
    call_tensor(c, "amax", &c->params.cast.amax, ROLE_OUT, KIND_F32, 1, -1, -1)->slack =
        SLACK_COPY;
    return true;
}
