/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_cases_random.c - the bits of dropout, recomputed from their definition in
 * <nnd/plugin.h>: differences cannot see a mask that is wrong in both
 * directions.
 */
#include <math.h>
#include <string.h>

#include "op_cases.h"
#include "tensor/philox.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

/* What lab_chunk gives: seed and step, and row t of sequences of `context`. */
static const uint64_t rng[] = {42, 3};

static double keep(uint32_t op, double p, int t, int context, uint32_t head, int column)
{
    uint32_t counter[] = {(uint32_t)(7 + t / context), head, (uint32_t)(t % context),
                          (uint32_t)column / 4};
    philox4x32(nnd_rng_key(rng, op), counter, counter);
    return counter[column % 4] >= p * 0x1p32 ? 1 / (1 - p) : 0;
}

static int compare(const struct lab *l, const char *name, const double *want, int n,
                   struct err *e)
{
    const double *y = exec_data(l->x, graph_find(l->g, name));
    for (int i = 0; i < n; i++)
        if (lab_expect(name, i, want[i], y[i], e))
            return e->code;
    return 0;
}

/* ------------------------------------------------------------------------- */

enum { ROWS = 6, COLS = 10, CONTEXT = 3 };

/* Two ops, numbered in the order of the graph. */
static void build_dropout(struct lab *l, const void *arg)
{
    (void)arg;
    struct shape s = S(2, I(ROWS), I(COLS));
    struct value *x = lab_random(l, "x", s);
    lab_chunk(l, ROWS / CONTEXT, CONTEXT, 0, 5);
    op_copy(l->g, op_dropout(l->g, x, 0.25, &l->c),
            lab_state(l, "y0", NND_F64, s, NULL));
    op_copy(l->g, op_dropout(l->g, x, 0.5, &l->c),
            lab_state(l, "y1", NND_F64, s, NULL));
}

static int check_dropout(struct lab_world *w, struct err *e)
{
    double want[2][ROWS * COLS];
    for (int i = 0; i < ROWS * COLS; i++)
        for (int k = 0; k < 2; k++)
            want[k][i] =
                lab_number("x", 0, i) * keep((uint32_t)k, k ? 0.5 : 0.25, i / COLS,
                                             CONTEXT, 0xffffffff, i % COLS);
    return compare(&w->lab[0], "y0", want[0], ROWS * COLS, e)
               ? e->code
               : compare(&w->lab[0], "y1", want[1], ROWS * COLS, e);
}

/* ------------------------------------------------------------------------- */

enum { BATCH = 2, KEYS = 6, H = 4, HK = 2, D = 4 };

static void build_attention(struct lab *l, const void *arg)
{
    (void)arg;
    struct shape q = S(3, I(BATCH * KEYS), I(H), I(D)), k = q;
    k.dim[1] = HK;
    lab_chunk(l, BATCH, KEYS, 0, 5);
    struct value *o = op_attention(l->g, lab_random(l, "q", q), lab_random(l, "k", k),
                                   lab_random(l, "v", k), 0.25, &l->c);
    op_copy(l->g, o, lab_state(l, "o", NND_F64, q, NULL));
}

/* Row t, head h: the weights are dropped after the softmax, so that their sum
 * is the undropped one. */
static void attend(int t, int h, double *out)
{
    double sum = 0;
    memset(out, 0, D * sizeof(*out));
    for (int j = 0; j <= t % KEYS; j++) {
        int key = ((t - t % KEYS + j) * HK + h * HK / H) * D;
        double dot = 0;
        for (int d = 0; d < D; d++)
            dot +=
                lab_number("q", 0, (t * H + h) * D + d) * lab_number("k", 0, key + d);
        double weight = exp(dot / sqrt(D));
        sum += weight;
        weight *= keep(0, 0.25, t, KEYS, (uint32_t)h, j);
        for (int d = 0; d < D; d++)
            out[d] += weight * lab_number("v", 0, key + d);
    }
    for (int d = 0; d < D; d++)
        out[d] /= sum;
}

static int check_attention(struct lab_world *w, struct err *e)
{
    double want[BATCH * KEYS * H * D];
    for (int i = 0; i < BATCH * KEYS * H; i++)
        attend(i / H, i % H, want + i * D);
    return compare(&w->lab[0], "o", want, BATCH * KEYS * H * D, e);
}

/* ------------------------------------------------------------------------- */

const struct op_case op_cases_random[] = {
    {"dropout: bits by definition", &op_dropout_fwd, build_dropout,
     .check = check_dropout},
    {"attention: bits by definition", &op_attention_fwd, build_attention,
     .check = check_attention},
    {0},
};
