/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nnd/ops.h - the catalogue of operators: their names, params structs and meaning.
 *
 * A part of nnd/plugin.h, which includes it, says what its letters stand for and
 * which rules every kernel meets.
 */
#ifndef NND_OPS_H
#define NND_OPS_H

#include <nnd/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------- */
/* Random bits for dropout: no generator state exists.                       */

/* Philox4x32-10 (Salmon et al. 2011).  key = nnd_rng_key(state, op); counter =
 * (sample[row], head, pos[row], column / 4); the element is word column % 4.  It is
 * kept when word >= p * 2^32, and then scaled by 1/(1-p).  The key's low half is
 * Philox's first key word.  Dropout on rows without heads uses head 0xffffffff. */
struct nnd_dropout {
    float p;               /* 0 = off                                      */
    uint32_t op;           /* number of the op within the model            */
    const uint64_t *state; /* DEVICE [2]: seed, step                    */
    const int32_t *sample; /* DEVICE [T]: number of the sample in step  */
    const int32_t *pos;    /* DEVICE [T]: place within the sample       */
};

/* SplitMix64's finalizer (Steele et al. 2014) over the three parts. */
static inline uint64_t nnd_rng_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline uint64_t nnd_rng_key(const uint64_t *state, uint32_t op)
{
    return nnd_rng_mix(nnd_rng_mix(state[0]) ^ nnd_rng_mix(state[1] + op * 0x10001u));
}

/* ------------------------------------------------------------------------- */
/* The catalogue: operator names and their params.                           */

#define NND_BLOCK_ROWS  256  /* rows per step of a sum over rows        */
#define NND_BLOCK_ELEMS 4096 /* elements per partial sum of squares     */
#define NND_SUM_MAX     16   /* tensors that "sum" adds                 */

/* What a product does with its sum x before it is D.  Where `pre` is stored, the
 * activation is that of the stored, rounded value.  Those that multiply by a slope have
 * a second result where `act` is given, which may be `pre`: what the activation itself
 * makes of pre, so that backward has it once more without its having been kept.
 * There may be more of them in time: a kernel refuses a number that it does not know.
 */
enum nnd_epilogue {
    NND_EPI_NONE,       /* D = x                                          */
    NND_EPI_GELU,       /* D = gelu(x), by erf; pre = x when given        */
    NND_EPI_GELU_TANH,  /* the same by tanh                               */
    NND_EPI_SILU,       /* D = x sigmoid(x)                               */
    NND_EPI_DGELU,      /* D = x gelu'(pre): pre is an input;
                         * act = gelu(pre)                                */
    NND_EPI_DGELU_TANH, /* the same by tanh                               */
    NND_EPI_DSILU,      /* D = x silu'(pre); act = silu(pre)              */
    NND_EPI_SWIGLU,     /* grouped, with b2: D = silu(x) x2; pre = x,
                         * pre2 = x2 when given                           */
    NND_EPI_DSWIGLU,    /* grouped: D = x pre2 silu'(pre), d2 = x silu(pre);
                         * act = silu(pre) pre2, without scale           */
    NND_EPI_RELU,       /* D = relu(x); pre = x when given               */
    NND_EPI_DRELU       /* D = x where pre > 0, else 0; act = relu(pre)  */
};

/* The function whose slope an epilogue of "gemm" multiplies by, as the epilogue that
 * applies it: such a one reads pre.  NND_EPI_NONE: it has no slope. */
static inline int32_t nnd_slope_of(int32_t epilogue)
{
    switch (epilogue) {
    case NND_EPI_DGELU:
        return NND_EPI_GELU;
    case NND_EPI_DGELU_TANH:
        return NND_EPI_GELU_TANH;
    case NND_EPI_DSILU:
        return NND_EPI_SILU;
    case NND_EPI_DRELU:
        return NND_EPI_RELU;
    default:
        return NND_EPI_NONE;
    }
}

/* "gemm": D [M,N] = op(A) op(B) + beta C (+ bias [N], broadcast over rows), then
 * the epilogue.  op(A) is [M,K]: A as given, or its transpose.  C may be D.  Any
 * mix of f32, bf16, f16 in A, B, D; f32 accumulation.  With trans_a (a weight
 * gradient) the sum over K runs in blocks of NND_BLOCK_ROWS when INVARIANT, and
 * `sums`, when given, are the sums over K of op(A), in the same blocks (a bias
 * gradient).  `packed`, when given, is what this kernel's pack() made of b. */
struct nnd_gemm {
    size_t struct_size;
    struct nnd_tensor a, b, c, d, bias;
    int32_t trans_a, trans_b;
    float beta;
    int32_t epilogue;         /* enum nnd_epilogue */
    struct nnd_tensor pre;    /* [M,N]             */
    struct nnd_tensor sums;   /* f32 [M]          */
    struct nnd_tensor packed; /* u8 [bytes]     */
    struct nnd_tensor act;    /* [M,N], or absent */
};

/* A run of rows that belong together: rows [row, row + rows) of the packed
 * matrices, with matrix `index` of the stacked ones. */
struct nnd_segment {
    int32_t row, rows;
    int32_t index;
    int32_t accumulate; /* K mode: 1 = add to the matrix, 0 = overwrite it */
};

enum { NND_GROUP_M = 0, NND_GROUP_K = 1 };

/* "gemm.grouped": many small products in one call (experts).
 * Mode M:  D[seg] [rows,N] = A[seg] [rows,K] op(B[index]);  B [G,K,N], or
 *          [G,N,K] with trans_b.  Rows outside every segment are not written.
 * Mode K:  D[index] [M,N] (+)= A[seg]^T B[seg];  A [T,M], B [T,N], D [G,M,N]
 *          f32.  The sum over a segment's rows runs in blocks of
 *          NND_BLOCK_ROWS, counted from the segment's start, in order, each
 *          added to D and rounded: a segment cut between blocks into calls
 *          that accumulate gives the same bits.  A segment of 0 rows with
 *          accumulate 0 gives zeros.
 * Segments lie on the device: the host never waits for them.
 * gather: row r of A and A2 (mode M), or of B (mode K), is row gather[r] / gather_div
 * of that tensor: no sorted copy of experts' rows.  Below 0: padding, a row of zeros.
 * Pairs (mode M, all of b's and d's shapes and types): with b2 alone the epilogue
 * is SWIGLU of both products; with a2 and b2 D = A op(B) + A2 op(B2); with DSWIGLU
 * d2 is written beside D.  scale: row r of D and d2 is multiplied by scale[r], last.
 * packed (mode M): what this kernel's pack() made of b, and of b2 when given. */
struct nnd_grouped_gemm {
    size_t struct_size;
    struct nnd_tensor a, b, d;
    const struct nnd_segment *segments; /* DEVICE [nsegments] */
    int32_t nsegments, mode, trans_b, epilogue;
    const int32_t *gather;        /* DEVICE [T]             */
    int32_t gather_div, reserved; /* 0: rows are not gathered */
    struct nnd_tensor a2, b2, d2; /* the other of a pair, or absent */
    struct nnd_tensor pre, pre2;  /* [T,N]                          */
    struct nnd_tensor scale;      /* f32 [T]                        */
    struct nnd_tensor packed;     /* u8 [bytes]                     */
    struct nnd_tensor act;        /* [T,N], or absent               */
};

/* "attn.fwd", "attn.bwd": o = softmax(scale q k^T + mask) v, by sequences.
 * Sequence b has query rows [cu_q[b], cu_q[b+1]) and key rows [cu_k[b], cu_k[b+1]);
 * with NULL every sequence has max_q (max_k) rows.  len_k, when given, says how many of
 * the key rows count (a cache).  Head h reads key head h * Hk / H, and Hk divides H.
 * causal: query i sees keys j <= i + Tk - Tq (bottom right).  softcap c > 0: a score is
 * c tanh(scale q k^T / c).  bias is then added: [1 or batch,1 or H,max_q,max_k] by
 * places in the sequences; an axis of 1 serves all; a key of bias -inf is not seen, and
 * a row that sees none is fully masked.  A NaN among a row's scores, bias added, is one
 * in all its o and in its lse: it masks nothing.  Rows outside every sequence count as
 * masked, keys that nobody sees have gradients 0: all results are written whole, dbias
 * as the sum over sequences, then heads, that an axis of 1 serves. */
struct nnd_attn {
    size_t struct_size;
    struct nnd_tensor q, k, v, o; /* [T,H,D] [S,Hk,D] [S,Hk,D] [T,H,D]      */
    struct nnd_tensor lse;        /* f32 [H,T], natural log: fwd out, bwd in */
    const int32_t *cu_q, *cu_k;   /* DEVICE [batch+1], or NULL               */
    const int32_t *len_k;         /* DEVICE [batch], or NULL                 */
    int32_t batch, max_q, max_k, causal;
    int32_t window, reserved;           /* > 0: the last `window` keys that i sees */
    float scale, softcap;               /* softcap 0 = off                         */
    struct nnd_dropout dropout;         /* on the weights; head h, column j        */
    struct nnd_tensor dout, dq, dk, dv; /* bwd                             */
    struct nnd_tensor bias, dbias;      /* or absent; dbias f32            */
};

/* "norm.rms.fwd|bwd" (Zhang & Sennrich 2019), "norm.layer.fwd|bwd" (Ba et al.
 * 2016) over the last axis.  rms: y = x * rstd * w, rstd = (mean x^2 + eps)^-1/2;
 * layer: y = (x - mean) * rstd * w + b.  bwd: dx, and dw, db as f32 sums over
 * rows in row order, or in blocks of NND_BLOCK_ROWS added in order.
 * With add, fwd first makes sum = x + add, rounded to sum's type, and the norm is
 * that of sum; bwd's x is then that sum.  With dsum, bwd adds it to dx before dx is
 * rounded: the gradient that the sum has from its other users. */
struct nnd_norm {
    size_t struct_size;
    struct nnd_tensor x, w, b, y; /* [T,N] [N] [N]|absent [T,N] */
    struct nnd_tensor rstd, mean; /* f32 [T]; rms: mean absent  */
    struct nnd_tensor dy, dx, dw, db;
    float eps;
    uint32_t reserved;
    struct nnd_tensor add, sum; /* fwd: [T,N], or both absent */
    struct nnd_tensor dsum;     /* bwd: [T,N], or absent      */
};

/* "rope" (Su et al. 2021): rotate pairs of x [T,H,D] by pos * theta^(-2i/D).
 * Pair i is (i, i + D/2), or (2i, 2i+1) when interleaved.  inverse = 1 rotates
 * back (the gradient).  y may be x.  What y has where pos < 0 is free. */
struct nnd_rope {
    size_t struct_size;
    struct nnd_tensor x, y;
    const int32_t *pos; /* DEVICE [T] */
    float theta;
    int32_t interleaved, inverse, reserved;
};

/* "act.swiglu.fwd|bwd" (Shazeer 2020): y = silu(a) * b.
 * "act.gelu.fwd|bwd" (Hendrycks & Gimpel 2016): y = gelu(a), by erf, or by its
 * tanh form when approx = 1; b and db absent.
 * "act.relu.fwd|bwd" (Nair & Hinton 2010): y = relu(a) = max(a, 0), da = dy where a >
 * 0, else 0; a NaN in a is one in y and in da; b and db absent. All [T,N].  bwd: da,
 * db. */
struct nnd_act {
    size_t struct_size;
    struct nnd_tensor a, b, y;
    struct nnd_tensor dy, da, db;
    int32_t approx, reserved;
};

/* "softmax.fwd|bwd": y = softmax(scale x) over the first len[t] columns of row t (NULL:
 * all), 0 in the others; with m the largest scale x_j of those
 *   y_i = exp(scale x_i - m) / sum over j of exp(scale x_j - m).
 * bwd: dx_i = scale (dy_i - sum over j of dy_j y_j) y_i, 0 in the others.  What x, dy
 * and bwd's y hold there counts nowhere; a row of no columns is 0.  0 <= len[t] <= N;
 * scale 0 stands for 1.  y may be x, and dx may be dy. */
struct nnd_softmax {
    size_t struct_size;
    struct nnd_tensor x, y;   /* [T,N]; bwd: y in, x not read */
    struct nnd_tensor dy, dx; /* bwd: [T,N]                   */
    const int32_t *len;       /* DEVICE [T], or NULL          */
    float scale;
    uint32_t reserved;
};

/* "xent.fwd|bwd": with s = smoothing (Szegedy et al. 2016), y = target[t] and
 * z = logits[t],
 *   loss[t] = lse - (1 - s) z[y] - s mean(z) + z_loss lse^2
 * (the last: Chowdhery et al. 2022); loss, lse, gradient of rows with target < 0 are 0.
 * bwd: dlogits = (softmax (1 + 2 z_loss lse) - (1 - s) onehot - s / V) * *seed; it may
 * overwrite logits. */
struct nnd_xent {
    size_t struct_size;
    struct nnd_tensor logits;    /* [T,V]                          */
    struct nnd_tensor loss, lse; /* f32 [T]                        */
    const int32_t *target;       /* DEVICE [T]                     */
    const float *seed;           /* DEVICE [1]: scale / real targets */
    struct nnd_tensor dlogits;
    float smoothing, z_loss; /* 0 = off */
};

/* "xent.linear.fwd|bwd": the same of logits = x w^T, which are never stored whole:
 * fwd gives loss and lse, bwd makes blocks of logits again and gives dx and dw; lse
 * is kept between them.  dw is a sum over rows, in row order or in blocks of
 * NND_BLOCK_ROWS added in order; what a row with target < 0 holds counts nowhere. */
struct nnd_xent_linear {
    size_t struct_size;
    struct nnd_tensor x, w;      /* [T,N] [V,N]                      */
    struct nnd_tensor loss, lse; /* f32 [T]                          */
    const int32_t *target;       /* DEVICE [T]                       */
    const float *seed;           /* DEVICE [1]: scale / real targets */
    struct nnd_tensor dx, dw;    /* bwd: [T,N], f32 [V,N]            */
    float smoothing, z_loss;     /* 0 = off                          */
};

/* "distill.fwd|bwd": a student beside its teacher (Hinton et al. 2015).  With a =
 * alpha, T = temperature, z = logits[t], y = teacher[t], k = target[t] and p = softmax,
 *   loss[t] = (1 - a) (lse - z[k]) + a T^2 sum p(y / T) (log p(y / T) - log p(z / T));
 * rows with target < 0 give loss 0 and gradient 0, and logarithms of 0.
 * bwd: dlogits = ((1 - a) (p(z) - onehot) + a T (p(z / T) - p(y / T))) * *seed; it may
 * overwrite logits.  The three logarithms of sums are kept between both. */
struct nnd_distill {
    size_t struct_size;
    struct nnd_tensor logits, teacher; /* [T,V]                                  */
    struct nnd_tensor loss;            /* f32 [T]                                */
    struct nnd_tensor lse, lse_soft;   /* f32 [T]: log sum exp of z, of z / T    */
    struct nnd_tensor lse_teacher;     /* f32 [T]: of y / T                      */
    const int32_t *target;             /* DEVICE [T]                             */
    const float *seed;                 /* DEVICE [1]: scale / real targets       */
    struct nnd_tensor dlogits;
    float alpha, temperature; /* 0 to 1; above 0 */
};

/* "embed.fwd": y[t] = scale * table[id[t]].  "embed.bwd": dtable (f32, whole) = sum of
 * scale * dy[t] into row id[t], in row order; other rows 0.  With accumulate they are
 * added, one after the other, to what dtable holds (a table that is the output's matrix
 * as well).  id < 0 is padding: y is 0, dy counts nowhere.  scale 0 stands for 1. */
struct nnd_embed {
    size_t struct_size;
    struct nnd_tensor table, y; /* [V,N] [T,N] */
    const int32_t *id;          /* DEVICE [T]  */
    struct nnd_tensor dy, dtable;
    float scale;
    int32_t accumulate;
};

enum { NND_SCORE_SOFTMAX = 0, NND_SCORE_SIGMOID = 1 };

/* "moe.route.fwd|bwd": choose top_k of E experts per row.
 * s = softmax(z) or sigmoid(z); S = the top_k largest of s + bias, ties to the lower
 * index, stored by descending s + bias; gate = scale * s / (renormalize ? 1e-20 + sum
 * over S of s : 1).  Rows with pos < 0 get expert -1 and gate 0.  Row t belongs to
 * balancing group t / group_rows.  count and psum collect, per group, how often each
 * expert was chosen and the sum of its probability (softmax(z), or s / (1e-20 + sum of
 * s)), over rows with pos >= 0, in row order.  zsq: sum over those of logsumexp(z)^2.
 * bwd: dz from dgate, plus for each row p'(aux_weight[group]) through the
 * probability, plus 2 * *z_weight * lse * softmax(z). */
struct nnd_route {
    size_t struct_size;
    struct nnd_tensor z;            /* f32 [T,E]                       */
    struct nnd_tensor bias;         /* f32 [E], or absent              */
    struct nnd_tensor expert, gate; /* i32 [T,top_k], f32 [T,top_k]    */
    struct nnd_tensor count, psum;  /* i32 [groups,E], f64 [groups,E]  */
    struct nnd_tensor zsq;          /* f64 [1]                         */
    const int32_t *pos;             /* DEVICE [T]                      */
    int32_t score, renormalize, top_k, group_rows;
    float scale;
    uint32_t reserved;
    struct nnd_tensor dgate, dz;  /* f32 [T,top_k], f32 [T,E]        */
    struct nnd_tensor aux_weight; /* f32 [groups,E], d loss / d p    */
    const float *z_weight;        /* DEVICE [1]: d loss / d lse^2    */
};

/* "moe.sort": order the choices by (expert, row).  place[t,k] = position of the
 * choice in that order, or -1; source[j] = t * top_k + k of position j; rows at
 * and behind the number of real choices are -1.  total[e] = choices of e. */
struct nnd_sort {
    size_t struct_size;
    struct nnd_tensor expert;        /* i32 [T,top_k]              */
    struct nnd_tensor place, source; /* i32 [T,top_k], [T * top_k] */
    struct nnd_tensor total;         /* i32 [E]                    */
};

/* "moe.permute": y[j] = x[source[j] / top_k] (* gate[source[j]] when given), for
 * source[j] >= 0; other rows of y are not written.
 * "moe.unpermute": y[t] = sum over k of x[place[t,k]] (* gate[t,k] when given), in
 * order, over place >= 0.
 * "moe.dgate": dgate[t,k] = <dy[t], x[place[t,k]]>, 0 for place < 0. */
struct nnd_permute {
    size_t struct_size;
    struct nnd_tensor x, y;
    struct nnd_tensor place, source; /* i32 [T,top_k], [T * top_k]         */
    struct nnd_tensor gate;          /* f32 [T,top_k], or absent           */
    struct nnd_tensor dy, dgate;     /* moe.dgate: [T,N], f32 [T,top_k]    */
    int32_t top_k, reserved;
};

/* "sum": y = ((x[0] + x[1]) + x[2]) + ..., element by element; n = 1 copies and
 * converts.  Each addition is rounded to f32 (f64 when y is f64), so that a chain in
 * one call has the bits of the same additions in several; the last result is rounded to
 * y's type.  y may be any of the x.  All of one shape; f32, bf16, f16, f64. */
struct nnd_sum {
    size_t struct_size;
    struct nnd_tensor y;
    struct nnd_tensor x[NND_SUM_MAX];
    int32_t n, reserved;
};

/* "dropout": y = x / (1 - p) where the element is kept, else 0, whatever x is there;
 * rows x columns; forward and backward. */
struct nnd_drop {
    size_t struct_size;
    struct nnd_tensor x, y; /* [T,N] */
    struct nnd_dropout dropout;
};

/* "rows.sum": y f32 [N] = sum over rows of x [T,N], in row order or in blocks of
 * NND_BLOCK_ROWS added in order (a bias gradient).
 * "rows.gather": y[i] = x[index[i]]; "rows.scatter": y[index[i]] = x[i], other
 * rows untouched; negative indices are skipped. */
struct nnd_rows {
    size_t struct_size;
    struct nnd_tensor x, y;
    const int32_t *index; /* DEVICE; rows.sum: NULL */
};

/* "sqnorm": y f64 [ceil(n / NND_BLOCK_ELEMS)] = sum of squares of each block of
 * x f32 [n], in f64: its element i is added to lane i % 16, lanes then as a tree: lane
 * i + 8 to lane i for i < 8, then i + 4 to i for i < 4, then i + 2, then i + 1. */
struct nnd_sqnorm {
    size_t struct_size;
    struct nnd_tensor x, y;
};

/* Indices into nnd_optim.hyper. */
enum {
    NND_HYPER_LR,
    NND_HYPER_GRAD_SCALE, /* clip coefficient / loss scale     */
    NND_HYPER_BIAS1,      /* 1 / (1 - beta1^t)                 */
    NND_HYPER_BIAS2,      /* 1 / (1 - beta2^t)                 */
    NND_HYPER_LOSS_SCALE, /* these two of "opt.hyper"'s given  */
    NND_HYPER_CLIP,       /* the largest norm; 0: any          */
    NND_HYPER_COUNT = 8
};

/* "opt.adamw" (Loshchilov & Hutter 2019), "opt.adam" (decay added to the
 * gradient), "opt.sgd" (momentum as in Sutskever et al. 2013; v absent).
 * One pass over n elements: g = grad * GRAD_SCALE;
 * adamw: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 *        w -= lr * (m * BIAS1 / (sqrt(v * BIAS2) + eps) + decay * w)
 * sgd:   g += decay * w; m = momentum * m + g; w -= lr * m  (beta1 = momentum)
 * then out = w rounded to out's dtype (absent: w is the weight). */
struct nnd_optim {
    size_t struct_size;
    struct nnd_tensor grad, w, m, v; /* f32 [n] */
    struct nnd_tensor out;           /* [n]     */
    const float *hyper;              /* DEVICE [NND_HYPER_COUNT] */
    float beta1, beta2, eps, decay;
    struct nnd_tensor skip; /* i32 [1]|absent: when not 0, nothing is written */
};

/* This and the next two spare a host apart from its device waiting within a step: in
 * f64, each operation rounded, in the order given.  "total": y = (x[i0] + x[i1]) + ...,
 * i the numbers in `order`, or all in a row; with root, its square root. */
struct nnd_total {
    size_t struct_size;
    struct nnd_tensor x, order, y; /* f32 or f64 [N], i32 [N]|absent, f64 [1] */
    int32_t root, reserved;
};

/* "opt.hyper": what an optimizer's step is given.  s = LOSS_SCALE, n = norm / s: skip
 * is 1 where n, or the sum of stats[:,0], is not finite, else 0; hyper is given's LR,
 * BIAS1, BIAS2, and GRAD_SCALE = c / s, c = min(1, CLIP / (n + 1e-6)) where CLIP and n
 * are above 0, else 1, each rounded to f32 at its end; 0 elsewhere. */
struct nnd_hyper {
    size_t struct_size;
    struct nnd_tensor given, norm, stats; /* f64 [NND_HYPER_COUNT] [1] [C,K] */
    struct nnd_tensor hyper, skip;        /* f32 [NND_HYPER_COUNT], i32 [1] */
};

/* "moe.balance": what follows from count and psum of "moe.route".  With load: load[e]
 * += the sum of count over groups.  With count_sum: it and psum_sum are count0 + count
 * and psum0 + psum.  With aux_weight: the balancing losses (Fedus et al. 2021, eq. 4-6;
 * Zoph et al. 2022, eq. 5).  Of a group, n = the sum of its count / top_k, f_e = E /
 * (n^2 (concat ? 1 : top_k)) count_e (0 where n is), L = the sum of f_e psum_e,
 * aux_weight_e = aux_coef * *scale * f_e / groups; with N = the sum of all count /
 * (top_k layers) z_weight = z_coef * *scale / N (0 where N is).  stats[0] += the sum of
 * L / groups where aux_coef > 0, stats[1] += *zsq / N where z_coef > 0 and N > 0.
 * "moe.window": segments = leaves = struct nnd_segment of E experts in a row, count[e]
 * rows each. */
struct nnd_balance {
    size_t struct_size;
    struct nnd_tensor count, psum, load; /* i32, f64 [G,E], i64 [E]|absent */
    struct nnd_tensor count0, psum0, count_sum, psum_sum; /* the same|absent */
    struct nnd_tensor zsq, aux_weight, z_weight, stats;   /* [1] [G,E]|absent [1] [2] */
    const float *scale;                                   /* DEVICE [1]               */
    double aux_coef, z_coef;
    int32_t top_k, layers, concat, reserved;
    struct nnd_tensor segments, leaves; /* moe.window: i32 [E,4], the others absent */
};

/* "rnn.seq.fwd|bwd": one recurrent layer over whole sequences; B rows of T steps.
 * Row b has steps 0 .. len[b] - 1 (NULL: T); with `reverse` it begins at the last
 * of them.  x holds what does not wait for the state, for all steps at once: the
 * input's product with its weights, and its bias.  With a = U h + b, the
 * recurrent part, gate by gate, h the state before the step:
 *   tanh, relu (Elman 1990; one gate)  h' = f(x + a)
 *   gru (Cho et al. 2014 as cuDNN and PyTorch have it; gates r, z, n)
 *      r = s(x_r + a_r), z = s(x_z + a_z), n = tanh(x_n + r a_n), h' = (1-z) n + z h
 *   lstm (Hochreiter & Schmidhuber 1997, Gers et al. 2000; gates i, f, g, o)
 *        i, f, o = s(x + a), g = tanh(x_g + a_g), c' = f c + i g, h' = o tanh(c')
 * s the logistic function.  h' is rounded to y's type at every step, and so the
 * next step sees it; c stays f32.  y, and what is saved for backward, are 0
 * behind a row's end, where x and dy are not read; h_last and c_last are the
 * state after the row's last step, or the first state where it has none.
 * Rows do not depend on each other: there is no sum over them here.
 *
 * bwd: dx = d loss / d x; da = d loss / d a: the same tensor as dx for all but
 * gru (absent); h_prev = the state before each step, 0 behind the row's end.  The
 * gradients of U and b are sums over all steps, products of their own:
 * dU = da^T h_prev, db = the sum of da.  dh, dc: gradients of the last state
 * (absent: 0), dh0 and dc0: of the first (absent: not asked for).
 * "rnn.cell.fwd|bwd": the same for one step, T = 1, with the same bits.  [B,T,N] is one
 * tensor whichever of B and T is outermost in memory: strides say. */
enum { NND_CELL_TANH = 0, NND_CELL_RELU, NND_CELL_GRU, NND_CELL_LSTM };

struct nnd_rnn {
    size_t struct_size;
    struct nnd_tensor x;              /* [B,T,G*H], G = 1, 1, 3, 4           */
    struct nnd_tensor u, b;           /* [G*H,H], [G*H]|absent               */
    struct nnd_tensor h0, c0;         /* [B,H]|absent (zeros); c0 f32, lstm  */
    struct nnd_tensor y;              /* [B,T,H]: fwd out, bwd in            */
    struct nnd_tensor h_last, c_last; /* [B,H]|absent; c_last f32, lstm      */
    struct nnd_tensor gates;          /* saved: [B,T,4*H] r, z, n, a_n or
                                         i, f, g, o; absent for tanh, relu   */
    struct nnd_tensor c;              /* saved: f32 [B,T,H] c', lstm         */
    const int32_t *len;               /* DEVICE [B], or NULL                 */
    int32_t cell, reverse;
    struct nnd_tensor dy, dh, dc;     /* [B,T,H]|absent, [B,H]|absent twice  */
    struct nnd_tensor dx, da, h_prev; /* [B,T,G*H], same (gru), [B,T,H]      */
    struct nnd_tensor dh0, dc0;       /* [B,H]|absent twice                  */
};

/* "attn.add.fwd|bwd" (Bahdanau et al. 2015), score = <w, tanh(q + k)>, and
 * "attn.dot.fwd|bwd" (Luong et al. 2015), score = scale <q, k>: one head whose weights
 * are kept.  Row b has T queries and len[b] keys (NULL: S); softmax of the scores over
 * those keys, weight 0 for the others, o = the weighted sum of v.  No key: 0 all over.
 * bwd: dq, dk, dv, and dw (add) as an f32 sum over the rows (b,t) in order, or in
 * blocks of NND_BLOCK_ROWS of them added in order. */
struct nnd_attend {
    size_t struct_size;
    struct nnd_tensor q, k, v; /* [B,T,A] [B,S,A] [B,S,N]            */
    struct nnd_tensor w;       /* [A], add                           */
    struct nnd_tensor weight;  /* f32 [B,T,S]: fwd out, bwd in       */
    struct nnd_tensor o;       /* [B,T,N]                            */
    const int32_t *len;        /* DEVICE [B], or NULL                */
    float scale;               /* dot                                */
    uint32_t reserved;
    struct nnd_tensor dout, dq, dk, dv, dw;
};

/* "argmax": the K largest numbers of each row of x [R,V], falling, equal ones by rising
 * index.  A NaN is less than any finite number.
 * "sample": one index of each row (K = 1), drawn as follows.  Indices in the order of
 * "argmax" have the weights exp(x / temperature); of the first top_k (0: all) the least
 * number is kept whose weights reach the share top_p of theirs (Holtzman et al. 2020);
 * with u = 53 bits of Philox4x32-10 of key seed[r] and counter (pos[r], 0, 0x53414d50,
 * 0) in [0,1), words 0 and 1, the one is drawn in whose part of [0, sum), summed in f64
 * in that order, u * sum lies.  temperature 0: the first.  pos < 0: -1, value 0. */
struct nnd_choose {
    size_t struct_size;
    struct nnd_tensor x;            /* [R,V]                        */
    struct nnd_tensor index, value; /* i32 [R,K], f32 [R,K]|absent  */
    float temperature, top_p;       /* sample                       */
    int32_t top_k, reserved;
    const uint64_t *seed; /* DEVICE [R], sample           */
    const int32_t *pos;   /* DEVICE [R], sample           */
};

/* "select": y[r,k] = x[r, index[r,k]], 0 where the index is negative. */
struct nnd_select {
    size_t struct_size;
    struct nnd_tensor x, index, y; /* [R,V], i32 [R,K], [R,K] */
};

/* Numbers of fewer bits.
 * "cast.quant": y (e4m3 or e5m2, IEEE-like or OCP 8-bit, with scales) = x.  Of each
 * block the scale is the least number of its type with |x| / scale <= the largest
 * number of y's type (448, 57344): amax / largest for f32, a power of 2 for e8m0;
 * 1 where all are 0.  Then to nearest, even.  A block with an infinity or a NaN has
 * the scale NaN.
 * "cast.dequant": y = x * scale.
 * "fill": y = value.  "scale": y = x * *factor; y may be x.
 * "amax": amax = the largest |x|; NaN when there is one, 0 of nothing. */
struct nnd_cast {
    size_t struct_size;
    struct nnd_tensor x, y; /* [T,N]                     */
    struct nnd_tensor amax; /* f32 [1], amax             */
    const float *factor;    /* DEVICE [1], scale         */
    float value;            /* fill                      */
    uint32_t reserved;
};

#ifdef __cplusplus
}
#endif
#endif
