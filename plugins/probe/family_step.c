/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_step.c - "total", "opt.hyper", "moe.balance", "moe.window": there is one
 * right answer to each, down to the bit.
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

bool family_total(struct call *c, int i, const struct window *w)
{
    static const struct {
        int n;
        bool wide, order, root;
    } cases[] = {{1, false, false, false},    {0, true, false, true},
                 {1023, false, false, false}, {1024, true, true, true},
                 {1025, false, true, false},  {5000, true, true, true},
                 {70001, true, false, false}};
    (void)w;
    if (i >= COUNT(cases))
        return false;
    struct nnd_total *p = &c->params.total;
    int64_t n = cases[i].n;
    *p = (struct nnd_total){.struct_size = sizeof *p, .root = cases[i].root};
    c->exact = true;
    c->big = n > 10000;
    struct slot *x = call_tensor(c, "x", &p->x, ROLE_IN,
                                 cases[i].wide ? KIND_F64 : KIND_F32, n, -1, -1);
    x->center = 2;
    if (cases[i].order) {
        int32_t *number = call_ints(c, n);
        for (int64_t j = 0; j < n; j++)
            number[j] = (int32_t)((j * 7 + 3) % n);
        call_tensor(c, "order", &p->order, ROLE_IN, KIND_I32, n, -1, -1)->number =
            number;
    }
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F64, 1, -1, -1)->terms = n;
    snprintf(c->text, sizeof c->text, "n=%d%s%s", cases[i].n,
             cases[i].order ? " order" : "", cases[i].root ? " root" : "");
    return true;
}

bool family_hyper(struct call *c, int i, const struct window *w)
{
    static const struct {
        double norm, scale, clip, loss;
        const char *text;
    } cases[] = {{3, 1, 1, 2, "clipped"},
                 {0.25, 1, 1, 2, "not clipped"},
                 {5e4, 65536, 0, 2, "scaled, no clipping"},
                 {0, 3, 1, 2, "norm 0"},
                 {INFINITY, 2, 1, 2, "norm inf"},
                 {NAN, 1, 0, 2, "norm NaN"},
                 {1, 1, 1, NAN, "loss NaN"}};
    enum { CHUNKS = 5, COLUMNS = 4 };
    (void)w;
    if (i >= COUNT(cases))
        return false;
    struct nnd_hyper *p = &c->params.hyper;
    double *given = arena_calloc(c->arena, NND_HYPER_COUNT, sizeof *given);
    double *norm = arena_calloc(c->arena, 1, sizeof *norm);
    double *stats = arena_calloc(c->arena, CHUNKS * COLUMNS, sizeof *stats);
    given[NND_HYPER_LR] = 1e-3;
    given[NND_HYPER_LOSS_SCALE] = cases[i].scale;
    given[NND_HYPER_CLIP] = cases[i].clip;
    given[NND_HYPER_BIAS1] = 1 / 0.19;
    given[NND_HYPER_BIAS2] = 1 / 0.0975;
    *norm = cases[i].norm;
    for (int j = 0; j < CHUNKS * COLUMNS; j++)
        stats[j] = j % COLUMNS ? NAN : cases[i].loss;
    *p = (struct nnd_hyper){.struct_size = sizeof *p};
    c->exact = true;
    call_tensor(c, "given", &p->given, ROLE_IN, KIND_F64, NND_HYPER_COUNT, -1, -1)
        ->value = given;
    call_tensor(c, "norm", &p->norm, ROLE_IN, KIND_F64, 1, -1, -1)->value = norm;
    call_tensor(c, "stats", &p->stats, ROLE_IN, KIND_F64, CHUNKS, COLUMNS, -1)->value =
        stats;
    call_tensor(c, "hyper", &p->hyper, ROLE_OUT, KIND_F32, NND_HYPER_COUNT, -1, -1);
    call_tensor(c, "skip", &p->skip, ROLE_OUT, KIND_I32, 1, -1, -1)->slack = SLACK_COPY;
    snprintf(c->text, sizeof c->text, "%s", cases[i].text);
    return true;
}

static const struct {
    int groups, experts, top_k, layers;
    bool concat, sums, load, losses, empty;
    float aux, z;
} balances[] = {{1, 1, 1, 1, false, false, false, true, false, 0.01f, 0.001f},
                {3, 8, 2, 1, false, true, false, true, false, 0.01f, 0},
                {300, 5, 3, 2, true, false, true, true, false, 0.7f, 0.3f},
                {2, 64, 6, 1, false, true, true, true, false, 0, 0.3f},
                {2, 7, 2, 1, false, false, false, true, true, 0.7f, 0.3f},
                {4, 9, 2, 1, false, true, false, false, false, 0.7f, 0.3f},
                {4, 9, 2, 1, false, false, true, false, false, 0.7f, 0.3f}};

static const int32_t *counts(struct call *c, int i, int64_t n)
{
    int32_t *number = call_ints(c, n);
    for (int64_t j = 0; j < n && !balances[i].empty; j++)
        number[j] = call_number(41, (uint64_t)j, 0, 9);
    return number;
}

static void add_sums(struct call *c, int i)
{
    struct nnd_balance *p = &c->params.balance;
    int64_t g = balances[i].groups, n = balances[i].experts;
    call_tensor(c, "count0", &p->count0, ROLE_IN, KIND_I32, g, n, -1)->number =
        counts(c, i, g * n);
    call_tensor(c, "psum0", &p->psum0, ROLE_IN, KIND_F64, g, n, -1);
    call_tensor(c, "count_sum", &p->count_sum, ROLE_OUT, KIND_I32, g, n, -1)->slack =
        SLACK_COPY;
    call_tensor(c, "psum_sum", &p->psum_sum, ROLE_OUT, KIND_F64, g, n, -1);
}

/* What was counted before is more than 32 bits hold. */
static void add_load(struct call *c, int64_t n)
{
    struct slot *s = call_tensor(c, "load", &c->params.balance.load, ROLE_INOUT,
                                 KIND_FIXED, n, -1, -1);
    s->dtype = NND_I64;
    s->center = 3e10;
    s->spread = 1e10;
    s->slack = SLACK_COPY;
}

static void add_losses(struct call *c, int64_t g, int64_t n)
{
    static const float scale = 0.75f;
    struct nnd_balance *p = &c->params.balance;
    call_tensor(c, "zsq", &p->zsq, ROLE_IN, KIND_F64, 1, -1, -1)->center = 5;
    call_tensor(c, "aux_weight", &p->aux_weight, ROLE_OUT, KIND_F32, g, n, -1);
    call_tensor(c, "z_weight", &p->z_weight, ROLE_OUT, KIND_F32, 1, -1, -1);
    call_tensor(c, "stats", &p->stats, ROLE_INOUT, KIND_F64, 2, -1, -1);
    call_array(c, &p->scale, &scale, sizeof scale);
}

bool family_balance(struct call *c, int i, const struct window *w)
{
    (void)w;
    if (i >= COUNT(balances))
        return false;
    struct nnd_balance *p = &c->params.balance;
    int64_t g = balances[i].groups, n = balances[i].experts;
    *p = (struct nnd_balance){.struct_size = sizeof *p,
                              .aux_coef = (double)balances[i].aux,
                              .z_coef = (double)balances[i].z,
                              .top_k = balances[i].top_k,
                              .layers = balances[i].layers,
                              .concat = balances[i].concat};
    c->exact = true;
    call_tensor(c, "count", &p->count, ROLE_IN, KIND_I32, g, n, -1)->number =
        counts(c, i, g * n);
    call_tensor(c, "psum", &p->psum, ROLE_IN, KIND_F64, g, n, -1);
    if (balances[i].losses)
        add_losses(c, g, n);
    if (balances[i].sums)
        add_sums(c, i);
    if (balances[i].load)
        add_load(c, n);
    snprintf(c->text, sizeof c->text,
             "groups=%d experts=%d top_k=%d layers=%d%s%s%s%s%s", balances[i].groups,
             balances[i].experts, balances[i].top_k, balances[i].layers,
             balances[i].concat ? " concat" : "", balances[i].sums ? " sums" : "",
             balances[i].load ? " load" : "", balances[i].losses ? " losses" : "",
             balances[i].empty ? " no rows" : "");
    return true;
}

bool family_window(struct call *c, int i, const struct window *w)
{
    static const int experts[] = {1, 8, 300};
    (void)w;
    if (i >= COUNT(experts))
        return false;
    struct nnd_balance *p = &c->params.balance;
    int64_t n = experts[i];
    int32_t *number = call_ints(c, n);
    for (int64_t j = 0; j < n; j++)
        number[j] = call_number(43, (uint64_t)j, 0, j % 3 ? 50 : 0);
    *p = (struct nnd_balance){.struct_size = sizeof *p};
    c->exact = true;
    call_tensor(c, "count", &p->count, ROLE_IN, KIND_I32, n, -1, -1)->number = number;
    call_tensor(c, "segments", &p->segments, ROLE_OUT, KIND_I32, n, 4, -1)->slack =
        SLACK_COPY;
    call_tensor(c, "leaves", &p->leaves, ROLE_OUT, KIND_I32, n, 4, -1)->slack =
        SLACK_COPY;
    snprintf(c->text, sizeof c->text, "experts=%d", experts[i]);
    return true;
}
