/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - what the kernels of ref share: reading and writing single numbers,
 * checking shapes, random bits.
 *
 * Every kernel of ref reads numbers of any float type as f64, computes in f64,
 * and rounds once, when it writes.  Strides are honoured everywhere.  A kernel
 * file has, per op: supports (shapes), need (scratch), launch (the formula).
 */
#ifndef REF_IMPL_H
#define REF_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nnd/plugin.h>

/* ---- tensors: where an element is, and its value ---- */

static inline int64_t at1(const struct nnd_tensor *t, int64_t i)
{
    return i * t->stride[0];
}

static inline int64_t at2(const struct nnd_tensor *t, int64_t i, int64_t j)
{
    return i * t->stride[0] + j * t->stride[1];
}

static inline int64_t at3(const struct nnd_tensor *t, int64_t i, int64_t j, int64_t k)
{
    return i * t->stride[0] + j * t->stride[1] + k * t->stride[2];
}

/* The float at offset `at` (elements) as f64, and back, rounded to nearest. */
double ref_get8(int dtype, uint8_t bits);
uint8_t ref_put8(int dtype, double x); /* beyond the largest: the largest */
double ref_largest8(int dtype);
double ref_get16(int dtype, uint16_t bits);
uint16_t ref_put16(int dtype, double x);

/* The scale of the element at `at` of rows that do not overlap. */
double ref_scale(const struct nnd_tensor *t, int64_t at);

static inline double ref_get(const struct nnd_tensor *t, int64_t at)
{
    if (t->dtype == NND_E4M3 || t->dtype == NND_E5M2)
        return ref_get8(t->dtype, ((const uint8_t *)t->data)[at]) * ref_scale(t, at);
    if (t->dtype == NND_F32)
        return ((const float *)t->data)[at];
    if (t->dtype == NND_F64)
        return ((const double *)t->data)[at];
    return ref_get16(t->dtype, ((const uint16_t *)t->data)[at]);
}

static inline void ref_put(const struct nnd_tensor *t, int64_t at, double x)
{
    if (t->dtype == NND_F32)
        ((float *)t->data)[at] = (float)x;
    else if (t->dtype == NND_F64)
        ((double *)t->data)[at] = x;
    else
        ((uint16_t *)t->data)[at] = ref_put16(t->dtype, x);
}

static inline int32_t *ref_int(const struct nnd_tensor *t, int64_t at)
{
    return (int32_t *)t->data + at;
}

static inline bool ref_given(const struct nnd_tensor *t)
{
    return t->ndim > 0;
}

/* All elements of a float tensor become x. */
void ref_fill(const struct nnd_tensor *t, double x);

/* ---- checking params ---- */

enum {
    REF_F64 = 1,
    REF_F32 = 2,
    REF_HALF = 4, /* bf16, f16 */
    REF_I32 = 8,
    REF_OPTIONAL = 16,
    REF_BYTE = 32, /* e4m3, e5m2, with scales or without */
    REF_I64 = 64,
    REF_WIDE = REF_F32 | REF_F64, /* what the contract calls f32 */
    REF_FLOAT = REF_WIDE | REF_HALF
};

#define REF_ANY (-1) /* a dimension of any size */

/* What a tensor has to be. */
struct ref_shape {
    const char *name;
    const struct nnd_tensor *tensor;
    int kinds; /* REF_F64 | ... */
    int ndim;
    int64_t dim[3];
};

/* NND_OK, or a status with the first difference in e.  The params struct has
 * `size` bytes and needs `least`. */
int ref_check(size_t size, size_t least, const struct ref_shape *shapes, int n,
              struct nnd_error *e);

/* Write the reason and return the status. */
int ref_refuse(struct nnd_error *e, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- scratch ---- */

/* need(): n numbers of f64; and the need() of kernels that want none. */
int ref_need(struct nnd_need *out, int64_t n);
int ref_need_none(const void *self, const void *params, struct nnd_need *out);

/* ---- packed weights ---- */

/* What pack() of a product writes, b2 possibly absent; 0: it does not pack these. */
size_t ref_packed_bytes(const struct nnd_tensor *b, const struct nnd_tensor *b2);
int ref_pack(const struct nnd_tensor *b, const struct nnd_tensor *b2,
             const struct nnd_tensor *packed, struct nnd_error *e);
/* b, or what stands for it at `offset` of `packed`: of b2 behind b. */
struct nnd_tensor ref_packed(const struct nnd_tensor *b,
                             const struct nnd_tensor *packed, size_t offset);
size_t ref_packed_second(const struct nnd_tensor *b);

/* ---- random bits ---- */

/* Philox4x32-10: the counter c becomes four random words. */
void ref_philox(uint64_t key, uint32_t c[4]);

/* What dropout multiplies the element by: 0, or 1 / (1 - p). */
double ref_dropout(const struct nnd_dropout *d, int64_t row, uint32_t head,
                   int64_t column);

/* ---- activations ---- */

double ref_sigmoid(double x);

/* A function of one number, by the epilogue that applies it. */
struct ref_function {
    int epilogue;
    double (*of)(double x);
    double (*back)(double dy, double x); /* dy times its slope at x */
};

/* The one that an epilogue applies, or whose slope it multiplies by; else NULL. */
const struct ref_function *ref_function(int epilogue);

/* ---- cross entropy of one row ---- */

struct ref_xent {
    double *z; /* [classes] logits */
    int64_t classes;
    double smoothing, z_loss;
};

/* The loss, and the logits' logsumexp. */
double ref_xent_loss(const struct ref_xent *x, int32_t target, double *lse);
/* d loss / d z[v]. */
double ref_xent_slope(const struct ref_xent *x, int64_t v, int32_t target, double lse);

/* ---- descriptors ---- */

#define REF_KERNEL(OP, SUPPORTS, NEED, LAUNCH)                                         \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_kernel), .name = OP, .op = OP,                \
        .device = "cpu", .op_version = 1,                                              \
        .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,              \
        .supports = SUPPORTS, .need = NEED, .launch = LAUNCH                           \
    }
/* A product. */
#define REF_PRODUCT(OP, SUPPORTS, NEED, LAUNCH, PACK)                                  \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_kernel), .name = OP, .op = OP,                \
        .device = "cpu", .op_version = 1,                                              \
        .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,              \
        .supports = SUPPORTS, .need = NEED, .launch = LAUNCH, .pack = PACK             \
    }

extern const struct nnd_kernel ref_gemm, ref_gemm_grouped, ref_attn_fwd, ref_attn_bwd,
    ref_rms_fwd, ref_rms_bwd, ref_layer_fwd, ref_layer_bwd, ref_rope, ref_swiglu_fwd,
    ref_swiglu_bwd, ref_gelu_fwd, ref_gelu_bwd, ref_relu_fwd, ref_relu_bwd,
    ref_softmax_fwd, ref_softmax_bwd, ref_xent_fwd, ref_xent_bwd, ref_xent_linear_fwd,
    ref_xent_linear_bwd, ref_distill_fwd, ref_distill_bwd, ref_embed_fwd, ref_embed_bwd,
    ref_route_fwd, ref_route_bwd, ref_sort, ref_permute, ref_unpermute, ref_dgate,
    ref_sum, ref_drop, ref_rows_sum, ref_rows_gather, ref_rows_scatter, ref_sqnorm,
    ref_adamw, ref_adam, ref_sgd, ref_rnn_seq_fwd, ref_rnn_seq_bwd, ref_rnn_cell_fwd,
    ref_rnn_cell_bwd, ref_add_fwd, ref_add_bwd, ref_dot_fwd, ref_dot_bwd, ref_argmax,
    ref_sample, ref_select, ref_quant, ref_dequant, ref_filled, ref_scaled, ref_amax,
    ref_balance, ref_window, ref_hyper, ref_total;

#endif
