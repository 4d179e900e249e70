/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample_attn.c - of attention a sample is one sequence, its last queries, and the
 * query heads of one key head.
 */
#include <math.h>
#include <string.h>

#include "kernel/sample_impl.h"
#include "tensor/dtype.h"

/* Rows [first, first + n) of the axis. */
static void keep_rows(struct nnd_tensor *t, int axis, int64_t first, int64_t n)
{
    if (t->ndim <= axis)
        return;
    t->data = (char *)t->data + first * t->stride[axis] * (int64_t)dtype_size(t->dtype);
    t->dim[axis] = n;
    t->align_log2 = 0;
}

/* One sequence of an attention call: its first row of queries and of keys, how many. */
struct seq {
    int64_t q, nq, k, nk;
    int32_t number;
};

/* The row and the head of an element that the sample has to have; whether it is one of
 * the keys' gradients, which are sums over all queries. */
struct spot {
    int64_t row, head;
    bool by_key;
};

static void seq_of(const struct nnd_attn *p, int32_t b, struct seq *s)
{
    *s = (struct seq){b * (int64_t)p->max_q, p->max_q, b * (int64_t)p->max_k, p->max_k,
                      b};
    if (p->cu_q) {
        s->q = p->cu_q[b];
        s->nq = p->cu_q[b + 1] - p->cu_q[b];
    }
    if (p->cu_k) {
        s->k = p->cu_k[b];
        s->nk = p->cu_k[b + 1] - p->cu_k[b];
    }
}

static bool seq_has(const struct seq *s, const struct spot *x)
{
    int64_t row = x->row - (x->by_key ? s->k : s->q);
    return row >= 0 && row < (x->by_key ? s->nk : s->nq);
}

/* The first sequence that has queries, or the one with the spot. */
static bool find_seq(const struct nnd_attn *p, const struct spot *x, struct seq *s)
{
    for (int32_t b = 0; b < p->batch; b++) {
        seq_of(p, b, s);
        if (s->nq > 0 && (!x || seq_has(s, x)))
            return true;
    }
    return false;
}

static bool find_spot(const struct nnd_attn *p, const void *at, struct spot *x)
{
    const struct nnd_tensor *const by_row[] = {&p->o, &p->dq, &p->dk, &p->dv};
    int64_t i[NND_MAX_DIMS];
    for (int n = 0; at && n < 4; n++)
        if (by_row[n]->ndim == 3 && sample_index(by_row[n], at, i)) {
            *x = (struct spot){i[0], i[1], n >= 2};
            return true;
        }
    if (!at || p->lse.ndim != 2 || !sample_index(&p->lse, at, i))
        return false;
    *x = (struct spot){i[1], i[0], false};
    return true;
}

static int32_t *bounds(struct arena *a, int64_t n)
{
    int32_t *b = arena_calloc(a, 2, sizeof *b);
    b[1] = (int32_t)n;
    return b;
}

/* Only that sequence, and of its queries the last `nq`: with masks that count from the
 * end they see what they saw. */
static void keep_seq(struct nnd_attn *p, const struct seq *s, int64_t nq,
                     struct arena *a)
{
    struct nnd_tensor *const by_q[] = {&p->q, &p->o, &p->dout, &p->dq};
    struct nnd_tensor *const by_k[] = {&p->k, &p->v, &p->dk, &p->dv};
    int64_t q = s->q + s->nq - nq;
    for (int i = 0; i < 4; i++) {
        keep_rows(by_q[i], 0, q, nq);
        keep_rows(by_k[i], 0, s->k, s->nk);
    }
    keep_rows(&p->lse, 1, q, nq);
    p->batch = 1;
    p->max_q = (int32_t)nq;
    p->max_k = (int32_t)s->nk;
    p->cu_q = bounds(a, nq);
    p->cu_k = bounds(a, s->nk);
    p->len_k = p->len_k ? p->len_k + s->number : NULL;
    if (p->dropout.sample)
        p->dropout.sample += q;
    if (p->dropout.pos)
        p->dropout.pos += q;
}

/* Of a bias or its gradient what that sequence's last `nq` queries see. */
static void keep_bias(struct nnd_tensor *t, const struct seq *s, int64_t nq)
{
    if (t->ndim != 4)
        return;
    keep_rows(t, 0, t->dim[0] > 1 ? s->number : 0, 1);
    keep_rows(t, 2, s->nq - nq, nq);
    keep_rows(t, 3, 0, s->nk);
}

/* Is the gradient of each of its numbers made of one sequence and one head alone? */
static bool is_own_bias(const struct nnd_attn *p)
{
    const struct nnd_tensor *t = &p->dbias;
    return t->ndim == 4 && t->dim[0] == p->batch && t->dim[1] == p->q.dim[1];
}

/* Key heads [first, first + n) and the query heads that see them. */
static void keep_heads(struct nnd_attn *p, int64_t first, int64_t n)
{
    int64_t group = p->k.dim[1] ? p->q.dim[1] / p->k.dim[1] : 1;
    struct nnd_tensor *const by_q[] = {&p->q, &p->o, &p->dout, &p->dq};
    struct nnd_tensor *const by_k[] = {&p->k, &p->v, &p->dk, &p->dv};
    if (p->bias.ndim == 4 && p->bias.dim[1] > 1)
        keep_rows(&p->bias, 1, first * group, n * group);
    keep_rows(&p->dbias, 1, first * group, n * group);
    for (int i = 0; i < 4; i++) {
        keep_rows(by_q[i], 1, first * group, n * group);
        keep_rows(by_k[i], 1, first, n);
    }
    keep_rows(&p->lse, 0, first * group, n * group);
}

/* The first key head, or that of the spot; with dropout, whose bits have the number of
 * a head in them, from the first on. */
static void keep_head(struct nnd_attn *p, const struct spot *x)
{
    int64_t group = p->k.dim[1] ? p->q.dim[1] / p->k.dim[1] : 1;
    int64_t head = !x ? 0 : x->by_key ? x->head : x->head / (group ? group : 1);
    if (p->dropout.p > 0)
        keep_heads(p, 0, head + 1);
    else
        keep_heads(p, head, 1);
}

/* The gradient of a score is P (dP - <dout, o>).  Where the two are alike what is left
 * is their rounding, and that of P. */
static double attn_floor(const struct nnd_attn *p, double unit)
{
    double d = (double)p->q.dim[2];
    return 4 * unit * fabs((double)p->scale) * sqrt(d) * sample_rms(&p->dout) *
           sample_rms(&p->v) * fmax(sample_rms(&p->q), sample_rms(&p->k));
}

enum { LAST_QUERIES = 8, MOST_PRODUCTS = 40000000 };

/* How many of a sequence's queries, counted from its last, are needed. */
static int64_t queries(const struct seq *s, const struct spot *x, bool whole)
{
    int64_t n = s->nq < LAST_QUERIES ? s->nq : LAST_QUERIES;
    if (whole || (x && x->by_key))
        return s->nq;
    if (x && s->nq - (x->row - s->q) > n)
        return s->nq - (x->row - s->q);
    return n;
}

bool sample_attn(const void *params, bool bwd, const void *at, struct arena *a,
                 struct sample *out)
{
    struct nnd_attn *p = arena_alloc(a, sizeof *p);
    const struct nnd_attn *given = params;
    struct spot found, *x = NULL;
    struct seq s;
    memcpy(p, params, given->struct_size < sizeof *p ? given->struct_size : sizeof *p);
    if (p->q.ndim != 3 || p->k.ndim != 3)
        return false;
    if (find_spot(p, at, &found) && find_seq(p, &found, &s))
        x = &found;
    else if (!find_seq(p, NULL, &s))
        return false;
    out->params = p;
    bool small = s.nq * s.nk * p->q.dim[2] < MOST_PRODUCTS;
    int64_t nq = queries(&s, x, bwd && small);
    if (!is_own_bias(p))
        p->dbias = (struct nnd_tensor){0};
    keep_bias(&p->bias, &s, nq);
    keep_bias(&p->dbias, &s, nq);
    keep_seq(p, &s, nq, a);
    keep_head(p, x);
    sample_weigh(out, &p->q);
    sample_weigh(out, &p->k);
    if (!bwd) {
        sample_redirect(out, "o", &p->o, 0, a);
        sample_redirect(out, "lse", &p->lse, 0, a);
        return out->noutputs > 0;
    }
    sample_redirect(out, "dq", &p->dq, 0, a);
    sample_redirect(out, "dk", &p->dk, 0, a);
    sample_redirect(out, "dv", &p->dv, 0, a);
    sample_redirect(out, "dbias", &p->dbias, 0, a);
    sample_floor(out, attn_floor(p, out->unit));
    if (nq < s.nq) /* sums over queries that are left out */
        out->noutputs = 1;
    return out->noutputs > 0;
}
