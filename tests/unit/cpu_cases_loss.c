/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_cases_loss.c - calls of losses: over logits, over a product that is not stored,
 * and beside a teacher.
 */
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

static void add_xent(struct calls *c, int64_t rows, int64_t v, int dtype)
{
    for (int i = 0; i < 2; i++) {
        struct nnd_xent *p = calls_params(c, sizeof *p);
        struct call *k = calls_add(c, i ? "xent.bwd" : "xent.fwd", p, "");
        float *seed = calls_room(c, sizeof *seed);
        int32_t *target = calls_integers(c, rows, 0, (int32_t)v);

        *seed = 0.125f;
        target[rows / 2] = -1;
        p->logits = matrix(c, dtype, rows, v, 0);
        p->loss = vector(c, NND_F32, rows);
        p->lse = vector(c, NND_F32, rows);
        for (int64_t t = 0; t < rows; t++)
            ((float *)p->lse.data)[t] += 8;
        p->target = target;
        p->seed = seed;
        p->dlogits = matrix(c, dtype, rows, v, 0);
        calls_output(c, k, i ? &p->dlogits : &p->loss);
        if (!i)
            calls_output(c, k, &p->lse);
    }
}

static void add_distill(struct calls *c, int64_t rows, int64_t v, int dtype)
{
    for (int i = 0; i < 2; i++) {
        struct nnd_distill *p = calls_params(c, sizeof *p);
        struct call *k = calls_add(c, i ? "distill.bwd" : "distill.fwd", p, "");
        struct nnd_tensor *kept[] = {&p->lse, &p->lse_soft, &p->lse_teacher};
        float *seed = calls_room(c, sizeof *seed);
        int32_t *target = calls_integers(c, rows, 0, (int32_t)v);

        *seed = 0.125f, target[rows / 2] = -1;
        p->logits = matrix(c, dtype, rows, v, 0);
        p->teacher = matrix(c, dtype, rows, v, 0);
        p->loss = vector(c, NND_F32, rows);
        for (int s = 0; s < 3; s++) {
            *kept[s] = vector(c, NND_F32, rows);
            for (int64_t t = 0; t < rows; t++)
                ((float *)kept[s]->data)[t] += 8;
            if (!i)
                calls_output(c, k, kept[s]);
        }
        p->target = target;
        p->seed = seed;
        p->alpha = 0.75f;
        p->temperature = 2.5f;
        p->dlogits = matrix(c, dtype, rows, v, 0);
        calls_output(c, k, i ? &p->dlogits : &p->loss);
    }
}

static void add_softmax(struct calls *c, int64_t rows, int64_t n, int dtype)
{
    for (int i = 0; i < 2; i++) {
        struct nnd_softmax *p = calls_params(c, sizeof *p);
        struct call *k = calls_add(c, i ? "softmax.bwd" : "softmax.fwd", p, "");

        p->x = matrix(c, dtype, rows, n, 3);
        p->y = matrix(c, dtype, rows, n, 1);
        p->dy = matrix(c, dtype, rows, n, 2);
        p->dx = matrix(c, dtype, rows, n, 0);
        p->len = calls_integers(c, rows, 0, (int32_t)n);
        p->scale = i ? -0.5f : 3.0f;
        calls_output(c, k, i ? &p->dx : &p->y);
    }
}

/* More classes than a block has. */
static void add_xent_linear(struct calls *c, int64_t rows, int64_t v, int64_t n,
                            int dtype)
{
    for (int i = 0; i < 2; i++) {
        struct nnd_xent_linear *p = calls_params(c, sizeof *p);
        struct call *k = calls_add(c, i ? "xent.linear.bwd" : "xent.linear.fwd", p, "");
        float *seed = calls_room(c, sizeof *seed);
        int32_t *target = calls_integers(c, rows, 0, (int32_t)v);

        *seed = 0.125f;
        target[rows / 2] = -1;
        p->x = matrix(c, dtype, rows, n, 0);
        p->w = matrix(c, dtype, v, n, 0);
        p->loss = vector(c, NND_F32, rows);
        p->lse = vector(c, NND_F32, rows);
        for (int64_t t = 0; t < rows; t++)
            ((float *)p->lse.data)[t] += 8;
        p->target = target;
        p->seed = seed;
        p->smoothing = 0.1f;
        p->z_loss = 0.01f;
        p->dx = matrix(c, dtype, rows, n, 0);
        p->dw = matrix(c, NND_F32, v, n, 0);
        calls_output(c, k, i ? &p->dx : &p->loss);
        calls_output(c, k, i ? &p->dw : &p->lse);
    }
}

void calls_add_losses(struct calls *c, int more, int dtype)
{
    add_xent(c, 33, 1000 + more, dtype);
    add_xent_linear(c, 40, 1100 + more, 20, dtype);
    add_distill(c, 33, 1000 + more, dtype);
    add_softmax(c, 50, 170 + more, dtype);
}
