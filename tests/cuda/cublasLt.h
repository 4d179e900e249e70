/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cublasLt.h - as much of cuBLASLt as plugins/cuda/lt.cu asks for; matrices lie by
 * columns, as the library's do.
 */
#ifndef EMU_CUBLASLT_H
#define EMU_CUBLASLT_H

#include "cuda_runtime.h"

enum cublasStatus_t {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_ALLOC_FAILED = 3,
    CUBLAS_STATUS_INVALID_VALUE = 7,
    CUBLAS_STATUS_NOT_SUPPORTED = 15
};
enum cudaDataType { CUDA_R_32F = 0, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
enum cublasOperation_t { CUBLAS_OP_N, CUBLAS_OP_T };
enum cublasComputeType_t { CUBLAS_COMPUTE_32F = 68 };
enum cublasLtEpilogue_t { CUBLASLT_EPILOGUE_DEFAULT = 1, CUBLASLT_EPILOGUE_BIAS = 4 };
enum { CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
enum cublasLtMatmulDescAttributes_t {
    CUBLASLT_MATMUL_DESC_TRANSA = 3,
    CUBLASLT_MATMUL_DESC_TRANSB,
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER,
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26
};
enum cublasLtMatmulPreferenceAttributes_t {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
};

struct emu_desc {
    int turn[2];
    int epilogue, bias_type;
    const void *bias;
};
struct emu_layout {
    int type;
    uint64_t rows, cols;
    int64_t ld;
};
typedef struct emu_desc *cublasLtMatmulDesc_t;
typedef struct emu_layout *cublasLtMatrixLayout_t;
typedef int *cublasLtMatmulPreference_t;
typedef int *cublasLtHandle_t;
struct cublasLtMatmulAlgo_t {
    int chosen;
};
struct cublasLtMatmulHeuristicResult_t {
    struct cublasLtMatmulAlgo_t algo;
    size_t workspaceSize;
};

int cublasLtCreate(cublasLtHandle_t *h);
int cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t,
                             cudaDataType);
int cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                   cublasLtMatmulDescAttributes_t a, const void *v,
                                   size_t n);
int cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d);
int cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t rows,
                               uint64_t cols, int64_t ld);
int cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l);
int cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p);
int cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                         cublasLtMatmulPreferenceAttributes_t a,
                                         const void *v, size_t n);
int cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p);
int cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                   cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                   cublasLtMatmulPreference_t, int want,
                                   struct cublasLtMatmulHeuristicResult_t *found,
                                   int *n);
int cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                   const void *a, cublasLtMatrixLayout_t la, const void *b,
                   cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                   cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                   const struct cublasLtMatmulAlgo_t *algo, void *workspace,
                   size_t size, cudaStream_t);

#endif
