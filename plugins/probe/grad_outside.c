/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad_outside.c - directional differences of L = <y, dy>, as in grad.c, with what the
 * plugin itself makes of y; nobody else knows its operator.
 */
#include "grad_outside.h"

#include <math.h>
#include <string.h>

#include "family.h"
#include "tensor/dtype.h"

static const struct layout plain = {.name = "contiguous", .step = 1};

/* Steps that are neither all rounding nor all curvature. */
static const struct precision {
    struct types types;
    double step, share; /* what a right gradient may be off, of its size */
} precisions[] = {
    {{"f64", NND_F64, NND_F64, NND_F64}, 1e-4, 1e-7},
    {{"f32", NND_F32, NND_F32, NND_F32}, 1e-2, 1e-3},
};

/* The backward call and the forward call of the same inputs. */
struct pair {
    const struct nnd_op_def *op;
    const struct precision *in;
    struct call bwd, fwd;
    struct trial backward, forward;
    struct result r; /* of bwd */
};

bool grad_is_outside(const struct nnd_op_def *d, const char *op)
{
    return d && d->backward && strcmp(d->backward, op) == 0;
}

static bool build(struct call *c, const struct pair *q, const char *op, int number,
                  struct arena *arena)
{
    call_init(c, arena);
    c->outside = q->op;
    c->outside_op = op;
    c->act = q->in->types.act;
    return family_outside(c, number, NULL) && c->slot[0].dtype == c->act;
}

static int find_forward(struct pair *q, const struct nnd_plugin *p, struct err *e)
{
    for (uint32_t i = 0; i < p->nkernels; i++) {
        q->forward.kernel = p->kernels[i];
        if (strcmp(p->kernels[i]->op, q->op->name) == 0 &&
            strcmp(p->kernels[i]->device, q->backward.kernel->device) == 0 &&
            run_ask(&q->fwd, &q->forward, e) == 0)
            return 0;
    }
    err_set(e, ERR_FAILED, "no kernel of %s here takes %s", q->op->name,
            q->in->types.name);
    return RUN_REFUSED;
}

/* Outputs that the backward call reads are the forward call's. */
static int run_both(struct pair *q, struct err *e)
{
    struct result y;
    int rc = run_ask(&q->bwd, &q->backward, e);
    if (rc == 0)
        rc = run_call(&q->fwd, &q->forward, &y, e);
    for (uint32_t k = 0; rc == 0 && k < q->op->nout; k++)
        q->bwd.slot[q->op->nin + k].value = y.value[q->op->nin + k];
    return rc ? rc : run_call(&q->bwd, &q->backward, &q->r, e);
}

/* L where input x is moved by `step` times the direction, and what L's terms are
 * without their signs. */
static int moved_loss(struct pair *q, uint32_t x, const double *along, double step,
                      double *out, double *terms, struct err *e)
{
    const struct nnd_op_def *d = q->op;
    struct slot *s = &q->fwd.slot[x];
    double *value = arena_calloc(q->fwd.arena, (size_t)s->count + 1, sizeof *value);
    struct result y;
    for (int64_t i = 0; i < s->count; i++)
        value[i] = q->r.value[x][i] + step * along[i];
    s->value = value;
    int rc = run_call(&q->fwd, &q->forward, &y, e);
    s->value = q->r.value[x];
    *out = *terms = 0;
    for (uint32_t k = 0; rc == 0 && k < d->nout; k++)
        for (int64_t i = 0; i < q->fwd.slot[d->nin + k].count; i++) {
            double term = y.value[d->nin + k][i] * q->r.value[d->nin + d->nout + k][i];
            *out += term;
            *terms += fabs(term);
        }
    return rc ? -1 : 0;
}

static int slope(struct pair *q, uint32_t x, const double *along, double step,
                 double *out, double *noise, struct err *e)
{
    double up, down;
    if (moved_loss(q, x, along, step, &up, noise, e) != 0 ||
        moved_loss(q, x, along, -step, &down, noise, e) != 0)
        return -1;
    *out = (up - down) / (2 * step);
    *noise *= 2 * dtype_unit(q->in->types.act) / step;
    return 0;
}

static int compare(struct pair *q, uint32_t x, struct err *e)
{
    const struct slot *s = &q->bwd.slot[x];
    const double *dx = q->r.value[q->op->nin + 2 * q->op->nout + x];
    double *along = arena_calloc(q->bwd.arena, (size_t)s->count + 1, sizeof *along);
    double far, near, noise, is = 0, size = 0, length = 0;
    for (int64_t i = 0; i < s->count; i++) {
        along[i] = call_random(91 + x, (uint64_t)i);
        is += dx[i] * along[i];
        size += dx[i] * dx[i];
        length += along[i] * along[i];
    }
    if (slope(q, x, along, q->in->step, &far, &noise, e) != 0 ||
        slope(q, x, along, q->in->step / 2, &near, &noise, e) != 0)
        return -1;
    double want = (4 * near - far) / 3;
    double limit = 6 * q->in->share * sqrt(size * length / (double)s->count) +
                   2 * fabs(far - near) + noise + 1e-7;
    if (fabs(is - want) <= limit)
        return 0;
    return err_set(e, ERR_FAILED,
                   "the gradient of %s along a direction is %.9g, differences of %s "
                   "give %.9g, allowed %.2g",
                   q->op->in[x].name, is, q->op->name, want, limit);
}

static int compare_all(struct pair *q, struct err *e)
{
    for (uint32_t x = 0; x < q->op->nin; x++)
        q->fwd.slot[x].value = q->r.value[x]; /* rounded as the kernel saw them */
    for (uint32_t x = 0; x < q->op->nin; x++)
        if (q->bwd.slot[x].dtype == q->bwd.act && q->bwd.slot[x].count > 0 &&
            compare(q, x, e) != 0)
            return -1;
    return 0;
}

int grad_outside(const struct nnd_plugin *p, const struct nnd_kernel *k,
                 const struct nnd_device_ops *device, const struct nnd_op_def *d,
                 int number, struct arena *arena, struct err *e)
{
    int rc = RUN_REFUSED;
    err_set(e, ERR_FAILED, "no frame of f64 or f32");
    for (size_t i = 0; rc > 0 && i < sizeof precisions / sizeof precisions[0]; i++) {
        struct pair *q = arena_calloc(arena, 1, sizeof *q);
        *q = (struct pair){.op = d, .in = &precisions[i]};
        q->backward = q->forward = (struct trial){.kernel = k,
                                                  .plugin = p,
                                                  .device = device,
                                                  .types = &q->in->types,
                                                  .layout = &plain,
                                                  .nthreads = 1};
        if (!build(&q->bwd, q, d->backward, number, arena) ||
            !build(&q->fwd, q, d->name, number, arena) || find_forward(q, p, e) != 0)
            continue;
        rc = run_both(q, e);
        if (rc == 0)
            rc = compare_all(q, e);
    }
    return rc;
}
