/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_moe.c - "moe.route.*", "moe.sort", "moe.permute", "moe.unpermute",
 * "moe.dgate".
 */
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int t, e, k, score;
    bool renormalize, bias;
    int group_rows;
    double spread; /* 0: all experts tie */
    bool aux;
    double center; /* far below 0 some rows' sigmoids are all 0 in f32 */
} routes[] = {
    {1, 1, 1, NND_SCORE_SOFTMAX, true, false, 1, 1, true, 0},
    {0, 4, 2, NND_SCORE_SOFTMAX, true, false, 4, 1, true, 0},
    {13, 8, 2, NND_SCORE_SOFTMAX, true, false, 5, 4, true, 0},
    {17, 8, 3, NND_SCORE_SOFTMAX, false, false, 17, 4, false, 0},
    {9, 7, 7, NND_SCORE_SOFTMAX, false, false, 4, 2, true, 0},
    {33, 16, 4, NND_SCORE_SIGMOID, true, true, 16, 4, true, 0},
    {6, 5, 1, NND_SCORE_SIGMOID, true, false, 2, 4, true, 0},
    {8, 64, 6, NND_SCORE_SIGMOID, false, true, 8, 6, true, 0},
    {5, 12, 5, NND_SCORE_SOFTMAX, true, false, 2, 0, true, 0},
    {7, 9, 2, NND_SCORE_SOFTMAX, true, true, 3, 20, true, 0},
    {700, 8, 2, NND_SCORE_SOFTMAX, true, false, 350, 4, true, 0},
    {3, 300, 8, NND_SCORE_SIGMOID, true, true, 3, 4, true, 0},
    {17, 3, 2, NND_SCORE_SIGMOID, true, true, 6, 60, true, -100},
};

static void set_route(struct call *c, int i)
{
    c->params.route = (struct nnd_route){.struct_size = sizeof c->params.route,
                                         .score = routes[i].score,
                                         .renormalize = routes[i].renormalize,
                                         .top_k = routes[i].k,
                                         .group_rows = routes[i].group_rows,
                                         .scale = 1.5f};
    snprintf(c->text, sizeof c->text, "t=%d experts=%d top_k=%d %s%s%s |z|<%g%s%s",
             routes[i].t, routes[i].e, routes[i].k,
             routes[i].score == NND_SCORE_SOFTMAX ? "softmax" : "sigmoid",
             routes[i].renormalize ? " renormalize" : "", routes[i].bias ? " bias" : "",
             routes[i].spread, routes[i].aux ? " aux" : "",
             routes[i].center < 0 ? " low" : "");
}

/* Every fifth row, and the tail, is padding. */
static const int64_t *route_rows(struct call *c, int i, const struct window *w,
                                 int64_t t)
{
    const int64_t *all = window_ids(c, w, routes[i].t);
    int64_t *row = call_row_ids(c, t, 0);
    int32_t *pos = call_ints(c, t);
    for (int64_t r = 0; r < t; r++) {
        row[r] = all[r] < 0 || all[r] % 5 == 3 ? ROW_NAN : all[r];
        pos[r] = row[r] < 0 ? -1 : (int32_t)row[r];
    }
    call_array(c, &c->params.route.pos, pos, (size_t)t * sizeof *pos);
    return row;
}

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *x,
                        enum role role, enum kind kind, int64_t t, int64_t n,
                        const int64_t *row)
{
    struct slot *s = call_tensor(c, name, x, role, kind, t, n, -1);
    s->row = row;
    s->slack = SLACK_BACKWARD;
    return s;
}

static void add_sums(struct call *c, int i, int64_t groups, enum role role)
{
    struct nnd_route *p = &c->params.route;
    add(c, "count", &p->count, role, KIND_I32, groups, routes[i].e, NULL)->slack =
        SLACK_COPY;
    struct slot *psum =
        add(c, "psum", &p->psum, role, KIND_F64, groups, routes[i].e, NULL);
    struct slot *zsq = call_tensor(c, "zsq", &p->zsq, role, KIND_F64, 1, -1, -1);
    psum->single = zsq->single = true;
    psum->terms = zsq->terms =
        routes[i].t + routes[i].e + (int64_t)(routes[i].spread * routes[i].spread);
}

static void add_gradients(struct call *c, int i, int64_t t, int64_t groups,
                          const int64_t *row)
{
    static const float z_weight = 0.03f;
    struct nnd_route *p = &c->params.route;
    add(c, "dgate", &p->dgate, ROLE_IN, KIND_F32, t, routes[i].k, row);
    struct slot *dz = add(c, "dz", &p->dz, ROLE_OUT, KIND_F32, t, routes[i].e, row);
    dz->terms = 4 * (routes[i].e + (int64_t)(routes[i].spread * routes[i].spread));
    if (!routes[i].aux)
        return;
    add(c, "aux_weight", &p->aux_weight, ROLE_IN, KIND_F32, groups, routes[i].e, NULL);
    call_array(c, &p->z_weight, &z_weight, sizeof z_weight);
}

static bool route(struct call *c, int i, const struct window *w, bool bwd)
{
    if (i >= COUNT(routes))
        return false;
    struct nnd_route *p = &c->params.route;
    set_route(c, i);
    int64_t t = window_rows(w, routes[i].t) + w->tail;
    const int64_t *row = route_rows(c, i, w, t);
    /* Groups follow the place, not the id: with them rows cannot be cut. */
    int64_t g = routes[i].group_rows, groups = (t + g - 1) / g;
    c->rows = bwd && routes[i].aux ? 0 : routes[i].t;
    c->big = routes[i].t > 100 || routes[i].e > 100;
    c->derive = bwd ? "moe.route.fwd" : NULL;
    enum role computed = bwd ? ROLE_DERIVED : ROLE_OUT,
              sum = bwd ? ROLE_SCRATCH : ROLE_OUT;
    struct slot *z = add(c, "z", &p->z, ROLE_IN, KIND_F32, t, routes[i].e, row);
    z->spread = routes[i].spread;
    z->center = routes[i].center;
    if (routes[i].bias)
        call_tensor(c, "bias", &p->bias, ROLE_IN, KIND_F32, routes[i].e, -1, -1)
            ->spread = 0.25;
    struct slot *x =
        add(c, "expert", &p->expert, computed, KIND_I32, t, routes[i].k, row);
    x->slack = SLACK_COPY;
    struct slot *gate =
        add(c, "gate", &p->gate, computed, KIND_F32, t, routes[i].k, row);
    gate->terms = routes[i].e + (int64_t)(routes[i].spread * routes[i].spread);
    add_sums(c, i, groups, sum);
    if (bwd)
        add_gradients(c, i, t, groups, row);
    return true;
}

bool family_route_fwd(struct call *c, int i, const struct window *w)
{
    return route(c, i, w, false);
}

bool family_route_bwd(struct call *c, int i, const struct window *w)
{
    return route(c, i, w, true);
}

static const struct {
    int t, e, k, n;
    bool gate, one; /* one: all choices fall on expert 0 */
} sorts[] = {
    {1, 1, 1, 1, false, false},    {0, 4, 2, 3, true, false},
    {7, 5, 2, 3, true, false},     {64, 8, 2, 17, false, false},
    {33, 64, 6, 64, true, false},  {300, 4, 1, 5, true, true},
    {3000, 64, 2, 1, true, false}, {2, 3, 2, 5000, true, false},
};

/* Choices of a case with its rows' order, by the definition. */
struct choices {
    int64_t n; /* t * k */
    int32_t *expert, *place, *source;
};

static void choose(struct call *c, int i, struct choices *s)
{
    int t = sorts[i].t, k = sorts[i].k, e = sorts[i].e;
    s->n = (int64_t)t * k;
    s->expert = call_ints(c, s->n);
    s->place = call_ints(c, s->n);
    s->source = call_ints(c, s->n);
    for (int64_t j = 0; j < s->n; j++) { /* distinct within a row; some rows absent */
        int32_t first = sorts[i].one ? 0 : call_number(17, (uint64_t)(j / k), 0, e - 1);
        s->expert[j] = j / k % 6 == 4 ? -1 : (int32_t)((first + j % k) % e);
        s->place[j] = s->source[j] = -1;
    }
    int32_t next = 0;
    for (int32_t n = 0; n < e; n++)
        for (int64_t j = 0; j < s->n; j++)
            if (s->expert[j] == n) {
                s->source[next] = (int32_t)j;
                s->place[j] = next++;
            }
}

static void add_numbers(struct call *c, const char *name, struct nnd_tensor *x,
                        int64_t t, int64_t k, const int32_t *number)
{
    call_tensor(c, name, x, ROLE_IN, KIND_I32, t, k, -1)->number = number;
}

static void describe(struct call *c, int i)
{
    c->big = sorts[i].t > 1000 || sorts[i].n > 1000;
    snprintf(c->text, sizeof c->text, "t=%d experts=%d top_k=%d n=%d%s%s", sorts[i].t,
             sorts[i].e, sorts[i].k, sorts[i].n, sorts[i].gate ? " gate" : "",
             sorts[i].one ? " all to one" : "");
}

bool family_sort(struct call *c, int i, const struct window *w)
{
    (void)w;
    if (i >= COUNT(sorts))
        return false;
    struct nnd_sort *p = &c->params.sort;
    struct choices s;
    choose(c, i, &s);
    *p = (struct nnd_sort){.struct_size = sizeof *p};
    add_numbers(c, "expert", &p->expert, sorts[i].t, sorts[i].k, s.expert);
    call_tensor(c, "place", &p->place, ROLE_OUT, KIND_I32, sorts[i].t, sorts[i].k, -1);
    call_tensor(c, "source", &p->source, ROLE_OUT, KIND_I32, s.n, -1, -1);
    call_tensor(c, "total", &p->total, ROLE_OUT, KIND_I32, sorts[i].e, -1, -1);
    describe(c, i);
    return true;
}

/* What a window cuts are places in the order. */
bool family_permute(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(sorts))
        return false;
    struct nnd_permute *p = &c->params.permute;
    struct choices s;
    choose(c, i, &s);
    *p = (struct nnd_permute){.struct_size = sizeof *p, .top_k = sorts[i].k};
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, sorts[i].t, sorts[i].n, -1);
    int64_t rows = window_rows(w, s.n);
    c->rows = s.n;
    struct slot *y =
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, rows, sorts[i].n, -1);
    y->row = window_ids(c, w, s.n);
    y->slack = sorts[i].gate ? SLACK_ELEMENT : SLACK_COPY;
    struct slot *source =
        call_tensor(c, "source", &p->source, ROLE_IN, KIND_I32, rows, -1, -1);
    source->number = s.source + w->first;
    if (sorts[i].gate)
        call_tensor(c, "gate", &p->gate, ROLE_IN, KIND_F32, sorts[i].t, sorts[i].k, -1);
    describe(c, i);
    return true;
}

/* Rows of the window; the sorted rows stay whole, those of nobody are NaN. */
static int64_t gather(struct call *c, int i, const struct window *w,
                      struct nnd_tensor *x, const int64_t **row)
{
    struct nnd_permute *p = &c->params.permute;
    struct choices s;
    choose(c, i, &s);
    int64_t t = window_rows(w, sorts[i].t), k = sorts[i].k;
    *p = (struct nnd_permute){.struct_size = sizeof *p, .top_k = sorts[i].k};
    *row = window_ids(c, &(struct window){w->first, w->count, 0, 0}, sorts[i].t);
    c->rows = sorts[i].t;
    int64_t *id = call_row_ids(c, s.n, 0);
    for (int64_t j = 0; j < s.n; j++)
        id[j] = s.source[j] < 0 ? ROW_NAN : j;
    call_tensor(c, "x", x, ROLE_IN, KIND_ACT, s.n, sorts[i].n, -1)->row = id;
    add_numbers(c, "place", &p->place, t, k, s.place + w->first * k);
    describe(c, i);
    return t;
}

bool family_unpermute(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(sorts))
        return false;
    struct nnd_permute *p = &c->params.permute;
    const int64_t *row;
    int64_t t = gather(c, i, w, &p->x, &row);
    struct slot *y = call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, t, sorts[i].n, -1);
    y->row = row;
    y->terms = sorts[i].k;
    if (sorts[i].gate)
        call_tensor(c, "gate", &p->gate, ROLE_IN, KIND_F32, t, sorts[i].k, -1)->row =
            row;
    return true;
}

bool family_dgate(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(sorts))
        return false;
    struct nnd_permute *p = &c->params.permute;
    const int64_t *row;
    int64_t t = gather(c, i, w, &p->x, &row);
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, t, sorts[i].n, -1)->row = row;
    struct slot *d =
        call_tensor(c, "dgate", &p->dgate, ROLE_OUT, KIND_F32, t, sorts[i].k, -1);
    d->row = row;
    d->terms = sorts[i].n;
    return true;
}
