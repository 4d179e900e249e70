/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.cu - moe.route: which experts a row goes to, and with what weight; argmax.
 *
 * A row is a warp's, its scores in shared memory.  Forward leaves probabilities and
 * log-sum-exp in the workspace, then sums go over the rows of a group in row order,
 * an expert to a thread.
 */
#include "families.h"
#include "kern.h"

#define EXPERTS_MAX 1024
#define WARPS       4

/* The contract's 1e-20: no quotient is 0 / 0 when every score is 0. */
#define TINY 1e-20f

struct routes {
    struct mat z, expert, gate, count, psum, dgate, dz, aux;
    const float *bias, *z_weight;
    const int32_t *pos;
    float *prob, *lse; /* [T,E] [T] */
    double *zsq;
    int32_t sigmoid, renormalize, top_k, group_rows, experts;
    float scale;
    int64_t rows;
};

/* softmax of a row into q; lse.  The warp's lanes own columns lane, lane + 32, ... */
DEVICE float row_softmax(const float *z, int n, float *q)
{
    int lane = threadIdx.x % 32;
    float most = -INFINITY, sum = 0;
    for (int e = lane; e < n; e += 32)
        most = fmaxf(most, z[e]);
    most = warp_max(most);
    for (int e = lane; e < n; e += 32) {
        q[e] = expf(z[e] - most);
        sum += q[e];
    }
    sum = warp_sum(sum);
    float share = inverse(sum);
    for (int e = lane; e < n; e += 32)
        q[e] *= share;
    return most + logf(sum);
}

DEVICE float row_sigmoid(const float *z, int n, float *s)
{
    float sum = 0;
    for (int e = threadIdx.x % 32; e < n; e += 32) {
        s[e] = sigmoid_of(z[e]);
        sum += s[e];
    }
    return warp_sum(sum);
}

/* The largest of score, the first of equal ones; all lanes. */
DEVICE int row_best(const float *score, int n)
{
    float most = -INFINITY;
    int best = n;
    for (int e = threadIdx.x % 32; e < n; e += 32)
        if (best == n || score[e] > most) {
            most = score[e];
            best = e;
        }
    for (int i = 16; i > 0; i /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, most, i);
        int at = __shfl_xor_sync(0xffffffffu, best, i);
        if (at < n && (best == n || other > most || (other == most && at < best))) {
            most = other;
            best = at;
        }
    }
    return best;
}

__global__ void __launch_bounds__(WARPS * 32) route_forward(struct routes m)
{
    float *s = (float *)shared_dynamic() + threadIdx.x / 32 * 2 * m.experts;
    float *score = s + m.experts;
    int64_t t = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32, n = m.experts;
    if (t >= m.rows)
        return;
    int32_t *expert = (int32_t *)(m.expert.data + t * m.expert.step);
    float *gate = (float *)(m.gate.data + t * m.gate.step);
    if (m.pos[t] < 0) {
        for (int k = lane; k < m.top_k; k += 32) {
            expert[k] = -1;
            gate[k] = 0;
        }
        return;
    }
    const float *z = (const float *)(m.z.data + t * m.z.step);
    float lse = row_softmax(z, n, s), sum = 0;
    if (lane == 0)
        m.lse[t] = lse;
    if (m.sigmoid)
        sum = row_sigmoid(z, n, s);
    float share = m.sigmoid ? inverse(sum + TINY) : 1;
    for (int e = lane; e < n; e += 32) {
        m.prob[t * n + e] = s[e] * share;
        score[e] = s[e] + (m.bias ? m.bias[e] : 0);
    }
    __syncwarp();
    float all = 0;
    for (int k = 0; k < m.top_k; k++) {
        int best = row_best(score, n);
        all += s[best];
        if (lane == 0)
            expert[k] = best;
        __syncwarp();
        if (lane == best % 32)
            score[best] = -INFINITY;
        __syncwarp();
    }
    float share_all = m.renormalize ? m.scale * inverse(all + TINY) : m.scale;
    for (int k = lane; k < m.top_k; k += 32)
        gate[k] = s[expert[k]] * share_all;
}

/* count and psum of a group, an expert to a thread. */
__global__ void __launch_bounds__(64) route_collect(struct routes m)
{
    int e = blockIdx.x * 64 + threadIdx.x;
    int64_t first = (int64_t)blockIdx.y * m.group_rows;
    int64_t end = first + m.group_rows < m.rows ? first + m.group_rows : m.rows;
    double sum = 0;
    int32_t count = 0;
    if (e >= m.experts)
        return;
#pragma unroll 4
    for (int64_t t = first; t < end; t++) {
        const int32_t *expert = (const int32_t *)(m.expert.data + t * m.expert.step);
        if (m.pos[t] < 0)
            continue;
        sum += (double)m.prob[t * m.experts + e];
        for (int k = 0; m.count.data && k < m.top_k; k++)
            count += expert[k] == e;
    }
    if (m.psum.data)
        ((double *)(m.psum.data + blockIdx.y * m.psum.step))[e] = sum;
    if (m.count.data)
        ((int32_t *)(m.count.data + blockIdx.y * m.count.step))[e] = count;
}

/* Blocks of rows, each in order, then the blocks in order. */
__global__ void __launch_bounds__(256) route_zsq(struct routes m)
{
    __shared__ double part[256];
    double all = 0;
    int64_t blocks = (m.rows + NND_BLOCK_ROWS - 1) / NND_BLOCK_ROWS;
    for (int64_t b = 0; b < blocks; b += 256) {
        int64_t first = (b + threadIdx.x) * NND_BLOCK_ROWS;
        double sum = 0;
        for (int64_t t = first; t < first + NND_BLOCK_ROWS && t < m.rows; t++)
            if (m.pos[t] >= 0)
                sum += (double)m.lse[t] * (double)m.lse[t];
        __syncthreads();
        part[threadIdx.x] = sum;
        __syncthreads();
        for (int i = 0; threadIdx.x == 0 && i < 256; i++)
            all += part[i];
    }
    if (threadIdx.x == 0)
        *m.zsq = all;
}

/* d loss / d s through the gates of a row, added to ds; one lane. */
DEVICE void gate_slopes(const struct routes &m, int64_t t, const float *s, float *ds)
{
    const int32_t *expert = (const int32_t *)(m.expert.data + t * m.expert.step);
    const float *dg = (const float *)(m.dgate.data + t * m.dgate.step);
    float sum = 0, inner = 0;
    for (int k = 0; k < m.top_k; k++) {
        sum += s[expert[k]];
        inner += dg[k] * s[expert[k]];
    }
    sum += TINY;
    for (int k = 0; k < m.top_k; k++)
        ds[expert[k]] +=
            m.renormalize ? m.scale * (dg[k] - inner / sum) / sum : m.scale * dg[k];
}

DEVICE float row_dot(const float *a, const float *b, int n)
{
    float sum = 0;
    for (int e = threadIdx.x % 32; e < n; e += 32)
        sum += a[e] * b[e];
    return warp_sum(sum);
}

__global__ void __launch_bounds__(WARPS * 32) route_backward(struct routes m)
{
    int lane = threadIdx.x % 32, n = m.experts;
    float *q = (float *)shared_dynamic() + threadIdx.x / 32 * 3 * n;
    float *s = q + n, *ds = s + n;
    int64_t t = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    if (t >= m.rows)
        return;
    float *dz = (float *)(m.dz.data + t * m.dz.step);
    if (m.pos[t] < 0) {
        for (int e = lane; e < n; e += 32)
            dz[e] = 0;
        return;
    }
    const float *z = (const float *)(m.z.data + t * m.z.step);
    const float *aux =
        m.aux.data ? (const float *)(m.aux.data + t / m.group_rows * m.aux.step) : NULL;
    float lse = row_softmax(z, n, q), inner = 0, sum = 1;
    float zw = m.z_weight ? 2.0f * *m.z_weight * lse : 0;
    if (m.sigmoid)
        sum = row_sigmoid(z, n, s) + TINY;
    for (int e = lane; !m.sigmoid && e < n; e += 32)
        s[e] = q[e];
    __syncwarp();
    if (m.sigmoid && aux)
        inner = row_dot(aux, s, n) / sum;
    for (int e = lane; e < n; e += 32)
        ds[e] = aux ? (aux[e] - inner) / sum : 0;
    __syncwarp();
    if (lane == 0)
        gate_slopes(m, t, s, ds);
    __syncwarp();
    if (!m.sigmoid)
        inner = row_dot(ds, s, n);
    for (int e = lane; e < n; e += 32)
        dz[e] = (m.sigmoid ? ds[e] * (s[e] * (1.0f - s[e])) : s[e] * (ds[e] - inner)) +
                zw * q[e];
}

static struct routes routes_of(const struct nnd_route *p, const struct nnd_launch *l)
{
    struct routes m = {};
    m.z = mat_of(&p->z), m.expert = mat_of(&p->expert), m.gate = mat_of(&p->gate);
    m.count = mat_of(&p->count), m.psum = mat_of(&p->psum);
    m.dgate = mat_of(&p->dgate), m.dz = mat_of(&p->dz), m.aux = mat_of(&p->aux_weight);
    m.bias = p->bias.ndim ? (const float *)p->bias.data : NULL;
    m.z_weight = p->z_weight;
    m.pos = p->pos;
    m.rows = p->z.dim[0];
    m.experts = (int32_t)p->z.dim[1];
    m.prob = (float *)l->workspace;
    m.lse = m.prob + m.rows * m.experts;
    m.zsq = p->zsq.ndim ? (double *)p->zsq.data : NULL;
    m.sigmoid = p->score == NND_SCORE_SIGMOID;
    m.renormalize = p->renormalize;
    m.top_k = p->top_k;
    m.group_rows = p->group_rows;
    m.scale = p->scale;
    return m;
}

static int route_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_route *p = (const struct nnd_route *)params;
    struct routes m = routes_of(p, l);
    int64_t groups = p->count.ndim  ? p->count.dim[0]
                     : p->psum.ndim ? p->psum.dim[0]
                                    : 0;
    int r =
        launch(route_forward, dim3((unsigned)blocks_for(m.rows, WARPS)),
               dim3(WARPS * 32), WARPS * 2 * (size_t)m.experts * sizeof(float), l, m);
    if (!r && groups)
        r = launch(route_collect,
                   dim3((unsigned)blocks_for(m.experts, 64), (unsigned)groups),
                   dim3(64), 0, l, m);
    if (!r && m.zsq)
        r = launch(route_zsq, dim3(1), dim3(256), 0, l, m);
    return r;
}

static int route_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_route *p = (const struct nnd_route *)params;
    struct routes m = routes_of(p, l);
    return launch(route_backward, dim3((unsigned)blocks_for(m.rows, WARPS)),
                  dim3(WARPS * 32), WARPS * 3 * (size_t)m.experts * sizeof(float), l,
                  m);
}

static int route_check(const void *params, struct nnd_error *e)
{
    const struct nnd_route *p = (const struct nnd_route *)params;
    int64_t n = p->z.dim[1];
    int64_t groups = p->count.ndim  ? p->count.dim[0]
                     : p->psum.ndim ? p->psum.dim[0]
                                    : 0;
    if (n > EXPERTS_MAX || groups > 65535)
        return op_refuse(e, NND_EUNSUPPORTED,
                         "%lld experts and %lld groups, wanted at most %d and 65535",
                         (long long)n, (long long)groups, EXPERTS_MAX);
    if (p->top_k < 1 || p->top_k > n || p->expert.dim[1] != p->top_k)
        return op_refuse(e, NND_EINVAL, "top_k %d, wanted 1 to %lld, as in expert",
                         p->top_k, (long long)n);
    if (p->group_rows < 1)
        return op_refuse(e, NND_EINVAL, "group_rows %d, wanted >= 1", p->group_rows);
    return NND_OK;
}

static size_t route_workspace(const void *params)
{
    const struct nnd_route *p = (const struct nnd_route *)params;
    return (size_t)p->z.dim[0] * (size_t)(p->z.dim[1] + 1) * sizeof(float);
}

/* ---- argmax ---- */

struct choices {
    struct mat x, index, value;
    int32_t k;
    int64_t cols;
};

/* A number as "argmax" orders it. */
DEVICE float number_of(float v)
{
    return v == v ? v : -INFINITY;
}

/* a at place i before b at place j? */
DEVICE bool is_before(float a, int64_t i, float b, int64_t j)
{
    return a > b || (a == b && i < j);
}

/* Each of the k largest is the largest of those behind the one before it. */
__global__ void __launch_bounds__(256) argmax_kernel(struct choices m)
{
    __shared__ float most[8];
    __shared__ int64_t place[8];
    int64_t r = blockIdx.x, last_at = -1;
    float last = INFINITY;
    for (int k = 0; k < m.k; k++) {
        float best = -INFINITY;
        int64_t at = m.cols;
        for (int64_t i = threadIdx.x; i < m.cols; i += 256) {
            float v = number_of(get1(m.x, r, i));
            if ((last_at < 0 || is_before(last, last_at, v, i)) &&
                (at == m.cols || is_before(v, i, best, at))) {
                best = v;
                at = i;
            }
        }
        for (int i = 16; i > 0; i /= 2) {
            float v = __shfl_xor_sync(0xffffffffu, best, i);
            int64_t j = __shfl_xor_sync(0xffffffffu, at, i);
            if (j < m.cols && (at == m.cols || is_before(v, j, best, at))) {
                best = v;
                at = j;
            }
        }
        __syncthreads();
        if (threadIdx.x % 32 == 0) {
            most[threadIdx.x / 32] = best;
            place[threadIdx.x / 32] = at;
        }
        __syncthreads();
        last = most[0];
        last_at = place[0];
        for (int w = 1; w < 8; w++)
            if (place[w] < m.cols &&
                (last_at == m.cols || is_before(most[w], place[w], last, last_at))) {
                last = most[w];
                last_at = place[w];
            }
        if (threadIdx.x == 0) {
            ((int32_t *)(m.index.data + r * m.index.step))[k] = (int32_t)last_at;
            if (m.value.data)
                ((float *)(m.value.data + r * m.value.step))[k] = get1(m.x, r, last_at);
        }
    }
}

static int argmax_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_choose *p = (const struct nnd_choose *)params;
    struct choices m = {mat_of(&p->x), mat_of(&p->index), mat_of(&p->value),
                        (int32_t)p->index.dim[1], p->x.dim[1]};
    return launch(argmax_kernel, dim3((unsigned)p->x.dim[0]), dim3(256), 0, l, m);
}

static int argmax_check(const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = (const struct nnd_choose *)params;
    if (p->index.dim[1] > p->x.dim[1])
        return op_refuse(e, NND_EINVAL, "%lld of %lld columns are wanted",
                         (long long)p->index.dim[1], (long long)p->x.dim[1]);
    return NND_OK;
}

extern "C" const struct op cuda_route_ops[] = {
    {.name = "moe.route.fwd",
     .check = route_check,
     .workspace = route_workspace,
     .launch = route_fwd},
    {.name = "moe.route.bwd", .check = route_check, .launch = route_bwd},
    {.name = "argmax", .check = argmax_check, .launch = argmax_launch},
    {},
};
