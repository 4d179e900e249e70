/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op_distill.c - the loss of a student beside its teacher (Hinton et al. 2015):
 *
 *   loss[t] = (1 - a) nll(z[t], target[t]) + a T^2 KL(p(y[t] / T) || p(z[t] / T))
 *
 * z the student's logits, y the teacher's, p softmax.  Its gradient is (1 - a) (p(z) -
 * target) + a T (p(z / T) - p(y / T)), times the seed.  Rows without a target have
 * none. The host computes it in f64, a row at a time.
 */
#include <math.h>
#include <string.h>

#include "graph/exec.h"
#include "graph/grad.h"
#include "graph/op_list.h"
#include "graph/ops.h"
#include "tensor/dtype.h"

struct distill_attr {
    double alpha, temperature;
};

enum { DISTILL_LOGITS, DISTILL_TEACHER, DISTILL_TARGET, DISTILL_SEED };

static int distill_want(const struct node *n, struct err *e)
{
    const struct value *z = n->in[DISTILL_LOGITS];
    if (op_want(n, DISTILL_LOGITS, "logits", 0, -1, -1, e))
        return -1;
    int64_t rows = shape_rows(&z->shape);
    if (op_want(n, DISTILL_TEACHER, "the teacher's logits", 0, rows,
                shape_cols(&z->shape), e) ||
        op_want(n, DISTILL_TARGET, "targets", NND_I32, 1, rows, e))
        return -1;
    return op_want(n, DISTILL_SEED, "seed", 0, 1, 1, e);
}

static int distill_shape(struct graph *g, struct node *n, struct err *e)
{
    if (distill_want(n, e))
        return -1;
    graph_out(g, n, g->wide, shape_of(1, shape_rows(&n->in[DISTILL_LOGITS]->shape)));
    return 0;
}

static int distill_bwd_shape(struct graph *g, struct node *n, struct err *e)
{
    const struct value *z = n->in[DISTILL_LOGITS];
    if (distill_want(n, e))
        return -1;
    graph_out(g, n, grad_dtype(g, z), z->shape);
    return 0;
}

/* ---- a row ---------------------------------------------------------------- */

/* Numbers of one type at an address. */
struct row {
    const char *at;
    int dtype;
    int64_t n;
};

static double number(const struct row *r, int64_t i)
{
    double x;
    if (r->dtype == NND_F32)
        return (double)((const float *)r->at)[i];
    dtype_to_f64(r->dtype, r->at + (size_t)i * dtype_size(r->dtype), &x, 1);
    return x;
}

static struct row row_of(const struct exec *x, const struct value *v, int64_t t)
{
    int64_t n = shape_cols(&v->shape);
    const char *at = exec_data(x, v);
    return (struct row){at + (size_t)(t * n) * dtype_size(v->dtype), v->dtype, n};
}

/* log(sum(exp(r / temperature))). */
static double log_sum(const struct row *r, double temperature)
{
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < r->n; i++)
        top = fmax(top, number(r, i));
    for (int64_t i = 0; i < r->n; i++)
        sum += exp((number(r, i) - top) / temperature);
    return top / temperature + log(sum);
}

static int target_of(const struct exec *x, const struct node *n, int64_t t,
                     int64_t classes, int32_t *out, struct err *e)
{
    *out = ((const int32_t *)exec_data(x, n->in[DISTILL_TARGET]))[t];
    if (*out < classes)
        return 0;
    return err_set(e, ERR_FAILED, "%s: target %d in row %lld of %lld classes", n->where,
                   *out, (long long)t, (long long)classes);
}

static double loss_of(const struct distill_attr *at, const struct row *z,
                      const struct row *y, int32_t target)
{
    double T = at->temperature, zt = log_sum(z, T), yt = log_sum(y, T), kl = 0;
    for (int64_t i = 0; i < z->n; i++) {
        double p = number(y, i) / T - yt;
        kl += exp(p) * (p - (number(z, i) / T - zt));
    }
    return (1 - at->alpha) * (log_sum(z, 1) - number(z, target)) +
           at->alpha * T * T * kl;
}

/* ---- programs ------------------------------------------------------------- */

static int distill_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct value *z = n->in[DISTILL_LOGITS], *out = n->out[0];
    char *loss = exec_data(x, out);
    for (int64_t t = 0; t < shape_rows(&z->shape); t++) {
        struct row a = row_of(x, z, t), b = row_of(x, n->in[DISTILL_TEACHER], t);
        int32_t target;
        if (target_of(x, n, t, a.n, &target, e))
            return e->code;
        double sum = target < 0 ? 0 : loss_of(n->attr, &a, &b, target);
        dtype_from_f64(out->dtype, &sum, loss + (size_t)t * dtype_size(out->dtype), 1);
    }
    return 0;
}

static void slope_of(const struct distill_attr *at, const struct row *z,
                     const struct row *y, int32_t target, double seed, char *out,
                     int dtype)
{
    double T = at->temperature, a = at->alpha;
    double z1 = log_sum(z, 1), zt = log_sum(z, T), yt = log_sum(y, T);
    for (int64_t i = 0; i < z->n; i++) {
        double v = number(z, i);
        double hard = exp(v - z1) - (i == target);
        double soft = exp(v / T - zt) - exp(number(y, i) / T - yt);
        double d = seed * ((1 - a) * hard + a * T * soft);
        dtype_from_f64(dtype, &d, out + (size_t)i * dtype_size(dtype), 1);
    }
}

static int distill_bwd_run(struct exec *x, const struct node *n, struct err *e)
{
    const struct value *z = n->in[DISTILL_LOGITS], *out = n->out[0];
    struct row seed = row_of(x, n->in[DISTILL_SEED], 0);
    size_t bytes = (size_t)shape_cols(&z->shape) * dtype_size(out->dtype);
    char *d = exec_data(x, out);
    for (int64_t t = 0; t < shape_rows(&z->shape); t++, d += bytes) {
        struct row a = row_of(x, z, t), b = row_of(x, n->in[DISTILL_TEACHER], t);
        int32_t target;
        if (target_of(x, n, t, a.n, &target, e))
            return e->code;
        if (target < 0)
            memset(d, 0, bytes);
        else
            slope_of(n->attr, &a, &b, target, number(&seed, 0), d, out->dtype);
    }
    return 0;
}

const struct op op_distill_bwd = {
    .name = "distill.bwd",
    .attr_size = sizeof(struct distill_attr),
    .shape = distill_bwd_shape,
    .run = distill_bwd_run,
};

static void distill_grad(struct graph *g, const struct node *n)
{
    if (!n->in[DISTILL_LOGITS]->wants_grad)
        return;
    struct value *in[] = {n->in[0], n->in[1], n->in[2], n->in[3]};
    struct node *d = graph_add(g, &op_distill_bwd, n->attr, in, 4);
    if (d)
        grad_add(g, n->in[DISTILL_LOGITS], d->out[0]);
}

const struct op op_distill_fwd = {
    .name = "distill",
    .attr_size = sizeof(struct distill_attr),
    .shape = distill_shape,
    .grad = distill_grad,
    .terminal = true,
    .run = distill_run,
};

struct value *op_distill(struct graph *g, struct value *logits, struct value *teacher,
                         double alpha, double temperature, const struct chunk *c)
{
    if (!logits || !teacher || !c->target || !c->seed)
        return NULL;
    struct distill_attr at = {alpha, temperature};
    struct value *in[] = {logits, teacher, c->target, c->seed};
    struct node *n = graph_add(g, &op_distill_fwd, &at, in, 4);
    return n ? n->out[0] : NULL;
}
