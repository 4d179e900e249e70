/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.c - moe.route: which experts a row goes to, and with what weight.
 *
 * Forward has two passes: rows by themselves, which leave their probabilities
 * and log-sum-exp in the workspace, then the sums over the rows of a group, in
 * row order, by columns.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

#define EXPERTS_MAX 1024 /* a row of scores lies on the stack */
#define COLUMNS     16   /* of one task of the sums over rows  */

/* The contract's 1e-20: no quotient is 0 / 0 when every score is 0. */
#define TINY 1e-20f

struct route_job {
    const struct nnd_route *p;
    float *prob; /* [T,E] */
    float *lse;  /* [T]   */
};

/* softmax of z [n] into q [n]; returns log-sum-exp. */
static float softmax(const float *z, int64_t n, float *q)
{
    struct lanes m, s = {0};
    float most, sum;

    for (int u = 0; u < PER; u++)
        m.v[u] = vec_all(-__builtin_inff());
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            m.v[u] =
                vec_max(vec_get_or(z, NND_F32, i, n - i, -__builtin_inff()), m.v[u]);
        }
    most = lanes_max(&m);
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf e = vec_exp(vec_get_or(z, NND_F32, i, n - i, -__builtin_inff()) - most);

            s.v[u] += e;
            vec_put(q, NND_F32, i, n - i, e);
        }
    sum = lanes_sum(&s);
    for (int64_t i = 0; i < n; i += VL)
        vec_put(q, NND_F32, i, n - i, vec_get(q, NND_F32, i, n - i) / sum);
    return most + log_one(sum);
}

/* sigmoid of z [n] into s [n]; returns their sum. */
static float sigmoid(const float *z, int64_t n, float *s)
{
    struct lanes sum = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf v = vec_sigmoid(vec_get_or(z, NND_F32, i, n - i, -__builtin_inff()));

            sum.v[u] += v;
            vec_put(s, NND_F32, i, n - i, v);
        }
    return lanes_sum(&sum);
}

static float dot(const float *a, const float *b, int64_t n)
{
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            s.v[u] += vec_get(a, NND_F32, i, n - i) * vec_get(b, NND_F32, i, n - i);
        }
    return lanes_sum(&s);
}

/* The top_k largest of score [n] into expert, largest first. */
static void choose(const float *score, int64_t n, int top_k, int32_t *expert)
{
    char taken[EXPERTS_MAX] = {0};

    for (int k = 0; k < top_k; k++) {
        int32_t best = -1;

        for (int32_t e = 0; e < n; e++)
            if (!taken[e] && (best < 0 || score[e] > score[best]))
                best = e;
        taken[best] = 1;
        expert[k] = best;
    }
}

static void gates(const struct nnd_route *p, const float *s, const int32_t *expert,
                  float *gate)
{
    float sum = 0;

    for (int k = 0; k < p->top_k; k++)
        sum += s[expert[k]];
    sum += TINY;
    for (int k = 0; k < p->top_k; k++)
        gate[k] = p->scale * s[expert[k]] / (p->renormalize ? sum : 1.0f);
}

static void route_row(const struct route_job *j, int64_t t)
{
    const struct nnd_route *p = j->p;
    int64_t n = p->z.dim[1];
    const float *z = row_of(&p->z, t);
    float s[EXPERTS_MAX], score[EXPERTS_MAX], *prob = j->prob + t * n;

    j->lse[t] = softmax(z, n, prob);
    memcpy(s, prob, (size_t)n * sizeof *s);
    if (p->score == NND_SCORE_SIGMOID) {
        float sum = sigmoid(z, n, s) + TINY;

        for (int64_t i = 0; i < n; i += VL)
            vec_put(prob, NND_F32, i, n - i, vec_get(s, NND_F32, i, n - i) / sum);
    }
    for (int64_t e = 0; e < n; e++)
        score[e] = s[e] + (p->bias.ndim ? ((const float *)p->bias.data)[e] : 0);
    choose(score, n, p->top_k, row_of(&p->expert, t));
    gates(p, s, row_of(&p->expert, t), row_of(&p->gate, t));
}

static void route_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct route_job *j = arg;
    const struct nnd_route *p = j->p;

    for (int64_t t = lo; t < hi; t++) {
        if (p->pos[t] >= 0) {
            route_row(j, t);
            continue;
        }
        for (int k = 0; k < p->top_k; k++) {
            ((int32_t *)row_of(&p->expert, t))[k] = -1;
            ((float *)row_of(&p->gate, t))[k] = 0;
        }
    }
}

/* psum of columns [first, first + n) of one group. */
static void sum_probabilities(const struct route_job *j, int64_t group, int64_t first,
                              int64_t n)
{
    const struct nnd_route *p = j->p;
    double sum[COLUMNS] = {0}, *out = row_of(&p->psum, group);
    int64_t t = group * p->group_rows, end = t + p->group_rows;

    for (; t < end && t < p->z.dim[0]; t++)
        if (p->pos[t] >= 0)
            for (int64_t e = 0; e < n; e++)
                sum[e] += (double)j->prob[t * p->z.dim[1] + first + e];
    memcpy(out + first, sum, (size_t)n * sizeof *sum);
}

static void sum_columns(const void *arg, int64_t lo, int64_t hi)
{
    const struct route_job *j = arg;
    int64_t experts = j->p->z.dim[1], parts = (experts + COLUMNS - 1) / COLUMNS;

    for (int64_t i = lo; i < hi; i++) {
        int64_t first = i % parts * COLUMNS, left = experts - first;

        sum_probabilities(j, i / parts, first, left < COLUMNS ? left : COLUMNS);
    }
}

static void count_choices(const struct nnd_route *p)
{
    for (int64_t g = 0; g < p->count.dim[0]; g++)
        memset(row_of(&p->count, g), 0, (size_t)p->count.dim[1] * sizeof(int32_t));
    for (int64_t t = 0; t < p->z.dim[0]; t++) {
        const int32_t *expert = row_of(&p->expert, t);
        int32_t *count = row_of(&p->count, t / p->group_rows);

        for (int k = 0; k < p->top_k; k++)
            if (expert[k] >= 0)
                count[expert[k]]++;
    }
}

static void sum_zsq(const struct route_job *j)
{
    double sum = 0;

    for (int64_t t = 0; t < j->p->z.dim[0]; t++)
        if (j->p->pos[t] >= 0)
            sum += (double)j->lse[t] * (double)j->lse[t];
    *(double *)j->p->zsq.data = sum;
}

static int route_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_route *p = params;
    int64_t rows = p->z.dim[0], n = p->z.dim[1];
    int64_t groups = (rows + p->group_rows - 1) / p->group_rows;
    int64_t parts = (n + COLUMNS - 1) / COLUMNS;
    struct route_job j = {p, l->workspace, (float *)l->workspace + rows * n};
    int r = par_rows(l, rows, n * 8, route_rows, &j);

    if (!r && p->psum.ndim)
        r = par_rows(l, groups * parts, (int64_t)p->group_rows * COLUMNS, sum_columns,
                     &j);
    if (!r && p->count.ndim)
        count_choices(p);
    if (!r && p->zsq.ndim)
        sum_zsq(&j);
    return r;
}

/* ds [E]: d loss / d s through the gates of row t, added. */
static void gate_slopes(const struct nnd_route *p, int64_t t, const float *s, float *ds)
{
    const int32_t *expert = row_of(&p->expert, t);
    const float *dg = row_of(&p->dgate, t);
    float sum = 0, inner = 0;

    for (int k = 0; k < p->top_k; k++) {
        sum += s[expert[k]];
        inner += dg[k] * s[expert[k]];
    }
    sum += TINY;
    for (int k = 0; k < p->top_k; k++)
        ds[expert[k]] +=
            p->renormalize ? p->scale * (dg[k] - inner / sum) / sum : p->scale * dg[k];
}

static void slope_row(const struct nnd_route *p, int64_t t)
{
    int64_t n = p->z.dim[1];
    const float *z = row_of(&p->z, t);
    const float *aux =
        p->aux_weight.ndim ? row_of(&p->aux_weight, t / p->group_rows) : 0;
    float q[EXPERTS_MAX], s[EXPERTS_MAX], ds[EXPERTS_MAX] = {0};
    float *dz = row_of(&p->dz, t);
    float lse = softmax(z, n, q), inner = 0;
    float zw = p->z_weight ? 2.0f * *p->z_weight * lse : 0;

    memcpy(s, q, (size_t)n * sizeof *s);
    if (p->score == NND_SCORE_SIGMOID) {
        float sum = sigmoid(z, n, s) + TINY;

        if (aux)
            inner = dot(aux, s, n) / sum;
        for (int64_t e = 0; e < n && aux; e++)
            ds[e] = (aux[e] - inner) / sum;
        gate_slopes(p, t, s, ds);
        for (int64_t e = 0; e < n; e++)
            dz[e] = ds[e] * (s[e] * (1.0f - s[e])) + zw * q[e];
        return;
    }
    if (aux)
        memcpy(ds, aux, (size_t)n * sizeof *ds);
    gate_slopes(p, t, s, ds);
    inner = dot(ds, s, n);
    for (int64_t e = 0; e < n; e++)
        dz[e] = s[e] * (ds[e] - inner) + zw * q[e];
}

static void slope_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_route *p = arg;

    for (int64_t t = lo; t < hi; t++) {
        if (p->pos[t] >= 0)
            slope_row(p, t);
        else
            memset(row_of(&p->dz, t), 0, (size_t)p->z.dim[1] * sizeof(float));
    }
}

static int route_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_route *p = params;

    return par_rows(l, p->z.dim[0], p->z.dim[1] * 8, slope_rows, p);
}

static int route_check(const void *params, struct nnd_error *e)
{
    const struct nnd_route *p = params;
    int64_t n = p->z.dim[1];

    if (n > EXPERTS_MAX)
        return op_refuse(e, NND_EUNSUPPORTED, "%lld experts, wanted at most %d",
                         (long long)n, EXPERTS_MAX);
    if (p->top_k < 1 || p->top_k > n || p->expert.dim[1] != p->top_k)
        return op_refuse(e, NND_EINVAL, "top_k %d, wanted 1 to %lld, as in expert",
                         p->top_k, (long long)n);
    if (p->group_rows < 1)
        return op_refuse(e, NND_EINVAL, "group_rows %d, wanted >= 1", p->group_rows);
    return NND_OK;
}

static size_t route_workspace(const void *params)
{
    const struct nnd_route *p = params;

    return (size_t)p->z.dim[0] * (size_t)(p->z.dim[1] + 1) * sizeof(float);
}

const struct op OPS(route)[] = {
    {.name = "moe.route.fwd",
     .check = route_check,
     .workspace = route_workspace,
     .launch = route_fwd},
    {.name = "moe.route.bwd", .check = route_check, .launch = route_bwd},
    {0},
};
