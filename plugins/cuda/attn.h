/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attn.h - attention as its kernels see it: sequences, masks, scores.
 *
 * A warp has a query (or, for the gradients of keys, a key) and takes the others 32
 * at a time, one to a lane, from shared memory.  Tiles of 32 begin at multiples of
 * 32 in the sequence whatever the row, so that a row's bits are its own.
 */
#ifndef CUDA_ATTN_H
#define CUDA_ATTN_H

#include "kern.h"

#define LOG2E      1.44269504088896341f
#define ATTN_WARPS 8
#define ATTN_LANES 32
#define HEAD_MAX   256
#define HEAD_PARTS (HEAD_MAX / 32) /* columns of a lane */

/* [rows,heads,D]; steps in bytes. */
struct heads {
    char *data;
    int64_t row, head;
    int32_t dtype, wide;
};

struct bias {
    char *data; /* NULL: none */
    int64_t seq, head, row, column;
    int32_t dtype;
};

struct attns {
    struct heads q, k, v, o, dout, dq, dk, dv;
    struct bias bias, dbias;
    float *lse, *delta; /* [H,T]: lse with a step, delta without */
    int64_t lse_step, t, s;
    const int32_t *cu_q, *cu_k, *len_k;
    int32_t batch, max_q, max_k, causal, window, h, hk, d;
    float scale, softcap;
    struct drop drop;
};

static inline struct heads heads_of(const struct nnd_tensor *t)
{
    struct heads h = {NULL, 0, 0, t->dtype, 0};
    if (!t->ndim)
        return h;
    h.data = (char *)t->data;
    h.row = t->stride[0] * size_of(t->dtype);
    h.head = t->stride[1] * size_of(t->dtype);
    h.wide = (uintptr_t)h.data % 16 == 0 && h.row % 16 == 0 && h.head % 16 == 0;
    return h;
}

static inline struct bias bias_of(const struct nnd_tensor *t)
{
    struct bias b = {NULL, 0, 0, 0, 0, t->dtype};
    if (!t->ndim)
        return b;
    b.data = (char *)t->data;
    b.seq = t->dim[0] > 1 ? t->stride[0] : 0;
    b.head = t->dim[1] > 1 ? t->stride[1] : 0;
    b.row = t->stride[2];
    b.column = t->stride[3];
    return b;
}

static inline struct attns attns_of(const struct nnd_attn *p)
{
    struct attns a = {};
    a.q = heads_of(&p->q), a.k = heads_of(&p->k), a.v = heads_of(&p->v);
    a.o = heads_of(&p->o), a.dout = heads_of(&p->dout), a.dq = heads_of(&p->dq);
    a.dk = heads_of(&p->dk), a.dv = heads_of(&p->dv);
    a.bias = bias_of(&p->bias), a.dbias = bias_of(&p->dbias);
    a.lse = (float *)p->lse.data;
    a.lse_step = p->lse.stride[0];
    a.t = p->q.dim[0], a.s = p->k.dim[0];
    a.h = (int32_t)p->q.dim[1], a.hk = (int32_t)p->k.dim[1], a.d = (int32_t)p->q.dim[2];
    a.cu_q = p->cu_q, a.cu_k = p->cu_k, a.len_k = p->len_k;
    a.batch = p->batch, a.max_q = p->max_q, a.max_k = p->max_k;
    a.causal = p->causal, a.window = p->window;
    a.scale = p->scale, a.softcap = p->softcap;
    a.drop = drop_of(&p->dropout);
    return a;
}

/* One sequence: where its rows are and how many; room: with keys that do not count. */
struct seq {
    int64_t q, nq, k, nk, room;
};

DEVICE struct seq seq_of(const struct attns &a, int b)
{
    struct seq s;
    s.q = a.cu_q ? a.cu_q[b] : (int64_t)b * a.max_q;
    s.nq = a.cu_q ? a.cu_q[b + 1] - s.q : a.max_q;
    s.k = a.cu_k ? a.cu_k[b] : (int64_t)b * a.max_k;
    s.room = a.cu_k ? a.cu_k[b + 1] - s.k : a.max_k;
    s.nk = a.len_k ? a.len_k[b] : s.room;
    return s;
}

/* Query i of the sequence sees keys [first, end). */
struct span {
    int64_t first, end;
};

DEVICE struct span visible(const struct attns &a, const struct seq &s, int64_t i)
{
    struct span r = {0, a.causal ? i + s.nk - s.nq + 1 : s.nk};
    if (a.window > 0 && r.end > a.window)
        r.first = r.end - a.window;
    return r;
}

DEVICE const char *row_at(const struct heads &x, int64_t row, int64_t head)
{
    return x.data + row * x.row + head * x.head;
}

/* Rows [first, first + n) of a head into to [.., d + 1]; zeros from row `end` on. */
DEVICE void load_rows(const struct heads &x, float *to, int64_t first, int n,
                      int64_t end, int64_t head, int d)
{
    int groups = (d + 7) / 8;
    for (int e = threadIdx.x; e < n * groups; e += ATTN_WARPS * 32) {
        int r = e / groups, c = e % groups * 8;
        float v[8] = {0};
        if (first + r < end) {
            const char *p = row_at(x, first + r, head) + c * bytes_of(x.dtype);
            load8<0>(x.dtype, p, x.wide, d - c, 0, v);
        }
        for (int i = 0; i < 8 && c + i < d; i++)
            to[r * (d + 1) + c + i] = v[i];
    }
}

DEVICE float dot(const float *x, const float *y, int d)
{
    float s[4] = {0};
    int i = 0;
    for (; i + 4 <= d; i += 4) {
        s[0] += x[i] * y[i];
        s[1] += x[i + 1] * y[i + 1];
        s[2] += x[i + 2] * y[i + 2];
        s[3] += x[i + 3] * y[i + 3];
    }
    for (; i < d; i++)
        s[0] += x[i] * y[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* The score of query i and key j of sequence b from their product, and its slope. */
DEVICE float score_of(const struct attns &a, int b, int h, int64_t i, int64_t j,
                      float qk, float *slope)
{
    float s = a.scale * qk, t = 0;
    if (a.softcap > 0) {
        t = tanhf(s / a.softcap);
        s = a.softcap * t;
    }
    *slope = (1.0f - t * t) * a.scale;
    if (a.bias.data)
        s += get_at(a.bias.dtype, a.bias.data,
                    b * a.bias.seq + h * a.bias.head + i * a.bias.row +
                        j * a.bias.column);
    return s;
}

/* What dropout multiplies the weight of column j of row t by. */
DEVICE float kept_weight(const struct attns &a, uint64_t key, int64_t t, int h,
                         int64_t j)
{
    float f[4];
    if (!a.drop.on)
        return 1;
    drop_factors(a.drop, key, t, (uint32_t)h, j, f);
    return j % 4 == 0 ? f[0] : j % 4 == 1 ? f[1] : j % 4 == 2 ? f[2] : f[3];
}

/* sum[i] += sum over j of weight[j] * rows[j][lane + 32 i]. */
DEVICE void add_rows(float (&sum)[HEAD_PARTS], const float *weight, const float *rows,
                     int d)
{
#pragma unroll
    for (int i = 0; i < HEAD_PARTS; i++) {
        int c = threadIdx.x % 32 + 32 * i;
        if (c < d)
#pragma unroll 8
            for (int j = 0; j < ATTN_LANES; j++)
                sum[i] += weight[j] * rows[j * (d + 1) + c];
    }
}

DEVICE void store_row(const struct heads &x, int64_t row, int64_t head,
                      const float (&v)[HEAD_PARTS], float factor, int d)
{
    char *to = (char *)row_at(x, row, head);
#pragma unroll
    for (int i = 0; i < HEAD_PARTS; i++) {
        int c = threadIdx.x % 32 + 32 * i;
        if (c < d)
            put_at(x.dtype, to, c, v[i] * factor);
    }
}

/* Rows outside every sequence: zeros, and lse -inf where it is given. */
struct clear_outside {
    struct heads x;
    float *lse;
    int64_t lse_step;
    const int32_t *cu;
    int64_t end; /* without cu */
    int32_t batch, heads;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        int64_t lo = cu ? cu[0] : 0, hi = cu ? cu[batch] : end;
        int64_t d = (c + left) / heads;
        if (r >= lo && r < hi)
            return;
        for (int64_t i = c; i < c + 8 && i < c + left; i++) {
            put_at(x.dtype, (char *)row_at(x, r, i / d), i % d, 0);
            if (lse && i % d == 0)
                lse[i / d * lse_step + r] = -INFINITY;
        }
    }
};

/* Of attn_fwd.cu: o and lse of the rows outside every sequence. */
int cuda_attn_clear(const struct attns *a, const struct nnd_launch *l);

/* Of attn_bwd.cu: zeros in the gradients of the rows outside every sequence. */
int cuda_attn_clear_slopes(const struct attns *a, const struct nnd_launch *l);

/* What calls must be. */
extern "C" int cuda_attn_check(const void *params, struct nnd_error *e);

/* Of attn_mma.cu: the same, and q, k and v of one type of 16 bits, heads of up to 128.
 */
extern "C" int cuda_attn_half_check(const void *params, struct nnd_error *e);

#endif
