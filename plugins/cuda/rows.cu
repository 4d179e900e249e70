/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rows.cu - rows by number and rows added up: rows.sum, rows.gather, rows.scatter,
 * dropout, embed.fwd, embed.bwd, select.
 */
#include "families.h"
#include "kern.h"

#define IN_ANY (~0u)

/* ---- rows.sum ---- */

#define COLUMN_THREADS 64

/* A block of rows, for this thread's eight columns: sums [blocks,cols]. */
template <int DT>
__global__ void __launch_bounds__(COLUMN_THREADS)
    sum_block(struct mat x, int64_t rows, int64_t n, float *sums)
{
    int64_t c = ((int64_t)blockIdx.x * COLUMN_THREADS + threadIdx.x) * 8;
    int64_t r = (int64_t)blockIdx.y * NND_BLOCK_ROWS;
    int64_t end = r + NND_BLOCK_ROWS < rows ? r + NND_BLOCK_ROWS : rows;
    float s[8] = {0};
    if (c >= n)
        return;
#pragma unroll 4
    for (; r < end; r++) {
        float v[8];
        get8<DT>(x, r, c, n - c, v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            s[i] += v[i];
    }
    for (int i = 0; i < 8 && c + i < n; i++)
        sums[(int64_t)blockIdx.y * n + c + i] = s[i];
}

__global__ void __launch_bounds__(256)
    add_sums(const float *sums, int64_t blocks, int64_t n, float *y)
{
    int64_t c = (int64_t)blockIdx.x * 256 + threadIdx.x;
    float s = 0;
    if (c >= n)
        return;
    for (int64_t i = 0; i < blocks; i++)
        s += sums[i * n + c];
    y[c] = s;
}

extern "C" int cuda_rows_sum(const void *params, const struct nnd_launch *l)
{
    const struct nnd_rows *p = (const struct nnd_rows *)params;
    int64_t rows = p->x.dim[0], n = p->x.dim[1];
    int64_t blocks = blocks_for(rows, NND_BLOCK_ROWS);
    dim3 grid((unsigned)blocks_for(n, COLUMN_THREADS * 8), (unsigned)blocks);
    float *sums = (float *)l->workspace;
    int r = p->x.dtype == NND_BF16
                ? launch(sum_block<NND_BF16>, grid, dim3(COLUMN_THREADS), 0, l,
                         mat_of(&p->x), rows, n, sums)
                : launch(sum_block<0>, grid, dim3(COLUMN_THREADS), 0, l, mat_of(&p->x),
                         rows, n, sums);
    return r ? r
             : launch(add_sums, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, l,
                      (const float *)sums, blocks, n, (float *)p->y.data);
}

extern "C" size_t cuda_rows_sum_workspace(const void *params)
{
    const struct nnd_rows *p = (const struct nnd_rows *)params;
    return (size_t)(blocks_for(p->x.dim[0], NND_BLOCK_ROWS) * p->x.dim[1]) *
           sizeof(float);
}

extern "C" int cuda_rows_sum_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rows *p = (const struct nnd_rows *)params;
    if (blocks_for(p->x.dim[0], NND_BLOCK_ROWS) > 65535)
        return op_refuse(e, NND_EUNSUPPORTED, "x: %lld rows, wanted at most %d",
                         (long long)p->x.dim[0], 65535 * NND_BLOCK_ROWS);
    return NND_OK;
}

/* ---- rows by number ---- */

struct moves {
    struct mat x, y;
    const int32_t *index;
    int32_t scatter;
};

/* Numbers from row to row; types may differ. */
template <int DT> struct move_rows {
    struct moves m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8];
        int64_t other = m.index[r];
        if (other < 0)
            return;
        get8<DT>(m.x, m.scatter ? r : other, c, left, v);
        put8<DT>(m.y, m.scatter ? other : r, c, left, v);
    }
};

/* Words of 4 bytes that are not floats. */
struct move_words {
    struct moves m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        int64_t other = m.index[r];
        const int32_t *from =
            (const int32_t *)(m.x.data + (m.scatter ? r : other) * m.x.step);
        int32_t *to = (int32_t *)(m.y.data + (m.scatter ? other : r) * m.y.step);
        for (int64_t i = c; other >= 0 && i < c + 8 && i < c + left; i++)
            to[i] = from[i];
    }
};

static int move(const struct nnd_rows *p, int scatter, const struct nnd_launch *l)
{
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    struct moves m = {mat_of(&p->x), mat_of(&p->y), p->index, scatter};
    int64_t rows = scatter ? p->x.dim[0] : p->y.dim[0];
    if (p->x.dtype == NND_I32)
        return each(l, rows, p->x.dim[1], move_words{m});
    return each_typed<move_rows>(l, common_type(t, 2), rows, p->x.dim[1], m);
}

static int gather_launch(const void *params, const struct nnd_launch *l)
{
    return move((const struct nnd_rows *)params, 0, l);
}

static int scatter_launch(const void *params, const struct nnd_launch *l)
{
    return move((const struct nnd_rows *)params, 1, l);
}

static int move_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rows *p = (const struct nnd_rows *)params;
    if ((p->x.dtype == NND_I32) != (p->y.dtype == NND_I32))
        return op_refuse(e, NND_EUNSUPPORTED,
                         "x and y of dtypes %d and %d, wanted equal", p->x.dtype,
                         p->y.dtype);
    return NND_OK;
}

/* ---- dropout ---- */

struct dropped {
    struct mat x, y;
    struct drop drop;
};

template <int DT> struct drop_numbers {
    struct dropped m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8], f[2][4];
        get8<DT>(m.x, r, c, left, v);
        if (m.drop.on) {
            uint64_t key = rng_key(m.drop.state, m.drop.op);
            drop_factors(m.drop, key, r, 0xffffffffu, c, f[0]);
            drop_factors(m.drop, key, r, 0xffffffffu, c + 4, f[1]);
#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = f[i / 4][i % 4] == 0 ? 0 : v[i] * f[i / 4][i % 4];
        }
        put8<DT>(m.y, r, c, left, v);
    }
};

static int drop_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_drop *p = (const struct nnd_drop *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    struct dropped m = {mat_of(&p->x), mat_of(&p->y), drop_of(&p->dropout)};
    return each_typed<drop_numbers>(l, common_type(t, 2), p->x.dim[0], p->x.dim[1], m);
}

static int drop_check(const void *params, struct nnd_error *e)
{
    const struct nnd_drop *p = (const struct nnd_drop *)params;
    if (!(p->dropout.p >= 0 && p->dropout.p < 1))
        return op_refuse(e, NND_EINVAL, "dropout.p is %g, wanted 0 <= p < 1",
                         (double)p->dropout.p);
    return NND_OK;
}

/* ---- embeddings ---- */

struct embeds {
    struct mat table, y, dy;
    float *dtable;
    const int32_t *id;
    float scale;
    int accumulate;
    int64_t rows, cols;
};

template <int DT> struct embed_rows {
    struct embeds m;
    __device__ void operator()(int64_t r, int64_t c, int64_t left) const
    {
        float v[8] = {0};
        int64_t id = m.id[r];
        if (id >= 0)
            get8<DT>(m.table, id, c, left, v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] *= m.scale;
        put8<DT>(m.y, r, c, left, v);
    }
};

static struct embeds embeds_of(const struct nnd_embed *p, const struct nnd_tensor *rows)
{
    return {mat_of(&p->table),       mat_of(&p->y), mat_of(&p->dy),
            (float *)p->dtable.data, p->id,         p->scale == 0 ? 1 : p->scale,
            p->accumulate,           rows->dim[0],  rows->dim[1]};
}

static int embed_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_embed *p = (const struct nnd_embed *)params;
    const struct nnd_tensor *t[] = {&p->table, &p->y};
    return each_typed<embed_rows>(l, common_type(t, 2), p->y.dim[0], p->y.dim[1],
                                  embeds_of(p, &p->y));
}

struct zero_numbers {
    float *to;
    __device__ void operator()(int64_t, int64_t c, int64_t left) const
    {
        for (int i = 0; i < 8 && i < left; i++)
            to[c + i] = 0;
    }
};

#define EMBED_THREADS 128
#define EMBED_COLUMNS 4 /* of a thread at a time */

/* Is id at a place in [0, end)?  The block's threads ask together. */
DEVICE bool seen_before(const int32_t *id, int64_t end, int32_t want, int *found)
{
    for (int64_t at = 0; at < end; at += EMBED_THREADS * 4) {
        __syncthreads();
        if (threadIdx.x == 0)
            *found = 0;
        __syncthreads();
        for (int i = 0; i < 4; i++) {
            int64_t t = at + i * EMBED_THREADS + threadIdx.x;
            if (t < end && id[t] == want)
                *found = 1;
        }
        __syncthreads();
        if (*found)
            return true;
    }
    return false;
}

/* The block of a row that is the first with its number adds up all of them, in row
 * order; `hits` are those among the next EMBED_THREADS rows. */
__global__ void __launch_bounds__(EMBED_THREADS) embed_backward(struct embeds m)
{
    __shared__ int found;
    __shared__ unsigned hits[EMBED_THREADS / 32];
    int64_t first = blockIdx.x, c = (int64_t)blockIdx.y * EMBED_THREADS * EMBED_COLUMNS;
    int32_t want = m.id[first];
    float s[EMBED_COLUMNS] = {0};
    if (want < 0 || seen_before(m.id, first, want, &found))
        return;
#pragma unroll
    for (int i = 0; i < EMBED_COLUMNS; i++) {
        int64_t j = c + i * EMBED_THREADS + threadIdx.x;
        if (m.accumulate && j < m.cols)
            s[i] = m.dtable[want * m.cols + j];
    }
    for (int64_t at = first; at < m.rows; at += EMBED_THREADS) {
        int64_t t = at + threadIdx.x;
        unsigned mine = __ballot_sync(0xffffffffu, t < m.rows && m.id[t] == want);
        __syncthreads();
        if (threadIdx.x % 32 == 0)
            hits[threadIdx.x / 32] = mine;
        __syncthreads();
        for (int w = 0; w < EMBED_THREADS / 32; w++)
            for (unsigned left = hits[w]; left; left &= left - 1) {
                int64_t row = at + w * 32 + __ffs((int)left) - 1;
#pragma unroll
                for (int i = 0; i < EMBED_COLUMNS; i++) {
                    int64_t j = c + i * EMBED_THREADS + threadIdx.x;
                    if (j < m.cols)
                        s[i] += m.scale * get1(m.dy, row, j);
                }
            }
    }
    for (int i = 0; i < EMBED_COLUMNS; i++) {
        int64_t j = c + i * EMBED_THREADS + threadIdx.x;
        if (j < m.cols)
            m.dtable[want * m.cols + j] = s[i];
    }
}

static int embed_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_embed *p = (const struct nnd_embed *)params;
    struct embeds m = embeds_of(p, &p->dy);
    int64_t numbers = p->accumulate ? 0 : p->dtable.dim[0] * p->dtable.dim[1];
    int r = each(l, 1, numbers, zero_numbers{m.dtable});
    int64_t parts = blocks_for(m.cols, EMBED_THREADS * EMBED_COLUMNS);
    return r ? r
             : launch(embed_backward, dim3((unsigned)m.rows, (unsigned)parts),
                      dim3(EMBED_THREADS), 0, l, m);
}

/* ---- select ---- */

__global__ void __launch_bounds__(256)
    select_kernel(struct mat x, struct mat index, struct mat y, int64_t k, int64_t n)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= n)
        return;
    int32_t at = ((const int32_t *)(index.data + i / k * index.step))[i % k];
    if (x.dtype == NND_F32)
        ((float *)(y.data + i / k * y.step))[i % k] = at < 0 ? 0 : get1(x, i / k, at);
    else
        ((uint16_t *)(y.data + i / k * y.step))[i % k] =
            at < 0 ? 0 : ((const uint16_t *)(x.data + i / k * x.step))[at];
}

static int select_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_select *p = (const struct nnd_select *)params;
    int64_t k = p->index.dim[1], n = p->index.dim[0] * k;
    return launch(select_kernel, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, l,
                  mat_of(&p->x), mat_of(&p->index), mat_of(&p->y), k, n);
}

static int select_check(const void *params, struct nnd_error *e)
{
    const struct nnd_select *p = (const struct nnd_select *)params;
    return p->x.dtype == p->y.dtype
               ? NND_OK
               : op_refuse(e, NND_EUNSUPPORTED, "x and y differ in type");
}

extern "C" const struct op cuda_rows_ops[] = {
    {.name = "rows.sum",
     .check = cuda_rows_sum_check,
     .workspace = cuda_rows_sum_workspace,
     .launch = cuda_rows_sum},
    {.name = "rows.gather",
     .params_size = sizeof(struct nnd_rows),
     .args = {ARG(nnd_rows, x, "RN", IN_FLOATS | IN_I32, 0),
              ARG(nnd_rows, y, "TN", IN_FLOATS | IN_I32, 0)},
     .check = move_check,
     .launch = gather_launch},
    {.name = "rows.scatter",
     .params_size = sizeof(struct nnd_rows),
     .args = {ARG(nnd_rows, x, "TN", IN_FLOATS | IN_I32, 0),
              ARG(nnd_rows, y, "RN", IN_FLOATS | IN_I32, 0)},
     .check = move_check,
     .launch = scatter_launch},
    {.name = "dropout", .check = drop_check, .launch = drop_launch},
    {.name = "embed.fwd", .launch = embed_fwd},
    {.name = "embed.bwd",
     .params_size = sizeof(struct nnd_embed),
     .args = {ARG(nnd_embed, dy, "TN", IN_FLOATS, 0),
              ARG(nnd_embed, dtable, "VN", IN_F32, ARG_PACKED)},
     .launch = embed_bwd},
    {.name = "select", .check = select_check, .launch = select_launch},
    {},
};
