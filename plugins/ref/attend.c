/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.c - attention that keeps its weights: "attn.add.fwd|bwd" (Bahdanau et
 * al. 2015), "attn.dot.fwd|bwd" (Luong et al. 2015).
 */
#include <math.h>

#include "impl.h"

static int supports(const struct nnd_attend *p, bool add, bool bwd, struct nnd_error *e)
{
    int64_t b = p->q.dim[0], t = p->q.dim[1], s = p->k.dim[1], a = p->q.dim[2],
            n = p->v.dim[2];
    const struct ref_shape shapes[] = {
        {"q", &p->q, REF_FLOAT, 3, {REF_ANY, REF_ANY, REF_ANY}},
        {"k", &p->k, REF_FLOAT, 3, {b, REF_ANY, a}},
        {"v", &p->v, REF_FLOAT, 3, {b, s, REF_ANY}},
        {"weight", &p->weight, REF_WIDE, 3, {b, t, s}},
        {"w", &p->w, add ? REF_FLOAT : REF_FLOAT | REF_OPTIONAL, 1, {a}},
    };
    const struct ref_shape out[] = {
        {"o", &p->o, REF_FLOAT, 3, {b, t, n}},
    };
    const struct ref_shape back[] = {
        {"dout", &p->dout, REF_FLOAT, 3, {b, t, n}},
        {"dq", &p->dq, REF_FLOAT, 3, {b, t, a}},
        {"dk", &p->dk, REF_FLOAT, 3, {b, s, a}},
        {"dv", &p->dv, REF_FLOAT, 3, {b, s, n}},
        {"dw", &p->dw, REF_FLOAT | REF_OPTIONAL, 1, {a}},
    };
    int rc = ref_check(p->struct_size, sizeof *p, shapes, 5, e);
    if (rc != NND_OK)
        return rc;
    return ref_check(p->struct_size, sizeof *p, bwd ? back : out, bwd ? 5 : 1, e);
}

static int supports_add_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, true, false, e);
}

static int supports_add_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, true, true, e);
}

static int supports_dot_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, false, false, e);
}

static int supports_dot_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports(params, false, true, e);
}

/* Scores of a row, or their gradients; backward: dw and one sequence's dk, dv. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_attend *p = params;
    int64_t s = p->k.dim[1];
    (void)self;
    return ref_need(out, s + p->q.dim[2] + s * (p->q.dim[2] + p->v.dim[2]));
}

static int check_lengths(const struct nnd_attend *p, struct nnd_error *e)
{
    for (int64_t b = 0; p->len && b < p->k.dim[0]; b++)
        if (p->len[b] < 0 || p->len[b] > p->k.dim[1])
            return ref_refuse(e, NND_EINVAL, "row %lld has %d keys of %lld",
                              (long long)b, p->len[b], (long long)p->k.dim[1]);
    return NND_OK;
}

static int64_t keys_of(const struct nnd_attend *p, int64_t b)
{
    return p->len ? p->len[b] : p->k.dim[1];
}

/* tanh(q + k) of one place. */
static double energy(const struct nnd_attend *p, int64_t b, int64_t t, int64_t s,
                     int64_t a)
{
    return tanh(ref_get(&p->q, at3(&p->q, b, t, a)) +
                ref_get(&p->k, at3(&p->k, b, s, a)));
}

static double score(const struct nnd_attend *p, bool add, int64_t b, int64_t t,
                    int64_t s)
{
    double sum = 0;
    for (int64_t a = 0; a < p->q.dim[2]; a++)
        sum += add ? ref_get(&p->w, at1(&p->w, a)) * energy(p, b, t, s, a)
                   : (double)p->scale * ref_get(&p->q, at3(&p->q, b, t, a)) *
                         ref_get(&p->k, at3(&p->k, b, s, a));
    return sum;
}

static void forward(const struct nnd_attend *p, bool add, int64_t b, int64_t t,
                    double *x)
{
    int64_t keys = keys_of(p, b);
    double max = -INFINITY, sum = 0;
    for (int64_t s = 0; s < keys; s++) {
        x[s] = score(p, add, b, t, s);
        max = fmax(max, x[s]);
    }
    for (int64_t s = 0; s < keys; s++)
        sum += x[s] = exp(x[s] - max);
    for (int64_t s = 0; s < p->k.dim[1]; s++)
        ref_put(&p->weight, at3(&p->weight, b, t, s), s < keys ? x[s] / sum : 0);
    for (int64_t n = 0; n < p->v.dim[2]; n++) {
        double o = 0;
        for (int64_t s = 0; s < keys; s++)
            o += x[s] / sum * ref_get(&p->v, at3(&p->v, b, s, n));
        ref_put(&p->o, at3(&p->o, b, t, n), o);
    }
}

static int forward_all(const struct nnd_attend *p, bool add, const struct nnd_launch *l,
                       struct nnd_error *e)
{
    if (check_lengths(p, e) != NND_OK)
        return NND_EINVAL;
    for (int64_t b = 0; b < p->q.dim[0]; b++)
        for (int64_t t = 0; t < p->q.dim[1]; t++)
            forward(p, add, b, t, l->workspace);
    return NND_OK;
}

/* What one sequence's rows add to. */
struct sums {
    double *score, *dw, *dk, *dv;
};

/* x[s] = d loss / d score of row t. */
static void score_gradient(const struct nnd_attend *p, int64_t b, int64_t t, double *x)
{
    double mean = 0;
    for (int64_t s = 0; s < keys_of(p, b); s++) {
        x[s] = 0;
        for (int64_t n = 0; n < p->v.dim[2]; n++)
            x[s] += ref_get(&p->dout, at3(&p->dout, b, t, n)) *
                    ref_get(&p->v, at3(&p->v, b, s, n));
        mean += x[s] * ref_get(&p->weight, at3(&p->weight, b, t, s));
    }
    for (int64_t s = 0; s < keys_of(p, b); s++)
        x[s] = ref_get(&p->weight, at3(&p->weight, b, t, s)) * (x[s] - mean);
}

static void backward(const struct nnd_attend *p, bool add, int64_t b, int64_t t,
                     const struct sums *sum)
{
    int64_t keys = keys_of(p, b), dims = p->q.dim[2], values = p->v.dim[2];
    score_gradient(p, b, t, sum->score);
    for (int64_t s = 0; s < keys; s++)
        for (int64_t n = 0; n < values; n++)
            sum->dv[s * values + n] += ref_get(&p->weight, at3(&p->weight, b, t, s)) *
                                       ref_get(&p->dout, at3(&p->dout, b, t, n));
    for (int64_t a = 0; a < dims; a++) {
        double dq = 0, q = ref_get(&p->q, at3(&p->q, b, t, a));
        for (int64_t s = 0; s < keys; s++) {
            double d = sum->score[s], u = add ? energy(p, b, t, s, a) : 0;
            double k = ref_get(&p->k, at3(&p->k, b, s, a));
            double w = add ? ref_get(&p->w, at1(&p->w, a)) * (1 - u * u) : 0;
            dq += d * (add ? w : (double)p->scale * k);
            sum->dk[s * dims + a] += d * (add ? w : (double)p->scale * q);
            sum->dw[a] += d * u;
        }
        ref_put(&p->dq, at3(&p->dq, b, t, a), dq);
    }
}

static void put_sequence(const struct nnd_tensor *x, int64_t b, const double *sum)
{
    for (int64_t s = 0; s < x->dim[1]; s++)
        for (int64_t a = 0; a < x->dim[2]; a++)
            ref_put(x, at3(x, b, s, a), sum[s * x->dim[2] + a]);
}

static int backward_all(const struct nnd_attend *p, bool add,
                        const struct nnd_launch *l, struct nnd_error *e)
{
    int64_t keys = p->k.dim[1], dims = p->q.dim[2], values = p->v.dim[2];
    if (check_lengths(p, e) != NND_OK)
        return NND_EINVAL;
    struct sums sum = {.score = l->workspace};
    sum.dw = sum.score + keys;
    sum.dk = sum.dw + dims;
    sum.dv = sum.dk + keys * dims;
    for (int64_t a = 0; a < dims; a++)
        sum.dw[a] = 0;
    for (int64_t b = 0; b < p->q.dim[0]; b++) {
        for (int64_t i = 0; i < keys * (dims + values); i++)
            sum.dk[i] = 0;
        for (int64_t t = 0; t < p->q.dim[1]; t++)
            backward(p, add, b, t, &sum);
        put_sequence(&p->dk, b, sum.dk);
        put_sequence(&p->dv, b, sum.dv);
    }
    for (int64_t a = 0; add && ref_given(&p->dw) && a < dims; a++)
        ref_put(&p->dw, at1(&p->dw, a), sum.dw[a]);
    return NND_OK;
}

static int launch_add_fwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan;
    return forward_all(params, true, l, e);
}

static int launch_add_bwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan;
    return backward_all(params, true, l, e);
}

static int launch_dot_fwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan;
    return forward_all(params, false, l, e);
}

static int launch_dot_bwd(const void *self, void *plan, const void *params,
                          const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan;
    return backward_all(params, false, l, e);
}

const struct nnd_kernel ref_add_fwd =
    REF_KERNEL("attn.add.fwd", supports_add_fwd, need, launch_add_fwd);
const struct nnd_kernel ref_add_bwd =
    REF_KERNEL("attn.add.bwd", supports_add_bwd, need, launch_add_bwd);
const struct nnd_kernel ref_dot_fwd =
    REF_KERNEL("attn.dot.fwd", supports_dot_fwd, need, launch_dot_fwd);
const struct nnd_kernel ref_dot_bwd =
    REF_KERNEL("attn.dot.bwd", supports_dot_bwd, need, launch_dot_bwd);
