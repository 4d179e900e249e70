/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rnn_bwd.c - "rnn.seq.bwd", "rnn.cell.bwd": one pass a step.
 *
 * A panel is columns of U: the units of the state before.  Who owns them adds what
 * all gates of a step give to their gradient, and goes on, without waiting for
 * anyone, to the gates of these units one step before.
 */
#include "act.h"
#include "rnn_gate.h"
#include "rnn_tile.h"

struct sizes {
    size_t order, w, in, acc, acc2, all;
};

static struct job job_of(const struct nnd_rnn *p, struct sizes *s)
{
    struct job j = {.p = p,
                    .rows = p->dx.dim[0],
                    .steps = p->dx.dim[1],
                    .hidden = p->u.dim[1],
                    .gates = gates_of(p->cell)};
    int64_t vectors = (j.hidden + VL - 1) / VL;

    j.panels = (vectors + PANEL - 1) / PANEL;
    j.nv = j.panels ? (int)((vectors + j.panels - 1) / j.panels) : 1;
    j.units = j.panels * j.nv * VL;
    j.words = j.gates * (vectors * VL / PAIR);
    j.ld = up(j.words, 16) + 16;
    *s = (struct sizes){
        .order = (size_t)up((2 * j.rows + PARTS_MAX) * 4, 64),
        .w = (size_t)(j.panels * j.words * j.nv * VL) * 4,
        .in = (size_t)(j.rows * j.ld) * 4,
        .acc = (size_t)(j.rows * j.units) * 4,
        .acc2 = p->cell == NND_CELL_LSTM ? (size_t)(j.rows * j.units) * 4 : 0,
    };
    s->all = s->order + s->w + 2 * s->in + s->acc + s->acc2;
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
    j.in[0] = (float *)(at += s.w);
    j.in[1] = (float *)(at += s.in);
    j.acc = (float *)(at += s.in);
    j.acc2 = (float *)(at += s.acc);
    j.parts = parts_of(&j, l);
    j.plain = PAIR == 1 && is_plain(&p->dx) && is_plain(&p->y) && is_plain(&p->gates) &&
              is_plain(&p->c) && is_plain(&p->dy) && is_plain(&p->da) &&
              is_plain(&p->h_prev) && is_plain(&p->h0) && is_plain(&p->c0);
    for (int i = 0; i < j.parts; i++)
        atomic_init(&j.turn[i], 0);
    return j;
}

/* ---- weights ---- */

/* VL words of rows row ... row + PAIR - 1 of U, at columns [k, k + VL). */
static vf column_words(const struct nnd_tensor *u, int64_t row, int64_t rows, int64_t k)
{
    int64_t left = u->dim[1] - k;
#if PAIR == 2
    vf none = vec_all(0);
    vu lo = (vu)vec_get(row_of(u, row), NND_BF16, k, left);
    vu hi =
        (vu)(row + 1 < rows ? vec_get(row_of(u, row + 1), NND_BF16, k, left) : none);

    return (vf)(hi | lo >> 16);
#else
    (void)rows;
    return vec_get(row_of(u, row), u->dtype, k, left);
#endif
}

static void pack_panels(const void *arg, int64_t lo, int64_t hi)
{
    const struct job *j = arg;
    int64_t each = j->words / j->gates;

    for (int64_t n = lo; n < hi; n++)
        for (int64_t k = 0; k < j->words; k++)
            for (int v = 0; v < j->nv; v++) {
                int64_t gate = k / each, unit = k % each * PAIR;
                int64_t column = (n * j->nv + v) * VL;
                vf w = vec_all(0);

                if (unit < j->hidden && column < j->hidden)
                    w = column_words(&j->p->u, gate * j->hidden + unit,
                                     (gate + 1) * j->hidden, column);
                memcpy(j->w + ((n * j->words + k) * j->nv + v) * VL, &w, sizeof w);
            }
}

/* ---- one step ---- */

/* A vector of units of one slot at one step. */
struct spot {
    struct units units;
    int64_t slot, b, before, unit;  /* before: -1 at the first step */
    const void *gates, *y, *c, *dy; /* these at this step; NULL: absent */
    void *dx, *da, *h_prev;
    float *in;
};

static inline __attribute__((always_inline)) vf kept(const struct job *j,
                                                     const struct spot *s, int gate)
{
    return units_get(s->units, s->gates, j->p->gates.dtype, gate * j->hidden + s->unit);
}

/* A state before the step: of all the states, or the first. */
static inline __attribute__((always_inline)) vf
state_before(const struct spot *s, const struct nnd_tensor *all,
             const struct nnd_tensor *first)
{
    if (s->before >= 0)
        return units_get(s->units, step_at(all, s->b, s->before), all->dtype, s->unit);
    return first->ndim ? units_get(s->units, row_of(first, s->b), first->dtype, s->unit)
                       : vec_all(0);
}

/* The gradient d of a gate's recurrent part; dx is the same but for gru's n. */
static inline __attribute__((always_inline)) void
put_gate(const struct job *j, const struct spot *s, int gate, vf dx, vf da)
{
    const struct nnd_rnn *p = j->p;
    int64_t at = gate * j->hidden + s->unit;

    units_put(s->units, s->dx, p->dx.dtype, at, dx);
    if (s->da)
        units_put(s->units, s->da, p->da.dtype, at, da);
    words_put(s->in, gate * (j->words / j->gates * PAIR) + s->unit, NND_F32, da);
}

static inline __attribute__((always_inline)) vf
back_gru(const struct job *j, const struct spot *s, vf dh, vf h)
{
    vf r = kept(j, s, 0), z = kept(j, s, 1), n = kept(j, s, 2), a = kept(j, s, 3);
    vf dn = dh * (1.0f - z) * (1.0f - n * n);

    put_gate(j, s, 0, dn * a * (r * (1.0f - r)), dn * a * (r * (1.0f - r)));
    put_gate(j, s, 1, dh * (h - n) * (z * (1.0f - z)), dh * (h - n) * (z * (1.0f - z)));
    put_gate(j, s, 2, dn, dn * r);
    return dh * z;
}

static inline __attribute__((always_inline)) vf back_lstm(const struct job *j,
                                                          const struct spot *s, vf dh)
{
    const struct nnd_rnn *p = j->p;
    float *state = j->acc2 + s->slot * j->units + s->unit;
    vf i = kept(j, s, 0), f = kept(j, s, 1), g = kept(j, s, 2), o = kept(j, s, 3);
    vf tc = gate_tanh(units_get(s->units, s->c, p->c.dtype, s->unit));
    vf before = state_before(s, &p->c, &p->c0), dc, d[4];

    memcpy(&dc, state, sizeof dc);
    dc = dc + dh * o * (1.0f - tc * tc);
    d[0] = dc * g * (i * (1.0f - i));
    d[1] = dc * before * (f * (1.0f - f));
    d[2] = dc * i * (1.0f - g * g);
    d[3] = dh * tc * (o * (1.0f - o));
    for (int k = 0; k < 4; k++)
        put_gate(j, s, k, d[k], d[k]);
    dc = dc * f;
    memcpy(state, &dc, sizeof dc);
    return vec_all(0);
}

/* What goes straight to the state before. */
static inline __attribute__((always_inline)) vf
back_any(int cell, const struct job *j, const struct spot *s, vf dh, vf h)
{
    vf x;

    if (cell == NND_CELL_GRU)
        return back_gru(j, s, dh, h);
    if (cell == NND_CELL_LSTM)
        return back_lstm(j, s, dh);
    x = units_get(s->units, s->y, j->p->y.dtype, s->unit);
    x = cell == NND_CELL_TANH ? dh * (1.0f - x * x) : act_relu_back(dh, x);
    put_gate(j, s, 0, x, x);
    return vec_all(0);
}

static inline void *step_or_none(const struct nnd_tensor *t, int64_t b, int64_t step)
{
    return t->ndim ? step_at(t, b, step) : NULL;
}

static inline __attribute__((always_inline)) struct spot
spot_at(int plain, const struct job *j, int64_t slot)
{
    const struct nnd_rnn *p = j->p;
    int64_t b = j->row[slot], t = place(j, slot, j->step);

    return (struct spot){.units.plain = plain,
                         .slot = slot,
                         .b = b,
                         .before = j->step > 0 ? place(j, slot, j->step - 1) : -1,
                         .gates = step_or_none(&p->gates, b, t),
                         .y = step_at(&p->y, b, t),
                         .c = step_or_none(&p->c, b, t),
                         .dy = step_or_none(&p->dy, b, t),
                         .dx = step_at(&p->dx, b, t),
                         .da = step_or_none(&p->da, b, t),
                         .h_prev = step_at(&p->h_prev, b, t),
                         .in = j->in[j->step & 1] + slot * j->ld};
}

static inline __attribute__((always_inline)) void
panel_gates(int cell, int plain, const struct job *j, int64_t panel)
{
    const struct nnd_rnn *p = j->p;
    int64_t n = active(j, j->step);

    for (int64_t slot = 0; slot < n; slot++) {
        struct spot s = spot_at(plain, j, slot);

        for (int v = 0; v < j->nv; v++) {
            s.unit = (panel * j->nv + v) * VL;
            s.units.left = j->hidden - s.unit;
            if (s.units.left <= 0)
                break;
            float *at = j->acc + slot * j->units + s.unit;
            vf h = state_before(&s, &p->y, &p->h0), dh;

            memcpy(&dh, at, sizeof dh);
            if (s.dy)
                dh = dh + units_get(s.units, s.dy, p->dy.dtype, s.unit);
            units_put(s.units, s.h_prev, p->h_prev.dtype, s.unit, h);
            dh = back_any(cell, j, &s, dh, h);
            memcpy(at, &dh, sizeof dh);
        }
    }
}

static inline __attribute__((always_inline)) void
cell_gates(int plain, const struct job *j, int64_t panel)
{
    if (j->p->cell == NND_CELL_LSTM)
        panel_gates(NND_CELL_LSTM, plain, j, panel);
    else if (j->p->cell == NND_CELL_GRU)
        panel_gates(NND_CELL_GRU, plain, j, panel);
    else if (j->p->cell == NND_CELL_TANH)
        panel_gates(NND_CELL_TANH, plain, j, panel);
    else
        panel_gates(NND_CELL_RELU, plain, j, panel);
}

/* What the gates of step i give to the state before it, of one panel's units. */
static void panel_gradient(const struct job *j, int64_t i, int64_t panel)
{
    int64_t n = active(j, i), cols = j->nv * VL;
    float sum[ROW_BLOCK * PANEL * VL];

    for (int64_t lo = 0; lo < n; lo += ROW_BLOCK) {
        int64_t rows = n - lo < ROW_BLOCK ? n - lo : ROW_BLOCK;
        float *at = j->acc + lo * j->units + panel * cols;

        for (int64_t r = 0; r < rows; r++)
            memcpy(sum + r * cols, at + r * j->units, (size_t)cols * sizeof *sum);
        panel_product(j->nv, sum, rows, j->in[i & 1] + lo * j->ld, j->ld,
                      j->w + panel * j->words * cols, j->words);
        for (int64_t r = 0; r < rows; r++)
            memcpy(at + r * j->units, sum + r * cols, (size_t)cols * sizeof *sum);
    }
}

static void part_step(void *arg, int task)
{
    const struct job *j = arg;
    int part = take_part(j, j->len[0] - 1 - j->step);

    (void)task;
    for (int64_t i = first_panel(j, part); i < first_panel(j, part + 1); i++) {
        if (j->step + 1 < j->len[0])
            panel_gradient(j, j->step + 1, i);
        if (j->step < 0)
            continue;
        if (j->plain)
            cell_gates(1, j, i);
        else
            cell_gates(0, j, i);
    }
}

/* ---- all of them ---- */

/* Gradients of the last state, padded with zeros. */
static void last_state(const struct job *j, float *to, const struct nnd_tensor *d)
{
    for (int64_t s = 0; s < j->rows; s++)
        for (int64_t i = 0; i < j->units; i += VL) {
            int64_t left = j->hidden - i;
            vf x = vec_all(0);

            if (d->ndim && left > 0)
                x = vec_get(row_of(d, j->row[s]), d->dtype, i, left);
            memcpy(to + s * j->units + i, &x, sizeof x);
        }
}

static void put_first(const struct job *j, const float *from,
                      const struct nnd_tensor *d)
{
    for (int64_t s = 0; d->ndim && s < j->rows; s++)
        for (int64_t i = 0; i < j->hidden; i += VL)
            vec_put(row_of(d, j->row[s]), d->dtype, i, j->hidden - i,
                    vec_get(from + s * j->units, NND_F32, i, VL));
}

static int launch(const void *params, const struct nnd_launch *l)
{
    struct job j = job_begin(params, l);
    const struct nnd_rnn *p = j.p;
    int rc = order_rows(&j);

    if (rc || j.rows == 0)
        return rc;
    last_state(&j, j.acc, &p->dh);
    if (p->cell == NND_CELL_LSTM)
        last_state(&j, j.acc2, &p->dc);
    memset(j.in[0], 0, (size_t)(2 * j.rows * j.ld) * sizeof(float));
    rc = par_rows(l, j.panels, j.words * j.nv * VL, pack_panels, &j);
    for (j.step = j.len[0] - 1; rc == NND_OK && j.step >= -1; j.step--)
        rc = par_tasks(l, j.parts, part_step, &j);
    put_first(&j, j.acc, &p->dh0);
    if (p->cell == NND_CELL_LSTM)
        put_first(&j, j.acc2, &p->dc0);
    clear_padding(&j, &p->dx);
    clear_padding(&j, &p->da);
    clear_padding(&j, &p->h_prev);
    return rc;
}

/* What the table cannot say: sizes that are multiples, and what a cell needs. */
static int check(const void *params, struct nnd_error *e)
{
    const struct nnd_rnn *p = params;
    int64_t h = p->u.dim[1];

    if (p->cell < NND_CELL_TANH || p->cell > NND_CELL_LSTM)
        return op_refuse(e, NND_EINVAL, "cell is %d, wanted 0 to %d", p->cell,
                         NND_CELL_LSTM);
    if (p->dx.dim[2] != gates_of(p->cell) * h)
        return op_refuse(e, NND_EINVAL, "dx: dim 2 is %lld, wanted %d times %lld",
                         (long long)p->dx.dim[2], gates_of(p->cell), (long long)h);
    if (p->cell >= NND_CELL_GRU && (!p->gates.ndim || p->gates.dim[2] != 4 * h))
        return op_refuse(e, NND_EINVAL, "gates: dim 2 is %lld, wanted 4 times %lld",
                         (long long)(p->gates.ndim ? p->gates.dim[2] : 0),
                         (long long)h);
    if ((p->cell == NND_CELL_GRU && !p->da.ndim) ||
        (p->cell == NND_CELL_LSTM && !p->c.ndim))
        return op_refuse(e, NND_EINVAL, "%s is absent", p->c.ndim ? "da" : "c or da");
    return NND_OK;
}

/* T: the letter of the steps; of a cell '1'. */
#define BWD_ARGS(T)                                                                    \
    {                                                                                  \
        ARG(nnd_rnn, dx, "B" T "G", IN_CELL, ARG_ANY_ORDER),                           \
            ARG(nnd_rnn, u, "GH", IN_CELL, 0),                                         \
            ARG(nnd_rnn, h0, "BH", IN_FLOATS, ARG_OPTIONAL),                           \
            ARG(nnd_rnn, c0, "BH", IN_F32, ARG_OPTIONAL),                              \
            ARG(nnd_rnn, y, "B" T "H", IN_CELL, ARG_ANY_ORDER),                        \
            ARG(nnd_rnn, gates, "B" T "*", IN_FLOATS, ARG_OPTIONAL | ARG_ANY_ORDER),   \
            ARG(nnd_rnn, c, "B" T "H", IN_F32, ARG_OPTIONAL | ARG_ANY_ORDER),          \
            ARG(nnd_rnn, dy, "B" T "H", IN_FLOATS, ARG_OPTIONAL | ARG_ANY_ORDER),      \
            ARG(nnd_rnn, dh, "BH", IN_FLOATS, ARG_OPTIONAL),                           \
            ARG(nnd_rnn, dc, "BH", IN_F32, ARG_OPTIONAL),                              \
            ARG(nnd_rnn, da, "B" T "G", IN_FLOATS, ARG_OPTIONAL | ARG_ANY_ORDER),      \
            ARG(nnd_rnn, h_prev, "B" T "H", IN_FLOATS, ARG_ANY_ORDER),                 \
            ARG(nnd_rnn, dh0, "BH", IN_FLOATS, ARG_OPTIONAL),                          \
            ARG(nnd_rnn, dc0, "BH", IN_F32, ARG_OPTIONAL),                             \
    }

const struct op OPS(rnn_bwd)[] = {
    {.name = "rnn.seq.bwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = BWD_ARGS("T"),
     .check = check,
     .workspace = workspace,
     .launch = launch},
    {.name = "rnn.cell.bwd",
     .params_size = sizeof(struct nnd_rnn),
     .args = BWD_ARGS("1"),
     .check = check,
     .workspace = workspace,
     .launch = launch},
    {0},
};
