/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn_fwd.c - "rnn.seq.fwd", "rnn.cell.fwd": one pass a step.
 *
 * A panel holds all gates of the same units, so that who has its sums has all that
 * the new state of these units needs.  The weights of a thread's panels stay in
 * its cache from step to step.
 */
#include "act.h"
#include "rnn_gate.h"
#include "rnn_tile.h"

/* Units of a panel: a vector of each gate, or several vectors of the only one. */
static int panel_vectors(int cell)
{
    return cell <= NND_CELL_RELU ? PANEL : 1;
}

struct sizes {
    size_t order, w, bias, in, acc, all;
};

static struct job job_of(const struct nnd_rnn *p, struct sizes *s)
{
    struct job j = {.p = p,
                    .rows = p->x.dim[0],
                    .steps = p->x.dim[1],
                    .hidden = p->u.dim[1],
                    .gates = gates_of(p->cell)};
    int vectors = panel_vectors(p->cell);

    j.nv = (int)j.gates * vectors;
    j.panels = (j.hidden + vectors * VL - 1) / (vectors * VL);
    j.units = j.panels * vectors * VL;
    j.words = (j.hidden + PAIR - 1) / PAIR;
    j.ld = up((j.units + PAIR - 1) / PAIR, 16) + 16; /* rows on other cache lines */
    *s = (struct sizes){
        .order = (size_t)up((2 * j.rows + PARTS_MAX) * 4, 64),
        .w = (size_t)(j.panels * j.words * j.nv * VL) * 4,
        .bias = (size_t)up(j.panels * j.nv * VL * 4, 64),
        .in = (size_t)(j.rows * j.ld) * 4,
        .acc = p->cell == NND_CELL_LSTM ? (size_t)(j.rows * j.units) * 4 : 0,
    };
    s->all = s->order + s->w + s->bias + 2 * s->in + s->acc;
    return j;
}

static size_t workspace(const void *params)
{
    struct sizes s;

    job_of(params, &s);
    return s.all;
}

static struct job job_begin(const struct nnd_rnn *p, const struct nnd_launch *l)
{
    struct sizes s;
    struct job j = job_of(p, &s);
    char *at = l->workspace;

    j.row = (int32_t *)at;
    j.len = j.row + j.rows;
    j.turn = (atomic_int *)(j.len + j.rows);
    j.w = (float *)(at += s.order);
    j.bias = (float *)(at += s.w);
    j.in[0] = (float *)(at += s.bias);
    j.in[1] = (float *)(at += s.in);
    j.acc = (float *)(at += s.in);
    j.parts = parts_of(&j, l);
    j.plain = PAIR == 1 && is_plain(&p->x) && is_plain(&p->y) && is_plain(&p->gates) &&
              is_plain(&p->c) && is_plain(&p->h_last) && is_plain(&p->c_last);
    for (int i = 0; i < j.parts; i++)
        atomic_init(&j.turn[i], 0);
    return j;
}

/* ---- weights ---- */

/* Words [k, k + 4) of four rows of U, turned. */
static void turn_words(float *to, int64_t ld, const struct nnd_tensor *u, int64_t row,
                       int64_t k)
{
    float x[16];

    for (int i = 0; i < 4; i++) {
        const void *src = row_of(u, row + i);

        if (PAIR == 2 || u->dtype == NND_F32)
            memcpy(x + 4 * i, (const char *)src + 4 * k, 16);
        else
            for (int n = 0; n < 4; n++)
                x[4 * i + n] = word_of(src, u->dtype, k + n, k + n + 1);
    }
    turn_square(to, ld, x, 4);
}

/* One vector of a panel, all words: units [unit, unit + VL) of a gate. */
static void pack_vector(const struct job *j, float *to, int64_t gate, int64_t unit)
{
    const struct nnd_tensor *u = &j->p->u;
    int64_t whole = j->hidden / PAIR / 4 * 4, ld = j->nv * VL;

    for (int64_t i = 0; i < VL; i++) {
        int64_t row = gate * j->hidden + unit + i, k = 0;

        if (i % 4 == 0 && unit + i + 4 <= j->hidden)
            for (; k < whole; k += 4)
                turn_words(to + k * ld + i, ld, u, row, k);
        else if (i % 4 && unit + i - i % 4 + 4 <= j->hidden)
            k = whole;
        for (; k < j->words; k++)
            to[k * ld + i] = unit + i < j->hidden ? word_of(row_of(u, row), u->dtype,
                                                            k * PAIR, j->hidden)
                                                  : 0;
    }
}

static void pack_bias(const struct job *j, float *to, int64_t gate, int64_t unit)
{
    const struct nnd_tensor *b = &j->p->b;

    for (int64_t i = 0; i < VL; i++)
        to[i] =
            b->ndim && unit + i < j->hidden
                ? vec_get(element_of(b->data, b->dtype, gate * j->hidden + unit + i),
                          b->dtype, 0, 1)[0]
                : 0;
}

static void pack_panels(const void *arg, int64_t lo, int64_t hi)
{
    const struct job *j = arg;
    int vectors = panel_vectors(j->p->cell);

    for (int64_t n = lo; n < hi; n++)
        for (int v = 0; v < j->nv; v++) {
            int64_t gate = v / vectors, unit = (n * vectors + v % vectors) * VL;

            pack_vector(j, j->w + (n * j->words * j->nv + v) * VL, gate, unit);
            pack_bias(j, j->bias + (n * j->nv + v) * VL, gate, unit);
        }
}

/* ---- one step ---- */

/* A vector of units of one slot at one step. */
struct spot {
    struct units units;
    int64_t slot, b, unit;
    const void *x; /* these at this step; NULL: absent */
    void *y, *gates, *c;
    int last; /* the row's last step */
};

static inline __attribute__((always_inline)) vf gate_in(const struct job *j,
                                                        const struct spot *s, int gate)
{
    return units_get(s->units, s->x, j->p->x.dtype, gate * j->hidden + s->unit);
}

static inline __attribute__((always_inline)) void
keep_gate(const struct job *j, const struct spot *s, int gate, vf g)
{
    if (s->gates)
        units_put(s->units, s->gates, j->p->gates.dtype, gate * j->hidden + s->unit, g);
}

static inline __attribute__((always_inline)) vf
cell_gru(const struct job *j, const struct spot *s, const float *sum)
{
    vf a[3], h, r, z, n;

    memcpy(a, sum, sizeof a);
    h = vec_get((const char *)(j->in[j->step & 1] + s->slot * j->ld),
                PAIR == 2 ? NND_BF16 : NND_F32, s->unit, VL);
    gate_two(gate_in(j, s, 0) + a[0], gate_in(j, s, 1) + a[1], &r, &z);
    n = gate_tanh(gate_in(j, s, 2) + r * a[2]);
    keep_gate(j, s, 0, r);
    keep_gate(j, s, 1, z);
    keep_gate(j, s, 2, n);
    keep_gate(j, s, 3, a[2]);
    return n + z * (h - n);
}

static inline __attribute__((always_inline)) vf
cell_lstm(const struct job *j, const struct spot *s, const float *sum)
{
    float *state = j->acc + s->slot * j->units + s->unit;
    const struct nnd_tensor *last = &j->p->c_last;
    vf a[4], c;

    memcpy(a, sum, sizeof a);
    memcpy(&c, state, sizeof c);
    for (int g = 0; g < 4; g++)
        a[g] = gate_in(j, s, g) + a[g];
    gate_four(a);
    c = a[1] * c + a[0] * a[2];
    memcpy(state, &c, sizeof c);
    for (int g = 0; g < 4; g++)
        keep_gate(j, s, g, a[g]);
    if (s->c)
        units_put(s->units, s->c, j->p->c.dtype, s->unit, c);
    if (s->last && last->ndim)
        units_put(s->units, row_of(last, s->b), last->dtype, s->unit, c);
    return a[3] * gate_tanh(c);
}

static inline __attribute__((always_inline)) vf
cell_any(int cell, const struct job *j, const struct spot *s, const float *sum)
{
    vf a;

    if (cell == NND_CELL_GRU)
        return cell_gru(j, s, sum);
    if (cell == NND_CELL_LSTM)
        return cell_lstm(j, s, sum);
    memcpy(&a, sum, sizeof a);
    a = gate_in(j, s, 0) + a;
    return cell == NND_CELL_TANH ? gate_tanh(a) : act_relu(a);
}

static inline __attribute__((always_inline)) struct spot
spot_at(int plain, const struct job *j, int64_t slot)
{
    const struct nnd_rnn *p = j->p;
    int64_t b = j->row[slot], t = place(j, slot, j->step);

    return (struct spot){.units.plain = plain,
                         .slot = slot,
                         .b = b,
                         .x = step_at(&p->x, b, t),
                         .y = step_at(&p->y, b, t),
                         .gates = p->gates.ndim ? step_at(&p->gates, b, t) : NULL,
                         .c = p->c.ndim ? step_at(&p->c, b, t) : NULL,
                         .last = j->step + 1 == j->len[slot]};
}

/* The new states of one panel's units, slots [lo, hi), from their sums. */
static inline __attribute__((always_inline)) void
panel_states(int cell, int plain, const struct job *j, int64_t panel, int64_t lo,
             int64_t hi, const float *sum)
{
    const struct nnd_rnn *p = j->p;
    int vectors = panel_vectors(cell);

    for (int64_t slot = lo; slot < hi; slot++, sum += j->nv * VL) {
        struct spot s = spot_at(plain, j, slot);
        float *next = j->in[(j->step + 1) & 1] + slot * j->ld;

        for (int v = 0; v < vectors; v++) {
            vf h;

            s.unit = (panel * vectors + v) * VL;
            s.units.left = j->hidden - s.unit;
            if (s.units.left <= 0)
                break;
            h = words_put(next, s.unit, plain ? NND_F32 : p->y.dtype,
                          cell_any(cell, j, &s, sum + v * VL));
            units_put(s.units, s.y, p->y.dtype, s.unit, h);
            if (s.last && p->h_last.ndim)
                units_put(s.units, row_of(&p->h_last, s.b), p->h_last.dtype, s.unit, h);
        }
    }
}

static inline __attribute__((always_inline)) void
cell_states(int plain, const struct job *j, int64_t panel, int64_t lo, int64_t hi,
            const float *sum)
{
    if (j->p->cell == NND_CELL_LSTM)
        panel_states(NND_CELL_LSTM, plain, j, panel, lo, hi, sum);
    else if (j->p->cell == NND_CELL_GRU)
        panel_states(NND_CELL_GRU, plain, j, panel, lo, hi, sum);
    else if (j->p->cell == NND_CELL_TANH)
        panel_states(NND_CELL_TANH, plain, j, panel, lo, hi, sum);
    else
        panel_states(NND_CELL_RELU, plain, j, panel, lo, hi, sum);
}

static void panel_step(const struct job *j, int64_t panel, int64_t lo, int64_t hi)
{
    float sum[ROW_BLOCK * PANEL * VL];
    const float *bias = j->bias + panel * j->nv * VL;

    for (int64_t r = 0; r < hi - lo; r++)
        memcpy(sum + r * j->nv * VL, bias, (size_t)(j->nv * VL) * sizeof *sum);
    panel_product(j->nv, sum, hi - lo, j->in[j->step & 1] + lo * j->ld, j->ld,
                  j->w + panel * j->words * j->nv * VL, j->words);
    if (j->plain)
        cell_states(1, j, panel, lo, hi, sum);
    else
        cell_states(0, j, panel, lo, hi, sum);
}

static void part_step(void *arg, int task)
{
    const struct job *j = arg;
    int part = take_part(j, j->step);
    int64_t n = active(j, j->step);

    (void)task;
    for (int64_t i = first_panel(j, part); i < first_panel(j, part + 1); i++)
        for (int64_t lo = 0; lo < n; lo += ROW_BLOCK)
            panel_step(j, i, lo, n - lo < ROW_BLOCK ? n : lo + ROW_BLOCK);
}

/* ---- all of them ---- */

/* The first state, which is the last one of a row without steps. */
static void first_state(const struct job *j)
{
    const struct nnd_rnn *p = j->p;

    memset(j->in[0], 0, (size_t)(j->rows * j->ld) * sizeof(float));
    memset(j->in[1], 0, (size_t)(j->rows * j->ld) * sizeof(float));
    for (int64_t s = 0; s < j->rows; s++)
        for (int64_t i = 0; i < j->hidden; i += VL) {
            int64_t b = j->row[s], left = j->hidden - i;
            vf h = p->h0.ndim ? vec_get(row_of(&p->h0, b), p->h0.dtype, i, left)
                              : vec_all(0);
            vf c = p->c0.ndim ? vec_get(row_of(&p->c0, b), p->c0.dtype, i, left)
                              : vec_all(0);

            words_put(j->in[0] + s * j->ld, i, p->h0.ndim ? p->h0.dtype : NND_F32, h);
            if (p->cell == NND_CELL_LSTM)
                memcpy(j->acc + s * j->units + i, &c, sizeof c);
            if (j->len[s] == 0 && p->h_last.ndim)
                vec_put(row_of(&p->h_last, b), p->h_last.dtype, i, left, h);
            if (j->len[s] == 0 && p->c_last.ndim)
                vec_put(row_of(&p->c_last, b), p->c_last.dtype, i, left, c);
        }
}

static int launch(const void *params, const struct nnd_launch *l)
{
    struct job j = job_begin(params, l);
    int rc = order_rows(&j);

    if (rc || j.rows == 0)
        return rc;
    first_state(&j);
    rc = par_rows(l, j.panels, j.words * j.nv * VL, pack_panels, &j);
    for (j.step = 0; rc == NND_OK && j.step < j.len[0]; j.step++)
        rc = par_tasks(l, j.parts, part_step, &j);
    clear_padding(&j, &j.p->y);
    clear_padding(&j, &j.p->gates);
    clear_padding(&j, &j.p->c);
    return rc;
}

/* What the table cannot say: sizes that are multiples. */
static int check(const void *params, struct nnd_error *e)
{
    const struct nnd_rnn *p = params;
    int64_t h = p->u.dim[1];

    if (p->cell < NND_CELL_TANH || p->cell > NND_CELL_LSTM)
        return op_refuse(e, NND_EINVAL, "cell is %d, wanted 0 to %d", p->cell,
                         NND_CELL_LSTM);
    if (p->x.dim[2] != gates_of(p->cell) * h)
        return op_refuse(e, NND_EINVAL, "x: dim 2 is %lld, wanted %d times %lld",
                         (long long)p->x.dim[2], gates_of(p->cell), (long long)h);
    if (p->gates.ndim && p->gates.dim[2] != 4 * h)
        return op_refuse(e, NND_EINVAL, "gates: dim 2 is %lld, wanted 4 times %lld",
                         (long long)p->gates.dim[2], (long long)h);
    return NND_OK;
}

/* T: the letter of the steps; of a cell '1'. */
#define FWD_ARGS(T)                                                                    \
    {                                                                                  \
        ARG(nnd_rnn, x, "B" T "G", IN_CELL, ARG_ANY_ORDER),                            \
            ARG(nnd_rnn, u, "GH", IN_CELL, 0),                                         \
            ARG(nnd_rnn, b, "G", IN_FLOATS, ARG_OPTIONAL),                             \
            ARG(nnd_rnn, h0, "BH", IN_CELL, ARG_OPTIONAL),                             \
            ARG(nnd_rnn, c0, "BH", IN_F32, ARG_OPTIONAL),                              \
            ARG(nnd_rnn, y, "B" T "H", IN_CELL, ARG_ANY_ORDER),                        \
            ARG(nnd_rnn, h_last, "BH", IN_FLOATS, ARG_OPTIONAL),                       \
            ARG(nnd_rnn, c_last, "BH", IN_F32, ARG_OPTIONAL),                          \
            ARG(nnd_rnn, gates, "B" T "*", IN_FLOATS, ARG_OPTIONAL | ARG_ANY_ORDER),   \
            ARG(nnd_rnn, c, "B" T "H", IN_F32, ARG_OPTIONAL | ARG_ANY_ORDER),          \
    }

const struct op OPS(rnn_fwd)[] = {
    {.name = "rnn.seq.fwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = FWD_ARGS("T"),
     .check = check,
     .workspace = workspace,
     .launch = launch},
    {.name = "rnn.cell.fwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = FWD_ARGS("1"),
     .check = check,
     .workspace = workspace,
     .launch = launch},
    {0},
};
