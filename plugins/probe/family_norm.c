/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_norm.c - "norm.rms.fwd|bwd", "norm.layer.fwd|bwd".
 */
#include <stdio.h>

#include "family.h"

static const struct {
    int t, n;
    double center; /* of x: a mean far from 0 cancels */
    float eps;     /* a row of one is all eps: dx = 0 without it */
    bool add;      /* with a residual */
    bool bare;     /* without b, and backward without db */
} cases[] = {
    {1, 1, 0, 1, false, false},        {0, 8, 0, 1e-5f, true, false},
    {3, 5, 0, 1e-5f, false, false},    {17, 64, 0, 1e-5f, true, false},
    {5, 127, 3, 1e-5f, false, false},  {300, 16, 0, 1e-5f, true, false},
    {2, 1000, 0, 1e-5f, false, true},  {257, 33, 0, 1e-5f, false, false},
    {256, 9, 0, 1e-5f, false, false},  {5, 70, 0, 1e-5f, true, false},
    {35, 2100, 0, 1e-5f, true, false}, {3, 4200, 2, 1e-5f, false, false},
};

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, int64_t t, int64_t n, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_ACT, t, n, -1);
    s->row = row;
    s->terms = n;
    return s;
}

static struct slot *add_stat(struct call *c, const char *name, struct nnd_tensor *x,
                             enum role role, int64_t t, int64_t n, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_F32, t, -1, -1);
    s->row = row;
    s->terms = n;
    return s;
}

static void add_gradients(struct call *c, bool shift, int64_t t, int64_t n,
                          const int64_t *row)
{
    struct nnd_norm *p = &c->params.norm;
    add(c, "dy", &p->dy, ROLE_IN, t, n, row);
    add(c, "dx", &p->dx, ROLE_OUT, t, n, row)->slack = SLACK_BACKWARD;
    struct slot *dw = call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, n, -1, -1);
    dw->slack = SLACK_BACKWARD;
    dw->terms = t + n;
    if (!shift)
        return;
    struct slot *db = call_tensor(c, "db", &p->db, ROLE_OUT, KIND_F32, n, -1, -1);
    db->slack = SLACK_BACKWARD;
    db->terms = t;
}

static bool build(struct call *c, int i, const struct window *w, bool layer, bool bwd)
{
    if (i >= (int)(sizeof cases / sizeof cases[0]))
        return false;
    struct nnd_norm *p = &c->params.norm;
    int64_t n = cases[i].n, t = window_rows(w, cases[i].t) + w->tail;
    const int64_t *row = window_ids(c, w, cases[i].t);
    *p = (struct nnd_norm){.struct_size = sizeof *p, .eps = cases[i].eps};
    c->rows = cases[i].t;
    c->summed = bwd ? cases[i].t : 0;
    c->derive = bwd ? (layer ? "norm.layer.fwd" : "norm.rms.fwd") : NULL;
    enum role stat = bwd ? ROLE_DERIVED : ROLE_OUT;
    add(c, "x", &p->x, ROLE_IN, t, n, row)->center = cases[i].center;
    int sum = 0;
    if (cases[i].add && !bwd) {
        add(c, "add", &p->add, ROLE_IN, t, n, row);
        add(c, "sum", &p->sum, ROLE_OUT, t, n, row)->terms = 1;
        sum = c->nslots;
    } else if (cases[i].add) {
        add(c, "dsum", &p->dsum, ROLE_IN, t, n, row);
    }
    call_tensor(c, "w", &p->w, ROLE_IN, KIND_WEIGHT, n, -1, -1)->center = 1;
    if (layer && !cases[i].bare)
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_WEIGHT, n, -1, -1);
    struct slot *y = add(c, "y", &p->y, bwd ? ROLE_SCRATCH : ROLE_OUT, t, n, row);
    y->slack = sum ? SLACK_FORWARD : y->slack; /* the sum is rounded, and y */
    add_stat(c, "rstd", &p->rstd, stat, t, n, row)->like = sum;
    if (layer)
        add_stat(c, "mean", &p->mean, stat, t, n, row)->like = sum;
    if (bwd)
        add_gradients(c, layer && !cases[i].bare, t, n, row);
    snprintf(c->text, sizeof c->text, "t=%d n=%d mean=%g%s%s", cases[i].t, cases[i].n,
             cases[i].center, cases[i].add ? " add" : "",
             layer && cases[i].bare ? " without b" : "");
    return true;
}

bool family_rms_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false, false);
}

bool family_rms_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false, true);
}

bool family_layer_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true, false);
}

bool family_layer_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true, true);
}
