/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_distill.c - a student's loss beside its teacher: "distill.*".
 */
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, v;
    double spread;
    bool in_place;
    float alpha, temperature;
} cases[] = {
    {1, 1, 1, false, 0.5f, 1},   {0, 5, 1, false, 0.5f, 2},
    {3, 7, 4, true, 1, 1},       {17, 65, 4, false, 0.9f, 4},
    {5, 1000, 2, true, 0.5f, 2}, {9, 33, 30, false, 0.25f, 0.5f},
    {6, 40, 2, true, 0, 3},      {2, 9001, 2, false, 0.5f, 2},
};

static void add_stat(struct call *c, const char *name, struct nnd_tensor *x,
                     enum role role, int i, const int64_t *row, int64_t t)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_F32, t, -1, -1);
    double far = cases[i].spread / (double)cases[i].temperature;
    s->row = row;
    s->slack = SLACK_FORWARD;
    /* The loss is a sum of differences, whose size is that of the logits. */
    s->terms = (int64_t)(cases[i].v * (1 + far * (double)cases[i].temperature *
                                               (double)cases[i].temperature));
}

static void add_stats(struct call *c, int i, bool bwd, const int64_t *row, int64_t t)
{
    struct nnd_distill *p = &c->params.distill;
    enum role kept = bwd ? ROLE_DERIVED : ROLE_OUT;
    add_stat(c, "loss", &p->loss, bwd ? ROLE_SCRATCH : ROLE_OUT, i, row, t);
    add_stat(c, "lse", &p->lse, kept, i, row, t);
    add_stat(c, "lse_soft", &p->lse_soft, kept, i, row, t);
    add_stat(c, "lse_teacher", &p->lse_teacher, kept, i, row, t);
}

static struct slot *add_logits(struct call *c, const char *name, struct nnd_tensor *x,
                               enum role role, int i, const int64_t *row, int64_t t)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_ACT, t, cases[i].v, -1);
    s->row = row;
    s->spread = cases[i].spread;
    return s;
}

static bool distill(struct call *c, int i, const struct window *w, bool bwd)
{
    static const float seed = 0.0625f;
    if (i >= COUNT(cases))
        return false;
    struct nnd_distill *p = &c->params.distill;
    int64_t t = window_rows(w, cases[i].t) + w->tail;
    const int64_t *row = call_padded_ids(c, window_ids(c, w, cases[i].t), t);
    double spread = cases[i].spread;
    bool in_place = bwd && cases[i].in_place;
    *p = (struct nnd_distill){.struct_size = sizeof *p,
                              .alpha = cases[i].alpha,
                              .temperature = cases[i].temperature};
    c->rows = cases[i].t;
    c->big = cases[i].v > 1000;
    c->derive = bwd ? "distill.fwd" : NULL;
    struct slot *dz = add_logits(c, in_place ? "logits=dlogits" : "logits", &p->logits,
                                 in_place ? ROLE_INOUT : ROLE_IN, i, row, t);
    dz->alias = in_place ? &p->dlogits : NULL;
    add_logits(c, "teacher", &p->teacher, ROLE_IN, i, row, t);
    add_stats(c, i, bwd, row, t);
    if (bwd && !in_place)
        dz = call_tensor(c, "dlogits", &p->dlogits, ROLE_OUT, KIND_ACT, t, cases[i].v,
                         -1);
    dz->row = row;
    dz->slack = SLACK_BACKWARD;
    /* What is kept is rounded to f32 at its own size before the exponential. */
    dz->terms = (int64_t)(cases[i].v + spread * spread);
    call_targets(c, &c->params.distill.target, row, t, cases[i].v);
    call_array(c, &p->seed, &seed, sizeof seed);
    snprintf(c->text, sizeof c->text, "t=%d v=%d |z|<%g alpha=%g temperature=%g%s",
             cases[i].t, cases[i].v, spread, (double)cases[i].alpha,
             (double)cases[i].temperature, in_place ? " in place" : "");
    return true;
}

bool family_distill_fwd(struct call *c, int i, const struct window *w)
{
    return distill(c, i, w, false);
}

bool family_distill_bwd(struct call *c, int i, const struct window *w)
{
    return distill(c, i, w, true);
}
