/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lt.cu - products by cuBLASLt, for types of one size and lines that it can take.
 *
 * What it chose for a shape is kept for the process, and that it takes none.  Matrices
 * by rows are matrices by columns turned, so D^T = op(B)^T op(A)^T is what it is asked
 * for.  A bias is the library's; activations follow in a pass of ours, from the rounded
 * product where that is kept anyway.
 */
#include <cublasLt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "act.h"
#include "families.h"
#include "lazy.h"

#define WORKSPACE ((size_t)32 << 20)
#define ENTRIES   512

/* The library's functions, in the order of their names below. */
static struct {
    decltype(&cublasLtCreate) create;
    decltype(&cublasLtMatmulDescCreate) desc_create;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    decltype(&cublasLtMatmul) matmul;
} lt;

static const char *const functions[] = {"cublasLtCreate",
                                        "cublasLtMatmulDescCreate",
                                        "cublasLtMatmulDescSetAttribute",
                                        "cublasLtMatmulDescDestroy",
                                        "cublasLtMatrixLayoutCreate",
                                        "cublasLtMatrixLayoutDestroy",
                                        "cublasLtMatmulPreferenceCreate",
                                        "cublasLtMatmulPreferenceSetAttribute",
                                        "cublasLtMatmulPreferenceDestroy",
                                        "cublasLtMatmulAlgoGetHeuristic",
                                        "cublasLtMatmul",
                                        NULL};

/* What decides the choice. */
struct key {
    int64_t m, n, k, lda, ldb, ldc, ldd;
    int32_t a, b, d, trans_a, trans_b, bias, device, align;
};

struct entry {
    struct key key;
    bool taken; /* false: the library has nothing for it, and the rest is empty */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t a, b, c, d;
    cublasLtMatmulAlgo_t algo;
    size_t workspace;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char why[200]; /* the library cannot be used, or "" */
static cublasLtHandle_t handle;
static struct entry *entries[ENTRIES];
static int count;

/* What a call of the library gave, as the host's status; the number is in the text. */
static int lt_status(int rc, const char *what)
{
    char text[80];
    snprintf(text, sizeof text, "cuBLASLt: %s gave status %d", what, rc);
    return cuda_refuse(rc == CUBLAS_STATUS_ALLOC_FAILED    ? NND_ENOMEM
                       : rc == CUBLAS_STATUS_INVALID_VALUE ? NND_EINVAL
                       : rc == CUBLAS_STATUS_NOT_SUPPORTED ? NND_EUNSUPPORTED
                                                           : NND_EDEVICE,
                       text);
}

static void open_library(void)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
    lazy_open(names, functions, (void **)&lt, why, sizeof why);
}

static cudaDataType type_of(int dtype)
{
    return dtype == NND_BF16 ? CUDA_R_16BF : dtype == NND_F16 ? CUDA_R_16F : CUDA_R_32F;
}

/* Where the product goes: what backward wants, or D. */
static const struct nnd_tensor *target_of(const struct nnd_gemm *p)
{
    bool kept = p->epilogue && !nnd_slope_of(p->epilogue) && p->pre.ndim;
    return kept ? &p->pre : &p->d;
}

static struct key key_of(const struct nnd_gemm *p, int device)
{
    const struct nnd_tensor *d = target_of(p), *c = p->beta != 0 ? &p->c : d;
    uintptr_t all = 16 | (uintptr_t)p->a.data | (uintptr_t)p->b.data |
                    (uintptr_t)d->data | (uintptr_t)c->data;
    struct key k;
    memset(&k, 0, sizeof k); /* compared as bytes */
    k.m = d->dim[0], k.n = d->dim[1], k.k = p->a.dim[p->trans_a ? 0 : 1];
    k.lda = p->a.stride[0], k.ldb = p->b.stride[0];
    k.ldc = c->stride[0], k.ldd = d->stride[0];
    k.a = p->a.dtype, k.b = p->b.dtype, k.d = d->dtype;
    k.trans_a = p->trans_a != 0, k.trans_b = p->trans_b != 0;
    k.bias = p->bias.ndim != 0;
    k.device = device;
    k.align = (int32_t)(all & -all);
    return k;
}

/* Ask the library; 0 when it has nothing. */
static int choose(struct entry *e)
{
    const struct key *k = &e->key;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
             align = (uint32_t)k->align;
    size_t most = WORKSPACE;
    cublasLtMatmulPreference_t want;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    if (lt.preference_create(&want))
        return 0;
    lt.preference_set(want, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most,
                      sizeof most);
    lt.preference_set(want, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes,
                      sizeof schemes);
    static const cublasLtMatmulPreferenceAttributes_t aligned[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (int i = 0; i < 4; i++)
        lt.preference_set(want, aligned[i], &align, sizeof align);
    int rc = lt.heuristic(handle, e->desc, e->a, e->b, e->c, e->d, want, 1, &found, &n);
    lt.preference_destroy(want);
    if (rc || n < 1)
        return 0;
    e->algo = found.algo;
    e->workspace = found.workspaceSize;
    return 1;
}

/* Rows of `rows` numbers as columns: [columns, rows] of the library. */
static int layout(cublasLtMatrixLayout_t *to, int dtype, int64_t rows, int64_t cols,
                  int64_t ld)
{
    return lt.layout_create(to, type_of(dtype), (uint64_t)cols, (uint64_t)rows,
                            ld > cols ? ld : cols);
}

/* What the key asks for; true when the library describes and takes it. */
static bool describe(struct entry *e)
{
    const struct key *k = &e->key;
    cublasOperation_t turn = CUBLAS_OP_T;
    cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType type = type_of(k->d);
    bool bad = lt.desc_create(&e->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) ||
               layout(&e->a, k->b, k->trans_b ? k->n : k->k, k->trans_b ? k->k : k->n,
                      k->ldb) ||
               layout(&e->b, k->a, k->trans_a ? k->k : k->m, k->trans_a ? k->m : k->k,
                      k->lda) ||
               layout(&e->c, k->d, k->m, k->n, k->ldc) ||
               layout(&e->d, k->d, k->m, k->n, k->ldd);
    if (!bad && k->trans_b)
        bad = lt.desc_set(e->desc, CUBLASLT_MATMUL_DESC_TRANSA, &turn, sizeof turn);
    if (!bad && k->trans_a)
        bad = lt.desc_set(e->desc, CUBLASLT_MATMUL_DESC_TRANSB, &turn, sizeof turn);
    if (!bad && k->bias)
        bad = lt.desc_set(e->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias, sizeof bias) ||
              lt.desc_set(e->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type,
                          sizeof type);
    return !bad && choose(e);
}

/* Of what it does not take only the key is kept: it is not asked again. */
static struct entry *make(const struct key *k)
{
    struct entry *e = (struct entry *)calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->key = *k;
    e->taken = describe(e);
    if (e->taken)
        return e;
    cublasLtMatrixLayout_t *const layouts[] = {&e->a, &e->b, &e->c, &e->d};
    for (int i = 0; i < 4; i++)
        if (*layouts[i])
            lt.layout_destroy(*layouts[i]);
    if (e->desc)
        lt.desc_destroy(e->desc);
    memset(e, 0, sizeof *e);
    e->key = *k;
    return e;
}

/* The choice for this call in *out; NULL: the library takes no such product. */
static int find(const struct key *k, struct entry **out)
{
    struct entry *e = NULL;
    int r = NND_OK;
    pthread_mutex_lock(&lock);
    for (int i = 0; !e && i < count; i++)
        if (memcmp(&entries[i]->key, k, sizeof *k) == 0)
            e = entries[i];
    if (!e && count < ENTRIES) {
        int rc = handle ? 0 : lt.create(&handle);
        if (rc) {
            handle = NULL;
            r = lt_status(rc, "cublasLtCreate");
        } else if ((e = make(k)) != NULL) {
            entries[count++] = e;
        }
    }
    pthread_mutex_unlock(&lock);
    *out = e && e->taken ? e : NULL;
    return r;
}

/* Lines that it takes; the others are gemm.cu's, so that one odd product of a model
 * does not leave the others to it.  A choice holds for biases at multiples of 16: it
 * is made before there is one. */
static bool suits(const struct nnd_gemm *p)
{
    if (p->bias.ndim && (uintptr_t)p->bias.data % 16)
        return false;
    const struct nnd_tensor *const lines[] = {&p->a, &p->b, target_of(p)};
    for (int i = 0; i < 3; i++)
        if (lines[i]->stride[0] * size_of(lines[i]->dtype) % 16)
            return false;
    return p->a.dim[0] && p->a.dim[1] && p->b.dim[0] && p->b.dim[1];
}

/* ---- the activation ---- */

struct ends {
    struct mat from, d, pre, act;
    int32_t epilogue, slope_of;
};

template <int DT> struct end_numbers {
    struct ends m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float x[8], pre[8] = {0};
        get8<DT>(m.from, r, c, left, x);
        if (m.slope_of)
            get8<0>(m.pre, r, c, left, pre);
        if (m.act.data) {
            float act[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                act[i] = epilogue_of(m.slope_of, pre[i], pre[i]);
            put8<0>(m.act, r, c, left, act);
        }
#pragma unroll
        for (int i = 0; i < 8; i++)
            x[i] = epilogue_of(m.epilogue, x[i], pre[i]);
        put8<DT>(m.d, r, c, left, x);
    }
};

static int finish(const struct nnd_gemm *p, const struct nnd_launch *l)
{
    const struct nnd_tensor *t[] = {target_of(p), &p->d};
    struct ends m = {mat_of(t[0]),    mat_of(&p->d), mat_of(&p->pre),
                     mat_of(&p->act), p->epilogue,   nnd_slope_of(p->epilogue)};
    return each_typed<end_numbers>(l, common_type(t, 2), p->d.dim[0], p->d.dim[1], m);
}

static int lt_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_gemm *p = (const struct nnd_gemm *)params;
    const struct nnd_tensor *d = target_of(p);
    struct key k = key_of(p, l->stream.device);
    float alpha = 1, beta = p->beta;
    struct entry *e = NULL;
    pthread_mutex_t *bias_lock = k.bias ? &lock : NULL;
    int rc = suits(p) ? find(&k, &e) : NND_OK;
    if (rc)
        return rc;
    if (!e)
        return cuda_gemm_launch(p, l);
    if (bias_lock) { /* where the bias is is a word of the shared description */
        pthread_mutex_lock(bias_lock);
        lt.desc_set(e->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias.data,
                    sizeof p->bias.data);
    }
    rc = lt.matmul(handle, e->desc, &alpha, p->b.data, e->a, p->a.data, e->b, &beta,
                   p->beta != 0 ? p->c.data : d->data, e->c, d->data, e->d, &e->algo,
                   l->workspace, e->workspace, (cudaStream_t)l->stream.native);
    if (bias_lock)
        pthread_mutex_unlock(bias_lock);
    if (rc)
        return lt_status(rc, "cublasLtMatmul");
    if (p->epilogue != NND_EPI_NONE)
        rc = finish(p, l);
    return !rc && p->sums.ndim ? cuda_gemm_sums(p, l) : rc;
}

static size_t lt_workspace(const void *)
{
    return WORKSPACE;
}

/* Choose before the step; there is nothing to keep. */
extern "C" int cuda_lt_plan(const void *self, const void *params, void **plan,
                            struct nnd_error *e)
{
    const struct nnd_gemm *p = (const struct nnd_gemm *)params;
    struct entry *found;
    int dev = 0;
    (void)self;
    *plan = NULL;
    if (!suits(p) || cudaGetDevice(&dev) != cudaSuccess)
        return NND_OK;
    struct key k = key_of(p, dev);
    int r = find(&k, &found);
    return r ? op_refuse(e, r, "%s", cuda_last_text()) : NND_OK;
}

static int lt_check(const void *params, struct nnd_error *e)
{
    const struct nnd_gemm *p = (const struct nnd_gemm *)params;
    const struct nnd_tensor *d = target_of(p);
    int r = cuda_gemm_check(params, e);
    pthread_once(&once, open_library);
    if (r)
        return r;
    if (why[0])
        return op_refuse(e, NND_EKERNEL, "%s", why);
    if (p->a.dtype != p->b.dtype || (d->dtype != p->a.dtype && d->dtype != NND_F32) ||
        (p->beta != 0 && p->c.dtype != d->dtype) ||
        (p->bias.ndim && p->bias.dtype != d->dtype))
        return op_refuse(e, NND_EUNSUPPORTED, "types %d x %d into %d", p->a.dtype,
                         p->b.dtype, d->dtype);
    return NND_OK;
}

extern "C" const struct op cuda_lt_ops[] = {
    {.name = "gemm",
     .params_size = sizeof(struct nnd_gemm),
     .args = {ARG(nnd_gemm, a, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, b, "**", IN_FLOATS, 0),
              ARG(nnd_gemm, d, "MN", IN_FLOATS, 0),
              ARG(nnd_gemm, c, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, bias, "N", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, pre, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, act, "MN", IN_FLOATS, ARG_OPTIONAL),
              ARG(nnd_gemm, sums, "M", IN_F32, ARG_OPTIONAL)},
     .check = lt_check,
     .workspace = lt_workspace,
     .launch = lt_launch},
    {},
};
