/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_rows.c - "rows.*", "sqnorm", "opt.*".
 */
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, n;
} shapes[] = {{1, 1},    {0, 5},   {3, 7},    {255, 16}, {513, 33},
              {17, 257}, {512, 6}, {3, 5000}, {3000, 2}};

bool family_rows_sum(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(shapes))
        return false;
    struct nnd_rows *p = &c->params.rows;
    int64_t t = window_rows(w, shapes[i].t) + w->tail;
    *p = (struct nnd_rows){.struct_size = sizeof *p};
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, t, shapes[i].n, -1)->row =
        window_ids(c, w, shapes[i].t);
    struct slot *y =
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F32, shapes[i].n, -1, -1);
    y->terms = shapes[i].t;
    c->summed = shapes[i].t;
    c->big = shapes[i].t > 1000 || shapes[i].n > 1000;
    snprintf(c->text, sizeof c->text, "t=%d n=%d", shapes[i].t, shapes[i].n);
    return true;
}

enum { OTHERS = 5 }; /* rows that no index names */

/* A permutation of t + OTHERS rows, cut to t, every fourth left out. */
static const int32_t *indices(struct call *c, int i)
{
    int64_t t = shapes[i].t, all = t + OTHERS;
    int32_t *index = call_ints(c, all);
    for (int64_t j = 0; j < all; j++)
        index[j] = (int32_t)j;
    for (int64_t j = all - 1; j > 0; j--) {
        int32_t other = call_number(23, (uint64_t)j, 0, (int32_t)j), x = index[j];
        index[j] = index[other];
        index[other] = x;
    }
    for (int64_t j = 3; j < t; j += 4)
        index[j] = -1;
    return index;
}

/* A window cuts what is gathered. */
static bool move(struct call *c, int i, const struct window *w, bool scatter)
{
    if (i >= COUNT(shapes))
        return false;
    struct nnd_rows *p = &c->params.rows;
    int64_t t = window_rows(w, shapes[i].t), more = shapes[i].t + OTHERS;
    int64_t n = shapes[i].n;
    *p = (struct nnd_rows){.struct_size = sizeof *p};
    c->big = shapes[i].t > 1000 || n > 1000;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, scatter ? t : more, n, -1);
    struct slot *y =
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, scatter ? more : t, n, -1);
    y->slack = SLACK_COPY;
    if (!scatter) {
        c->rows = shapes[i].t;
        y->row = window_ids(c, w, shapes[i].t);
    }
    call_array(c, &p->index, indices(c, i) + w->first, (size_t)t * sizeof(int32_t));
    snprintf(c->text, sizeof c->text, "t=%d n=%d", shapes[i].t, shapes[i].n);
    return true;
}

bool family_rows_gather(struct call *c, int i, const struct window *w)
{
    return move(c, i, w, false);
}

bool family_rows_scatter(struct call *c, int i, const struct window *w)
{
    return move(c, i, w, true);
}

/* What a window cuts are blocks. */
bool family_sqnorm(struct call *c, int i, const struct window *w)
{
    static const int sizes[] = {1, 0, 15, 4095, 4096, 4097, 10000, 140001};
    if (i >= COUNT(sizes))
        return false;
    struct nnd_sqnorm *p = &c->params.sqnorm;
    int64_t n = sizes[i], blocks = (n + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS;
    int64_t rows = window_rows(w, blocks), from = w->first * NND_BLOCK_ELEMS;
    int64_t left =
        rows * NND_BLOCK_ELEMS < n - from ? rows * NND_BLOCK_ELEMS : n - from;
    *p = (struct nnd_sqnorm){.struct_size = sizeof *p};
    c->rows = blocks;
    c->exact = true;
    c->big = n > 100000;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_F32, left, -1, -1)->row =
        window_ids(c, &(struct window){from, left, 0, 0}, n);
    struct slot *y = call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F64, rows, -1, -1);
    y->row = window_ids(c, w, blocks);
    y->terms = NND_BLOCK_ELEMS;
    snprintf(c->text, sizeof c->text, "n=%d", sizes[i]);
    return true;
}

static const struct {
    int n;
    float decay, eps;
    bool out;
    int skip; /* 1: given, and 0; 2: nothing is to be done */
} steps[] = {{1, 0, 1e-8f, false, 0},       {0, 0.1f, 1e-8f, true, 0},
             {67, 0.1f, 1e-8f, true, 1},    {1000, 0, 0.25f, true, 0},
             {67, 0.1f, 1e-8f, false, 2},   {4097, 0.01f, 1e-8f, false, 0},
             {20011, 0.01f, 1e-8f, true, 0}};

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, enum kind kind, int64_t n, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, kind, n, -1, -1);
    s->row = row;
    s->terms = 4;
    return s;
}

static bool step(struct call *c, int i, const struct window *w, bool second)
{
    static const float hyper[NND_HYPER_COUNT] = {1e-2f, 0.5f, 1 / 0.19f, 1 / 0.0975f};
    if (i >= COUNT(steps))
        return false;
    struct nnd_optim *p = &c->params.optim;
    int64_t n = window_rows(w, steps[i].n) + w->tail;
    const int64_t *row = window_ids(c, w, steps[i].n);
    *p = (struct nnd_optim){.struct_size = sizeof *p,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = steps[i].eps,
                            .decay = steps[i].decay};
    c->rows = steps[i].n;
    c->big = steps[i].n > 10000;
    add(c, "grad", &p->grad, ROLE_IN, KIND_F32, n, row);
    add(c, "w", &p->w, ROLE_INOUT, KIND_F32, n, row);
    add(c, "m", &p->m, ROLE_INOUT, KIND_F32, n, row);
    if (second) {
        struct slot *v = add(c, "v", &p->v, ROLE_INOUT, KIND_F32, n, row);
        v->center = 0.6;
        v->spread = 0.5;
    }
    if (steps[i].out)
        add(c, "out", &p->out, ROLE_OUT, KIND_ACT, n, row);
    call_array(c, &p->hyper, hyper, sizeof hyper);
    if (steps[i].skip) {
        int32_t *skip = call_ints(c, 1);
        *skip = steps[i].skip - 1;
        call_tensor(c, "skip", &p->skip, ROLE_IN, KIND_I32, 1, -1, -1)->number = skip;
    }
    snprintf(c->text, sizeof c->text, "n=%d decay=%g eps=%g%s%s", steps[i].n,
             (double)steps[i].decay, (double)steps[i].eps, steps[i].out ? " out" : "",
             steps[i].skip > 1 ? " skipped" : "");
    return true;
}

bool family_adamw(struct call *c, int i, const struct window *w)
{
    return step(c, i, w, true);
}

bool family_adam(struct call *c, int i, const struct window *w)
{
    return step(c, i, w, true);
}

bool family_sgd(struct call *c, int i, const struct window *w)
{
    return step(c, i, w, false);
}
