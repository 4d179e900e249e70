/* SPDX-License-Identifier: Apache-2.0 */
/*
 * permute.cu - rows to experts and back: moe.sort, moe.permute, moe.unpermute,
 * moe.dgate.
 *
 * Sorting counts: a block takes SORT_CHUNK choices, a warp a run of them, and finds
 * for each how many of its expert came before it there; one block then adds up the
 * chunks and the experts; the last pass puts every choice in its place.  Integers
 * alone, so that no order of threads shows.
 */
#include "families.h"
#include "kern.h"

#define SORT_WARPS  8
#define SORT_RUN    256 /* choices of a warp */
#define SORT_CHUNK  (SORT_WARPS * SORT_RUN)
#define EXPERTS_MAX 1024

struct sorts {
    struct mat expert, place;
    int32_t *source, *total, *before; /* before [chunks,experts], then [1] real ones */
    int32_t top_k, experts;
    int64_t choices, chunks, length;
};

DEVICE int32_t expert_of(const struct sorts &m, int64_t i)
{
    return i < m.choices ? ((const int32_t *)(m.expert.data +
                                              i / m.top_k * m.expert.step))[i % m.top_k]
                         : -1;
}

DEVICE int32_t *place_of(const struct sorts &m, int64_t i)
{
    return (int32_t *)(m.place.data + i / m.top_k * m.place.step) + i % m.top_k;
}

/* Of each choice, how many of its expert come before it in the chunk; of the chunk,
 * how many of each expert. */
__global__ void __launch_bounds__(SORT_WARPS * 32) sort_count(struct sorts m)
{
    int32_t *count = (int32_t *)shared_dynamic(); /* [warps,experts] */
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int32_t *mine = count + warp * m.experts;
    int64_t first = (int64_t)blockIdx.x * SORT_CHUNK + warp * SORT_RUN;
    for (int e = lane; e < m.experts; e += 32)
        mine[e] = 0;
    __syncwarp();
    for (int64_t i = first + lane; i < first + SORT_RUN; i += 32) {
        int32_t e = expert_of(m, i);
        unsigned same = __match_any_sync(0xffffffffu, e);
        int32_t have = e >= 0 ? mine[e] : 0;
        __syncwarp();
        if (e >= 0) {
            *place_of(m, i) = have + __popc(same & ((1u << lane) - 1));
            if ((same >> lane) == 1u) /* the last of them */
                mine[e] = have + __popc(same);
        }
        __syncwarp();
    }
    __syncthreads();
    for (int e = threadIdx.x; e < m.experts; e += SORT_WARPS * 32) {
        int32_t sum = 0;
        for (int w = 0; w < SORT_WARPS; w++) {
            int32_t n = count[w * m.experts + e];
            count[w * m.experts + e] = sum;
            sum += n;
        }
        m.before[(int64_t)blockIdx.x * m.experts + e] = sum;
    }
    __syncthreads();
    for (int64_t i = first + lane; i < first + SORT_RUN; i += 32) {
        int32_t e = expert_of(m, i);
        if (e >= 0)
            *place_of(m, i) += mine[e];
    }
}

/* Where each chunk's choices of each expert begin. */
__global__ void __launch_bounds__(EXPERTS_MAX) sort_add(struct sorts m)
{
    __shared__ int32_t end[EXPERTS_MAX];
    int e = threadIdx.x;
    int32_t sum = 0;
    if (e < m.experts) {
        for (int64_t c = 0; c < m.chunks; c++) {
            int32_t n = m.before[c * m.experts + e];
            m.before[c * m.experts + e] = sum;
            sum += n;
        }
        m.total[e] = sum;
    }
    end[e] = sum;
    __syncthreads();
    for (int step = 1; step < EXPERTS_MAX; step *= 2) {
        int32_t more = e >= step ? end[e - step] : 0;
        __syncthreads();
        end[e] += more;
        __syncthreads();
    }
    if (e < m.experts)
        for (int64_t c = 0; c < m.chunks; c++)
            m.before[c * m.experts + e] += end[e] - sum;
    if (e == EXPERTS_MAX - 1)
        m.before[m.chunks * m.experts] = end[e];
}

__global__ void __launch_bounds__(256) sort_place(struct sorts m)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int32_t real = m.before[m.chunks * m.experts];
    if (i < m.choices) {
        int32_t e = expert_of(m, i), *place = place_of(m, i);
        int32_t at = e < 0 ? -1 : *place + m.before[i / SORT_CHUNK * m.experts + e];
        *place = at;
        if (e >= 0)
            m.source[at] = (int32_t)i;
    }
    if (i >= real && i < m.length)
        m.source[i] = -1;
}

static int64_t chunks_of(const struct nnd_sort *p)
{
    return blocks_for(p->expert.dim[0] * p->expert.dim[1], SORT_CHUNK);
}

static int sort_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_sort *p = (const struct nnd_sort *)params;
    struct sorts m = {mat_of(&p->expert),
                      mat_of(&p->place),
                      (int32_t *)p->source.data,
                      (int32_t *)p->total.data,
                      (int32_t *)l->workspace,
                      (int32_t)p->expert.dim[1],
                      (int32_t)p->total.dim[0],
                      p->expert.dim[0] * p->expert.dim[1],
                      chunks_of(p),
                      p->source.dim[0]};
    size_t shared = SORT_WARPS * (size_t)m.experts * sizeof(int32_t);
    int64_t items = m.choices > m.length ? m.choices : m.length;
    int r = launch(sort_count, dim3((unsigned)m.chunks), dim3(SORT_WARPS * 32), shared,
                   l, m);
    if (!r)
        r = launch(sort_add, dim3(1), dim3(EXPERTS_MAX), 0, l, m);
    return r ? r
             : launch(sort_place, dim3((unsigned)blocks_for(items, 256)), dim3(256), 0,
                      l, m);
}

static size_t sort_workspace(const void *params)
{
    const struct nnd_sort *p = (const struct nnd_sort *)params;
    return (size_t)(chunks_of(p) * p->total.dim[0] + 1) * sizeof(int32_t);
}

static int sort_check(const void *params, struct nnd_error *e)
{
    const struct nnd_sort *p = (const struct nnd_sort *)params;
    int64_t want = p->expert.dim[0] * p->expert.dim[1];
    if (p->source.dim[0] < want)
        return op_refuse(e, NND_EINVAL, "source: %lld elements, wanted %lld",
                         (long long)p->source.dim[0], (long long)want);
    if (p->total.dim[0] > EXPERTS_MAX || want > INT32_MAX)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%lld experts and %lld choices, wanted at most %d and %d",
                         (long long)p->total.dim[0], (long long)want, EXPERTS_MAX,
                         INT32_MAX);
    return NND_OK;
}

/* ---- rows ---- */

struct permutes {
    struct mat x, y, gate, dy, dgate, place;
    const int32_t *source;
    int32_t top_k;
    int64_t rows, cols;
};

DEVICE float gate_of(const struct permutes &m, int64_t t, int k)
{
    return m.gate.data ? ((const float *)(m.gate.data + t * m.gate.step))[k] : 1;
}

template <int DT> struct permute_rows {
    struct permutes m;
    __device__ void operator()(int64_t j, int64_t c, int64_t left) const
    {
        float v[8];
        int32_t from = m.source[j];
        if (from < 0)
            return;
        float g = gate_of(m, from / m.top_k, from % m.top_k);
        get8<DT>(m.x, from / m.top_k, c, left, v);
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] *= g;
        put8<DT>(m.y, j, c, left, v);
    }
};

template <int DT> struct unpermute_rows {
    struct permutes m;
    __device__ void operator()(int64_t t, int64_t c, int64_t left) const
    {
        float s[8] = {0}, v[8];
        const int32_t *place = (const int32_t *)(m.place.data + t * m.place.step);
        for (int k = 0; k < m.top_k; k++) {
            if (place[k] < 0)
                continue;
            float g = gate_of(m, t, k);
            get8<DT>(m.x, place[k], c, left, v);
#pragma unroll
            for (int i = 0; i < 8; i++)
                s[i] += v[i] * g;
        }
        put8<DT>(m.y, t, c, left, s);
    }
};

/* A warp for each choice. */
template <int DT> __global__ void __launch_bounds__(256) dgate_kernel(struct permutes m)
{
    int64_t i = (int64_t)blockIdx.x * 8 + threadIdx.x / 32;
    if (i >= m.rows * m.top_k)
        return;
    int64_t t = i / m.top_k, k = i % m.top_k;
    int32_t at = ((const int32_t *)(m.place.data + t * m.place.step))[k];
    float s = 0;
    for (int64_t c = threadIdx.x % 32 * 8; at >= 0 && c < m.cols; c += 256) {
        float a[8], b[8];
        get8<DT>(m.dy, t, c, m.cols - c, a);
        get8<DT>(m.x, at, c, m.cols - c, b);
#pragma unroll
        for (int j = 0; j < 8; j++)
            a[j] *= b[j];
        s += sum8(a);
    }
    s = warp_sum(s);
    if (threadIdx.x % 32 == 0)
        ((float *)(m.dgate.data + t * m.dgate.step))[k] = s;
}

static struct permutes permutes_of(const struct nnd_permute *p)
{
    return {mat_of(&p->x),
            mat_of(&p->y),
            mat_of(&p->gate),
            mat_of(&p->dy),
            mat_of(&p->dgate),
            mat_of(&p->place),
            (const int32_t *)p->source.data,
            p->top_k,
            p->dy.dim[0],
            p->x.dim[1]};
}

static int permute_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = (const struct nnd_permute *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    int64_t rows = p->source.dim[0] < p->y.dim[0] ? p->source.dim[0] : p->y.dim[0];
    return each_typed<permute_rows>(l, common_type(t, 2), rows, p->x.dim[1],
                                    permutes_of(p));
}

static int unpermute_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = (const struct nnd_permute *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->y};
    return each_typed<unpermute_rows>(l, common_type(t, 2), p->y.dim[0], p->y.dim[1],
                                      permutes_of(p));
}

static int dgate_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_permute *p = (const struct nnd_permute *)params;
    const struct nnd_tensor *t[] = {&p->x, &p->dy};
    dim3 grid((unsigned)blocks_for(p->dy.dim[0] * p->top_k, 8));
    return common_type(t, 2) == NND_BF16
               ? launch(dgate_kernel<NND_BF16>, grid, dim3(256), 0, l, permutes_of(p))
               : launch(dgate_kernel<0>, grid, dim3(256), 0, l, permutes_of(p));
}

static int permute_check(const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = (const struct nnd_permute *)params;
    return p->top_k >= 1 ? NND_OK
                         : op_refuse(e, NND_EINVAL, "top_k %d, wanted >= 1", p->top_k);
}

static int place_check(const void *params, struct nnd_error *e)
{
    const struct nnd_permute *p = (const struct nnd_permute *)params;
    if (p->place.dim[1] != p->top_k)
        return op_refuse(e, NND_EINVAL, "place: dim 1 is %lld, wanted top_k = %d",
                         (long long)p->place.dim[1], p->top_k);
    return permute_check(params, e);
}

extern "C" const struct op cuda_permute_ops[] = {
    {.name = "moe.sort",
     .check = sort_check,
     .workspace = sort_workspace,
     .launch = sort_launch},
    {.name = "moe.permute", .check = permute_check, .launch = permute_launch},
    {.name = "moe.unpermute", .check = place_check, .launch = unpermute_launch},
    {.name = "moe.dgate", .check = place_check, .launch = dgate_launch},
    {},
};
