/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn.cu - rnn.seq and rnn.cell, forward and backward.
 *
 * A step is a kernel: a tile of rows and units, the product with U in f32 and what the
 * cell makes of it in one.  A sequence is its steps one after the other, on a stream
 * or in a graph, so that a cell has the bits of a sequence's step; rows that have ended
 * write zeros.  Backward a step is two: gates, then their product with U.
 */
#include "act.h"
#include "families.h"

#define RNN_ROWS    16
#define RNN_UNITS   16
#define RNN_DEPTH   32 /* of the product, in shared memory at once */
#define RNN_THREADS (RNN_ROWS * RNN_UNITS)

/* [B,T,N], whichever of B and T is outermost; absent: data NULL. */
struct steps {
    char *data;
    int64_t step[2]; /* bytes */
    int32_t dtype;
};

struct cells {
    struct steps x, y, gates, c, dy, dx, da, h_prev;
    struct mat u, b, h0, c0, h_last, c_last, dh, dc, dh0, dc0;
    float *state;       /* [B,H]: c; backward: dc  */
    float *next, *grad; /* [B,H], [B,G*H]: backward */
    const int32_t *len;
    int64_t rows, times, hidden;
    int reverse;
};

DEVICE char *place(const struct steps &s, int64_t b, int64_t t)
{
    return s.data + b * s.step[0] + t * s.step[1];
}

DEVICE float take(const struct steps &s, int64_t b, int64_t t, int64_t j)
{
    return get_at(s.dtype, place(s, b, t), j);
}

DEVICE void give(const struct steps &s, int64_t b, int64_t t, int64_t j, float v)
{
    if (s.data)
        put_at(s.dtype, place(s, b, t), j, v);
}

DEVICE float take_row(const struct mat &m, int64_t b, int64_t j)
{
    return m.data ? get1(m, b, j) : 0;
}

DEVICE void give_row(const struct mat &m, int64_t b, int64_t j, float v)
{
    if (m.data)
        put_at(m.dtype, m.data + b * m.step, j, v);
}

DEVICE int64_t steps_of(const struct cells &m, int64_t b)
{
    return m.len ? m.len[b] : m.times;
}

/* Where step i of a row of n stands. */
DEVICE int64_t where(const struct cells &m, int64_t n, int64_t i)
{
    return m.reverse ? n - 1 - i : i;
}

/* The state before step i. */
DEVICE float before(const struct cells &m, int64_t b, int64_t n, int64_t i, int64_t j)
{
    return i ? take(m.y, b, where(m, n, i - 1), j) : take_row(m.h0, b, j);
}

__global__ void __launch_bounds__(256) rnn_begin(struct cells m, int backward)
{
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t b = at / m.hidden, j = at % m.hidden;
    if (b >= m.rows)
        return;
    m.state[at] = take_row(backward ? m.dc : m.c0, b, j);
    if (backward) {
        m.next[at] = take_row(m.dh, b, j);
        return;
    }
    give_row(m.h_last, b, j, take_row(m.h0, b, j));
    give_row(m.c_last, b, j, m.state[at]);
}

/* sum[g] = U h + b of this thread's row and unit, over k in order. */
template <int GATES>
DEVICE void recurrent(const struct cells &m, int64_t i, int64_t b0, int64_t j0,
                      float (&sum)[GATES])
{
    __shared__ float h[RNN_ROWS][RNN_DEPTH + 1];
    __shared__ float u[GATES][RNN_UNITS][RNN_DEPTH + 1];
    int row = threadIdx.x / RNN_UNITS, unit = threadIdx.x % RNN_UNITS;
#pragma unroll
    for (int g = 0; g < GATES; g++)
        sum[g] = 0;
    for (int64_t k0 = 0; k0 < m.hidden; k0 += RNN_DEPTH) {
        for (int e = threadIdx.x; e < RNN_ROWS * RNN_DEPTH; e += RNN_THREADS) {
            int64_t b = b0 + e / RNN_DEPTH, k = k0 + e % RNN_DEPTH;
            int64_t n = b < m.rows ? steps_of(m, b) : 0;
            h[e / RNN_DEPTH][e % RNN_DEPTH] =
                i < n && k < m.hidden ? before(m, b, n, i, k) : 0;
        }
        for (int e = threadIdx.x; e < GATES * RNN_UNITS * RNN_DEPTH; e += RNN_THREADS) {
            int g = e / (RNN_UNITS * RNN_DEPTH), w = e / RNN_DEPTH % RNN_UNITS;
            int64_t j = j0 + w, k = k0 + e % RNN_DEPTH;
            u[g][w][e % RNN_DEPTH] =
                j < m.hidden && k < m.hidden ? get1(m.u, g * m.hidden + j, k) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < RNN_DEPTH; k++)
#pragma unroll
            for (int g = 0; g < GATES; g++)
                sum[g] += h[row][k] * u[g][unit][k];
        __syncthreads();
    }
    for (int g = 0; m.b.data && j0 + unit < m.hidden && g < GATES; g++)
        sum[g] += get1(m.b, 0, g * m.hidden + j0 + unit);
}

template <int CELL>
constexpr int GATES_OF = CELL == NND_CELL_LSTM  ? 4
                         : CELL == NND_CELL_GRU ? 3
                                                : 1;

template <int CELL>
__global__ void __launch_bounds__(RNN_THREADS, 2) rnn_forward(struct cells m, int64_t i)
{
    constexpr int G = GATES_OF<CELL>;
    int64_t b0 = (int64_t)blockIdx.y * RNN_ROWS, j0 = (int64_t)blockIdx.x * RNN_UNITS;
    int64_t b = b0 + threadIdx.x / RNN_UNITS, j = j0 + threadIdx.x % RNN_UNITS;
    int64_t n = m.hidden;
    float a[G];
    recurrent<G>(m, i, b0, j0, a);
    if (b >= m.rows || j >= n)
        return;
    int64_t steps = steps_of(m, b);
    if (i >= steps) {
        give(m.y, b, i, j, 0);
        give(m.c, b, i, j, 0);
        for (int g = 0; g < 4; g++)
            give(m.gates, b, i, g * n + j, 0);
        return;
    }
    int64_t t = where(m, steps, i);
    float gate[4] = {0}, h;
    if (CELL == NND_CELL_TANH) {
        h = tanhf(take(m.x, b, t, j) + a[0]);
    } else if (CELL == NND_CELL_RELU) {
        h = relu_of(take(m.x, b, t, j) + a[0]);
    } else if constexpr (CELL == NND_CELL_GRU) {
        gate[0] = sigmoid_of(take(m.x, b, t, j) + a[0]);
        gate[1] = sigmoid_of(take(m.x, b, t, n + j) + a[1]);
        gate[3] = a[2];
        gate[2] = tanhf(take(m.x, b, t, 2 * n + j) + gate[0] * a[2]);
        h = (1.0f - gate[1]) * gate[2] + gate[1] * before(m, b, steps, i, j);
    } else if constexpr (CELL == NND_CELL_LSTM) {
        gate[0] = sigmoid_of(take(m.x, b, t, j) + a[0]);
        gate[1] = sigmoid_of(take(m.x, b, t, n + j) + a[1]);
        gate[2] = tanhf(take(m.x, b, t, 2 * n + j) + a[2]);
        gate[3] = sigmoid_of(take(m.x, b, t, 3 * n + j) + a[3]);
        float c = gate[1] * m.state[b * n + j] + gate[0] * gate[2];
        m.state[b * n + j] = c;
        give(m.c, b, t, j, c);
        h = gate[3] * tanhf(c);
        if (i == steps - 1)
            give_row(m.c_last, b, j, c);
    }
    give(m.y, b, t, j, h);
    if (G > 1)
        for (int g = 0; g < 4; g++)
            give(m.gates, b, t, g * n + j, gate[g]);
    if (i == steps - 1)
        give_row(m.h_last, b, j, rounded(m.y.dtype, h));
}

/* Of step i: the gates' gradients, to dx, da and grad; to next and state what goes
 * straight to the state before. */
template <int CELL>
__global__ void __launch_bounds__(256) rnn_gates(struct cells m, int64_t i)
{
    constexpr int G = GATES_OF<CELL>;
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x, n = m.hidden;
    int64_t b = at / n, j = at % n;
    if (b >= m.rows)
        return;
    int64_t steps = steps_of(m, b), t = i < steps ? where(m, steps, i) : i;
    float d[4] = {0}, g[4] = {0}, straight = 0, *grad = m.grad + b * G * n + j;
    float past = 0;
    if (i < steps) {
        float dh = m.next[at] + (m.dy.data ? take(m.dy, b, t, j) : 0);
        float y = take(m.y, b, t, j);
        past = before(m, b, steps, i, j);
        for (int k = 0; G > 1 && k < 4; k++)
            g[k] = take(m.gates, b, t, k * n + j);
        if (CELL == NND_CELL_TANH) {
            d[0] = dh * (1.0f - y * y);
        } else if (CELL == NND_CELL_RELU) {
            d[0] = relu_back(dh, y);
        } else if (CELL == NND_CELL_GRU) {
            float dn = dh * (1.0f - g[1]) * (1.0f - g[2] * g[2]);
            d[0] = dn * g[3] * g[0] * (1.0f - g[0]);
            d[1] = dh * (past - g[2]) * g[1] * (1.0f - g[1]);
            d[2] = dn * g[0];
            d[3] = dn; /* of x_n, which r does not touch */
            straight = dh * g[1];
        } else {
            float tc = tanhf(take(m.c, b, t, j));
            float old =
                i ? take(m.c, b, where(m, steps, i - 1), j) : take_row(m.c0, b, j);
            float dc = m.state[at] + dh * g[3] * (1.0f - tc * tc);
            d[0] = dc * g[2] * g[0] * (1.0f - g[0]);
            d[1] = dc * old * g[1] * (1.0f - g[1]);
            d[2] = dc * g[0] * (1.0f - g[2] * g[2]);
            d[3] = dh * tc * g[3] * (1.0f - g[3]);
            m.state[at] = dc * g[1];
        }
        m.next[at] = straight;
    }
    give(m.h_prev, b, t, j, past);
#pragma unroll
    for (int k = 0; k < G; k++) {
        grad[k * n] = d[k];
        give(m.dx, b, t, k * n + j, CELL == NND_CELL_GRU && k == 2 ? d[3] : d[k]);
        if (CELL == NND_CELL_GRU)
            give(m.da, b, t, k * n + j, d[k]);
    }
}

/* next += grad U, over the gates' rows in order. */
__global__ void __launch_bounds__(RNN_THREADS)
    rnn_back(struct cells m, int64_t depth, int64_t i)
{
    __shared__ float d[RNN_ROWS][RNN_DEPTH + 1], u[RNN_DEPTH][RNN_UNITS + 1];
    int64_t b0 = (int64_t)blockIdx.y * RNN_ROWS, j0 = (int64_t)blockIdx.x * RNN_UNITS;
    int row = threadIdx.x / RNN_UNITS, unit = threadIdx.x % RNN_UNITS;
    int64_t b = b0 + row, j = j0 + unit;
    float sum = 0;
    for (int64_t k0 = 0; k0 < depth; k0 += RNN_DEPTH) {
        for (int e = threadIdx.x; e < RNN_ROWS * RNN_DEPTH; e += RNN_THREADS) {
            int64_t r = b0 + e / RNN_DEPTH, k = k0 + e % RNN_DEPTH;
            d[e / RNN_DEPTH][e % RNN_DEPTH] =
                r < m.rows && k < depth ? m.grad[r * depth + k] : 0;
        }
        for (int e = threadIdx.x; e < RNN_DEPTH * RNN_UNITS; e += RNN_THREADS) {
            int64_t k = k0 + e / RNN_UNITS, c = j0 + e % RNN_UNITS;
            u[e / RNN_UNITS][e % RNN_UNITS] =
                k < depth && c < m.hidden ? get1(m.u, k, c) : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < RNN_DEPTH; k++)
            sum += d[row][k] * u[k][unit];
        __syncthreads();
    }
    if (b < m.rows && j < m.hidden && i < steps_of(m, b))
        m.next[b * m.hidden + j] += sum;
}

__global__ void __launch_bounds__(256) rnn_end(struct cells m)
{
    int64_t at = (int64_t)blockIdx.x * 256 + threadIdx.x;
    int64_t b = at / m.hidden, j = at % m.hidden;
    if (b >= m.rows)
        return;
    give_row(m.dh0, b, j, m.next[at]);
    give_row(m.dc0, b, j, m.state[at]);
}

static struct steps steps_of(const struct nnd_tensor *t)
{
    if (!t->ndim)
        return {NULL, {0, 0}, 0};
    int size = size_of(t->dtype);
    return {(char *)t->data, {t->stride[0] * size, t->stride[1] * size}, t->dtype};
}

static struct cells cells_of(const struct nnd_rnn *p, const struct nnd_launch *l)
{
    int64_t units = p->x.dim[0] * p->u.dim[1];
    float *room = (float *)l->workspace;
    return {steps_of(&p->x),
            steps_of(&p->y),
            steps_of(&p->gates),
            steps_of(&p->c),
            steps_of(&p->dy),
            steps_of(&p->dx),
            steps_of(&p->da),
            steps_of(&p->h_prev),
            mat_of(&p->u),
            mat_of(&p->b),
            mat_of(&p->h0),
            mat_of(&p->c0),
            mat_of(&p->h_last),
            mat_of(&p->c_last),
            mat_of(&p->dh),
            mat_of(&p->dc),
            mat_of(&p->dh0),
            mat_of(&p->dc0),
            room,
            room + units,
            room + 2 * units,
            p->len,
            p->x.dim[0],
            p->x.dim[1],
            p->u.dim[1],
            p->reverse};
}

static dim3 tiles(const struct cells &m)
{
    return dim3((unsigned)blocks_for(m.hidden, RNN_UNITS),
                (unsigned)blocks_for(m.rows, RNN_ROWS));
}

template <int CELL>
static int forward_cell(const struct cells &m, const struct nnd_launch *l)
{
    int r = NND_OK;
    for (int64_t i = 0; !r && i < m.times; i++)
        r = launch(rnn_forward<CELL>, tiles(m), dim3(RNN_THREADS), 0, l, m, i);
    return r;
}

template <int CELL>
static int backward_cell(const struct cells &m, const struct nnd_launch *l)
{
    dim3 each((unsigned)blocks_for(m.rows * m.hidden, 256));
    int r = NND_OK;
    for (int64_t i = m.times; !r && i-- > 0;) {
        r = launch(rnn_gates<CELL>, each, dim3(256), 0, l, m, i);
        if (!r)
            r = launch(rnn_back, tiles(m), dim3(RNN_THREADS), 0, l, m,
                       GATES_OF<CELL> * m.hidden, i);
    }
    return r;
}

typedef int cell_f(const struct cells &m, const struct nnd_launch *l);

static int rnn_fwd(const void *params, const struct nnd_launch *l)
{
    static cell_f *const cell[] = {
        forward_cell<NND_CELL_TANH>, forward_cell<NND_CELL_RELU>,
        forward_cell<NND_CELL_GRU>, forward_cell<NND_CELL_LSTM>};
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    struct cells m = cells_of(p, l);
    dim3 each((unsigned)blocks_for(m.rows * m.hidden, 256));
    int r = launch(rnn_begin, each, dim3(256), 0, l, m, 0);
    return r ? r : cell[p->cell](m, l);
}

static int rnn_bwd(const void *params, const struct nnd_launch *l)
{
    static cell_f *const cell[] = {
        backward_cell<NND_CELL_TANH>, backward_cell<NND_CELL_RELU>,
        backward_cell<NND_CELL_GRU>, backward_cell<NND_CELL_LSTM>};
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    struct cells m = cells_of(p, l);
    dim3 each((unsigned)blocks_for(m.rows * m.hidden, 256));
    int r = launch(rnn_begin, each, dim3(256), 0, l, m, 1);
    if (!r)
        r = cell[p->cell](m, l);
    return r ? r : launch(rnn_end, each, dim3(256), 0, l, m);
}

/* Of a row: c or dc; backward its gradient, and those of its gates. */
static size_t forward_workspace(const void *params)
{
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    return (size_t)(p->x.dim[0] * p->u.dim[1]) * sizeof(float);
}

static size_t backward_workspace(const void *params)
{
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    return (size_t)(p->x.dim[0] * (2 * p->u.dim[1] + p->u.dim[0])) * sizeof(float);
}

static int both_check(const struct nnd_rnn *p, struct nnd_error *e)
{
    static const int gates[] = {1, 1, 3, 4};
    if (p->cell < 0 || p->cell > NND_CELL_LSTM)
        return op_refuse(e, NND_EINVAL, "cell is %d, wanted 0 to %d", p->cell,
                         (int)NND_CELL_LSTM);
    if (p->u.dim[0] != gates[p->cell] * p->u.dim[1])
        return op_refuse(e, NND_EINVAL, "u: %lld rows, wanted %d of each unit",
                         (long long)p->u.dim[0], gates[p->cell]);
    if (p->gates.ndim && p->gates.dim[2] != 4 * p->u.dim[1])
        return op_refuse(e, NND_EINVAL, "gates: %lld columns, wanted 4 of each unit",
                         (long long)p->gates.dim[2]);
    if (p->x.dim[0] > 65535 * RNN_ROWS)
        return op_refuse(e, NND_EUNSUPPORTED, "%lld rows, wanted at most %d",
                         (long long)p->x.dim[0], 65535 * RNN_ROWS);
    return NND_OK;
}

static int forward_check(const void *params, struct nnd_error *e)
{
    return both_check((const struct nnd_rnn *)params, e);
}

static int backward_check(const void *params, struct nnd_error *e)
{
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    int r = both_check(p, e);
    if (r)
        return r;
    if (p->cell >= NND_CELL_GRU && !p->gates.ndim)
        return op_refuse(e, NND_EINVAL, "gates: wanted those of forward");
    if (p->cell == NND_CELL_GRU && !p->da.ndim)
        return op_refuse(e, NND_EINVAL, "da: wanted with gru");
    return p->cell == NND_CELL_LSTM && !p->c.ndim
               ? op_refuse(e, NND_EINVAL, "c: wanted that of forward")
               : NND_OK;
}

static int one_step(const void *params, struct nnd_error *e)
{
    const struct nnd_rnn *p = (const struct nnd_rnn *)params;
    return p->x.dim[1] == 1 ? NND_OK
                            : op_refuse(e, NND_EINVAL, "x: %lld steps, wanted 1",
                                        (long long)p->x.dim[1]);
}

static int forward_one(const void *params, struct nnd_error *e)
{
    int r = one_step(params, e);
    return r ? r : forward_check(params, e);
}

static int backward_one(const void *params, struct nnd_error *e)
{
    int r = one_step(params, e);
    return r ? r : backward_check(params, e);
}

#define RNN_ARG(field, dims) ARG(nnd_rnn, field, dims, IN_FLOATS, ARG_ANY_ORDER)
#define RNN_MAY(field, dims)                                                           \
    ARG(nnd_rnn, field, dims, IN_FLOATS, ARG_ANY_ORDER | ARG_OPTIONAL)
#define RNN_BOTH                                                                       \
    RNN_ARG(x, "BTG"), ARG(nnd_rnn, u, "GH", IN_FLOATS, 0), RNN_MAY(b, "G"),           \
        RNN_MAY(h0, "BH"), RNN_MAY(c0, "BH"), RNN_ARG(y, "BTH"),                       \
        RNN_MAY(gates, "BTF"), RNN_MAY(c, "BTH")
#define RNN_FORWARD RNN_BOTH, RNN_MAY(h_last, "BH"), RNN_MAY(c_last, "BH")
#define RNN_BACKWARD                                                                   \
    RNN_BOTH, RNN_MAY(dy, "BTH"), RNN_MAY(dh, "BH"), RNN_MAY(dc, "BH"),                \
        RNN_ARG(dx, "BTG"), RNN_MAY(da, "BTG"), RNN_ARG(h_prev, "BTH"),                \
        RNN_MAY(dh0, "BH"), RNN_MAY(dc0, "BH")

extern "C" const struct op cuda_rnn_ops[] = {
    {.name = "rnn.seq.fwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = {RNN_FORWARD},
     .check = forward_check,
     .workspace = forward_workspace,
     .launch = rnn_fwd},
    {.name = "rnn.seq.bwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = {RNN_BACKWARD},
     .check = backward_check,
     .workspace = backward_workspace,
     .launch = rnn_bwd},
    {.name = "rnn.cell.fwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = {RNN_FORWARD},
     .check = forward_one,
     .workspace = forward_workspace,
     .launch = rnn_fwd},
    {.name = "rnn.cell.bwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = {RNN_BACKWARD},
     .check = backward_one,
     .workspace = backward_workspace,
     .launch = rnn_bwd},
    {},
};
