/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hopper.cu - the host's side of kernels for Hopper: is this one, and maps of tensors.
 * The driver's function for maps is asked of the runtime when it is first wanted.
 */
#include "families.h"
#include "hopper.h"

typedef decltype(&cuTensorMapEncodeTiled) encode_f;

static encode_f find_encode(void)
{
    enum cudaDriverEntryPointQueryResult how = cudaDriverEntryPointSymbolNotFound;
    void *at = NULL;
    cudaError_t rc = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &at,
                                                      12000, cudaEnableDefault, &how);
    if (rc != cudaSuccess)
        cudaGetLastError();
    return rc == cudaSuccess && how == cudaDriverEntryPointSuccess ? (encode_f)at
                                                                   : NULL;
}

/* The driver's function, or NULL where it has none. */
static encode_f encode(void)
{
    static const encode_f found = find_encode();
    return found;
}

int cuda_hopper_check(struct nnd_error *e)
{
    int dev = 0, major = 0, minor = 0;
    cudaError_t rc = cudaGetDevice(&dev);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, dev);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, dev);
    if (rc != cudaSuccess) {
        cudaGetLastError();
        return op_refuse(e, NND_EKERNEL, "no device: %s", cudaGetErrorString(rc));
    }
    if (major != 9)
        return op_refuse(e, NND_EKERNEL,
                         "a device of compute capability %d.%d, wanted 9.x (Hopper)",
                         major, minor);
    return encode()
               ? NND_OK
               : op_refuse(e, NND_EKERNEL, "the driver has no cuTensorMapEncodeTiled");
}

int cuda_hopper_map(const struct heads *x, int64_t rows, int heads, int d, int high,
                    CUtensorMap *map)
{
    const cuuint64_t dim[3] = {(cuuint64_t)d, (cuuint64_t)heads,
                               (cuuint64_t)(rows > 0 ? rows : 1)};
    const cuuint64_t step[2] = {(cuuint64_t)x->head, (cuuint64_t)x->row};
    const cuuint32_t box[3] = {TILE_COLUMNS, 1, (cuuint32_t)high}, each[3] = {1, 1, 1};
    CUresult rc =
        encode()(map,
                 x->dtype == NND_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                      : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                 3, x->data, dim, step, box, each, CU_TENSOR_MAP_INTERLEAVE_NONE,
                 CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return rc == 0 ? NND_OK
                   : cuda_refuse(NND_EINVAL, "the driver makes no map of a tensor");
}

/* Rules of cuTensorMapEncodeTiled (CUDA driver API), which itself wants a context of
 * this thread, and an address: a kernel is asked before there is either. */
int cuda_hopper_lines(const struct nnd_tensor *t, const char *name, struct nnd_error *e)
{
    const int64_t most = (int64_t)1 << 40, size = size_of(t->dtype);
    if (t->align_log2 < 4)
        return op_refuse(e, NND_EUNSUPPORTED, "%s: not at a multiple of 16 bytes",
                         name);
    for (int i = 0; i < t->ndim - 1; i++) {
        int64_t step = t->stride[i] * size;
        if (step % 16 || step < 0 || step >= most)
            return op_refuse(e, NND_EUNSUPPORTED,
                             "%s: axis %d in steps of %lld bytes, wanted a multiple of "
                             "16 below 2^40",
                             name, i, (long long)step);
    }
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] > 0x3fffffff)
            return op_refuse(e, NND_EUNSUPPORTED, "%s: axis %d of %lld", name, i,
                             (long long)t->dim[i]);
    return NND_OK;
}

int cuda_hopper_side(const struct nnd_tensor *t, int dtype, const char *name,
                     struct nnd_error *e)
{
    if (t->dtype != dtype || (dtype != NND_BF16 && dtype != NND_F16))
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%s: of type %d, wanted 16 bits, as the other side", name,
                         t->dtype);
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] < 1)
            return op_refuse(e, NND_EUNSUPPORTED, "%s: axis %d of %lld", name, i,
                             (long long)t->dim[i]);
    return cuda_hopper_lines(t, name, e);
}

int cuda_hopper_matrix(const struct nnd_tensor *t, int high, CUtensorMap *map)
{
    bool stack = t->ndim == 3;
    int64_t size = size_of(t->dtype), row = t->stride[stack] * size;
    struct heads x = {(char *)t->data, row, stack ? t->stride[0] * size : row, t->dtype,
                      1};
    return cuda_hopper_map(&x, t->dim[stack], stack ? (int)t->dim[0] : 1,
                           (int)t->dim[stack + 1], high, map);
}
