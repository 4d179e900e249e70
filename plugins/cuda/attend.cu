/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attend.cu - attn.add and attn.dot, forward and backward: one head, whose weights
 * are kept.
 *
 * A block has a query, backward a key as well: dq is made by the query's block, dk and
 * dv by the key's, so that nothing is added by two blocks.  Scores are eight lanes'
 * each, sums over keys or queries 16 threads' by columns, of every eighth row in order.
 * Scores go through the weights' own memory and gradients of scores through the
 * workspace, so that there may be any number of keys.
 */
#include "families.h"
#include "kern.h"

#define ATTEND_THREADS 128
#define SCORE_LANES    8   /* of a score                           */
#define SUM_COLS       128 /* of a sum over rows, a block's at once */
#define SUM_EVERY      (ATTEND_THREADS * 8 / SUM_COLS)

/* [B,T,N], whichever of B and T is outermost; absent: data NULL. */
struct cube {
    char *data;
    int64_t step[2]; /* bytes */
    int32_t dtype, wide;
};

struct attends {
    struct cube q, k, v, weight, o, dout, dq, dk, dv;
    struct mat w;
    float *slope, *dw; /* [B,T,S]; [B*T,A], what each query adds to dw */
    const int32_t *len;
    float scale;
    int64_t batch, queries, keys, dims, values;
};

DEVICE char *line_at(const struct cube &c, int64_t b, int64_t t)
{
    return c.data + b * c.step[0] + t * c.step[1];
}

/* Columns [c, c + 8) of a line. */
template <int DT>
DEVICE void take8(const struct cube &m, const char *line, int64_t c, int64_t left,
                  float (&v)[8])
{
    load8<DT>(m.dtype, line + c * bytes_of(DT ? DT : m.dtype), m.wide, left, 0, v);
}

DEVICE int64_t keys_of(const struct attends &m, int64_t b)
{
    return m.len ? max((int64_t)0, min((int64_t)m.len[b], m.keys)) : m.keys;
}

/* to[i] = the sum of term(i, column, left) over the columns, for i < n. */
template <class F> DEVICE void scores(float *to, int64_t n, int64_t cols, F term)
{
    int lane = threadIdx.x % SCORE_LANES;
    for (int64_t first = 0; first < n; first += ATTEND_THREADS / SCORE_LANES) {
        int64_t i = first + threadIdx.x / SCORE_LANES;
        float sum = 0;
#pragma unroll 1
        for (int64_t c = lane * 8; i < n && c < cols; c += SCORE_LANES * 8)
            sum += term(i, c, cols - c);
#pragma unroll
        for (int k = SCORE_LANES / 2; k > 0; k /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, k);
        if (lane == 0 && i < n)
            to[i] = sum;
    }
    __syncthreads();
}

/* put(column, sums) of N sums over i < n, which term(i, column, left, sums) adds to. */
template <int N, class F, class P>
DEVICE void column_sums(int64_t n, int64_t cols, F term, P put)
{
    __shared__ float part[N][SUM_EVERY][SUM_COLS];
    int64_t group = threadIdx.x % (SUM_COLS / 8) * 8, column = threadIdx.x;
    int from = threadIdx.x / (SUM_COLS / 8);
    for (; column - (int)threadIdx.x < cols; group += SUM_COLS, column += SUM_COLS) {
        float sum[N][8] = {}, total[N] = {};
        if (group < cols) {
#pragma unroll 1
            for (int64_t i = from; i < n; i += SUM_EVERY)
                term(i, group, cols - group, sum);
#pragma unroll
            for (int k = 0; k < N; k++)
#pragma unroll
                for (int j = 0; j < 8; j++)
                    part[k][from][group % SUM_COLS + j] = sum[k][j];
        }
        __syncthreads();
        if (column < cols) {
#pragma unroll
            for (int k = 0; k < N; k++)
#pragma unroll
                for (int j = 0; j < SUM_EVERY; j++)
                    total[k] += part[k][j][threadIdx.x];
            put(column, total);
        }
        __syncthreads();
    }
}

/* The sum over b of weight[i] lines[i], into a line of `to`. */
template <int DT>
DEVICE void weighted(const struct cube &lines, int64_t b, int64_t n,
                     const float *weight, int64_t step, int64_t cols,
                     const struct cube &to, char *line)
{
    column_sums<1>(
        n, cols,
        [&](int64_t i, int64_t c, int64_t left, float(&sum)[1][8]) {
            float v[8], w = weight[i * step];
            take8<DT>(lines, line_at(lines, b, i), c, left, v);
#pragma unroll
            for (int j = 0; j < 8; j++)
                sum[0][j] += w * v[j];
        },
        [&](int64_t c, const float(&sum)[1]) { put_at(to.dtype, line, c, sum[0]); });
}

/* tanh(a + b) of eight columns. */
template <int DT>
DEVICE void energies(const struct cube &a, const char *x, const struct cube &b,
                     const char *y, int64_t c, int64_t left, float (&v)[8])
{
    float u[8];
    take8<DT>(a, x, c, left, u);
    take8<DT>(b, y, c, left, v);
#pragma unroll
    for (int j = 0; j < 8; j++)
        v[j] = tanhf(u[j] + v[j]);
}

template <int DT, bool ADD>
__global__ void __launch_bounds__(ATTEND_THREADS, 4) attend_forward(struct attends m)
{
    __shared__ float room[ATTEND_THREADS / 32];
    int64_t b = blockIdx.x / m.queries, t = blockIdx.x % m.queries;
    int64_t keys = keys_of(m, b);
    const char *q = line_at(m.q, b, t);
    float *weight = (float *)line_at(m.weight, b, t), most = -INFINITY, sum = 0;
    scores(weight, keys, m.dims, [&](int64_t s, int64_t c, int64_t left) {
        float u[8], v[8];
        if (ADD) {
            energies<DT>(m.q, q, m.k, line_at(m.k, b, s), c, left, u);
            get8<0>(m.w, 0, c, left, v);
        } else {
            take8<DT>(m.q, q, c, left, u);
            take8<DT>(m.k, line_at(m.k, b, s), c, left, v);
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            u[j] *= v[j];
        return sum8(u);
    });
    float factor = ADD ? 1.0f : m.scale;
    for (int64_t s = threadIdx.x; s < keys; s += ATTEND_THREADS)
        most = fmaxf(most, factor * weight[s]);
    most = team_max<ATTEND_THREADS>(most, room);
    for (int64_t s = threadIdx.x; s < keys; s += ATTEND_THREADS) {
        float e = expf(factor * weight[s] - most);
        weight[s] = e;
        sum += e;
    }
    sum = team_sum<ATTEND_THREADS>(sum, room);
    float share = 1.0f / sum; /* the largest one's part is 1 */
    for (int64_t s = threadIdx.x; s < m.keys; s += ATTEND_THREADS)
        weight[s] = s < keys ? weight[s] * share : 0;
    __syncthreads();
    weighted<DT>(m.v, b, keys, weight, 1, m.values, m.o, line_at(m.o, b, t));
}

/* d loss / d score of a query's keys, dq, and what it adds to dw. */
template <int DT, bool ADD>
__global__ void __launch_bounds__(ATTEND_THREADS, 4) attend_queries(struct attends m)
{
    __shared__ float room[ATTEND_THREADS / 32];
    int64_t row = blockIdx.x, b = row / m.queries, t = row % m.queries;
    int64_t keys = keys_of(m, b);
    const char *q = line_at(m.q, b, t), *dout = line_at(m.dout, b, t);
    const float *weight = (const float *)line_at(m.weight, b, t);
    float *slope = m.slope + row * m.keys, mean = 0;
    scores(slope, keys, m.values, [&](int64_t s, int64_t c, int64_t left) {
        float u[8], v[8];
        take8<DT>(m.dout, dout, c, left, u);
        take8<DT>(m.v, line_at(m.v, b, s), c, left, v);
#pragma unroll
        for (int j = 0; j < 8; j++)
            u[j] *= v[j];
        return sum8(u);
    });
    for (int64_t s = threadIdx.x; s < keys; s += ATTEND_THREADS)
        mean += slope[s] * weight[s];
    mean = team_sum<ATTEND_THREADS>(mean, room);
    for (int64_t s = threadIdx.x; s < keys; s += ATTEND_THREADS)
        slope[s] = (ADD ? 1.0f : m.scale) * (weight[s] * (slope[s] - mean));
    __syncthreads();
    char *dq = line_at(m.dq, b, t);
    if constexpr (!ADD) {
        weighted<DT>(m.k, b, keys, slope, 1, m.dims, m.dq, dq);
        return;
    }
    column_sums<2>(
        keys, m.dims,
        [&](int64_t s, int64_t c, int64_t left, float(&sum)[2][8]) {
            float u[8], d = slope[s];
            energies<DT>(m.q, q, m.k, line_at(m.k, b, s), c, left, u);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                sum[0][j] += d * (1.0f - u[j] * u[j]);
                sum[1][j] += d * u[j];
            }
        },
        [&](int64_t c, const float(&sum)[2]) {
            put_at(m.dq.dtype, dq, c, sum[0] * get1(m.w, 0, c));
            m.dw[row * m.dims + c] = sum[1];
        });
}

/* dk and dv of a key. */
template <int DT, bool ADD>
__global__ void __launch_bounds__(ATTEND_THREADS, 4) attend_keys(struct attends m)
{
    int64_t b = blockIdx.x / m.keys, s = blockIdx.x % m.keys;
    int64_t queries = s < keys_of(m, b) ? m.queries : 0;
    const float *slope = m.slope + b * m.queries * m.keys + s;
    const char *k = line_at(m.k, b, s);
    char *dk = line_at(m.dk, b, s);
    weighted<DT>(m.dout, b, queries, (const float *)line_at(m.weight, b, 0) + s,
                 m.weight.step[1] / (int64_t)sizeof(float), m.values, m.dv,
                 line_at(m.dv, b, s));
    if constexpr (!ADD) {
        weighted<DT>(m.q, b, queries, slope, m.keys, m.dims, m.dk, dk);
        return;
    }
    column_sums<1>(
        queries, m.dims,
        [&](int64_t t, int64_t c, int64_t left, float(&sum)[1][8]) {
            float u[8], d = slope[t * m.keys];
            energies<DT>(m.q, line_at(m.q, b, t), m.k, k, c, left, u);
#pragma unroll
            for (int j = 0; j < 8; j++)
                sum[0][j] += d * (1.0f - u[j] * u[j]);
        },
        [&](int64_t c, const float(&sum)[1]) {
            put_at(m.dk.dtype, dk, c, sum[0] * get1(m.w, 0, c));
        });
}

static struct cube cube_of(const struct nnd_tensor *t)
{
    if (!t->ndim)
        return {NULL, {0, 0}, 0, 0};
    int size = size_of(t->dtype);
    struct cube c = {
        (char *)t->data, {t->stride[0] * size, t->stride[1] * size}, t->dtype, 0};
    c.wide = (uintptr_t)c.data % 16 == 0 && c.step[0] % 16 == 0 && c.step[1] % 16 == 0;
    return c;
}

/* Gradients of scores, and what is beside them begins at a multiple of 16 bytes. */
static int64_t slopes_of(const struct nnd_attend *p)
{
    return (p->q.dim[0] * p->q.dim[1] * p->k.dim[1] + 3) / 4 * 4;
}

static struct attends attends_of(const struct nnd_attend *p, float *workspace)
{
    return {cube_of(&p->q),  cube_of(&p->k),
            cube_of(&p->v),  cube_of(&p->weight),
            cube_of(&p->o),  cube_of(&p->dout),
            cube_of(&p->dq), cube_of(&p->dk),
            cube_of(&p->dv), mat_of(&p->w),
            workspace,       workspace ? workspace + slopes_of(p) : NULL,
            p->len,          p->scale,
            p->q.dim[0],     p->q.dim[1],
            p->k.dim[1],     p->q.dim[2],
            p->v.dim[2]};
}

/* The kernel of the type that q, k, v and dout share. */
#define BY_TYPE(KERNEL, ADD, DTYPE, ...)                                               \
    ((DTYPE) == NND_BF16  ? launch(KERNEL<NND_BF16, ADD>, __VA_ARGS__)                 \
     : (DTYPE) == NND_F32 ? launch(KERNEL<NND_F32, ADD>, __VA_ARGS__)                  \
                          : launch(KERNEL<0, ADD>, __VA_ARGS__))

template <bool ADD> static int forward(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attend *p = (const struct nnd_attend *)params;
    const struct nnd_tensor *t[] = {&p->q, &p->k, &p->v};
    struct attends m = attends_of(p, NULL);
    return BY_TYPE(attend_forward, ADD, common_type(t, 3),
                   dim3((unsigned)(m.batch * m.queries)), dim3(ATTEND_THREADS), 0, l,
                   m);
}

/* The sum over rows of what each query adds to dw. */
static struct nnd_rows weight_sums(const struct nnd_attend *p)
{
    int64_t rows = p->q.dim[0] * p->q.dim[1], dims = p->q.dim[2];
    struct nnd_rows sums = {};
    sums.struct_size = sizeof sums;
    sums.x.ndim = 2;
    sums.x.dtype = NND_F32;
    sums.x.dim[0] = rows, sums.x.dim[1] = dims;
    sums.x.stride[0] = dims, sums.x.stride[1] = 1;
    sums.y = p->dw;
    return sums;
}

template <bool ADD> static int backward(const void *params, const struct nnd_launch *l)
{
    const struct nnd_attend *p = (const struct nnd_attend *)params;
    const struct nnd_tensor *t[] = {&p->q, &p->k, &p->v, &p->dout};
    struct attends m = attends_of(p, (float *)l->workspace);
    int dtype = common_type(t, 4);
    int r = BY_TYPE(attend_queries, ADD, dtype, dim3((unsigned)(m.batch * m.queries)),
                    dim3(ATTEND_THREADS), 0, l, m);
    if (!r)
        r = BY_TYPE(attend_keys, ADD, dtype, dim3((unsigned)(m.batch * m.keys)),
                    dim3(ATTEND_THREADS), 0, l, m);
    if (r || !ADD)
        return r;
    struct nnd_rows sums = weight_sums(p);
    struct nnd_launch rest = *l;
    sums.x.data = m.dw;
    rest.workspace = m.dw + m.batch * m.queries * m.dims;
    return cuda_rows_sum(&sums, &rest);
}

template <bool ADD> static size_t backward_workspace(const void *params)
{
    const struct nnd_attend *p = (const struct nnd_attend *)params;
    struct nnd_rows sums = weight_sums(p);
    int64_t parts = ADD ? sums.x.dim[0] * sums.x.dim[1] : 0;
    return (size_t)(slopes_of(p) + parts) * sizeof(float) +
           (ADD ? cuda_rows_sum_workspace(&sums) : 0);
}

static int attend_check(const void *params, struct nnd_error *e)
{
    const struct nnd_attend *p = (const struct nnd_attend *)params;
    const int64_t limit = 0x7fffffff; /* of a grid */
    if (p->q.dim[0] * p->q.dim[1] > limit || p->k.dim[0] * p->k.dim[1] > limit)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%lld queries and %lld keys, wanted at most %lld",
                         (long long)(p->q.dim[0] * p->q.dim[1]),
                         (long long)(p->k.dim[0] * p->k.dim[1]), (long long)limit);
    return NND_OK;
}

/* Besides: what the sums over queries can have. */
static int add_check(const void *params, struct nnd_error *e)
{
    struct nnd_rows sums = weight_sums((const struct nnd_attend *)params);
    int r = attend_check(params, e);
    return r ? r : cuda_rows_sum_check(&sums, e);
}

#define ATTEND_ARG(field, dims) ARG(nnd_attend, field, dims, IN_FLOATS, ARG_ANY_ORDER)
#define ATTEND_BOTH                                                                    \
    ATTEND_ARG(q, "BTA"), ATTEND_ARG(k, "BSA"), ATTEND_ARG(v, "BSN"),                  \
        ARG(nnd_attend, weight, "BTS", IN_F32, ARG_ANY_ORDER)
#define ATTEND_BACK                                                                    \
    ATTEND_ARG(dout, "BTN"), ATTEND_ARG(dq, "BTA"), ATTEND_ARG(dk, "BSA"),             \
        ATTEND_ARG(dv, "BSN")

extern "C" const struct op cuda_attend_ops[] = {
    {.name = "attn.add.fwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {ATTEND_BOTH, ARG(nnd_attend, w, "A", IN_FLOATS, 0), ATTEND_ARG(o, "BTN")},
     .check = attend_check,
     .launch = forward<true>},
    {.name = "attn.add.bwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {ATTEND_BOTH, ARG(nnd_attend, w, "A", IN_FLOATS, 0), ATTEND_BACK,
              ARG(nnd_attend, dw, "A", IN_F32, 0)},
     .check = add_check,
     .workspace = backward_workspace<true>,
     .launch = backward<true>},
    {.name = "attn.dot.fwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {ATTEND_BOTH, ATTEND_ARG(o, "BTN")},
     .check = attend_check,
     .launch = forward<false>},
    {.name = "attn.dot.bwd",
     .params_size = sizeof(struct nnd_attend),
     .args = {ATTEND_BOTH, ATTEND_BACK},
     .check = attend_check,
     .workspace = backward_workspace<false>,
     .launch = backward<false>},
    {},
};
