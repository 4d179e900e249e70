/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_xent.c - both ends of a language model: "embed.*", "xent.*".
 */
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, v;
    double spread;
    bool in_place;
    float smoothing, z_loss;
} xents[] = {
    {1, 1, 1, false, 0, 0},      {0, 5, 1, false, 0, 0},
    {3, 7, 4, true, 0, 0},       {17, 65, 4, false, 0.1f, 0},
    {5, 1000, 2, true, 0, 0},    {9, 33, 60, false, 0, 0},
    {6, 40, 2, true, 0, 1e-2f},  {4, 9, 2, false, 0.2f, 1e-3f},
    {2, 9001, 2, true, 0.1f, 0},
};

static struct slot *add_stat(struct call *c, const char *name, struct nnd_tensor *x,
                             enum role role, int64_t t, int i, const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_F32, t, -1, -1);
    s->row = row;
    s->slack = SLACK_FORWARD;
    s->terms = xents[i].v;
    return s;
}

static bool xent(struct call *c, int i, const struct window *w, bool bwd)
{
    static const float seed = 0.0625f;
    if (i >= COUNT(xents))
        return false;
    struct nnd_xent *p = &c->params.xent;
    int64_t t = window_rows(w, xents[i].t) + w->tail, v = xents[i].v;
    const int64_t *row = call_padded_ids(c, window_ids(c, w, xents[i].t), t);
    *p = (struct nnd_xent){.struct_size = sizeof *p,
                           .smoothing = xents[i].smoothing,
                           .z_loss = xents[i].z_loss};
    c->rows = xents[i].t;
    c->big = xents[i].v > 1000;
    c->derive = bwd ? "xent.fwd" : NULL;
    bool in_place = bwd && xents[i].in_place;
    struct slot *z = call_tensor(c, in_place ? "logits=dlogits" : "logits", &p->logits,
                                 in_place ? ROLE_INOUT : ROLE_IN, KIND_ACT, t, v, -1);
    z->row = row;
    z->spread = xents[i].spread;
    z->alias = in_place ? &p->dlogits : NULL;
    add_stat(c, "loss", &p->loss, bwd ? ROLE_SCRATCH : ROLE_OUT, t, i, row);
    add_stat(c, "lse", &p->lse, bwd ? ROLE_DERIVED : ROLE_OUT, t, i, row);
    struct slot *dz = z;
    if (bwd && !in_place)
        dz = call_tensor(c, "dlogits", &p->dlogits, ROLE_OUT, KIND_ACT, t, v, -1);
    dz->row = row;
    dz->slack = SLACK_BACKWARD;
    /* lse is rounded to f32 at its own size before the exponential. */
    dz->terms = (int64_t)(v + xents[i].spread * xents[i].spread);
    call_targets(c, &c->params.xent.target, row, t, xents[i].v);
    call_array(c, &p->seed, &seed, sizeof seed);
    snprintf(c->text, sizeof c->text, "t=%d v=%d |z|<%g smoothing=%g z_loss=%g%s",
             xents[i].t, xents[i].v, xents[i].spread, (double)xents[i].smoothing,
             (double)xents[i].z_loss, in_place ? " in place" : "");
    return true;
}

bool family_xent_fwd(struct call *c, int i, const struct window *w)
{
    return xent(c, i, w, false);
}

bool family_xent_bwd(struct call *c, int i, const struct window *w)
{
    return xent(c, i, w, true);
}

static const struct {
    int t, v, n;
    float smoothing, z_loss;
} linears[] = {
    {1, 2, 3, 0, 0},           {0, 5, 3, 0, 0},
    {9, 70, 12, 0, 0},         {4, 1100, 5, 0, 0},
    {300, 33, 8, 0.1f, 0},     {7, 20, 40, 0, 1e-2f},
    {5, 1030, 3, 0.2f, 1e-3f}, {3, 2100, 4, 0.1f, 0},
    {2, 2100, 72, 0, 1e-3f},   {130, 300, 72, 0.1f, 1e-3f},
    {70, 2100, 264, 0.1f, 0},  {3, 20, 1100, 0, 0},
};

static void add_linear_target(struct call *c, int i, const int64_t *row, int64_t t)
{
    int32_t *target = call_ints(c, t);
    for (int64_t r = 0; r < t; r++)
        target[r] =
            row[r] < 0 ? -1 : call_number(3, (uint64_t)row[r], 0, linears[i].v - 1);
    call_array(c, &c->params.xent_linear.target, target, (size_t)t * sizeof *target);
}

static void add_linear_gradients(struct call *c, int i, int64_t t, const int64_t *row)
{
    struct nnd_xent_linear *p = &c->params.xent_linear;
    int64_t v = linears[i].v, n = linears[i].n;
    struct slot *dx = call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, t, n, -1);
    struct slot *dw = call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, v, n, -1);
    dx->row = row;
    dx->slack = dw->slack = SLACK_BACKWARD;
    dx->terms = dw->terms = (v + linears[i].t) * n;
    dw->like = 1; /* gradients of logits may be rounded to x's type */
    c->summed = linears[i].t;
}

static bool linear(struct call *c, int i, const struct window *w, bool bwd)
{
    static const float seed = 0.0625f;
    if (i >= COUNT(linears))
        return false;
    struct nnd_xent_linear *p = &c->params.xent_linear;
    int64_t t = window_rows(w, linears[i].t) + w->tail, v = linears[i].v;
    const int64_t *row = call_padded_ids(c, window_ids(c, w, linears[i].t), t);
    *p = (struct nnd_xent_linear){.struct_size = sizeof *p,
                                  .smoothing = linears[i].smoothing,
                                  .z_loss = linears[i].z_loss};
    c->rows = linears[i].t;
    c->big = linears[i].n > 1000;
    c->derive = bwd ? "xent.linear.fwd" : NULL;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, t, linears[i].n, -1)->row = row;
    call_tensor(c, "w", &p->w, ROLE_IN, KIND_ACT, v, linears[i].n, -1);
    struct slot *stat[] = {call_tensor(c, "loss", &p->loss,
                                       bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_F32, t, -1,
                                       -1),
                           call_tensor(c, "lse", &p->lse, bwd ? ROLE_DERIVED : ROLE_OUT,
                                       KIND_F32, t, -1, -1)};
    for (int s = 0; s < 2; s++) {
        stat[s]->row = row;
        stat[s]->slack = SLACK_FORWARD;
        stat[s]->terms = v * linears[i].n;
    }
    if (bwd)
        add_linear_gradients(c, i, t, row);
    add_linear_target(c, i, row, t);
    call_array(c, &p->seed, &seed, sizeof seed);
    snprintf(c->text, sizeof c->text, "t=%d v=%d n=%d smoothing=%g z_loss=%g",
             linears[i].t, linears[i].v, linears[i].n, (double)linears[i].smoothing,
             (double)linears[i].z_loss);
    return true;
}

bool family_xent_linear_fwd(struct call *c, int i, const struct window *w)
{
    return linear(c, i, w, false);
}

bool family_xent_linear_bwd(struct call *c, int i, const struct window *w)
{
    return linear(c, i, w, true);
}

static const struct {
    int t, v, n;
    float scale;
    int accumulate; /* backward */
} embeds[] = {{1, 1, 1, 0, 0},     {0, 3, 4, 0, 0},        {7, 5, 3, 0, 0},
              {300, 11, 17, 0, 0}, {13, 257, 64, 2.5f, 0}, {256, 9, 5, 0.75f, 0},
              {0, 3, 4, 0, 1},     {300, 11, 17, 0, 1},    {13, 257, 64, 2.5f, 1},
              {5, 3, 5000, 0, 0}};

static void add_ids(struct call *c, int i, const int64_t *row, int64_t t)
{
    int32_t *id = call_ints(c, t);
    for (int64_t r = 0; r < t; r++)
        id[r] = row[r] < 0 ? -1 : call_number(5, (uint64_t)row[r], 0, embeds[i].v - 1);
    call_array(c, &c->params.embed.id, id, (size_t)t * sizeof *id);
}

static void describe(struct call *c, int i)
{
    c->big = embeds[i].n > 1000;
    snprintf(c->text, sizeof c->text, "t=%d v=%d n=%d scale=%g%s", embeds[i].t,
             embeds[i].v, embeds[i].n, (double)embeds[i].scale,
             embeds[i].accumulate ? " accumulate" : "");
}

bool family_embed_fwd(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(embeds))
        return false;
    struct nnd_embed *p = &c->params.embed;
    int64_t t = window_rows(w, embeds[i].t) + w->tail;
    const int64_t *row = call_padded_ids(c, window_ids(c, w, embeds[i].t), t);
    *p = (struct nnd_embed){.struct_size = sizeof *p, .scale = embeds[i].scale};
    c->rows = embeds[i].t;
    call_tensor(c, "table", &p->table, ROLE_IN, KIND_ACT, embeds[i].v, embeds[i].n, -1);
    struct slot *y = call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, t, embeds[i].n, -1);
    y->row = row;
    y->slack = embeds[i].scale == 0 ? SLACK_COPY : SLACK_ELEMENT;
    add_ids(c, i, row, t);
    describe(c, i);
    return true;
}

bool family_embed_bwd(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(embeds))
        return false;
    struct nnd_embed *p = &c->params.embed;
    int64_t t = window_rows(w, embeds[i].t) + w->tail;
    const int64_t *row = call_padded_ids(c, window_ids(c, w, embeds[i].t), t);
    *p = (struct nnd_embed){.struct_size = sizeof *p,
                            .scale = embeds[i].scale,
                            .accumulate = embeds[i].accumulate};
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, t, embeds[i].n, -1)->row = row;
    struct slot *d =
        call_tensor(c, "dtable", &p->dtable, p->accumulate ? ROLE_INOUT : ROLE_OUT,
                    KIND_F32, embeds[i].v, embeds[i].n, -1);
    d->terms = embeds[i].t + embeds[i].accumulate;
    c->summed = embeds[i].t;
    add_ids(c, i, row, t);
    describe(c, i);
    return true;
}
