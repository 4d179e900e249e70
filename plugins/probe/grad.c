/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grad.c - directional differences: (L(x + h u) - L(x - h u)) / 2h against <dx, u>,
 * with L = <o, do> of all that flows back into the operator.
 */
#include "grad.h"

#include <math.h>
#include <string.h>

#include "compare.h"
#include "number.h"
#include "tensor/dtype.h"

enum { FLOWS = 3, INPUTS = 5 };

#define STEP 1e-4

/* Slots by name: what flows back into what, and gradients of what come out. */
static const struct grad {
    const char *op;
    const char *flow[FLOWS][2]; /* output, its gradient; NULL: ones, times the seed */
    const char *input[INPUTS][2];
} grads[] = {
    {"attn.bwd",
     {{"o", "dout"}},
     {{"q", "dq"}, {"k", "dk"}, {"v", "dv"}, {"bias", "dbias"}}},
    {"norm.rms.bwd", {{"y", "dy"}, {"x", "dsum"}}, {{"x", "dx"}, {"w", "dw"}}},
    {"norm.layer.bwd",
     {{"y", "dy"}, {"x", "dsum"}},
     {{"x", "dx"}, {"w", "dw"}, {"b", "db"}}},
    {"act.swiglu.bwd", {{"y", "dy"}}, {{"a", "da"}, {"b", "db"}}},
    {"act.gelu.bwd", {{"y", "dy"}}, {{"a", "da"}}},
    {"act.relu.bwd", {{"y", "dy"}}, {{"a", "da"}}},
    {"softmax.bwd", {{"y", "dy"}}, {{"x", "dx"}}},
    {"xent.bwd", {{"loss", NULL}}, {{"logits", "dlogits"}}},
    {"xent.linear.bwd", {{"loss", NULL}}, {{"x", "dx"}, {"w", "dw"}}},
    {"distill.bwd", {{"loss", NULL}}, {{"logits", "dlogits"}}},
    {"rnn.seq.bwd",
     {{"y", "dy"}, {"h_last", "dh"}, {"c_last", "dc"}},
     {{"x", "dx"}, {"h0", "dh0"}, {"c0", "dc0"}}},
    {"rnn.cell.bwd",
     {{"y", "dy"}, {"h_last", "dh"}, {"c_last", "dc"}},
     {{"x", "dx"}, {"h0", "dh0"}, {"c0", "dc0"}}},
    {"attn.add.bwd",
     {{"o", "dout"}},
     {{"q", "dq"}, {"k", "dk"}, {"v", "dv"}, {"w", "dw"}}},
    {"attn.dot.bwd", {{"o", "dout"}}, {{"q", "dq"}, {"k", "dk"}, {"v", "dv"}}},
};

/* Where losses have their seed. */
static const struct {
    const char *op;
    size_t at;
} seeds[] = {
    {"xent.bwd", offsetof(union call_params, xent.seed)},
    {"xent.linear.bwd", offsetof(union call_params, xent_linear.seed)},
    {"distill.bwd", offsetof(union call_params, distill.seed)},
};

static const struct types wide = {"f64", NND_F64, NND_F64, NND_F64};

static const struct grad *find(const char *op)
{
    for (size_t i = 0; i < sizeof grads / sizeof grads[0]; i++)
        if (strcmp(grads[i].op, op) == 0)
            return &grads[i];
    return NULL;
}

bool grad_known(const char *op)
{
    return find(op) != NULL;
}

static int slot_of(const struct call *c, const char *name)
{
    for (int i = 0; name && i < c->nslots; i++)
        if (strcmp(c->slot[i].name, name) == 0)
            return i;
    return -1;
}

/* The numbers that a kernel saw: rounded as its inputs are. */
static void fix_inputs(struct call *c, const struct result *r)
{
    for (int i = 0; i < c->nslots; i++)
        if (c->slot[i].role == ROLE_IN && c->slot[i].kind != KIND_I32)
            c->slot[i].value = r->value[i];
}

/* The seed of a loss, as the call has it. */
static double seed_of(const struct grad *g, const struct call *c)
{
    const char *where = NULL;
    float x = 1;
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++)
        if (strcmp(seeds[i].op, g->op) == 0)
            where = (const char *)&c->params + seeds[i].at;
    for (int i = 0; i < c->narrays; i++)
        if (c->array[i].where == (const void *)where)
            memcpy(&x, c->array[i].data, sizeof x);
    return (double)x;
}

static double product(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(a[i]) && isfinite(b[i])) /* padding is NaN */
            sum += a[i] * b[i];
    return sum;
}

/* L of what forward made of the call as it is. */
static int loss(const struct grad *g, struct call *c, const struct trial *t,
                double *out, struct err *e)
{
    struct result r;
    if (run_forward(c, t, &r, e) != 0) {
        e->code = ERR_RETRY; /* ref's: nothing is known of the kernel */
        return err_prefix(e, "the suite itself");
    }
    *out = 0;
    for (int i = 0; i < FLOWS && g->flow[i][0]; i++) {
        int o = slot_of(c, g->flow[i][0]), d = slot_of(c, g->flow[i][1]);
        if (o < 0 || (g->flow[i][1] && d < 0))
            continue;
        if (d >= 0)
            *out += product(r.value[o], c->slot[d].value, c->slot[o].count);
        for (int64_t k = 0; d < 0 && k < c->slot[o].count; k++)
            *out += r.value[o][k] * seed_of(g, c);
    }
    return 0;
}

/* L where slot x is moved by `step` times the direction. */
static int moved_loss(const struct grad *g, struct call *c, int x, const double *along,
                      double step, const struct trial *t, double *out, struct err *e)
{
    struct slot *s = &c->slot[x];
    const double *was = s->value;
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++)
        value[i] = was[i] + step * along[i];
    s->value = value;
    int rc = loss(g, c, t, out, e);
    s->value = was;
    return rc;
}

static int slope(const struct grad *g, struct call *c, int x, const double *along,
                 double step, const struct trial *t, double *out, struct err *e)
{
    double up, down;
    if (moved_loss(g, c, x, along, step, t, &up, e) != 0 ||
        moved_loss(g, c, x, along, -step, t, &down, e) != 0)
        return -1;
    *out = (up - down) / (2 * step);
    return 0;
}

/* The error of a gradient points anywhere: along a random direction it is seldom more
 * than a few times its length over the root of n.  How far two differences are apart
 * says what they are worth. */
static int compare(const struct grad *g, struct call *c, int x, int dx,
                   const struct result *r, const struct trial *t, struct err *e)
{
    const struct slot *s = &c->slot[dx];
    double *along = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *along);
    double far, near, size = 0, length = 0;
    for (int64_t i = 0; i < s->count; i++) {
        along[i] = call_random(91 + (uint64_t)x, (uint64_t)i);
        size += isfinite(r->value[dx][i]) ? r->value[dx][i] * r->value[dx][i] : 0;
        length += along[i] * along[i];
    }
    if (slope(g, c, x, along, STEP, t, &far, e) != 0 ||
        slope(g, c, x, along, STEP / 2, t, &near, e) != 0)
        return -1;
    double want = (4 * near - far) / 3, is = product(r->value[dx], along, s->count);
    double unit = compare_allowed(c, dx, r) + 1e-6;
    double limit =
        6 * unit * fmax(sqrt(size), s->floor) * sqrt(length / (double)s->count) +
        2 * fabs(far - near) + 1e-7;
    if (fabs(is - want) <= limit)
        return 0;
    return err_set(e, ERR_FAILED,
                   "%s along a direction is %.9g, differences of %s give %.9g, "
                   "allowed %.2g",
                   s->name, is, c->derive ? c->derive : "forward", want, limit);
}

int grad_check(const char *op, struct call *c, const struct result *r,
               const struct trial *forward, struct err *e)
{
    const struct grad *g = find(op);
    struct trial t = *forward;
    t.types = &wide;
    fix_inputs(c, r);
    for (int i = 0; i < INPUTS && g->input[i][0]; i++) {
        int x = slot_of(c, g->input[i][0]), dx = slot_of(c, g->input[i][1]);
        if (x >= 0 && dx >= 0 && c->slot[x].role == ROLE_IN && c->slot[x].count > 0 &&
            compare(g, c, x, dx, r, &t, e) != 0)
            return -1;
    }
    return 0;
}
