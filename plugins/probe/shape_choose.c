/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape_choose.c - calls that choose: experts and their rows, the next token.
 */
#include "shape_build.h"

/* n: T E K */
void shape_route(struct call *c, const struct sizes *z, struct shape_work *w)
{
    static const float z_weight = 0.01f;
    struct nnd_route *p = &c->params.route;
    int64_t t = z->n[0], e = z->n[1], k = z->n[2] < e ? z->n[2] : e;
    enum role chosen = z->bwd ? ROLE_DERIVED : ROLE_OUT;
    enum role sum = z->bwd ? ROLE_SCRATCH : ROLE_OUT;
    int32_t *pos = call_ints(c, t);
    (void)w;
    for (int64_t i = 0; i < t; i++)
        pos[i] = (int32_t)i;
    *p = (struct nnd_route){.struct_size = sizeof *p,
                            .renormalize = 1,
                            .top_k = (int32_t)k,
                            .group_rows = (int32_t)t,
                            .scale = 1};
    c->derive = z->bwd ? "moe.route.fwd" : NULL;
    call_tensor(c, "z", &p->z, ROLE_IN, KIND_F32, t, e, -1)->spread = 4;
    call_tensor(c, "expert", &p->expert, chosen, KIND_I32, t, k, -1);
    call_tensor(c, "gate", &p->gate, chosen, KIND_F32, t, k, -1);
    call_tensor(c, "count", &p->count, sum, KIND_I32, 1, e, -1);
    call_tensor(c, "psum", &p->psum, sum, KIND_F64, 1, e, -1);
    call_tensor(c, "zsq", &p->zsq, sum, KIND_F64, 1, -1, -1);
    call_array(c, &p->pos, pos, (size_t)t * sizeof *pos);
    if (!z->bwd)
        return;
    call_tensor(c, "dgate", &p->dgate, ROLE_IN, KIND_F32, t, k, -1);
    call_tensor(c, "dz", &p->dz, ROLE_OUT, KIND_F32, t, e, -1);
    call_tensor(c, "aux_weight", &p->aux_weight, ROLE_IN, KIND_F32, 1, e, -1);
    call_array(c, &p->z_weight, &z_weight, sizeof z_weight);
}

/* Choices of t rows, k of e experts each, and their order. */
struct choices {
    int64_t t, e, k;
    int32_t *expert, *place, *source;
};

static struct choices choose(struct call *c, const struct sizes *z)
{
    struct choices s = {z->n[0], z->n[1], z->n[2] < z->n[1] ? z->n[2] : z->n[1],
                        NULL,    NULL,    NULL};
    int64_t n = s.t * s.k;
    int32_t *next = call_ints(c, s.e + 1);
    s.expert = call_ints(c, n);
    s.place = call_ints(c, n);
    s.source = call_ints(c, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t first = call_number(3, (uint64_t)(i / s.k), 0, (int32_t)s.e - 1);
        s.expert[i] = (int32_t)((first + i % s.k) % s.e);
        next[s.expert[i] + 1]++;
    }
    for (int64_t e = 0; e < s.e; e++)
        next[e + 1] += next[e];
    for (int64_t i = 0; i < n; i++) {
        s.place[i] = next[s.expert[i]]++;
        s.source[s.place[i]] = (int32_t)i;
    }
    return s;
}

/* n: T E K */
void shape_sort(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_sort *p = &c->params.sort;
    struct choices s = choose(c, z);
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "expert", &p->expert, ROLE_IN, KIND_I32, s.t, s.k, -1)->number =
        s.expert;
    call_tensor(c, "place", &p->place, ROLE_OUT, KIND_I32, s.t, s.k, -1);
    call_tensor(c, "source", &p->source, ROLE_OUT, KIND_I32, s.t * s.k, -1, -1);
    call_tensor(c, "total", &p->total, ROLE_OUT, KIND_I32, s.e, -1, -1);
}

/* n: T E K N; kind 0: permute, 1: unpermute, 2: dgate */
void shape_permute(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_permute *p = &c->params.permute;
    struct choices s = choose(c, z);
    int64_t n = z->n[3], sorted = s.t * s.k;
    (void)w;
    p->struct_size = sizeof *p;
    p->top_k = (int32_t)s.k;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, z->kind ? sorted : s.t, n, -1);
    if (z->kind)
        call_tensor(c, "place", &p->place, ROLE_IN, KIND_I32, s.t, s.k, -1)->number =
            s.place;
    else
        call_tensor(c, "source", &p->source, ROLE_IN, KIND_I32, sorted, -1, -1)
            ->number = s.source;
    if (z->kind < 2) {
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, z->kind ? s.t : sorted, n, -1);
        return;
    }
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, s.t, n, -1);
    call_tensor(c, "dgate", &p->dgate, ROLE_OUT, KIND_F32, s.t, s.k, -1);
}

/* n: R V K */
void shape_argmax(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_choose *p = &c->params.choose;
    int64_t k = z->n[2] < z->n[1] ? z->n[2] : z->n[1];
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    call_tensor(c, "index", &p->index, ROLE_OUT, KIND_I32, z->n[0], k, -1);
    call_tensor(c, "value", &p->value, ROLE_OUT, KIND_F32, z->n[0], k, -1);
}

/* n: R V */
void shape_sample(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_choose *p = &c->params.choose;
    int64_t r = z->n[0];
    int32_t *pos = call_ints(c, r);
    uint64_t *seed = arena_calloc(c->arena, (size_t)r, sizeof *seed);
    (void)w;
    for (int64_t i = 0; i < r; i++)
        seed[i] = nnd_rng_mix((uint64_t)i);
    p->struct_size = sizeof *p;
    p->temperature = 1;
    p->top_p = 0.9f;
    call_array(c, &p->pos, pos, (size_t)r * sizeof *pos);
    call_array(c, &p->seed, seed, (size_t)r * sizeof *seed);
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, r, z->n[1], -1)->spread = 8;
    call_tensor(c, "index", &p->index, ROLE_OUT, KIND_I32, r, 1, -1);
    call_tensor(c, "value", &p->value, ROLE_OUT, KIND_F32, r, 1, -1);
}

/* n: R V K */
void shape_select(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_select *p = &c->params.select;
    int64_t r = z->n[0], v = z->n[1], k = z->n[2];
    int32_t *number = call_ints(c, r * k);
    (void)w;
    for (int64_t i = 0; i < r * k; i++)
        number[i] = call_number(5, (uint64_t)i, 0, (int32_t)v - 1);
    p->struct_size = sizeof *p;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, r, v, -1);
    call_tensor(c, "index", &p->index, ROLE_IN, KIND_I32, r, k, -1)->number = number;
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, r, k, -1);
}
