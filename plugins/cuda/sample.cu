/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.cu - sample: one index of each row, drawn.
 *
 * A number and its column make one key, whose order is the contract's: larger numbers
 * first, then lower columns, NaN below all.  A row's keys are sorted digit by digit;
 * one thread adds their weights in that order.
 */
#include "families.h"
#include "kern.h"

#define SAMPLE_THREADS 256
#define SAMPLE_STREAM  0x53414d50u /* sets sampling apart from other uses of a seed */

struct draws {
    struct mat x, index, value;
    int64_t rows, cols;
    float temperature, top_p;
    int64_t top_k;
    const uint64_t *seed;
    const int32_t *pos;
};

DEVICE uint64_t key_of(const struct draws &m, int64_t r, int64_t c)
{
    float v = get1(m.x, r, c) + 0.0f; /* -0 is 0 */
    unsigned u = v == v ? __float_as_uint(v) : 0xff800000u;
    u = u >> 31 ? ~u : u | 0x80000000u;
    return (uint64_t)u << 32 | (0xffffffffu - (unsigned)c);
}

DEVICE int64_t column_of(uint64_t key)
{
    return (int64_t)(0xffffffffu - (unsigned)key);
}

DEVICE double number_of(uint64_t key)
{
    unsigned u = (unsigned)(key >> 32);
    return (double)__uint_as_float(u >> 31 ? u & 0x7fffffffu : ~u);
}

DEVICE void put_choice(const struct draws &m, int64_t r, int64_t c)
{
    ((int32_t *)(m.index.data + r * m.index.step))[0] = (int32_t)c;
    if (m.value.data)
        ((float *)(m.value.data + r * m.value.step))[0] = c < 0 ? 0 : get1(m.x, r, c);
}

#define DIGITS 16

/* One pass of a stable sort, largest first, by the digit at `shift`: each thread has a
 * run of the keys, count[digit][thread] is where its next one of that digit goes. */
DEVICE void sort_pass(const uint64_t *from, uint64_t *to, int64_t n, int shift,
                      unsigned (*count)[SAMPLE_THREADS], unsigned *room)
{
    int64_t each = (n + SAMPLE_THREADS - 1) / SAMPLE_THREADS;
    int64_t lo = threadIdx.x * each, hi = lo + each < n ? lo + each : n;
    for (int d = 0; d < DIGITS; d++)
        count[d][threadIdx.x] = 0;
    for (int64_t i = lo; i < hi; i++)
        count[DIGITS - 1 - (from[i] >> shift & (DIGITS - 1))][threadIdx.x]++;
    __syncthreads();
    /* A thread adds up DIGITS counts in a row, and one of them all of these. */
    unsigned *row = &count[0][0] + threadIdx.x * DIGITS, sum = 0;
    for (int i = 0; i < DIGITS; i++)
        sum += row[i];
    room[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0)
        for (unsigned i = 0, at = 0; i < SAMPLE_THREADS; i++) {
            unsigned more = room[i];
            room[i] = at;
            at += more;
        }
    __syncthreads();
    unsigned at = room[threadIdx.x];
    for (int i = 0; i < DIGITS; i++) {
        unsigned more = row[i];
        row[i] = at;
        at += more;
    }
    __syncthreads();
    for (int64_t i = lo; i < hi; i++)
        to[count[DIGITS - 1 - (from[i] >> shift & (DIGITS - 1))][threadIdx.x]++] =
            from[i];
    __syncthreads();
}

/* The column that is drawn; one thread, sums in the order of the keys. */
DEVICE int64_t draw(const struct draws &m, int64_t r, const uint64_t *key,
                    const double *weight)
{
    int64_t n = m.top_k > 0 && m.top_k < m.cols ? m.top_k : m.cols, at = 0;
    double sum = 0, have = 0;
    uint32_t word[4] = {(uint32_t)m.pos[r], 0, SAMPLE_STREAM, 0};
    for (int64_t i = 0; i < n; i++)
        sum += weight[i];
    if (m.top_p < 1) {
        int64_t kept = 0;
        while (kept < n && have < __dmul_rn((double)m.top_p, sum))
            have += weight[kept++];
        sum = have;
        n = kept;
    }
    philox(m.seed[r], word);
    double u =
        (double)((uint64_t)word[0] << 21 | word[1] >> 11) * (1.0 / 9007199254740992.0);
    double mark = __dmul_rn(u, sum);
    for (have = weight[0]; have <= mark && at + 1 < n && weight[at + 1] > 0;)
        have += weight[++at];
    return column_of(key[at]);
}

/* A block takes one row after the other; its room is 3 numbers of 8 bytes a column. */
__global__ void __launch_bounds__(SAMPLE_THREADS)
    sample_kernel(struct draws m, uint64_t *room)
{
    __shared__ unsigned count[DIGITS][SAMPLE_THREADS], starts[SAMPLE_THREADS];
    uint64_t *key = room + (int64_t)blockIdx.x * 3 * m.cols, *other = key + m.cols;
    double *weight = (double *)(other + m.cols);
    for (int64_t r = blockIdx.x; r < m.rows; r += gridDim.x) {
        if (m.pos[r] < 0) {
            if (threadIdx.x == 0)
                put_choice(m, r, -1);
            continue;
        }
        for (int64_t c = threadIdx.x; c < m.cols; c += SAMPLE_THREADS)
            key[c] = key_of(m, r, c);
        __syncthreads();
        for (int shift = 32; shift < 64; shift += 8) { /* columns are in order */
            sort_pass(key, other, m.cols, shift, count, starts);
            sort_pass(other, key, m.cols, shift + 4, count, starts);
        }
        double best = number_of(key[0]);
        for (int64_t c = threadIdx.x; c < m.cols && m.temperature > 0;
             c += SAMPLE_THREADS)
            weight[c] = exp((number_of(key[c]) - best) / (double)m.temperature);
        __syncthreads();
        if (threadIdx.x == 0)
            put_choice(m, r,
                       m.temperature > 0 ? draw(m, r, key, weight) : column_of(key[0]));
        __syncthreads();
    }
}

static struct draws draws_of(const struct nnd_choose *p)
{
    return {
        mat_of(&p->x),  mat_of(&p->index), mat_of(&p->value), p->x.dim[0], p->x.dim[1],
        p->temperature, p->top_p,          p->top_k,          p->seed,     p->pos};
}

/* Rows that are worked on at once. */
static int64_t sample_blocks(const struct nnd_choose *p)
{
    return p->x.dim[0] < 32 ? p->x.dim[0] : 32;
}

static size_t sample_workspace(const void *params)
{
    const struct nnd_choose *p = (const struct nnd_choose *)params;
    return (size_t)(sample_blocks(p) * 3 * p->x.dim[1]) * sizeof(uint64_t);
}

static int sample_launch(const void *params, const struct nnd_launch *l)
{
    const struct nnd_choose *p = (const struct nnd_choose *)params;
    return launch(sample_kernel, dim3((unsigned)sample_blocks(p)), dim3(SAMPLE_THREADS),
                  0, l, draws_of(p), (uint64_t *)l->workspace);
}

static int sample_check(const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = (const struct nnd_choose *)params;
    if (p->index.dim[1] == 1 && p->x.dim[1] > 0 && p->temperature >= 0 &&
        p->top_p > 0 && p->top_p <= 1 && p->top_k >= 0)
        return NND_OK;
    return op_refuse(e, NND_EINVAL,
                     "one index of a row, temperature >= 0, 0 < top_p <= 1 and "
                     "top_k >= 0 are wanted");
}

extern "C" const struct op cuda_sample_ops[] = {
    {.name = "sample",
     .check = sample_check,
     .workspace = sample_workspace,
     .launch = sample_launch},
    {},
};
