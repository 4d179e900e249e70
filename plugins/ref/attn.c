/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn.c - attention by sequences: "attn.fwd", "attn.bwd".
 *
 * For query row i and key row j of a sequence and query head h:
 *   s_ij = z_ij + bias_ij,  z_ij = cap(scale q_i . k_j),
 *   cap(x) = softcap tanh(x / softcap)
 *   p_ij = exp(s_ij - lse_i),     lse_i = log sum over visible j of exp(s_ij)
 *   o_i  = sum_j p_ij m_ij v_j,   m_ij = what dropout multiplies by
 * and backwards, with dp_ij = m_ij do_i . v_j and delta_i = sum_j p_ij dp_ij:
 *   ds_ij = p_ij (dp_ij - delta_i) cap'(.) scale
 *   dbias_ij = p_ij (dp_ij - delta_i)
 *   dq_i = sum_j ds_ij k_j,  dk_j = sum_i ds_ij q_i,  dv_j = sum_i p_ij m_ij do_i
 * Rows outside every sequence count as fully masked.
 */
#include <math.h>

#include "impl.h"

/* One sequence: where its rows are and how many. */
struct seq {
    int64_t number, q, nq, k, nk;
};

/* One pair of rows (absolute) and heads. */
struct pair {
    int64_t i, j, h, hk;
    int64_t seq, row, column; /* the sequence; i and j within it */
};

/* [1 or batch, 1 or H, max_q, max_k]. */
static int check_bias(const struct nnd_attn *p, const struct nnd_tensor *t,
                      const char *name, struct nnd_error *e)
{
    if (!ref_given(t))
        return NND_OK;
    if (t->ndim != 4 || (t->dim[0] != 1 && t->dim[0] != p->batch) ||
        (t->dim[1] != 1 && t->dim[1] != p->q.dim[1]) || t->dim[2] != p->max_q ||
        t->dim[3] != p->max_k)
        return ref_refuse(e, NND_EINVAL, "%s: wanted [1 or %d,1 or %lld,%d,%d]", name,
                          p->batch, (long long)p->q.dim[1], p->max_q, p->max_k);
    return NND_OK;
}

static int supports(const struct nnd_attn *p, bool bwd, struct nnd_error *e)
{
    int64_t t = p->q.dim[0], h = p->q.dim[1], d = p->q.dim[2];
    int64_t s = p->k.dim[0], hk = p->k.dim[1];
    const struct ref_shape shapes[] = {
        {"q", &p->q, REF_FLOAT, 3, {REF_ANY, REF_ANY, REF_ANY}},
        {"k", &p->k, REF_FLOAT, 3, {REF_ANY, REF_ANY, d}},
        {"v", &p->v, REF_FLOAT, 3, {s, hk, d}},
        {"lse", &p->lse, REF_WIDE, 2, {h, t}},
        {"o", &p->o, bwd ? REF_FLOAT | REF_OPTIONAL : REF_FLOAT, 3, {t, h, d}},
        {"dout", &p->dout, REF_FLOAT, 3, {t, h, d}},
        {"dq", &p->dq, REF_FLOAT, 3, {t, h, d}},
        {"dk", &p->dk, REF_FLOAT, 3, {s, hk, d}},
        {"dv", &p->dv, REF_FLOAT, 3, {s, hk, d}},
    };
    int rc = ref_check(p->struct_size, sizeof *p, shapes, bwd ? 9 : 5, e);
    if (rc != NND_OK)
        return rc;
    if (h > 0 && (hk <= 0 || h % hk != 0))
        return ref_refuse(e, NND_EINVAL, "%lld query heads over %lld key heads",
                          (long long)h, (long long)hk);
    rc = check_bias(p, &p->bias, "bias", e);
    if (rc == NND_OK && bwd)
        rc = check_bias(p, &p->dbias, "dbias", e);
    if (rc != NND_OK)
        return rc;
    if (p->batch < 0 || !(p->dropout.p >= 0 && p->dropout.p < 1))
        return ref_refuse(e, NND_EINVAL, "batch %d, dropout %g", p->batch,
                          (double)p->dropout.p);
    return NND_OK;
}

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, false, e);
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, true, e);
}

/* Forward: one row of scores.  Backward: two rows, delta, a row of dk, of dv. */
static int need_fwd(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_attn *p = params;
    (void)self;
    return ref_need(out, p->k.dim[0]);
}

static int need_bwd(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_attn *p = params;
    (void)self;
    return ref_need(out, 2 * p->k.dim[0] + p->q.dim[1] * p->q.dim[0] + 2 * p->q.dim[2]);
}

static int get_seq(const struct nnd_attn *p, int32_t b, struct seq *s,
                   struct nnd_error *e)
{
    s->number = b;
    s->q = p->cu_q ? p->cu_q[b] : (int64_t)b * p->max_q;
    s->nq = p->cu_q ? p->cu_q[b + 1] - s->q : p->max_q;
    s->k = p->cu_k ? p->cu_k[b] : (int64_t)b * p->max_k;
    s->nk = p->cu_k ? p->cu_k[b + 1] - s->k : p->max_k;
    int64_t room = s->nk;
    if (p->len_k)
        s->nk = p->len_k[b];
    if (s->q < 0 || s->nq < 0 || s->q + s->nq > p->q.dim[0] || s->k < 0 || s->nk < 0 ||
        s->nk > room || s->k + room > p->k.dim[0])
        return ref_refuse(e, NND_EINVAL,
                          "sequence %d: rows %lld+%lld of %lld, keys %lld+%lld of %lld",
                          b, (long long)s->q, (long long)s->nq, (long long)p->q.dim[0],
                          (long long)s->k, (long long)s->nk, (long long)p->k.dim[0]);
    return NND_OK;
}

/* Query i of the sequence sees its keys [*first, *end). */
static void visible(const struct nnd_attn *p, const struct seq *s, int64_t i,
                    int64_t *first, int64_t *end)
{
    *end = p->causal ? i + s->nk - s->nq + 1 : s->nk;
    *first = p->window > 0 ? *end - p->window : 0;
    if (*first < 0)
        *first = 0;
}

static double dot(const struct nnd_tensor *a, int64_t i, int64_t hi,
                  const struct nnd_tensor *b, int64_t j, int64_t hj)
{
    double sum = 0;
    for (int64_t d = 0; d < a->dim[2]; d++)
        sum += ref_get(a, at3(a, i, hi, d)) * ref_get(b, at3(b, j, hj, d));
    return sum;
}

/* Where a pair is in a bias. */
static int64_t at_bias(const struct nnd_tensor *t, const struct pair *x)
{
    return (t->dim[0] > 1 ? x->seq * t->stride[0] : 0) +
           (t->dim[1] > 1 ? x->h * t->stride[1] : 0) + x->row * t->stride[2] +
           x->column * t->stride[3];
}

/* Without its bias. */
static double capped(const struct nnd_attn *p, const struct pair *x)
{
    double s = (double)p->scale * dot(&p->q, x->i, x->h, &p->k, x->j, x->hk);
    double cap = (double)p->softcap;
    return cap > 0 ? cap * tanh(s / cap) : s;
}

static double score(const struct nnd_attn *p, const struct pair *x)
{
    double s = capped(p, x);
    return ref_given(&p->bias) ? s + ref_get(&p->bias, at_bias(&p->bias, x)) : s;
}

static double dropped(const struct nnd_attn *p, const struct pair *x)
{
    return ref_dropout(&p->dropout, x->i, (uint32_t)x->h, x->column);
}

static struct pair pair_of(const struct nnd_attn *p, const struct seq *s, int64_t i,
                           int64_t j, int64_t h)
{
    return (struct pair){s->q + i,  s->k + j, h, h * p->k.dim[1] / p->q.dim[1],
                         s->number, i,        j};
}

static void forward_row(const struct nnd_attn *p, const struct seq *s, int64_t i,
                        int64_t h, double *w)
{
    int64_t first, end;
    visible(p, s, i, &first, &end);
    if (first >= end)
        return;
    double max = -INFINITY, sum = 0;
    for (int64_t j = first; j < end; j++) {
        struct pair x = pair_of(p, s, i, j, h);
        w[j] = score(p, &x);
        max = w[j] > max || isnan(w[j]) ? w[j] : max;
    }
    if (max == -INFINITY)
        return; /* a bias that hides all */
    for (int64_t j = first; j < end; j++)
        sum += exp(w[j] - max);
    double lse = max + log(sum);
    ref_put(&p->lse, at2(&p->lse, h, s->q + i), lse);
    for (int64_t j = first; j < end; j++) {
        struct pair x = pair_of(p, s, i, j, h);
        w[j] = exp(w[j] - lse) * dropped(p, &x);
    }
    int64_t hk = h * p->k.dim[1] / p->q.dim[1];
    for (int64_t d = 0; d < p->o.dim[2]; d++) {
        double o = 0;
        for (int64_t j = first; j < end; j++)
            o += w[j] * ref_get(&p->v, at3(&p->v, s->k + j, hk, d));
        ref_put(&p->o, at3(&p->o, s->q + i, h, d), o);
    }
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    (void)self, (void)plan;
    ref_fill(&p->o, 0);
    ref_fill(&p->lse, -INFINITY);
    for (int32_t b = 0; b < p->batch; b++) {
        struct seq s;
        int rc = get_seq(p, b, &s, e);
        if (rc != NND_OK)
            return rc;
        for (int64_t h = 0; h < p->q.dim[1]; h++)
            for (int64_t i = 0; i < s.nq; i++)
                forward_row(p, &s, i, h, l->workspace);
    }
    return NND_OK;
}

/* p_ij, and dl/dp_ij, which is dp_ij. */
static double weight(const struct nnd_attn *p, const struct pair *x, double *dp)
{
    double m = dropped(p, x);
    *dp = m == 0 ? 0 : m * dot(&p->dout, x->i, x->h, &p->v, x->j, x->hk);
    double lse = ref_get(&p->lse, at2(&p->lse, x->h, x->i));
    return lse == -INFINITY ? 0 : exp(score(p, x) - lse);
}

/* cap'(.) scale: from ds to the gradient of q . k. */
static double slope(const struct nnd_attn *p, const struct pair *x)
{
    double cap = (double)p->softcap, t = cap > 0 ? capped(p, x) / cap : 0;
    return (1 - t * t) * (double)p->scale;
}

static void add_bias(const struct nnd_attn *p, const struct pair *x, double ds)
{
    int64_t at = ref_given(&p->dbias) ? at_bias(&p->dbias, x) : 0;
    if (ref_given(&p->dbias))
        ref_put(&p->dbias, at, ref_get(&p->dbias, at) + ds);
}

/* dq_i, the pairs' part of dbias, and delta_i for the keys' turn. */
static double backward_query(const struct nnd_attn *p, const struct seq *s, int64_t i,
                             int64_t h, double *w, double *dp)
{
    int64_t first, end;
    double delta = 0;
    visible(p, s, i, &first, &end);
    for (int64_t j = first; j < end; j++) {
        struct pair x = pair_of(p, s, i, j, h);
        w[j] = weight(p, &x, &dp[j]);
        delta += w[j] * dp[j];
    }
    for (int64_t j = first; j < end; j++) {
        struct pair x = pair_of(p, s, i, j, h);
        w[j] *= dp[j] - delta;
        add_bias(p, &x, w[j]);
        w[j] *= slope(p, &x);
    }
    int64_t hk = h * p->k.dim[1] / p->q.dim[1];
    for (int64_t d = 0; d < p->q.dim[2]; d++) {
        double dq = 0;
        for (int64_t j = first; j < end; j++)
            dq += w[j] * ref_get(&p->k, at3(&p->k, s->k + j, hk, d));
        ref_put(&p->dq, at3(&p->dq, s->q + i, h, d), dq);
    }
    return delta;
}

/* What query i of head h gives to dk_j and dv_j. */
static void add_pair(const struct nnd_attn *p, const struct pair *x, double delta,
                     double *dk, double *dv)
{
    double dp, w = weight(p, x, &dp), m = dropped(p, x);
    double ds = w * (dp - delta) * slope(p, x);
    for (int64_t d = 0; d < p->q.dim[2]; d++) {
        dk[d] += ds * ref_get(&p->q, at3(&p->q, x->i, x->h, d));
        dv[d] += w * m * ref_get(&p->dout, at3(&p->dout, x->i, x->h, d));
    }
}

/* dk_j and dv_j of key head hk: over its query heads, then over queries. */
static void backward_key(const struct nnd_attn *p, const struct seq *s, int64_t j,
                         int64_t hk, const double *delta, double *dk, double *dv)
{
    int64_t size = p->q.dim[2], group = p->q.dim[1] / p->k.dim[1];
    for (int64_t d = 0; d < size; d++)
        dk[d] = dv[d] = 0;
    for (int64_t h = hk * group; h < (hk + 1) * group; h++)
        for (int64_t i = 0; i < s->nq; i++) {
            int64_t first, end;
            visible(p, s, i, &first, &end);
            struct pair x = pair_of(p, s, i, j, h);
            if (first <= j && j < end)
                add_pair(p, &x, delta[h * p->q.dim[0] + x.i], dk, dv);
        }
    for (int64_t d = 0; d < size; d++) {
        ref_put(&p->dk, at3(&p->dk, s->k + j, hk, d), dk[d]);
        ref_put(&p->dv, at3(&p->dv, s->k + j, hk, d), dv[d]);
    }
}

static void backward_seq(const struct nnd_attn *p, const struct seq *s, double *space)
{
    int64_t rows = p->q.dim[0], keys = p->k.dim[0];
    double *w = space, *dp = w + keys, *delta = dp + keys;
    double *dk = delta + p->q.dim[1] * rows, *dv = dk + p->q.dim[2];
    for (int64_t h = 0; h < p->q.dim[1]; h++)
        for (int64_t i = 0; i < s->nq; i++)
            delta[h * rows + s->q + i] = backward_query(p, s, i, h, w, dp);
    for (int64_t hk = 0; hk < p->k.dim[1]; hk++)
        for (int64_t j = 0; j < s->nk; j++)
            backward_key(p, s, j, hk, delta, dk, dv);
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_attn *p = params;
    (void)self, (void)plan;
    ref_fill(&p->dq, 0);
    ref_fill(&p->dk, 0);
    ref_fill(&p->dv, 0);
    if (ref_given(&p->dbias))
        ref_fill(&p->dbias, 0);
    for (int32_t b = 0; b < p->batch; b++) {
        struct seq s;
        int rc = get_seq(p, b, &s, e);
        if (rc != NND_OK)
            return rc;
        backward_seq(p, &s, l->workspace);
    }
    return NND_OK;
}

const struct nnd_kernel ref_attn_fwd =
    REF_KERNEL("attn.fwd", supports_fwd, need_fwd, launch_fwd);
const struct nnd_kernel ref_attn_bwd =
    REF_KERNEL("attn.bwd", supports_bwd, need_bwd, launch_bwd);
