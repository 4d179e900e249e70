/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_attend.c - "attn.add.*", "attn.dot.*": keys behind a row's length are NaN.
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

static const struct {
    int b, t, s, a, n;
    bool lengths;
} cases[] = {
    {1, 1, 1, 1, 1, false},   {3, 1, 5, 4, 3, true},     {4, 6, 17, 33, 16, true},
    {2, 3, 64, 7, 65, false}, {0, 2, 3, 4, 5, true},     {3, 2, 0, 4, 5, true},
    {4, 64, 3, 5, 8, true},   {2, 0, 3, 4, 5, false},    {1, 2, 150, 140, 133, false},
    {2, 3, 1100, 5, 6, true}, {1, 1, 7, 1100, 9, false},
};

struct rows {
    int64_t b;
    const int64_t *id;
    int32_t *len;
};

/* Row 1 has no key, row 2 one. */
static struct rows rows_of(struct call *c, int i, const struct window *w)
{
    struct rows r = {.b = window_rows(w, cases[i].b) + w->tail};
    r.id = window_ids(c, w, cases[i].b);
    r.len = call_ints(c, r.b);
    for (int64_t j = 0; j < r.b; j++)
        r.len[j] = cases[i].lengths && (r.id[j] == 1 || r.id[j] == 2) && cases[i].s > 0
                       ? (int32_t)r.id[j] - 1
                       : cases[i].s;
    return r;
}

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, int64_t rows, int64_t n, const struct rows *r)
{
    struct slot *s = call_tensor(c, name, x, role, KIND_ACT, r->b, rows, n);
    s->row = r->id;
    return s;
}

/* Keys and values that nobody may look at. */
static void end_with_row(struct call *c, struct slot *s, const struct rows *r)
{
    int64_t t = s->dim[1], n = s->dim[2];
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t b = i / n / t, within = i % (t * n);
        uint64_t place = (uint64_t)r->id[b] << 24 | (uint64_t)within;
        value[i] = within / n >= r->len[b] ? NAN
                   : r->id[b] < 0          ? 0
                                           : call_random(61 + (uint64_t)n, place);
    }
    s->value = value;
}

static void add_gradients(struct call *c, int i, const struct rows *r, bool sum)
{
    struct nnd_attend *p = &c->params.attend;
    int64_t t = cases[i].t, s = cases[i].s, a = cases[i].a, n = cases[i].n;
    add(c, "dout", &p->dout, ROLE_IN, t, n, r);
    struct slot *out[] = {
        add(c, "dq", &p->dq, ROLE_OUT, t, a, r),
        add(c, "dk", &p->dk, ROLE_OUT, s, a, r),
        add(c, "dv", &p->dv, ROLE_OUT, s, n, r),
        sum ? call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, a, -1, -1) : NULL};
    for (int k = 0; k < 4 && out[k]; k++) {
        out[k]->slack = SLACK_BACKWARD;
        out[k]->terms = 4 * (s + t) * (a + n);
        /* One key takes all: its score has no gradient but rounding. */
        out[k]->floor = s <= 1 ? 1 : 0;
    }
    c->summed = sum ? cases[i].b * t : 0;
}

static bool build(struct call *c, int i, const struct window *w, bool sum, bool bwd)
{
    if (i >= (int)(sizeof cases / sizeof cases[0]))
        return false;
    struct nnd_attend *p = &c->params.attend;
    int64_t t = cases[i].t, s = cases[i].s, a = cases[i].a, n = cases[i].n;
    struct rows r = rows_of(c, i, w);
    *p = (struct nnd_attend){.struct_size = sizeof *p, .scale = 0.75f};
    c->rows = cases[i].b;
    c->big = s > 1000 || a > 1000;
    c->derive = !bwd ? NULL : sum ? "attn.add.fwd" : "attn.dot.fwd";
    add(c, "q", &p->q, ROLE_IN, t, a, &r);
    end_with_row(c, add(c, "k", &p->k, ROLE_IN, s, a, &r), &r);
    end_with_row(c, add(c, "v", &p->v, ROLE_IN, s, n, &r), &r);
    if (sum)
        call_tensor(c, "w", &p->w, ROLE_IN, KIND_WEIGHT, a, -1, -1)->spread =
            cases[i].a > 1000 ? 0.5 : 2; /* that no key takes all */
    struct slot *weight = call_tensor(
        c, "weight", &p->weight, bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32, r.b, t, s);
    weight->row = r.id;
    weight->terms = 4 * (s + a);
    struct slot *o = add(c, "o", &p->o, bwd ? ROLE_SCRATCH : ROLE_OUT, t, n, &r);
    o->slack = SLACK_FORWARD;
    o->terms = 4 * (s + a);
    if (bwd)
        add_gradients(c, i, &r, sum);
    if (cases[i].lengths)
        call_array(c, &p->len, r.len, (size_t)r.b * sizeof *r.len);
    snprintf(c->text, sizeof c->text, "b=%d t=%d s=%d a=%d n=%d%s", cases[i].b,
             cases[i].t, cases[i].s, cases[i].a, cases[i].n,
             cases[i].lengths ? " lengths" : "");
    return true;
}

bool family_add_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true, false);
}

bool family_add_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true, true);
}

bool family_dot_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false, false);
}

bool family_dot_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false, true);
}
