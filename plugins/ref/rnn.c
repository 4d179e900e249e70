/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn.c - recurrent layers: "rnn.seq.fwd|bwd", and one step of them,
 * "rnn.cell.fwd|bwd".
 *
 * Row by row, and step by step within a row; backward walks the same steps the
 * other way round.
 */
#include <math.h>

#include "impl.h"

static int gates_of(int cell)
{
    static const int gates[] = {[NND_CELL_TANH] = 1,
                                [NND_CELL_RELU] = 1,
                                [NND_CELL_GRU] = 3,
                                [NND_CELL_LSTM] = 4};
    return cell < 0 || cell > NND_CELL_LSTM ? 0 : gates[cell];
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* ---- what is asked for ---- */

#define OPTIONAL_FLOAT (REF_FLOAT | REF_OPTIONAL)
#define OPTIONAL_WIDE  (REF_WIDE | REF_OPTIONAL)

/* What forward and backward have in common. */
static int supports_both(const struct nnd_rnn *p, bool one, struct nnd_error *e)
{
    int64_t b = p->x.dim[0], t = p->x.dim[1], h = p->u.dim[1], g = gates_of(p->cell);
    if (g == 0)
        return ref_refuse(e, NND_EINVAL, "cell is %d, wanted 0 to %d", p->cell,
                          NND_CELL_LSTM);
    const struct ref_shape shapes[] = {
        {"x", &p->x, REF_FLOAT, 3, {REF_ANY, one ? 1 : REF_ANY, g * h}},
        {"u", &p->u, REF_FLOAT, 2, {g * h, REF_ANY}},
        {"b", &p->b, OPTIONAL_FLOAT, 1, {g * h}},
        {"h0", &p->h0, OPTIONAL_FLOAT, 2, {b, h}},
        {"y", &p->y, REF_FLOAT, 3, {b, t, h}},
        {"gates", &p->gates, OPTIONAL_FLOAT, 3, {b, t, 4 * h}},
        {"c0", &p->c0, OPTIONAL_WIDE, 2, {b, h}},
        {"c", &p->c, OPTIONAL_WIDE, 3, {b, t, h}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, 8, e);
}

static int supports_fwd(const struct nnd_rnn *p, bool one, struct nnd_error *e)
{
    int64_t b = p->x.dim[0], h = p->u.dim[1];
    const struct ref_shape shapes[] = {
        {"h_last", &p->h_last, OPTIONAL_FLOAT, 2, {b, h}},
        {"c_last", &p->c_last, OPTIONAL_WIDE, 2, {b, h}},
    };
    int rc = supports_both(p, one, e);
    return rc != NND_OK ? rc : ref_check(p->struct_size, sizeof *p, shapes, 2, e);
}

static int supports_bwd(const struct nnd_rnn *p, bool one, struct nnd_error *e)
{
    int64_t b = p->x.dim[0], t = p->x.dim[1], h = p->u.dim[1];
    int rc = supports_both(p, one, e);
    if (rc != NND_OK)
        return rc;
    int gru = p->cell == NND_CELL_GRU ? REF_FLOAT : OPTIONAL_FLOAT;
    int saved = p->cell >= NND_CELL_GRU ? REF_FLOAT : OPTIONAL_FLOAT;
    int lstm = p->cell == NND_CELL_LSTM ? REF_WIDE : OPTIONAL_WIDE;
    const struct ref_shape shapes[] = {
        {"gates", &p->gates, saved, 3, {b, t, 4 * h}},
        {"c", &p->c, lstm, 3, {b, t, h}},
        {"dy", &p->dy, OPTIONAL_FLOAT, 3, {b, t, h}},
        {"dh", &p->dh, OPTIONAL_FLOAT, 2, {b, h}},
        {"dc", &p->dc, OPTIONAL_WIDE, 2, {b, h}},
        {"dx", &p->dx, REF_FLOAT, 3, {b, t, p->x.dim[2]}},
        {"da", &p->da, gru, 3, {b, t, p->x.dim[2]}},
        {"h_prev", &p->h_prev, REF_FLOAT, 3, {b, t, h}},
        {"dh0", &p->dh0, OPTIONAL_FLOAT, 2, {b, h}},
        {"dc0", &p->dc0, OPTIONAL_WIDE, 2, {b, h}},
    };
    return ref_check(p->struct_size, sizeof *p, shapes, 10, e);
}

static int supports_seq_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_fwd(params, false, e);
}

static int supports_seq_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_bwd(params, false, e);
}

static int supports_cell_fwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_fwd(params, true, e);
}

static int supports_cell_bwd(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    return supports_bwd(params, true, e);
}

/* A row's state, new state or its gradients, and one step's gates. */
static int need(const void *self, const void *params, struct nnd_need *out)
{
    const struct nnd_rnn *p = params;
    (void)self;
    return ref_need(out, 12 * p->u.dim[1]);
}

/* ---- steps ---- */

/* One row: how many steps it has, and scratch of H, H, H and 4 H numbers. */
struct row {
    int64_t b, steps, hidden;
    double *h, *c, *next, *gate, *grad;
};

static int row_begin(const struct nnd_rnn *p, int64_t b, void *space, struct row *r,
                     struct nnd_error *e)
{
    int64_t steps = p->len ? p->len[b] : p->x.dim[1], n = p->u.dim[1];
    if (steps < 0 || steps > p->x.dim[1])
        return ref_refuse(e, NND_EINVAL, "row %lld has %lld steps of %lld",
                          (long long)b, (long long)steps, (long long)p->x.dim[1]);
    double *at = space;
    *r = (struct row){.b = b,
                      .steps = steps,
                      .hidden = n,
                      .h = at,
                      .c = at + n,
                      .next = at + 2 * n,
                      .gate = at + 3 * n,
                      .grad = at + 7 * n};
    return NND_OK;
}

/* Where step i of the row stands. */
static int64_t place(const struct nnd_rnn *p, const struct row *r, int64_t i)
{
    return p->reverse ? r->steps - 1 - i : i;
}

/* n numbers of a tensor, from `at` on along its last axis of stride s; or zeros. */
static void get_vector(double *x, const struct nnd_tensor *t, int64_t at, int64_t s,
                       int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        x[j] = ref_given(t) ? ref_get(t, at + j * s) : 0;
}

static void put_vector(const struct nnd_tensor *t, int64_t at, int64_t s,
                       const double *x, int64_t n)
{
    for (int64_t j = 0; ref_given(t) && j < n; j++)
        ref_put(t, at + j * s, x[j]);
}

static void get_row(double *x, const struct nnd_tensor *t, int64_t b, int64_t n)
{
    get_vector(x, t, b * t->stride[0], t->stride[1], n);
}

static void put_row(const struct nnd_tensor *t, int64_t b, const double *x, int64_t n)
{
    put_vector(t, b * t->stride[0], t->stride[1], x, n);
}

/* Zeros behind the row's end. */
static void put_padding(const struct nnd_tensor *x, const struct row *r)
{
    for (int64_t t = r->steps; ref_given(x) && t < x->dim[1]; t++)
        for (int64_t j = 0; j < x->dim[2]; j++)
            ref_put(x, at3(x, r->b, t, j), 0);
}

/* a[g] = the recurrent part of gate row g. */
static double recurrent(const struct nnd_rnn *p, const struct row *r, int64_t g)
{
    double sum = ref_given(&p->b) ? ref_get(&p->b, at1(&p->b, g)) : 0;
    for (int64_t k = 0; k < r->hidden; k++)
        sum += ref_get(&p->u, at2(&p->u, g, k)) * r->h[k];
    return sum;
}

/* x + a of gate g of unit j. */
static double sum_of(const struct nnd_rnn *p, const struct row *r, int64_t t, int g,
                     int64_t j)
{
    int64_t i = g * r->hidden + j;
    return ref_get(&p->x, at3(&p->x, r->b, t, i)) + recurrent(p, r, i);
}

/* The new state of unit j into next[j], its gates and c. */
static void forward_unit(const struct nnd_rnn *p, struct row *r, int64_t t, int64_t j)
{
    int64_t n = r->hidden;
    double *g = r->gate + j;
    if (p->cell == NND_CELL_TANH) {
        r->next[j] = tanh(sum_of(p, r, t, 0, j));
    } else if (p->cell == NND_CELL_RELU) {
        r->next[j] = ref_function(NND_EPI_RELU)->of(sum_of(p, r, t, 0, j));
    } else if (p->cell == NND_CELL_GRU) {
        g[0] = sigmoid(sum_of(p, r, t, 0, j));
        g[n] = sigmoid(sum_of(p, r, t, 1, j));
        g[3 * n] = recurrent(p, r, 2 * n + j);
        g[2 * n] =
            tanh(ref_get(&p->x, at3(&p->x, r->b, t, 2 * n + j)) + g[0] * g[3 * n]);
        r->next[j] = (1 - g[n]) * g[2 * n] + g[n] * r->h[j];
    } else {
        g[0] = sigmoid(sum_of(p, r, t, 0, j));
        g[n] = sigmoid(sum_of(p, r, t, 1, j));
        g[2 * n] = tanh(sum_of(p, r, t, 2, j));
        g[3 * n] = sigmoid(sum_of(p, r, t, 3, j));
        r->c[j] = g[n] * r->c[j] + g[0] * g[2 * n];
        r->next[j] = g[3 * n] * tanh(r->c[j]);
    }
}

static void forward_row(const struct nnd_rnn *p, struct row *r)
{
    get_row(r->h, &p->h0, r->b, r->hidden);
    get_row(r->c, &p->c0, r->b, r->hidden);
    for (int64_t i = 0; i < r->steps; i++) {
        int64_t t = place(p, r, i);
        for (int64_t j = 0; j < r->hidden; j++)
            forward_unit(p, r, t, j);
        put_vector(&p->y, at3(&p->y, r->b, t, 0), p->y.stride[2], r->next, r->hidden);
        get_vector(r->h, &p->y, at3(&p->y, r->b, t, 0), p->y.stride[2], r->hidden);
        put_vector(&p->gates, at3(&p->gates, r->b, t, 0), p->gates.stride[2], r->gate,
                   4 * r->hidden);
        put_vector(&p->c, at3(&p->c, r->b, t, 0), p->c.stride[2], r->c, r->hidden);
    }
    put_padding(&p->y, r);
    put_padding(&p->gates, r);
    put_padding(&p->c, r);
    put_row(&p->h_last, r->b, r->h, r->hidden);
    put_row(&p->c_last, r->b, r->c, r->hidden);
}

static int launch_fwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rnn *p = params;
    (void)self, (void)plan;
    for (int64_t b = 0; b < p->x.dim[0]; b++) {
        struct row r = {0};
        if (row_begin(p, b, l->workspace, &r, e) != NND_OK)
            return NND_EINVAL;
        forward_row(p, &r);
    }
    return NND_OK;
}

/* ---- backward ---- */

/* The state before step i: of h, or of c. */
static double before(const struct nnd_rnn *p, const struct row *r, int64_t i, int64_t j,
                     const struct nnd_tensor *all, const struct nnd_tensor *first)
{
    if (i > 0)
        return ref_get(all, at3(all, r->b, place(p, r, i - 1), j));
    return ref_given(first) ? ref_get(first, at2(first, r->b, j)) : 0;
}

/* With next[j] = d loss / d h', c[j] = d loss / d c': the gradients of the gates'
 * recurrent parts into grad[], of x into dx; what goes straight to the state
 * before into next[j] and c[j]. */
static void backward_unit(const struct nnd_rnn *p, struct row *r, int64_t i, int64_t j)
{
    int64_t n = r->hidden, t = place(p, r, i);
    double *d = r->grad + j, dh = r->next[j],
           y = ref_get(&p->y, at3(&p->y, r->b, t, j));
    const double *g = r->gate + j;
    r->next[j] = 0;
    if (p->cell == NND_CELL_TANH) {
        d[0] = dh * (1 - y * y);
    } else if (p->cell == NND_CELL_RELU) {
        d[0] = ref_function(NND_EPI_RELU)->back(dh, y);
    } else if (p->cell == NND_CELL_GRU) {
        double dn = dh * (1 - g[n]) * (1 - g[2 * n] * g[2 * n]);
        double dz = dh * (before(p, r, i, j, &p->y, &p->h0) - g[2 * n]);
        d[0] = dn * g[3 * n] * g[0] * (1 - g[0]);
        d[n] = dz * g[n] * (1 - g[n]);
        d[2 * n] = dn * g[0];
        d[3 * n] = dn; /* of x_n, which r does not touch */
        r->next[j] = dh * g[n];
    } else {
        double tc = tanh(ref_get(&p->c, at3(&p->c, r->b, t, j)));
        double dc = r->c[j] + dh * g[3 * n] * (1 - tc * tc);
        d[0] = dc * g[2 * n] * g[0] * (1 - g[0]);
        d[n] = dc * before(p, r, i, j, &p->c, &p->c0) * g[n] * (1 - g[n]);
        d[2 * n] = dc * g[0] * (1 - g[2 * n] * g[2 * n]);
        d[3 * n] = dh * tc * g[3 * n] * (1 - g[3 * n]);
        r->c[j] = dc * g[n];
    }
}

static void put_gradients(const struct nnd_rnn *p, const struct row *r, int64_t t)
{
    int64_t gates = gates_of(p->cell), n = r->hidden;
    const struct nnd_tensor *dx = &p->dx;
    for (int64_t i = 0; i < gates * n; i++) {
        bool apart = p->cell == NND_CELL_GRU && i >= 2 * n;
        ref_put(dx, at3(dx, r->b, t, i), r->grad[apart ? i + n : i]);
    }
    if (p->cell == NND_CELL_GRU)
        put_vector(&p->da, at3(&p->da, r->b, t, 0), p->da.stride[2], r->grad, 3 * n);
}

/* next[] = d loss / d h of step i on entry; of the state before on return. */
static void backward_step(const struct nnd_rnn *p, struct row *r, int64_t i)
{
    int64_t t = place(p, r, i), n = r->hidden;
    if (p->cell >= NND_CELL_GRU)
        get_vector(r->gate, &p->gates, at3(&p->gates, r->b, t, 0), p->gates.stride[2],
                   4 * n);
    for (int64_t j = 0; j < n; j++) {
        if (ref_given(&p->dy))
            r->next[j] += ref_get(&p->dy, at3(&p->dy, r->b, t, j));
        backward_unit(p, r, i, j);
        ref_put(&p->h_prev, at3(&p->h_prev, r->b, t, j),
                before(p, r, i, j, &p->y, &p->h0));
    }
    put_gradients(p, r, t);
    for (int64_t g = 0; g < gates_of(p->cell) * n; g++)
        for (int64_t k = 0; k < n; k++)
            r->next[k] += r->grad[g] * ref_get(&p->u, at2(&p->u, g, k));
}

static void backward_row(const struct nnd_rnn *p, struct row *r)
{
    get_row(r->next, &p->dh, r->b, r->hidden);
    get_row(r->c, &p->dc, r->b, r->hidden);
    for (int64_t i = r->steps; i-- > 0;)
        backward_step(p, r, i);
    put_padding(&p->dx, r);
    put_padding(&p->da, r);
    put_padding(&p->h_prev, r);
    put_row(&p->dh0, r->b, r->next, r->hidden);
    put_row(&p->dc0, r->b, r->c, r->hidden);
}

static int launch_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_rnn *p = params;
    (void)self, (void)plan;
    for (int64_t b = 0; b < p->x.dim[0]; b++) {
        struct row r = {0};
        if (row_begin(p, b, l->workspace, &r, e) != NND_OK)
            return NND_EINVAL;
        backward_row(p, &r);
    }
    return NND_OK;
}

const struct nnd_kernel ref_rnn_seq_fwd =
    REF_KERNEL("rnn.seq.fwd", supports_seq_fwd, need, launch_fwd);
const struct nnd_kernel ref_rnn_seq_bwd =
    REF_KERNEL("rnn.seq.bwd", supports_seq_bwd, need, launch_bwd);
const struct nnd_kernel ref_rnn_cell_fwd =
    REF_KERNEL("rnn.cell.fwd", supports_cell_fwd, need, launch_fwd);
const struct nnd_kernel ref_rnn_cell_bwd =
    REF_KERNEL("rnn.cell.bwd", supports_cell_bwd, need, launch_bwd);
