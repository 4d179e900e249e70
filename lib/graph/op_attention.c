/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_attention.c - softmax(q k^T / sqrt(D)) v with shared key heads (Ainslie et
 * al. 2023): over the sequences of a chunk, and one row against a cache.
 *
 * Forward keeps the logarithm of each row's sum, so that backward makes the
 * weights again instead of reading them (Dao et al. 2022).
 */
#include <math.h>

#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"

struct attn_attr {
    int64_t batch, queries, keys; /* sequences; rows of each */
    bool causal;
    double p;
    uint32_t number; /* of the op's random bits */
};

enum {
    ATTN_Q,
    ATTN_K,
    ATTN_V,
    ATTN_RNG,
    ATTN_SAMPLE,
    ATTN_POS, /* NULL without dropout */
    ATTN_LEN, /* NULL: all keys count */
    ATTN_CU_Q,
    ATTN_CU_K, /* NULL: sequences of equal length */
    ATTN_O,
    ATTN_LSE,
    ATTN_DOUT /* backward             */
};

/* q [T,H,D], k and v [S,Hk,D]. */
static int attn_want(const struct node *n, struct err *e)
{
    const struct attn_attr *at = n->attr;
    const struct value *q = n->in[ATTN_Q], *k = n->in[ATTN_K], *v = n->in[ATTN_V];
    if (q->shape.ndim != 3 || k->shape.ndim != 3 ||
        q->shape.dim[2] != k->shape.dim[2] || !shape_equal(&k->shape, &v->shape) ||
        q->dtype != k->dtype || k->dtype != v->dtype)
        return err_set(e, ERR_FAILED,
                       "%s: attention: wanted q [T,H,D], k and v [S,Hk,D] of one type",
                       n->where);
    if (q->shape.dim[1] % k->shape.dim[1])
        return err_set(e, ERR_FAILED,
                       "%s: attention: %lld heads do not share %lld key heads evenly",
                       n->where, (long long)q->shape.dim[1],
                       (long long)k->shape.dim[1]);
    if (n->in[ATTN_CU_Q] && n->in[ATTN_CU_K]) {
        if (op_want(n, ATTN_CU_Q, "first rows", NND_I32, 1, at->batch + 1, e) ||
            op_want(n, ATTN_CU_K, "first keys", NND_I32, 1, at->batch + 1, e))
            return -1;
    } else if (q->shape.dim[0] != at->batch * at->queries ||
               k->shape.dim[0] != at->batch * at->keys)
        return err_set(e, ERR_FAILED,
                       "%s: attention: %lld and %lld rows are not %lld sequences of "
                       "%lld and %lld",
                       n->where, (long long)q->shape.dim[0], (long long)k->shape.dim[0],
                       (long long)at->batch, (long long)at->queries,
                       (long long)at->keys);
    if (!(at->p >= 0 && at->p < 1))
        return err_set(e, ERR_FAILED, "%s: attention dropout: wanted 0 <= p < 1",
                       n->where);
    return 0;
}

static int attn_want_rng(const struct node *n, struct err *e)
{
    const struct attn_attr *at = n->attr;
    int64_t rows = n->in[ATTN_Q]->shape.dim[0];
    if (at->p == 0)
        return 0;
    if (op_want(n, ATTN_RNG, "dropout seed and step", NND_I64, 1, 2, e) ||
        op_want(n, ATTN_SAMPLE, "dropout samples", NND_I32, 1, rows, e))
        return -1;
    return op_want(n, ATTN_POS, "dropout positions", NND_I32, 1, rows, e);
}

static int attn_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct attn_attr *at = n->attr;
    if (attn_want(n, e) || attn_want_rng(n, e))
        return -1;
    if (n->in[ATTN_LEN] &&
        op_want(n, ATTN_LEN, "cache lengths", NND_I32, 1, at->batch, e))
        return -1;
    const struct value *q = n->in[ATTN_Q];
    graph_out(g, n, q->dtype, q->shape);
    graph_out(g, n, g->wide, shape_of(2, q->shape.dim[1], q->shape.dim[0]));
    return 0;
}

/* Products of the size of q k^T, of which a causal mask leaves half. */
static int64_t attn_flops_of(const struct node *n, int products)
{
    const struct attn_attr *at = n->attr;
    int64_t all = 2 * products * shape_elements(&n->in[ATTN_Q]->shape) * at->keys;
    return at->causal ? all / 2 : all;
}

static int64_t attn_flops(const struct node *n)
{
    return attn_flops_of(n, 2);
}

/* What both directions read. */
static struct nnd_attn attn_params(const struct node *n, const struct bind *b)
{
    const struct attn_attr *at = n->attr;
    return (struct nnd_attn){
        .struct_size = sizeof(struct nnd_attn),
        .q = bind_tensor(b, n->in[ATTN_Q]),
        .k = bind_tensor(b, n->in[ATTN_K]),
        .v = bind_tensor(b, n->in[ATTN_V]),
        .len_k = bind_data(b, n->in[ATTN_LEN]),
        .cu_q = bind_data(b, n->in[ATTN_CU_Q]),
        .cu_k = bind_data(b, n->in[ATTN_CU_K]),
        .batch = (int32_t)at->batch,
        .max_q = (int32_t)at->queries,
        .max_k = (int32_t)at->keys,
        .causal = at->causal,
        .scale = (float)(1 / sqrt((double)n->in[ATTN_Q]->shape.dim[2])),
        .dropout = bind_dropout(b, at->p, at->number, n->in + ATTN_RNG),
    };
}

static int attn_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_attn *p = params;
    *p = attn_params(n, b);
    p->o = bind_tensor(b, n->out[0]);
    p->lse = bind_tensor(b, n->out[1]);
    return 0;
}

/* in: all that forward has, o, lse, dout; out: dq, dk, dv. */
static int attn_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *o = n->in[ATTN_O];
    if (op_want(n, ATTN_DOUT, "attention gradient", o->dtype, shape_rows(&o->shape),
                shape_cols(&o->shape), e))
        return -1;
    for (int i = ATTN_Q; i <= ATTN_V; i++)
        graph_out(g, n, grad_dtype(g, n->in[i]), n->in[i]->shape);
    return 0;
}

/* The weights again, then the gradients of weights, q, k and v. */
static int64_t attn_bwd_flops(const struct node *n)
{
    return attn_flops_of(n, 5);
}

static int attn_bwd_bind(const struct node *n, const struct bind *b, void *params)
{
    struct nnd_attn *p = params;
    *p = attn_params(n, b);
    p->o = bind_tensor(b, n->in[ATTN_O]);
    p->lse = bind_tensor(b, n->in[ATTN_LSE]);
    p->dout = bind_tensor(b, n->in[ATTN_DOUT]);
    p->dq = bind_tensor(b, n->out[0]);
    p->dk = bind_tensor(b, n->out[1]);
    p->dv = bind_tensor(b, n->out[2]);
    return 0;
}

const struct op op_attention_bwd = {
    .name = "attention.bwd",
    .attr_size = sizeof(struct attn_attr),
    .shape = attn_bwd_shape,
    .flops = attn_bwd_flops,
    .kernel = "attn.bwd",
    .params_size = sizeof(struct nnd_attn),
    .bind = attn_bwd_bind,
};

static void attn_grad(struct graph *g, const struct node *n)
{
    struct value *in[] = {
        [ATTN_Q] = n->in[ATTN_Q],
        [ATTN_K] = n->in[ATTN_K],
        [ATTN_V] = n->in[ATTN_V],
        [ATTN_RNG] = n->in[ATTN_RNG],
        [ATTN_SAMPLE] = n->in[ATTN_SAMPLE],
        [ATTN_POS] = n->in[ATTN_POS],
        [ATTN_LEN] = n->in[ATTN_LEN],
        [ATTN_CU_Q] = n->in[ATTN_CU_Q],
        [ATTN_CU_K] = n->in[ATTN_CU_K],
        [ATTN_O] = n->out[0],
        [ATTN_LSE] = n->out[1],
        [ATTN_DOUT] = grad_of(g, n->out[0]),
    };
    struct node *d = graph_add(g, &op_attention_bwd, n->attr, in, ATTN_DOUT + 1);
    for (int i = ATTN_Q; d && i <= ATTN_V; i++)
        grad_add(g, n->in[i], d->out[i]);
}

const struct op op_attention_fwd = {
    .name = "attention",
    .attr_size = sizeof(struct attn_attr),
    .shape = attn_shape,
    .grad = attn_grad,
    .flops = attn_flops,
    .kernel = "attn.fwd",
    .params_size = sizeof(struct nnd_attn),
    .bind = attn_bind,
};

const struct op op_attention_cached_fwd = {
    .name = "attention.cached",
    .attr_size = sizeof(struct attn_attr),
    .shape = attn_shape,
    .flops = attn_flops,
    .kernel = "attn.fwd",
    .params_size = sizeof(struct nnd_attn),
    .bind = attn_bind,
};

struct value *op_attention_span(struct graph *g, struct value *q, struct value *k,
                                struct value *v, double p,
                                const struct attention_span *s, const struct chunk *c)
{
    if (!q || !k || !v)
        return NULL;
    struct attn_attr at = {.batch = s->batch,
                           .queries = s->queries,
                           .keys = s->keys,
                           .causal = s->causal,
                           .p = p};
    struct value *in[ATTN_CU_K + 1] = {q, k, v};
    in[ATTN_LEN] = s->len;
    in[ATTN_CU_Q] = s->cu_q;
    in[ATTN_CU_K] = s->cu_k;
    if (p != 0) {
        at.number = g->next_rng++;
        in[ATTN_RNG] = c->rng;
        in[ATTN_SAMPLE] = c->sample;
        in[ATTN_POS] = c->pos;
    }
    struct node *n = graph_add(g, &op_attention_fwd, &at, in, ATTN_CU_K + 1);
    return n ? n->out[0] : NULL;
}

struct value *op_attention(struct graph *g, struct value *q, struct value *k,
                           struct value *v, double p, const struct chunk *c)
{
    struct attention_span s = {c->batch, c->context, c->context, .causal = true};
    return op_attention_span(g, q, k, v, p, &s, c);
}

/* [B,S,Hk,D] as [B*S,Hk,D]. */
static struct value *cache_rows(struct graph *g, struct value *v)
{
    const struct shape *s = &v->shape;
    if (s->ndim != 4)
        return graph_fail(g, "%s: a cache has the shape [B,S,Hk,D]", v->name);
    return op_view(g, v, shape_of(3, s->dim[0] * s->dim[1], s->dim[2], s->dim[3]));
}

struct value *op_attention_cached(struct graph *g, struct value *q, struct value *k,
                                  struct value *v, struct value *len)
{
    if (!q || !k || !v || !len)
        return NULL;
    struct attn_attr at = {
        .batch = q->shape.dim[0], .queries = 1, .keys = k->shape.dim[1]};
    struct value *in[ATTN_CU_K + 1] = {q, cache_rows(g, k), cache_rows(g, v)};
    in[ATTN_LEN] = len;
    if (!in[ATTN_K] || !in[ATTN_V])
        return NULL;
    struct node *n = graph_add(g, &op_attention_cached_fwd, &at, in, ATTN_CU_K + 1);
    return n ? n->out[0] : NULL;
}
