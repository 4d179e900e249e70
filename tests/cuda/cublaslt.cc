/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cublaslt.cc - cuBLASLt's products in plain C, for plugins/cuda/lt.cu where there is
 * no GPU.  What does not fit together is refused, as the library would.  NND_EMU may
 * order more: "cublaslt=create:1", that function gives status 1 (create, heuristic or
 * matmul); "asked=FILE", a line at the end of the process: how often a choice was asked
 * for, and how many descriptions were not destroyed.
 */
#include "cublasLt.h"

#include <stdio.h>
#include <stdlib.h>

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "library.h"

static long asked, alive;
static const char *asked_file;

static void tell_asked(void)
{
    FILE *f = fopen(asked_file, "a");
    if (!f)
        return;
    fprintf(f, "asked %ld alive %ld\n", asked, alive);
    fclose(f);
}

/* The status that was ordered of a function, or 0. */
static int ordered(const char *function)
{
    const char *s = getenv("NND_EMU"), *at = s ? strstr(s, "cublaslt=") : NULL;
    size_t n = strlen(function);
    if (!at || strncmp(at + 9, function, n) || at[9 + n] != ':')
        return 0;
    return (int)strtol(at + 9 + n + 1, NULL, 10);
}

int cublasLtCreate(cublasLtHandle_t *h)
{
    static int one;
    const char *s = getenv("NND_EMU"), *at = s ? strstr(s, "asked=") : NULL;
    if (at && !asked_file) {
        asked_file = strndup(at + 6, strcspn(at + 6, ","));
        atexit(tell_asked);
    }
    *h = &one;
    return ordered("create");
}

int cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType)
{
    *d = (cublasLtMatmulDesc_t)calloc(1, sizeof **d);
    alive += *d != NULL;
    return *d == NULL;
}

int cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    alive--;
    free(d);
    return 0;
}

int cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                   cublasLtMatmulDescAttributes_t a, const void *v,
                                   size_t n)
{
    void *to = a == CUBLASLT_MATMUL_DESC_TRANSA         ? (void *)&d->turn[0]
               : a == CUBLASLT_MATMUL_DESC_TRANSB       ? (void *)&d->turn[1]
               : a == CUBLASLT_MATMUL_DESC_EPILOGUE     ? (void *)&d->epilogue
               : a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? (void *)&d->bias
                                                        : (void *)&d->bias_type;
    memcpy(to, v, n);
    return 0;
}

int cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t rows,
                               uint64_t cols, int64_t ld)
{
    *l = NULL;
    if (ld < (int64_t)rows)
        return CUBLAS_STATUS_INVALID_VALUE;
    *l = (cublasLtMatrixLayout_t)calloc(1, sizeof **l);
    if (!*l)
        return CUBLAS_STATUS_ALLOC_FAILED;
    alive++;
    **l = {t, rows, cols, ld};
    return 0;
}

int cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    alive--;
    free(l);
    return 0;
}

int cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    *p = NULL;
    return 0;
}

int cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t,
                                         cublasLtMatmulPreferenceAttributes_t,
                                         const void *, size_t)
{
    return 0;
}

int cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t)
{
    return 0;
}

/* Rows and columns of op(x). */
static uint64_t rows_of(const struct emu_layout *x, int turn)
{
    return turn ? x->cols : x->rows;
}

static uint64_t cols_of(const struct emu_layout *x, int turn)
{
    return turn ? x->rows : x->cols;
}

int cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                   cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                   cublasLtMatmulPreference_t, int,
                                   struct cublasLtMatmulHeuristicResult_t *found,
                                   int *n)
{
    asked++;
    *n = 0;
    if (ordered("heuristic"))
        return ordered("heuristic");
    *n = rows_of(a, desc->turn[0]) == d->rows && cols_of(b, desc->turn[1]) == d->cols &&
         cols_of(a, desc->turn[0]) == rows_of(b, desc->turn[1]) && c->rows == d->rows &&
         c->cols == d->cols && c->type == d->type && a->type == b->type;
    *found = {{1}, 0};
    return *n ? 0 : CUBLAS_STATUS_NOT_SUPPORTED;
}

static float get(const void *p, int type, int64_t i)
{
    if (type == CUDA_R_32F)
        return ((const float *)p)[i];
    uint16_t bits = ((const uint16_t *)p)[i];
    return type == CUDA_R_16BF ? __bfloat162float({bits}) : __half2float({bits});
}

static void put(void *p, int type, int64_t i, float x)
{
    if (type == CUDA_R_32F)
        ((float *)p)[i] = x;
    else
        ((uint16_t *)p)[i] =
            type == CUDA_R_16BF ? __float2bfloat16_rn(x).bits : __float2half_rn(x).bits;
}

static float get_at(const void *p, const struct emu_layout *l, int turn, uint64_t i,
                    uint64_t j)
{
    return get(p, l->type,
               turn ? (int64_t)j + (int64_t)i * l->ld
                    : (int64_t)i + (int64_t)j * l->ld);
}

int cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                   const void *a, cublasLtMatrixLayout_t la, const void *b,
                   cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                   cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                   const struct cublasLtMatmulAlgo_t *algo, void *, size_t,
                   cudaStream_t stream)
{
    const float scale = *(const float *)alpha, add = *(const float *)beta;
    const struct emu_desc what = *desc;
    if (!algo || !algo->chosen)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (ordered("matmul"))
        return ordered("matmul");
    emu_do(stream, [=, la = *la, lb = *lb, lc = *lc, ld = *ld]() {
        uint64_t depth = cols_of(&la, what.turn[0]);
        for (uint64_t j = 0; j < ld.cols; j++)
            for (uint64_t i = 0; i < ld.rows; i++) {
                float sum = 0;
                for (uint64_t k = 0; k < depth; k++)
                    sum += get_at(a, &la, what.turn[0], i, k) *
                           get_at(b, &lb, what.turn[1], k, j);
                sum *= scale;
                if (add != 0)
                    sum += add * get_at(c, &lc, 0, i, j);
                if (what.epilogue == CUBLASLT_EPILOGUE_BIAS)
                    sum += get(what.bias, what.bias_type, (int64_t)i);
                put(d, ld.type, (int64_t)i + (int64_t)j * ld.ld, sum);
            }
        return cudaSuccess;
    });
    return 0;
}

void *emu_function(const char *name)
{
    static const struct {
        const char *name;
        void *f;
    } all[] = {
        {"cublasLtCreate", (void *)cublasLtCreate},
        {"cublasLtMatmulDescCreate", (void *)cublasLtMatmulDescCreate},
        {"cublasLtMatmulDescSetAttribute", (void *)cublasLtMatmulDescSetAttribute},
        {"cublasLtMatmulDescDestroy", (void *)cublasLtMatmulDescDestroy},
        {"cublasLtMatrixLayoutCreate", (void *)cublasLtMatrixLayoutCreate},
        {"cublasLtMatrixLayoutDestroy", (void *)cublasLtMatrixLayoutDestroy},
        {"cublasLtMatmulPreferenceCreate", (void *)cublasLtMatmulPreferenceCreate},
        {"cublasLtMatmulPreferenceSetAttribute",
         (void *)cublasLtMatmulPreferenceSetAttribute},
        {"cublasLtMatmulPreferenceDestroy", (void *)cublasLtMatmulPreferenceDestroy},
        {"cublasLtMatmulAlgoGetHeuristic", (void *)cublasLtMatmulAlgoGetHeuristic},
        {"cublasLtMatmul", (void *)cublasLtMatmul},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].f;
    return NULL;
}
