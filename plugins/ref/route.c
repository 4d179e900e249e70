/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - which experts see a row, and how much each counts: "moe.route.fwd",
 * "moe.route.bwd".
 *
 * Per row, with z its logits, S the chosen experts and lambda the scale:
 *   s = softmax(z), or sigmoid(z)
 *   g_e = lambda s_e / G for e in S,  G = renormalize ? sum over S of s : 1
 *   p = s / sum of s                  (softmax: the sum is 1)
 * and backwards, with dg the gradient of g and a that of p:
 *   ds_e  = [e in S] (lambda dg_e - (renormalize ? sum_S g dg : 0)) / G
 *         + (a_e - sum a p) / sum of s     (softmax: + a_e)
 *   dz    = s (ds - sum s ds), or ds s (1 - s) for the sigmoid
 *         + 2 z_weight lse(z) softmax(z)
 */
#include <math.h>

#include "impl.h"

/* Keeps a quotient finite when every sigmoid is 0, and changes nothing else. */
static const double tiny = 1e-20;

/* What a row's logits give. */
struct row {
    double *s; /* [E] */
    double lse, sum;
};

static int check_options(const struct nnd_route *p, struct nnd_error *e)
{
    if (p->score != NND_SCORE_SOFTMAX && p->score != NND_SCORE_SIGMOID)
        return ref_refuse(e, NND_EINVAL, "score %d, wanted softmax (0) or sigmoid (1)",
                          p->score);
    if (p->top_k < 1 || p->top_k > p->z.dim[1])
        return ref_refuse(e, NND_EINVAL, "top_k %d of %lld experts", p->top_k,
                          (long long)p->z.dim[1]);
    if (p->group_rows < 1)
        return ref_refuse(e, NND_EINVAL, "group_rows %d, wanted at least 1",
                          p->group_rows);
    return NND_OK;
}

static int64_t groups_of(const struct nnd_route *p)
{
    return p->group_rows > 0 ? (p->z.dim[0] + p->group_rows - 1) / p->group_rows : 0;
}

static int supports_fwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_route *p = params;
    int64_t t = p->z.dim[0], n = p->z.dim[1], groups = groups_of(p);
    const struct ref_shape shapes[] = {
        {"z", &p->z, REF_WIDE, 2, {REF_ANY, REF_ANY}},
        {"bias", &p->bias, REF_WIDE | REF_OPTIONAL, 1, {n}},
        {"expert", &p->expert, REF_I32, 2, {t, p->top_k}},
        {"gate", &p->gate, REF_WIDE, 2, {t, p->top_k}},
        {"count", &p->count, REF_I32, 2, {groups, n}},
        {"psum", &p->psum, REF_F64, 2, {groups, n}},
        {"zsq", &p->zsq, REF_F64, 1, {1}},
    };
    (void)self;
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 7, e);
    return rc == NND_OK ? check_options(p, e) : rc;
}

static int supports_bwd(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_route *p = params;
    int64_t t = p->z.dim[0], n = p->z.dim[1];
    const struct ref_shape shapes[] = {
        {"z", &p->z, REF_WIDE, 2, {REF_ANY, REF_ANY}},
        {"expert", &p->expert, REF_I32, 2, {t, p->top_k}},
        {"dgate", &p->dgate, REF_WIDE, 2, {t, p->top_k}},
        {"dz", &p->dz, REF_WIDE, 2, {t, n}},
        {"aux_weight", &p->aux_weight, REF_WIDE | REF_OPTIONAL, 2, {groups_of(p), n}},
    };
    (void)self;
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 5, e);
    return rc == NND_OK ? check_options(p, e) : rc;
}

/* s; backward ds as well. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_route *p = params;
    (void)self;
    return ref_need(out, 2 * p->z.dim[1]);
}

static double logit(const struct nnd_route *p, int64_t t, int64_t n)
{
    return ref_get(&p->z, at2(&p->z, t, n));
}

static void get_row(const struct nnd_route *p, int64_t t, struct row *r)
{
    int64_t experts = p->z.dim[1];
    double max = -INFINITY, sum = 0;
    for (int64_t n = 0; n < experts; n++)
        max = fmax(max, logit(p, t, n));
    for (int64_t n = 0; n < experts; n++)
        sum += exp(logit(p, t, n) - max);
    r->lse = max + log(sum);
    r->sum = 0;
    for (int64_t n = 0; n < experts; n++) {
        double z = logit(p, t, n);
        r->s[n] = p->score == NND_SCORE_SOFTMAX ? exp(z - r->lse) : 1 / (1 + exp(-z));
        r->sum += r->s[n];
    }
}

static bool is_chosen(const struct nnd_route *p, int64_t t, int64_t n, int32_t chosen)
{
    for (int32_t k = 0; k < chosen; k++)
        if (*ref_int(&p->expert, at2(&p->expert, t, k)) == n)
            return true;
    return false;
}

/* The best of the experts that are not among the first `chosen`; the lowest
 * index of equals. */
static int32_t best_left(const struct nnd_route *p, int64_t t, const double *s,
                         int32_t chosen)
{
    int64_t best = -1;
    double most = 0;
    for (int64_t n = 0; n < p->z.dim[1]; n++) {
        double x =
            s[n] + (ref_given(&p->bias) ? ref_get(&p->bias, at1(&p->bias, n)) : 0);
        if (is_chosen(p, t, n, chosen) || (best >= 0 && !(x > most)))
            continue;
        best = n;
        most = x;
    }
    return (int32_t)best;
}

/* G of a row whose experts are known. */
static double gate_sum(const struct nnd_route *p, int64_t t, const double *s)
{
    double sum = 0;
    if (!p->renormalize)
        return 1;
    for (int32_t k = 0; k < p->top_k; k++)
        sum += s[*ref_int(&p->expert, at2(&p->expert, t, k))];
    return sum + tiny;
}

static void route_row(const struct nnd_route *p, int64_t t, const struct row *r)
{
    int64_t group = t / p->group_rows;
    for (int32_t k = 0; k < p->top_k; k++) {
        int32_t n = best_left(p, t, r->s, k);
        *ref_int(&p->expert, at2(&p->expert, t, k)) = n;
        *ref_int(&p->count, at2(&p->count, group, n)) += 1;
    }
    double sum = gate_sum(p, t, r->s);
    for (int32_t k = 0; k < p->top_k; k++) {
        int32_t n = *ref_int(&p->expert, at2(&p->expert, t, k));
        ref_put(&p->gate, at2(&p->gate, t, k), (double)p->scale * r->s[n] / sum);
    }
    for (int64_t n = 0; n < p->z.dim[1]; n++) {
        int64_t at = at2(&p->psum, group, n);
        double share =
            p->score == NND_SCORE_SOFTMAX ? r->s[n] : r->s[n] / (r->sum + tiny);
        ref_put(&p->psum, at, ref_get(&p->psum, at) + share);
    }
    ref_put(&p->zsq, 0, ref_get(&p->zsq, 0) + r->lse * r->lse);
}

static void skip_row(const struct nnd_route *p, int64_t t)
{
    for (int32_t k = 0; k < p->top_k; k++) {
        *ref_int(&p->expert, at2(&p->expert, t, k)) = -1;
        ref_put(&p->gate, at2(&p->gate, t, k), 0);
    }
}

static void clear_sums(const struct nnd_route *p)
{
    for (int64_t g = 0; g < p->count.dim[0]; g++)
        for (int64_t n = 0; n < p->count.dim[1]; n++)
            *ref_int(&p->count, at2(&p->count, g, n)) = 0;
    ref_fill(&p->psum, 0);
    ref_fill(&p->zsq, 0);
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_route *p = params;
    struct row r = {.s = l->workspace};
    (void)self, (void)plan, (void)e;
    clear_sums(p);
    for (int64_t t = 0; t < p->z.dim[0]; t++) {
        if (p->pos[t] < 0) {
            skip_row(p, t);
            continue;
        }
        get_row(p, t, &r);
        route_row(p, t, &r);
    }
    return NND_OK;
}

/* ds from the gates. */
static void add_gates(const struct nnd_route *p, int64_t t, const struct row *r,
                      double *ds)
{
    double sum = gate_sum(p, t, r->s), scale = (double)p->scale, common = 0;
    for (int32_t k = 0; p->renormalize && k < p->top_k; k++) {
        int32_t n = *ref_int(&p->expert, at2(&p->expert, t, k));
        common += scale * r->s[n] / sum * ref_get(&p->dgate, at2(&p->dgate, t, k));
    }
    for (int32_t k = 0; k < p->top_k; k++) {
        int32_t n = *ref_int(&p->expert, at2(&p->expert, t, k));
        ds[n] += (scale * ref_get(&p->dgate, at2(&p->dgate, t, k)) - common) / sum;
    }
}

/* ds from the balancing loss. */
static void add_balance(const struct nnd_route *p, int64_t t, const struct row *r,
                        double *ds)
{
    const struct nnd_tensor *a = &p->aux_weight;
    int64_t group = t / p->group_rows, experts = p->z.dim[1];
    bool softmax = p->score == NND_SCORE_SOFTMAX;
    double sum = softmax ? 1 : r->sum + tiny, mean = 0;
    for (int64_t n = 0; !softmax && n < experts; n++)
        mean += ref_get(a, at2(a, group, n)) * r->s[n] / sum;
    for (int64_t n = 0; n < experts; n++)
        ds[n] += (ref_get(a, at2(a, group, n)) - mean) / sum;
}

static void put_dz(const struct nnd_route *p, int64_t t, const struct row *r,
                   const double *ds)
{
    int64_t experts = p->z.dim[1];
    double mean = 0, zw = p->z_weight ? 2 * (double)*p->z_weight * r->lse : 0;
    for (int64_t n = 0; n < experts; n++)
        mean += r->s[n] * ds[n];
    for (int64_t n = 0; n < experts; n++) {
        double s = r->s[n];
        double dz =
            p->score == NND_SCORE_SOFTMAX ? s * (ds[n] - mean) : ds[n] * s * (1 - s);
        if (zw != 0)
            dz += zw * exp(logit(p, t, n) - r->lse);
        ref_put(&p->dz, at2(&p->dz, t, n), dz);
    }
}

static void backward_row(const struct nnd_route *p, int64_t t, struct row *r,
                         double *ds)
{
    for (int64_t n = 0; n < p->z.dim[1]; n++)
        ds[n] = 0;
    get_row(p, t, r);
    add_gates(p, t, r, ds);
    if (ref_given(&p->aux_weight))
        add_balance(p, t, r, ds);
    put_dz(p, t, r, ds);
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_route *p = params;
    struct row r = {.s = l->workspace};
    double *ds = r.s + p->z.dim[1];
    (void)self, (void)plan, (void)e;
    ref_fill(&p->dz, 0);
    for (int64_t t = 0; t < p->z.dim[0]; t++)
        if (p->pos[t] >= 0)
            backward_row(p, t, &r, ds);
    return NND_OK;
}

const struct nnd_kernel ref_route_fwd =
    REF_KERNEL("moe.route.fwd", supports_fwd, need, launch_fwd);
const struct nnd_kernel ref_route_bwd =
    REF_KERNEL("moe.route.bwd", supports_bwd, need, launch_bwd);
