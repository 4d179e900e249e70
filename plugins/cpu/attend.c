/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.c - attention that keeps its weights: "attn.add.*", "attn.dot.*".
 *
 * One query after the other; sums over the size of a key run in 16 lanes, those
 * over keys and over rows in their order.
 */
#include "op.h"
#include "par.h"
#include "rnn_gate.h"

static inline const void *row3(const struct nnd_tensor *t, int64_t b, int64_t i)
{
    return (const char *)t->data +
           (b * t->stride[0] + i * t->stride[1]) * (int64_t)dtype_size(t->dtype);
}

static inline void *out3(const struct nnd_tensor *t, int64_t b, int64_t i)
{
    return (char *)t->data +
           (b * t->stride[0] + i * t->stride[1]) * (int64_t)dtype_size(t->dtype);
}

static inline int64_t keys_of(const struct nnd_attend *p, int64_t b)
{
    return p->len ? p->len[b] : p->k.dim[1];
}

static int check_lengths(const struct nnd_attend *p)
{
    for (int64_t b = 0; p->len && b < p->k.dim[0]; b++)
        if (p->len[b] < 0 || p->len[b] > p->k.dim[1])
            return op_wrong("row %lld has %d keys of %lld", (long long)b, p->len[b],
                            (long long)p->k.dim[1]);
    return NND_OK;
}

/* ---- forward ---- */

static inline __attribute__((always_inline)) float
score(const struct nnd_attend *p, int add, const void *q, const void *k)
{
    int64_t n = p->q.dim[2];
    struct lanes sum;

    memset(&sum, 0, sizeof sum);
    for (int64_t a = 0; a < n; a += LANES)
        for (int v = 0; v < PER; v++) {
            int64_t i = a + v * VL, left = n - i;

            if (left <= 0)
                break;
            vf x = vec_get(q, p->q.dtype, i, left), y = vec_get(k, p->k.dtype, i, left);
            sum.v[v] += add ? vec_get(p->w.data, p->w.dtype, i, left) * gate_tanh(x + y)
                            : x * y;
        }
    return add ? lanes_sum(&sum) : p->scale * lanes_sum(&sum);
}

/* weight [S] from scores: softmax over the first `keys`, 0 behind. */
static void softmax(float *weight, int64_t keys, int64_t s)
{
    float max = -__builtin_inff(), sum = 0;

    for (int64_t i = 0; i < keys; i++)
        max = weight[i] > max ? weight[i] : max;
    for (int64_t i = 0; i < keys; i += VL) {
        vf e = vec_exp(vec_get(weight, NND_F32, i, keys - i) - max);

        vec_put(weight, NND_F32, i, keys - i, e);
    }
    for (int64_t i = 0; i < keys; i++)
        sum += weight[i];
    for (int64_t i = 0; i < s; i++)
        weight[i] = i < keys ? weight[i] / sum : 0;
}

static inline __attribute__((always_inline)) void
forward_rows(const struct nnd_attend *p, int add, int64_t lo, int64_t hi)
{
    int64_t n = p->v.dim[2], steps = p->q.dim[1];

    for (int64_t r = lo; r < hi; r++) {
        int64_t b = r / steps, t = r % steps, keys = keys_of(p, b);
        float *weight = out3(&p->weight, b, t);
        const void *q = row3(&p->q, b, t);

        for (int64_t s = 0; s < keys; s++)
            weight[s] = score(p, add, q, row3(&p->k, b, s));
        softmax(weight, keys, p->k.dim[1]);
        for (int64_t i = 0; i < n; i += VL) {
            vf o = vec_all(0);

            for (int64_t s = 0; s < keys; s++)
                o = vec_fma(vec_all(weight[s]),
                            vec_get(row3(&p->v, b, s), p->v.dtype, i, n - i), o);
            vec_put(out3(&p->o, b, t), p->o.dtype, i, n - i, o);
        }
    }
}

static void forward_add(const void *arg, int64_t lo, int64_t hi)
{
    forward_rows(arg, 1, lo, hi);
}

static void forward_dot(const void *arg, int64_t lo, int64_t hi)
{
    forward_rows(arg, 0, lo, hi);
}

static int forward(const struct nnd_attend *p, const struct nnd_launch *l, rows_f *fn)
{
    int64_t cost = p->k.dim[1] * (8 * p->q.dim[2] + p->v.dim[2]);
    int rc = check_lengths(p);

    return rc ? rc : par_rows(l, p->q.dim[0] * p->q.dim[1], cost, fn, p);
}

static int add_fwd(const void *params, const struct nnd_launch *l)
{
    return forward(params, l, forward_add);
}

static int dot_fwd(const void *params, const struct nnd_launch *l)
{
    return forward(params, l, forward_dot);
}

/* ---- backward ---- */

/* Workspace in f32: for each sequence its dk and dv, for each row its gradients of
 * the scores, and its part of dw. */
struct work {
    const struct nnd_attend *p;
    float *dk, *dv, *d, *dw;
    int64_t la, ln; /* sizes of a key and of a value, up to whole vectors */
};

static size_t lay_out(struct work *w, const struct nnd_attend *p, float *at)
{
    int64_t b = p->q.dim[0], t = p->q.dim[1], s = p->k.dim[1];

    w->p = p;
    w->la = (p->q.dim[2] + 15) / 16 * 16;
    w->ln = (p->v.dim[2] + 15) / 16 * 16;
    w->dk = at;
    w->dv = w->dk + b * s * w->la;
    w->d = w->dv + b * s * w->ln;
    w->dw = w->d + b * t * s;
    return (size_t)(b * s * (w->la + w->ln) + b * t * (s + w->la)) * sizeof(float);
}

static size_t workspace(const void *params)
{
    struct work w;

    return lay_out(&w, params, NULL);
}

/* d[s] = d loss / d score of row (b,t), and what that row gives to dv. */
static void score_gradients(const struct work *w, int64_t b, int64_t t, float *d)
{
    const struct nnd_attend *p = w->p;
    int64_t n = p->v.dim[2], keys = keys_of(p, b);
    const float *weight = row3(&p->weight, b, t);
    const void *dout = row3(&p->dout, b, t);
    float mean = 0;

    for (int64_t s = 0; s < keys; s++) {
        float *dv = w->dv + (b * p->k.dim[1] + s) * w->ln;
        const void *v = row3(&p->v, b, s);
        struct lanes sum;

        memset(&sum, 0, sizeof sum);
        for (int64_t i = 0; i < n; i += VL) {
            vf g = vec_get(dout, p->dout.dtype, i, n - i), have;

            sum.v[i / VL % PER] += g * vec_get(v, p->v.dtype, i, n - i);
            memcpy(&have, dv + i, sizeof have);
            have = vec_fma(vec_all(weight[s]), g, have);
            memcpy(dv + i, &have, sizeof have);
        }
        d[s] = lanes_sum(&sum);
        mean += d[s] * weight[s];
    }
    for (int64_t s = 0; s < keys; s++)
        d[s] = weight[s] * (d[s] - mean);
}

/* What row (b,t) gives to dq, to dk, and to dw, one vector of a key at a time. */
static inline __attribute__((always_inline)) void
key_gradients(const struct work *w, int add, int64_t b, int64_t t, const float *d)
{
    const struct nnd_attend *p = w->p;
    int64_t n = p->q.dim[2], keys = keys_of(p, b);
    float *dw = w->dw + (b * p->q.dim[1] + t) * w->la;

    for (int64_t i = 0; i < n; i += VL) {
        vf q = vec_get(row3(&p->q, b, t), p->q.dtype, i, n - i);
        vf c = add ? vec_get(p->w.data, p->w.dtype, i, n - i) : vec_all(p->scale);
        vf dq = vec_all(0), sum = vec_all(0);

        for (int64_t s = 0; s < keys; s++) {
            float *at = w->dk + (b * p->k.dim[1] + s) * w->la + i;
            vf k = vec_get(row3(&p->k, b, s), p->k.dtype, i, n - i), have;
            vf u = add ? gate_tanh(q + k) : q, g = d[s] * c;

            memcpy(&have, at, sizeof have);
            if (add) {
                sum += d[s] * u;
                g = g * (1.0f - u * u);
                dq += g;
                have += g;
            } else {
                dq += g * k;
                have += g * q;
            }
            memcpy(at, &have, sizeof have);
        }
        vec_put(out3(&p->dq, b, t), p->dq.dtype, i, n - i, dq);
        memcpy(dw + i, &sum, sizeof sum);
    }
}

static void put_rows(const struct nnd_tensor *t, int64_t b, const float *x, int64_t ld)
{
    int64_t n = t->dim[2];

    for (int64_t s = 0; s < t->dim[1]; s++)
        for (int64_t i = 0; i < n; i += VL)
            vec_put(out3(t, b, s), t->dtype, i, n - i,
                    vec_get(x + s * ld, NND_F32, i, VL));
}

static inline __attribute__((always_inline)) void
backward_sequences(const struct work *w, int add, int64_t lo, int64_t hi)
{
    const struct nnd_attend *p = w->p;
    int64_t keys = p->k.dim[1], steps = p->q.dim[1];

    for (int64_t b = lo; b < hi; b++) {
        float *dk = w->dk + b * keys * w->la, *dv = w->dv + b * keys * w->ln;

        memset(dk, 0, (size_t)(keys * w->la) * sizeof *dk);
        memset(dv, 0, (size_t)(keys * w->ln) * sizeof *dv);
        for (int64_t t = 0; t < steps; t++) {
            float *d = w->d + (b * steps + t) * keys;

            score_gradients(w, b, t, d);
            key_gradients(w, add, b, t, d);
        }
        put_rows(&p->dk, b, dk, w->la);
        put_rows(&p->dv, b, dv, w->ln);
    }
}

static void backward_add(const void *arg, int64_t lo, int64_t hi)
{
    backward_sequences(arg, 1, lo, hi);
}

static void backward_dot(const void *arg, int64_t lo, int64_t hi)
{
    backward_sequences(arg, 0, lo, hi);
}

/* dw from the rows' parts: blocks of rows, in order. */
static void sum_parts(const struct work *w)
{
    const struct nnd_attend *p = w->p;
    int64_t rows = p->q.dim[0] * p->q.dim[1], n = p->q.dim[2];

    for (int64_t i = 0; i < n; i += VL) {
        vf sum = vec_all(0);

        for (int64_t lo = 0; lo < rows; lo += NND_BLOCK_ROWS) {
            int64_t hi = lo + NND_BLOCK_ROWS < rows ? lo + NND_BLOCK_ROWS : rows;
            vf part = vec_all(0);

            for (int64_t r = lo; r < hi; r++)
                part += vec_get(w->dw + r * w->la, NND_F32, i, VL);
            sum += part;
        }
        vec_put(p->dw.data, p->dw.dtype, i, n - i, sum);
    }
}

static int backward(const struct nnd_attend *p, const struct nnd_launch *l, rows_f *fn)
{
    int64_t cost = p->q.dim[1] * p->k.dim[1] * (8 * p->q.dim[2] + 2 * p->v.dim[2]);
    int rc = check_lengths(p);
    struct work w;

    lay_out(&w, p, l->workspace);
    if (rc == NND_OK)
        rc = par_rows(l, p->q.dim[0], cost, fn, &w);
    if (rc == NND_OK && p->dw.ndim)
        sum_parts(&w);
    return rc;
}

static int add_bwd(const void *params, const struct nnd_launch *l)
{
    return backward(params, l, backward_add);
}

static int dot_bwd(const void *params, const struct nnd_launch *l)
{
    return backward(params, l, backward_dot);
}

#define READ(W)                                                                        \
    ARG(nnd_attend, q, "BTA", IN_FLOATS, 0), ARG(nnd_attend, k, "BSA", IN_FLOATS, 0),  \
        ARG(nnd_attend, v, "BSN", IN_FLOATS, 0),                                       \
        ARG(nnd_attend, w, "A", IN_FLOATS, W),                                         \
        ARG(nnd_attend, weight, "BTS", IN_F32, 0)
#define WRITTEN ARG(nnd_attend, o, "BTN", IN_FLOATS, 0)
#define BACK(W)                                                                        \
    ARG(nnd_attend, dout, "BTN", IN_FLOATS, 0),                                        \
        ARG(nnd_attend, dq, "BTA", IN_FLOATS, 0),                                      \
        ARG(nnd_attend, dk, "BSA", IN_FLOATS, 0),                                      \
        ARG(nnd_attend, dv, "BSN", IN_FLOATS, 0),                                      \
        ARG(nnd_attend, dw, "A", IN_FLOATS, W)

const struct op OPS(attend)[] = {
    {.name = "attn.add.fwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {READ(0), WRITTEN},
     .launch = add_fwd},
    {.name = "attn.add.bwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {READ(0), BACK(0)},
     .workspace = workspace,
     .launch = add_bwd},
    {.name = "attn.dot.fwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {READ(ARG_OPTIONAL), WRITTEN},
     .launch = dot_fwd},
    {.name = "attn.dot.bwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {READ(ARG_OPTIONAL), BACK(ARG_OPTIONAL)},
     .workspace = workspace,
     .launch = dot_bwd},
    {0},
};
