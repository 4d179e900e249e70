/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape_product.c - products, and the attentions: calls whose work is multiplying.
 */
#include <math.h>

#include "shape_build.h"

enum { GEMM_BIAS = 1, GEMM_GELU = 2, GEMM_SUMS = 4, GEMM_RELU = 8 };

/* n: M N K */
void shape_gemm(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_gemm *p = &c->params.gemm;
    const int64_t *n = z->n;
    bool sums = z->words & GEMM_SUMS;
    p->struct_size = sizeof *p;
    p->trans_a = sums;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, n[sums ? 2 : 0], n[sums ? 0 : 2], -1);
    call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, n[2], n[1], -1);
    call_tensor(c, "d", &p->d, ROLE_OUT, KIND_RESULT, n[0], n[1], -1);
    if (sums)
        call_tensor(c, "sums", &p->sums, ROLE_OUT, KIND_F32, n[0], -1, -1);
    if (z->words & GEMM_BIAS)
        call_tensor(c, "bias", &p->bias, ROLE_IN, KIND_ACT, n[1], -1, -1);
    if (z->words & (GEMM_GELU | GEMM_RELU))
        p->epilogue = z->words & GEMM_GELU ? NND_EPI_GELU : NND_EPI_RELU;
    w->flops = 2.0 * (double)n[0] * (double)n[1] * (double)n[2];
}

enum { GROUPED_SWIGLU = 1, GROUPED_WGRAD = 2 };

/* n: E M N K; M rows for each of E experts. */
void shape_grouped(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_grouped_gemm *p = &c->params.grouped;
    const int64_t *n = z->n;
    int64_t rows = n[0] * n[1];
    bool by_k = z->words & GROUPED_WGRAD, pair = !by_k && (z->words & GROUPED_SWIGLU);
    struct nnd_segment *seg = arena_calloc(c->arena, (size_t)n[0], sizeof *seg);
    for (int64_t e = 0; e < n[0]; e++)
        seg[e] =
            (struct nnd_segment){(int32_t)(e * n[1]), (int32_t)n[1], (int32_t)e, 0};
    p->struct_size = sizeof *p;
    p->mode = by_k ? NND_GROUP_K : NND_GROUP_M;
    p->nsegments = (int32_t)n[0];
    p->epilogue = pair ? NND_EPI_SWIGLU : NND_EPI_NONE;
    call_array(c, &p->segments, seg, (size_t)n[0] * sizeof *seg);
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, rows, n[3], -1);
    if (by_k) {
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, rows, n[2], -1);
        call_tensor(c, "d", &p->d, ROLE_OUT, KIND_F32, n[0], n[3], n[2]);
    } else {
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, n[0], n[3], n[2]);
        call_tensor(c, "d", &p->d, ROLE_OUT, KIND_RESULT, rows, n[2], -1);
    }
    if (pair)
        call_tensor(c, "b2", &p->b2, ROLE_IN, KIND_ACT, n[0], n[3], n[2]);
    w->flops = (pair ? 4.0 : 2.0) * (double)rows * (double)n[2] * (double)n[3];
}

enum { ATTN_BIAS = 1 };

/* One for all sequences: [1,H,T,T]. */
static void add_bias(struct call *c, struct nnd_tensor *bias, const int64_t *n)
{
    struct slot *s = call_tensor(c, "bias", bias, ROLE_IN, KIND_ACT, 1, n[2], n[1]);
    s->dim[s->ndim++] = n[1];
    s->count *= n[1];
}

/* n: B T H G D; G key heads; causal. */
void shape_attn(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_attn *p = &c->params.attn;
    const int64_t *n = z->n;
    int64_t rows = n[0] * n[1];
    enum role saved = z->bwd ? ROLE_DERIVED : ROLE_OUT;
    p->struct_size = sizeof *p;
    p->batch = (int32_t)n[0];
    p->max_q = p->max_k = (int32_t)n[1];
    p->causal = 1;
    p->scale = 1 / sqrtf((float)n[4]);
    c->derive = z->bwd ? "attn.fwd" : NULL;
    call_tensor(c, "q", &p->q, ROLE_IN, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "k", &p->k, ROLE_IN, KIND_ACT, rows, n[3], n[4]);
    call_tensor(c, "v", &p->v, ROLE_IN, KIND_ACT, rows, n[3], n[4]);
    call_tensor(c, "o", &p->o, saved, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "lse", &p->lse, saved, KIND_F32, n[2], rows, -1);
    if (z->words & ATTN_BIAS)
        add_bias(c, &p->bias, n);
    w->flops =
        (z->bwd ? 5.0 : 2.0) * (double)rows * (double)n[1] * (double)(n[2] * n[4]);
    if (!z->bwd)
        return;
    call_tensor(c, "dout", &p->dout, ROLE_IN, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "dq", &p->dq, ROLE_OUT, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "dk", &p->dk, ROLE_OUT, KIND_ACT, rows, n[3], n[4]);
    call_tensor(c, "dv", &p->dv, ROLE_OUT, KIND_ACT, rows, n[3], n[4]);
}

/* n: B T S A N; kind: attn.add */
void shape_attend(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_attend *p = &c->params.attend;
    const int64_t *n = z->n;
    bool sum = z->kind == 1;
    p->struct_size = sizeof *p;
    p->scale = 1 / sqrtf((float)n[3]);
    c->derive = !z->bwd ? NULL : sum ? "attn.add.fwd" : "attn.dot.fwd";
    call_tensor(c, "q", &p->q, ROLE_IN, KIND_ACT, n[0], n[1], n[3]);
    call_tensor(c, "k", &p->k, ROLE_IN, KIND_ACT, n[0], n[2], n[3]);
    call_tensor(c, "v", &p->v, ROLE_IN, KIND_ACT, n[0], n[2], n[4]);
    if (sum)
        call_tensor(c, "w", &p->w, ROLE_IN, KIND_WEIGHT, n[3], -1, -1);
    call_tensor(c, "weight", &p->weight, z->bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32,
                n[0], n[1], n[2]);
    call_tensor(c, "o", &p->o, z->bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_ACT, n[0], n[1],
                n[4]);
    w->flops = (z->bwd ? 2.0 : 1.0) * 2.0 * (double)(n[0] * n[1]) * (double)n[2] *
               (double)(n[3] + n[4]);
    if (!z->bwd)
        return;
    call_tensor(c, "dout", &p->dout, ROLE_IN, KIND_ACT, n[0], n[1], n[4]);
    call_tensor(c, "dq", &p->dq, ROLE_OUT, KIND_ACT, n[0], n[1], n[3]);
    call_tensor(c, "dk", &p->dk, ROLE_OUT, KIND_ACT, n[0], n[2], n[3]);
    call_tensor(c, "dv", &p->dv, ROLE_OUT, KIND_ACT, n[0], n[2], n[4]);
    if (sum)
        call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, n[3], -1, -1);
}

enum { RNN_GRU = 1, RNN_LSTM = 2, RNN_RELU = 4 };

/* What a cell has of each size, by its kind. */
static int cell_of(unsigned words, int *gates)
{
    *gates = words & RNN_LSTM ? 4 : words & RNN_GRU ? 3 : 1;
    return words & RNN_LSTM   ? NND_CELL_LSTM
           : words & RNN_GRU  ? NND_CELL_GRU
           : words & RNN_RELU ? NND_CELL_RELU
                              : NND_CELL_TANH;
}

static void rnn_gradients(struct call *c, int64_t b, int64_t t, int64_t h, int gates)
{
    struct nnd_rnn *p = &c->params.rnn;
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, b, t, h);
    call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, b, t, gates * h);
    call_tensor(c, "h_prev", &p->h_prev, ROLE_OUT, KIND_ACT, b, t, h);
    if (gates == 3)
        call_tensor(c, "da", &p->da, ROLE_OUT, KIND_ACT, b, t, gates * h);
}

/* n: B T H, or of a cell (kind 1) B H */
void shape_rnn(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_rnn *p = &c->params.rnn;
    int64_t b = z->n[0], t = z->kind ? 1 : z->n[1], h = z->n[z->kind ? 1 : 2];
    enum role kept = z->bwd ? ROLE_DERIVED : ROLE_OUT;
    int gates, cell = cell_of(z->words, &gates);
    p->struct_size = sizeof *p;
    p->cell = cell;
    c->derive = !z->bwd ? NULL : z->kind ? "rnn.cell.fwd" : "rnn.seq.fwd";
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, b, t, gates * h);
    call_tensor(c, "u", &p->u, ROLE_IN, KIND_WEIGHT, gates * h, h, -1)->spread =
        1 / sqrt((double)h);
    call_tensor(c, "h0", &p->h0, ROLE_IN, KIND_ACT, b, h, -1);
    call_tensor(c, "y", &p->y, kept, KIND_ACT, b, t, h);
    if (gates > 1)
        call_tensor(c, "gates", &p->gates, kept, KIND_ACT, b, t, 4 * h);
    if (cell == NND_CELL_LSTM)
        call_tensor(c, "c", &p->c, kept, KIND_F32, b, t, h);
    if (z->bwd)
        rnn_gradients(c, b, t, h, gates);
    w->flops = 2.0 * (double)(b * t) * (double)(gates * h) * (double)h;
}
