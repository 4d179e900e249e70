/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nnd/plugin.h - the contract between nnd and a kernel plugin, ABI v1.
 *
 * The only header of nnd that a plugin includes.  A plugin is a shared object
 * that exports one function, nnd_plugin_v1(), which returns a table of kernels
 * (and, for a new kind of device, its memory and streams).  A kernel serves one
 * operator on one kind of device; it is a table of four functions over one
 * params struct:
 *
 *   supports()  can you do this call?  "no" always comes with a reason, and is
 *               NND_EKERNEL where this machine can do none
 *   need()      how much workspace?
 *   plan()      optional: prepare what does not depend on data
 *   launch()    enqueue the work; no sync, allocation, MPI or new threads
 *
 * The first two see params with every data pointer NULL.  Structs grow at the
 * end only; `struct_size` says how much of a struct its maker knew (NND_HAS).
 *
 * RULES THAT EVERY KERNEL MEETS (nnd-plugin-probe checks them)
 *  - Accumulate in f32 or wider.  16-bit results are rounded to nearest, even.
 *  - beta = 0 does not read the destination; it may hold NaN.
 *  - Contents of padding rows (pos < 0, target < 0, expert < 0) never change
 *    any other result, NaN included.
 *  - A fully masked attention row, or an empty sequence: o = 0, lse = -inf,
 *    all its gradients 0.  An empty group of a grouped GEMM: a zero result.
 *  - NND_K_DETERMINISTIC: same inputs, same bits, whatever nthreads is.
 *  - NND_K_INVARIANT: besides, a row's bits depend neither on the number of
 *    rows, nor on the row's place, nor on its neighbours.  Orders of summation
 *    depend on shapes along the summed axis alone; sums over rows (weight
 *    gradients) run in row order, or in blocks of NND_BLOCK_ROWS rows added in
 *    row order.  `mode: reproducible` takes only such kernels.
 *
 * Letters: T rows (tokens) of a call, N and K matrix sides, H query heads, Hk
 * key/value heads, D head size, E experts, V vocabulary, B sequences.
 * All tensors are row-major unless their strides say otherwise.
 */
#ifndef NND_PLUGIN_H
#define NND_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NND_ABI_MAJOR 1 /* a break: new entry symbol nnd_plugin_v2 */
#define NND_ABI_MINOR 0 /* growth at the end of structs            */
#define NND_ENTRY     "nnd_plugin_v1"

/* Field f exists in *p as its maker compiled it.  Never compare for equality. */
#define NND_HAS(T, p, f) ((p)->struct_size >= offsetof(struct T, f) + sizeof((p)->f))

/* Grouped by the largest thing that can no longer be used. */
enum nnd_status {
    NND_OK = 0,
    NND_EUNSUPPORTED = -1, /* this call: not in this kernel's domain */
    NND_EINVAL = -2,       /* this call: params contradict themselves */
    NND_ENOMEM = -3,
    NND_EKERNEL = -20, /* this kernel: quarantine it          */
    NND_EDEVICE = -40, /* the device context: restart worker  */
    NND_EFATAL = -60   /* the process: abort                  */
};

/* Caller-owned, NUL-terminated, one line. */
struct nnd_error {
    char text[256];
};

enum nnd_dtype {
    NND_F64 = 1,
    NND_F32,
    NND_TF32, /* compute type only */
    NND_BF16,
    NND_F16,
    NND_E4M3,
    NND_E5M2,
    NND_I64,
    NND_I32,
    NND_I8,
    NND_U8,
    NND_BOOL,
    NND_E8M0, /* 2^(x - 127): a type of scales; 255 is NaN */
    NND_DTYPE_EXT = 256 /* from register_dtype() upward */
};

#define NND_MAX_DIMS 6

/* Frozen in v1: embedded by value everywhere, cannot grow.  ndim 0 = absent. */
struct nnd_tensor {
    void *data;                   /* device address; NULL while planning   */
    int64_t dim[NND_MAX_DIMS];    /* elements                              */
    int64_t stride[NND_MAX_DIMS]; /* elements                              */
    int32_t ndim, dtype;
    int32_t device, align_log2; /* alignment of data and of row strides  */
    const void *scale;          /* of 8-bit numbers, same device, or 0   */
    int32_t scale_dtype, scale_block; /* columns of a block; 0: one for all  */
    int64_t scale_stride;             /* scales from one row of blocks on    */
    int32_t scale_rows, reserved;     /* rows of a block; 0 or 1: each       */
};

struct nnd_stream {
    int32_t device, reserved;
    void *native; /* "cpu": NULL; "cuda": cudaStream_t */
};

/* One table per kind of device.  The host calls it; kernels may too. */
struct nnd_device_ops {
    size_t struct_size;
    const char *type; /* "cpu", "cuda" */
    int (*count)(void);
    int (*info)(int dev, char *json, size_t len); /* name, arch, bytes */
    int (*alloc)(int dev, size_t size, void **p); /* 256-byte aligned  */
    int (*free)(int dev, void *p);
    int (*alloc_pinned)(size_t size, void **p);
    int (*free_pinned)(void *p);
    int (*copy)(const struct nnd_stream *, void *dst, const void *src, size_t);
    int (*fill)(const struct nnd_stream *, void *dst, int32_t byte, size_t);
    int (*stream_new)(int dev, int prio, struct nnd_stream *);
    int (*stream_del)(struct nnd_stream *);
    int (*stream_sync)(const struct nnd_stream *);
    int (*event_new)(int dev, void **ev);
    int (*event_del)(void *ev);
    int (*event_record)(void *ev, const struct nnd_stream *);
    int (*event_wait)(const struct nnd_stream *, void *ev); /* on the device */
    int (*event_query)(void *ev); /* 1 done, 0 not yet, < 0 status */
    int (*event_ms)(void *a, void *b, float *ms);
    int (*health)(int dev, struct nnd_error *); /* sticky fault pending? */
};

struct nnd_dtype_def; /* reserved for register_dtype */
struct nnd_op_def;    /* reserved for operators from outside */

/* Services of the host; valid for the life of the process.  Any thread. */
struct nnd_host {
    size_t struct_size;
    uint32_t abi_major, abi_minor;
    void *h;
    void (*log)(void *h, int level, const char *msg); /* 0 error .. 3 debug */
    void *(*alloc)(void *h, size_t size, size_t align);
    void (*free)(void *h, void *p);
    /* Run fn(arg, i) for 0 <= i < n over the host's threads; returns when all
     * have ended.  Kernels start no threads of their own. */
    int (*parallel)(void *h, int n, void (*fn)(void *arg, int i), void *arg);
    /* A setting, or NULL.  "threads": how many parallel() has. */
    const char *(*config)(void *h, const char *key);
    int (*register_dtype)(void *h, const struct nnd_dtype_def *, int32_t *id);
    const struct nnd_device_ops *(*device)(void *h, const char *type);
    const void *(*extension)(void *h, const char *name); /* or NULL */
};

/* Everything launch() may touch besides its params. */
struct nnd_launch {
    size_t struct_size;
    struct nnd_stream stream;
    void *workspace;
    size_t workspace_size;
    int32_t nthreads; /* of host->parallel */
    uint32_t flags;
};

/* Out: what a call would take. */
struct nnd_need {
    size_t struct_size;
    size_t workspace; /* bytes, 256-aligned, for the time of launch() */
};

enum {
    NND_K_DETERMINISTIC = 1u,
    NND_K_INVARIANT = 2u,
    NND_K_REENTRANT = 4u, /* launch() from two threads at once */
    NND_K_CAPTURABLE = 8u /* into a CUDA graph                 */
};

struct nnd_kernel {
    size_t struct_size;
    const char *name;   /* unique in the plugin: "gemm-skx"          */
    const char *op;     /* a row of the catalogue below: "gemm"      */
    const char *device; /* "cpu", "cuda"                             */
    uint32_t op_version, flags;
    int32_t priority, reserved; /* 0..100; 50 = good, 0 = last resort */
    const void *self;
    int (*supports)(const void *self, const void *params, struct nnd_error *e);
    int (*need)(const void *self, const void *params, struct nnd_need *out);
    int (*plan)(const void *self, const void *params, void **plan,
                struct nnd_error *e);
    void (*plan_free)(void *plan);
    int (*launch)(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e);
};

struct nnd_plugin {
    size_t struct_size;
    uint32_t abi_major, abi_minor;
    const char *name, *version, *license, *build;
    const struct nnd_kernel *const *kernels; /* arrays of pointers */
    const struct nnd_device_ops *const *devices;
    const struct nnd_op_def *const *ops;
    uint32_t nkernels, ndevices, nops, flags;
    void (*fini)(void); /* optional; there is no unload */
};

/* Called once, from one thread.  Touches no device, starts no thread, installs
 * no signal handler, leaves the floating-point environment alone.  NULL = the
 * plugin refuses, and e says why ("unavailable: no driver"). */
typedef const struct nnd_plugin *nnd_plugin_v1_f(const struct nnd_host *host,
                                                 struct nnd_error *e);

/* ------------------------------------------------------------------------- */
/* Random bits for dropout: no generator state exists.                       */

/* Philox4x32-10 (Salmon et al. 2011).  key = nnd_rng_key(state, op);
 * counter = (sample[row], head, pos[row], column / 4); the element is word
 * column % 4.  It is kept when word >= p * 2^32, and then scaled by 1/(1-p).
 * The key's low half is Philox's first key word.  Dropout on rows without heads
 * uses head 0xffffffff. */
struct nnd_dropout {
    float p;            /* 0 = off                                      */
    uint32_t op;        /* number of the op within the model            */
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

#define NND_BLOCK_ROWS 256    /* rows per step of a sum over rows        */
#define NND_BLOCK_ELEMS 4096  /* elements per partial sum of squares     */

/* "gemm": D [M,N] = op(A) op(B) + beta C (+ bias [N], broadcast over rows).
 * op(A) is [M,K]: A as given, or its transpose.  C may be D.  Any mix of f32,
 * bf16, f16 in A, B, D; f32 accumulation.  With trans_a (a weight gradient) the
 * sum over K runs in blocks of NND_BLOCK_ROWS when INVARIANT. */
struct nnd_gemm {
    size_t struct_size;
    struct nnd_tensor a, b, c, d, bias;
    int32_t trans_a, trans_b;
    float beta;
    int32_t epilogue;
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
 * Segments lie on the device: the host never waits for them. */
struct nnd_grouped_gemm {
    size_t struct_size;
    struct nnd_tensor a, b, d;
    const struct nnd_segment *segments; /* DEVICE [nsegments] */
    int32_t nsegments, mode, trans_b, epilogue;
};

/* "attn.fwd", "attn.bwd": o = softmax(scale q k^T + mask) v, by sequences.
 * Sequence b has query rows [cu_q[b], cu_q[b+1]) and key rows [cu_k[b],
 * cu_k[b+1]); with NULL every sequence has max_q (max_k) rows.  len_k, when
 * given, says how many of the key rows count (a cache).  Head h reads key head
 * h * Hk / H, and Hk divides H.  causal: query i sees keys j <= i + Tk - Tq
 * (bottom right).  Rows outside every sequence count as fully masked, keys that
 * nobody sees have gradients 0: o, lse, dq, dk and dv are written whole. */
struct nnd_attn {
    size_t struct_size;
    struct nnd_tensor q, k, v, o; /* [T,H,D] [S,Hk,D] [S,Hk,D] [T,H,D]      */
    struct nnd_tensor lse;        /* f32 [H,T], natural log: fwd out, bwd in */
    const int32_t *cu_q, *cu_k;   /* DEVICE [batch+1], or NULL               */
    const int32_t *len_k;         /* DEVICE [batch], or NULL                 */
    int32_t batch, max_q, max_k, causal;
    int32_t window, reserved; /* > 0: the last `window` keys that i sees */
    float scale, softcap;     /* softcap 0 = off                         */
    struct nnd_dropout dropout; /* on the weights; head h, column j        */
    struct nnd_tensor dout, dq, dk, dv; /* bwd                             */
};

/* "norm.rms.fwd|bwd" (Zhang & Sennrich 2019), "norm.layer.fwd|bwd" (Ba et al.
 * 2016) over the last axis.  rms: y = x * rstd * w, rstd = (mean x^2 + eps)^-1/2;
 * layer: y = (x - mean) * rstd * w + b.  bwd: dx, and dw, db as f32 sums over
 * rows in row order, or in blocks of NND_BLOCK_ROWS added in order. */
struct nnd_norm {
    size_t struct_size;
    struct nnd_tensor x, w, b, y; /* [T,N] [N] [N]|absent [T,N] */
    struct nnd_tensor rstd, mean; /* f32 [T]; rms: mean absent  */
    struct nnd_tensor dy, dx, dw, db;
    float eps;
    uint32_t reserved;
};

/* "rope" (Su et al. 2021): rotate pairs of x [T,H,D] by pos * theta^(-2i/D).
 * Pair i is (i, i + D/2), or (2i, 2i+1) when interleaved.  inverse = 1 rotates
 * back (the gradient).  y may be x. */
struct nnd_rope {
    size_t struct_size;
    struct nnd_tensor x, y;
    const int32_t *pos; /* DEVICE [T] */
    float theta;
    int32_t interleaved, inverse, reserved;
};

/* "act.swiglu.fwd|bwd" (Shazeer 2020): y = silu(a) * b.
 * "act.gelu.fwd|bwd" (Hendrycks & Gimpel 2016): y = gelu(a), by erf, or by its
 * tanh form when approx = 1; b and db absent.  All [T,N].  bwd: da, db. */
struct nnd_act {
    size_t struct_size;
    struct nnd_tensor a, b, y;
    struct nnd_tensor dy, da, db;
    int32_t approx, reserved;
};

/* "xent.fwd|bwd": loss[t] = lse[t] - logits[t, target[t]]; rows with target < 0
 * give loss 0 and gradient 0.  bwd: dlogits = (softmax - onehot) * *seed; it
 * may overwrite logits. */
struct nnd_xent {
    size_t struct_size;
    struct nnd_tensor logits;    /* [T,V]                          */
    struct nnd_tensor loss, lse; /* f32 [T]                        */
    const int32_t *target;       /* DEVICE [T]                     */
    const float *seed;           /* DEVICE [1]: scale / real targets */
    struct nnd_tensor dlogits;
};

/* "embed.fwd": y[t] = table[id[t]].  "embed.bwd": dtable (f32, whole) = sum of
 * dy[t] into row id[t], in row order; other rows 0.  id < 0 is padding: y is 0,
 * dy counts nowhere. */
struct nnd_embed {
    size_t struct_size;
    struct nnd_tensor table, y; /* [V,N] [T,N] */
    const int32_t *id;          /* DEVICE [T]  */
    struct nnd_tensor dy, dtable;
};

enum { NND_SCORE_SOFTMAX = 0, NND_SCORE_SIGMOID = 1 };

/* "moe.route.fwd|bwd": choose top_k of E experts per row.
 * s = softmax(z) or sigmoid(z); S = the top_k largest of s + bias, ties to the
 * lower index, stored by descending s + bias; gate = scale * s / (renormalize ?
 * 1e-20 + sum over S of s : 1).  Rows with pos < 0 get expert -1 and gate 0.
 * Row t belongs to balancing group t / group_rows.  count and psum collect, per
 * group, how often each expert was chosen and the sum of its probability
 * (softmax(z), or s / (1e-20 + sum of s)), over rows with pos >= 0, in row order.
 * zsq: sum over those rows of logsumexp(z)^2.
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
 * "moe.unpermute": y[t] = sum over k, in order, of x[place[t,k]] (* gate[t,k]
 * when given), over place >= 0.
 * "moe.dgate": dgate[t,k] = <dy[t], x[place[t,k]]>, 0 for place < 0. */
struct nnd_permute {
    size_t struct_size;
    struct nnd_tensor x, y;
    struct nnd_tensor place, source; /* i32 [T,top_k], [T * top_k]         */
    struct nnd_tensor gate;          /* f32 [T,top_k], or absent           */
    struct nnd_tensor dy, dgate;     /* moe.dgate: [T,N], f32 [T,top_k]    */
    int32_t top_k, reserved;
};

#define NND_SUM_MAX 16

/* "sum": y = ((x[0] + x[1]) + x[2]) + ..., element by element; n = 1 copies and
 * converts.  Each addition is rounded to f32 (f64 when y is f64), so that a chain
 * in one call has the bits of the same additions in several; the last result is
 * rounded to y's type.  y may be any of the x.  All of one shape; f32, bf16, f16,
 * f64. */
struct nnd_sum {
    size_t struct_size;
    struct nnd_tensor y;
    struct nnd_tensor x[NND_SUM_MAX];
    int32_t n, reserved;
};

/* "dropout": y = x * keep / (1 - p), rows x columns; forward and backward. */
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
 * x f32 [n], in f64, in element order within 16 interleaved lanes. */
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
};

#ifdef __cplusplus
}
#endif
#endif
