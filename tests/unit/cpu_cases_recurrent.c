/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_cases_recurrent.c - calls of recurrent layers, of attention that keeps its
 * weights, and of choosing columns.
 */
#include <stdio.h>

#include "cpu_cases.h"

static struct nnd_tensor vector(struct calls *c, int dtype, int64_t n)
{
    return calls_tensor(c, dtype, 1, (int64_t[]){n}, 0);
}

static struct nnd_tensor matrix(struct calls *c, int dtype, int64_t m, int64_t n,
                                int64_t gap)
{
    return calls_tensor(c, dtype, 2, (int64_t[]){m, n}, gap);
}

static struct nnd_tensor cube(struct calls *c, int dtype, int64_t l, int64_t m,
                              int64_t n, int64_t gap)
{
    return calls_tensor(c, dtype, 3, (int64_t[]){l, m, n}, gap);
}

static void add_rnn(struct calls *c, int cell, int64_t b, int64_t t, int64_t h,
                    int dtype)
{
    static const char *const ops[] = {"rnn.seq.fwd", "rnn.seq.bwd"};
    int64_t g = cell <= NND_CELL_RELU ? 1 : cell == NND_CELL_GRU ? 3 : 4;
    int32_t *len = calls_integers(c, b, 0, (int32_t)t + 1);

    for (int i = 0; i < 2; i++) {
        struct nnd_rnn *p = calls_params(c, sizeof *p);
        char label[60];
        struct call *k;

        snprintf(label, sizeof label, "cell %d %dx%dx%d dtype %d", cell, (int)b, (int)t,
                 (int)h, dtype);
        k = calls_add(c, ops[i], p, label);
        p->cell = cell;
        p->len = len;
        p->x = cube(c, dtype, b, t, g * h, 3);
        p->u = matrix(c, dtype, g * h, h, 0);
        p->b = vector(c, NND_F32, g * h);
        p->y = cube(c, dtype, b, t, h, 0);
        p->h_last = matrix(c, dtype, b, h, 0);
        p->gates = cube(c, dtype, b, t, 4 * h, 0);
        p->c = cube(c, NND_F32, b, t, h, 0);
        p->dy = cube(c, dtype, b, t, h, 1);
        p->dx = cube(c, dtype, b, t, g * h, 0);
        p->h_prev = cube(c, dtype, b, t, h, 0);
        p->dh0 = matrix(c, dtype, b, h, 0);
        if (cell == NND_CELL_GRU)
            p->da = cube(c, dtype, b, t, g * h, 0);
        calls_output(c, k, i ? &p->dx : &p->y);
        calls_output(c, k, i ? &p->dh0 : &p->h_last);
        calls_output(c, k, i ? &p->h_prev : &p->gates);
    }
}

static void add_attend(struct calls *c, int64_t b, int64_t t, int64_t s, int64_t a,
                       int dtype)
{
    static const char *const ops[] = {"attn.add.fwd", "attn.add.bwd", "attn.dot.fwd",
                                      "attn.dot.bwd"};
    int32_t *len = calls_integers(c, b, 0, (int32_t)s + 1);

    for (int i = 0; i < 4; i++) {
        struct nnd_attend *p = calls_params(c, sizeof *p);
        struct call *k = calls_add(c, ops[i], p, "");

        p->scale = 0.25f;
        p->len = len;
        p->q = cube(c, dtype, b, t, a, 0);
        p->k = cube(c, dtype, b, s, a, 0);
        p->v = cube(c, dtype, b, s, a + 5, 0);
        p->w = vector(c, NND_F32, a);
        p->weight = cube(c, NND_F32, b, t, s, 0);
        p->o = cube(c, dtype, b, t, a + 5, 0);
        p->dout = cube(c, dtype, b, t, a + 5, 0);
        p->dq = cube(c, dtype, b, t, a, 0);
        p->dk = cube(c, dtype, b, s, a, 0);
        p->dv = cube(c, dtype, b, s, a + 5, 0);
        p->dw = vector(c, NND_F32, a);
        calls_output(c, k, i % 2 ? &p->dq : &p->o);
        calls_output(c, k, i % 2 ? &p->dk : &p->weight);
        if (i == 1)
            calls_output(c, k, &p->dw);
    }
}

static void add_choices(struct calls *c, int64_t r, int64_t v, int dtype)
{
    static const char *const ops[] = {"argmax", "sample"};
    uint64_t *seed = calls_room(c, (size_t)r * sizeof *seed);
    struct nnd_select *s = calls_params(c, sizeof *s);
    struct call *k = calls_add(c, "select", s, "");

    for (int64_t i = 0; i < r; i++)
        seed[i] = (uint64_t)i * 77;
    s->x = matrix(c, dtype, r, v, 0);
    s->index = matrix(c, NND_I32, r, 3, 0);
    s->y = matrix(c, dtype, r, 3, 0);
    calls_output(c, k, &s->y);
    for (int i = 0; i < 2; i++) {
        struct nnd_choose *p = calls_params(c, sizeof *p);

        k = calls_add(c, ops[i], p, "");
        p->x = s->x;
        p->index = matrix(c, NND_I32, r, i ? 1 : 4, 0);
        p->value = matrix(c, NND_F32, r, i ? 1 : 4, 0);
        p->temperature = 0.8f;
        p->top_p = 0.9f;
        p->seed = seed;
        p->pos = calls_integers(c, r, -1, 90);
        calls_output(c, k, &p->index);
        calls_output(c, k, &p->value);
    }
}

void calls_add_recurrent(struct calls *c)
{
    add_rnn(c, NND_CELL_TANH, 9, 4, 70, NND_F32);
    add_rnn(c, NND_CELL_RELU, 3, 5, 33, NND_BF16);
    add_rnn(c, NND_CELL_GRU, 40, 3, 100, NND_F32);
    add_rnn(c, NND_CELL_GRU, 7, 3, 48, NND_F16);
    add_rnn(c, NND_CELL_LSTM, 70, 3, 90, NND_F32);
    add_rnn(c, NND_CELL_LSTM, 12, 3, 65, NND_BF16);
    add_attend(c, 5, 7, 30, 50, NND_F32);
    add_attend(c, 40, 9, 12, 33, NND_BF16);
    add_choices(c, 30, 500, NND_F32);
    add_choices(c, 20, 33, NND_BF16);
}
