/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_rows.c - a row's bits depend neither on how many rows a call has nor
 * on the row's place: calls are cut into runs of rows, run alone, and compared
 * with the whole.  So a decoding step equals the forward pass, and a shard the
 * whole batch.
 */
#include "unit.h"

#include "cpu_cases.h"

/* The params of an operator that have one entry for each row. */
#define OUTS 4

struct rowed {
    const char *op;
    size_t size;
    size_t in[6];     /* tensors: inputs */
    size_t out[OUTS]; /* tensors: outputs */
    size_t index[2];  /* arrays of int32_t */
};

#define NORM(f)  offsetof(struct nnd_norm, f)
#define ACT(f)   offsetof(struct nnd_act, f)
#define SOFT(f)  offsetof(struct nnd_softmax, f)
#define XENT(f)  offsetof(struct nnd_xent, f)
#define XLIN(f)  offsetof(struct nnd_xent_linear, f)
#define DIST(f)  offsetof(struct nnd_distill, f)
#define ROPE(f)  offsetof(struct nnd_rope, f)
#define EMBED(f) offsetof(struct nnd_embed, f)
#define ROUTE(f) offsetof(struct nnd_route, f)
#define DROP(f)  offsetof(struct nnd_drop, f)
#define GEMM(f)  offsetof(struct nnd_gemm, f)

static const struct rowed table[] = {
    {"norm.rms.fwd",
     sizeof(struct nnd_norm),
     {NORM(x), NORM(add)},
     {NORM(y), NORM(rstd), NORM(sum)},
     {0}},
    {"norm.layer.fwd",
     sizeof(struct nnd_norm),
     {NORM(x), NORM(add)},
     {NORM(y), NORM(rstd), NORM(mean), NORM(sum)},
     {0}},
    {"norm.rms.bwd",
     sizeof(struct nnd_norm),
     {NORM(x), NORM(rstd), NORM(dy), NORM(dsum)},
     {NORM(dx)},
     {0}},
    {"norm.layer.bwd",
     sizeof(struct nnd_norm),
     {NORM(x), NORM(rstd), NORM(mean), NORM(dy), NORM(dsum)},
     {NORM(dx)},
     {0}},
    {"act.swiglu.fwd", sizeof(struct nnd_act), {ACT(a), ACT(b)}, {ACT(y)}, {0}},
    {"act.swiglu.bwd",
     sizeof(struct nnd_act),
     {ACT(a), ACT(b), ACT(dy)},
     {ACT(da), ACT(db)},
     {0}},
    {"act.gelu.fwd", sizeof(struct nnd_act), {ACT(a)}, {ACT(y)}, {0}},
    {"act.gelu.bwd", sizeof(struct nnd_act), {ACT(a), ACT(dy)}, {ACT(da)}, {0}},
    {"act.relu.fwd", sizeof(struct nnd_act), {ACT(a)}, {ACT(y)}, {0}},
    {"act.relu.bwd", sizeof(struct nnd_act), {ACT(a), ACT(dy)}, {ACT(da)}, {0}},
    {"softmax.fwd", sizeof(struct nnd_softmax), {SOFT(x)}, {SOFT(y)}, {SOFT(len)}},
    {"softmax.bwd",
     sizeof(struct nnd_softmax),
     {SOFT(y), SOFT(dy)},
     {SOFT(dx)},
     {SOFT(len)}},
    {"rope", sizeof(struct nnd_rope), {ROPE(x)}, {ROPE(y)}, {ROPE(pos)}},
    {"xent.fwd",
     sizeof(struct nnd_xent),
     {XENT(logits)},
     {XENT(loss), XENT(lse)},
     {XENT(target)}},
    {"xent.bwd",
     sizeof(struct nnd_xent),
     {XENT(logits), XENT(lse)},
     {XENT(dlogits)},
     {XENT(target)}},
    {"xent.linear.fwd",
     sizeof(struct nnd_xent_linear),
     {XLIN(x)},
     {XLIN(loss), XLIN(lse)},
     {XLIN(target)}},
    {"xent.linear.bwd",
     sizeof(struct nnd_xent_linear),
     {XLIN(x), XLIN(lse)},
     {XLIN(dx)},
     {XLIN(target)}},
    {"distill.fwd",
     sizeof(struct nnd_distill),
     {DIST(logits), DIST(teacher)},
     {DIST(loss), DIST(lse), DIST(lse_soft), DIST(lse_teacher)},
     {DIST(target)}},
    {"distill.bwd",
     sizeof(struct nnd_distill),
     {DIST(logits), DIST(teacher), DIST(lse), DIST(lse_soft), DIST(lse_teacher)},
     {DIST(dlogits)},
     {DIST(target)}},
    {"embed.fwd", sizeof(struct nnd_embed), {0}, {EMBED(y)}, {EMBED(id)}},
    {"moe.route.fwd",
     sizeof(struct nnd_route),
     {ROUTE(z)},
     {ROUTE(expert), ROUTE(gate)},
     {ROUTE(pos)}},
    {"dropout",
     sizeof(struct nnd_drop),
     {DROP(x)},
     {DROP(y)},
     {DROP(dropout.sample), DROP(dropout.pos)}},
    {"gemm", sizeof(struct nnd_gemm), {GEMM(a), GEMM(c)}, {GEMM(d)}, {0}},
};

static const struct rowed *rowed_of(const char *op)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].op, op) == 0)
            return &table[i];
    return NULL;
}

static struct nnd_tensor *tensor_at(void *params, size_t offset)
{
    return (struct nnd_tensor *)((char *)params + offset);
}

static void cut_tensor(struct nnd_tensor *t, int64_t lo, int64_t hi)
{
    if (t->ndim == 0)
        return;
    t->data = (char *)t->data + lo * t->stride[0] * (int64_t)dtype_bytes(t->dtype);
    t->dim[0] = hi - lo;
}

static void cut(const struct rowed *r, char *params, int64_t lo, int64_t hi)
{
    for (int i = 0; i < 6 && r->in[i]; i++)
        cut_tensor(tensor_at(params, r->in[i]), lo, hi);
    for (int i = 0; i < OUTS && r->out[i]; i++)
        cut_tensor(tensor_at(params, r->out[i]), lo, hi);
    for (int i = 0; i < 2 && r->index[i]; i++) {
        const int32_t *p;

        memcpy(&p, params + r->index[i], sizeof p);
        p += lo;
        memcpy(params + r->index[i], &p, sizeof p);
    }
}

/* Copies of the outputs of a whole call. */
struct saved {
    char *data[OUTS];
    size_t size[OUTS];
};

static void save(const struct rowed *r, void *params, struct saved *s)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < OUTS && r->out[i]; i++) {
        const struct nnd_tensor *t = tensor_at(params, r->out[i]);

        s->size[i] = (size_t)(t->dim[0] * t->stride[0]) * dtype_bytes(t->dtype);
        s->data[i] = malloc(s->size[i] + 1);
        assert_non_null(s->data[i]);
        if (s->size[i]) /* an output may be absent */
            memcpy(s->data[i], t->data, s->size[i]);
    }
}

/* Inner dimensions are walked, so that gaps between rows are not compared. */
static int same(const struct nnd_tensor *t, const char *want, int axis, int64_t at)
{
    size_t size = dtype_bytes(t->dtype);

    if (t->ndim == 0)
        return 1; /* absent */
    if (axis == t->ndim - 1)
        return memcmp((const char *)t->data + at * (int64_t)size,
                      want + at * (int64_t)size, (size_t)t->dim[axis] * size) == 0;
    for (int64_t i = 0; i < t->dim[axis]; i++)
        if (!same(t, want, axis + 1, at + i * t->stride[axis]))
            return 0;
    return 1;
}

static void compare_cut(const struct call *c, const struct rowed *r,
                        const struct nnd_kernel *k, const struct plugin_under_test *p,
                        const struct saved *whole, int64_t lo, int64_t hi)
{
    char *params = malloc(r->size);
    struct call part = *c;
    const char *why;

    assert_non_null(params);
    memcpy(params, c->params, r->size);
    cut(r, params, lo, hi);
    part.params = params;
    part.nout = 0; /* call_run() need not reset: poisoned here */
    for (int i = 0; i < c->nout; i++)
        memcpy(c->out[i].t->data, c->out[i].image, c->out[i].size);
    why = call_run(&part, k, p, 2);
    if (why)
        fail_msg("%s: %s, rows %d to %d: %s", c->label, k->name, (int)lo, (int)hi, why);
    for (int i = 0; i < OUTS && r->out[i]; i++) {
        const struct nnd_tensor *t = tensor_at(params, r->out[i]);
        const char *want =
            whole->data[i] + lo * t->stride[0] * (int64_t)dtype_bytes(t->dtype);

        if (!same(t, want, 0, 0))
            fail_msg("%s: %s, rows %d to %d alone: other bits", c->label, k->name,
                     (int)lo, (int)hi);
    }
    free(params);
}

static int64_t rows_of(const struct call *c, const struct rowed *r)
{
    return tensor_at(c->params, r->out[0])->dim[0];
}

/* Calls whose rows are not independent by nature. */
static int applies(const struct call *c, const struct rowed *r)
{
    const struct nnd_gemm *g = c->params;

    return r && !(strcmp(c->op, "gemm") == 0 && g->trans_a);
}

static void cut_call(const struct call *c, const struct rowed *r,
                     const struct plugin_under_test *p)
{
    int64_t rows = rows_of(c, r);

    for (uint32_t i = 0; i < p->table->nkernels; i++) {
        const struct nnd_kernel *k = p->table->kernels[i];
        struct saved whole;
        const char *why;

        if (strcmp(k->op, c->op))
            continue;
        why = call_run(c, k, p, 2);
        if (why)
            continue; /* not on this CPU; test_cpu_bits sees to the rest */
        save(r, c->params, &whole);
        for (int64_t n = 1; n <= rows; n = n * 3 + 1)
            for (int64_t lo = 0; lo + n <= rows; lo += rows / 3 + 1)
                compare_cut(c, r, k, p, &whole, lo, lo + n);
        for (int j = 0; j < OUTS; j++)
            free(whole.data[j]);
    }
}

static void cut_all(const char *plugin)
{
    struct plugin_under_test p;
    struct calls *calls = calls_create();

    plugin_open(&p, plugin, 2);
    for (const struct call *c = calls_first(calls); c; c = c->next) {
        const struct rowed *r = rowed_of(c->op);

        if (applies(c, r))
            cut_call(c, r, &p);
    }
    plugin_close(&p);
    calls_destroy(calls);
}

static void test_cpu(void **state)
{
    (void)state;
    cut_all("cpu");
}

static void test_gemm(void **state)
{
    (void)state;
    if (plugin_built("blis"))
        cut_all("blis");
    else
        unit_skip("built without BLIS");
}

/* ---- attention: the last n queries alone, over the same keys ---- */

static void last_queries(const struct call *c, const struct nnd_kernel *k,
                         const struct plugin_under_test *p, int32_t n)
{
    struct nnd_attn whole, part;
    struct call one = *c;
    size_t row, size;
    char *o, *lse;

    memcpy(&whole, c->params, sizeof whole);
    row = (size_t)whole.o.stride[0] * dtype_bytes(whole.o.dtype);
    size = row * (size_t)whole.o.dim[0];
    assert_null(call_run(c, k, p, 2));
    o = malloc(size);
    lse = malloc(c->out[1].size);
    memcpy(o, whole.o.data, size);
    memcpy(lse, whole.lse.data, c->out[1].size);
    part = whole;
    cut_tensor(&part.q, whole.max_q - n, whole.max_q);
    cut_tensor(&part.o, whole.max_q - n, whole.max_q);
    part.lse.data = (float *)whole.lse.data + whole.max_q - n;
    part.lse.dim[1] = n;
    part.max_q = n;
    if (part.bias.ndim) {
        part.bias.data =
            (char *)part.bias.data + (whole.max_q - n) * part.bias.stride[2] *
                                         (int64_t)dtype_bytes(part.bias.dtype);
        part.bias.dim[2] = n;
    }
    if (part.dropout.p > 0) {
        part.dropout.sample += whole.max_q - n;
        part.dropout.pos += whole.max_q - n;
    }
    one.params = &part;
    one.nout = 0;
    memset(whole.o.data, 0xff, size);
    assert_null(call_run(&one, k, p, 2));
    if (memcmp(part.o.data, o + (size_t)(whole.max_q - n) * row, (size_t)n * row))
        fail_msg("%s: %s, the last %d queries: other bits", c->label, k->name, n);
    for (int64_t h = 0; h < whole.lse.dim[0]; h++)
        assert_memory_equal((float *)part.lse.data + h * whole.lse.stride[0],
                            (float *)lse + h * whole.lse.stride[0] + whole.max_q - n,
                            (size_t)n * sizeof(float));
    free(o);
    free(lse);
}

static void test_attention(void **state)
{
    struct plugin_under_test p;
    struct calls *calls;

    (void)state;
    calls = calls_create();
    plugin_open(&p, "cpu", 2);
    for (const struct call *c = calls_first(calls); c; c = c->next) {
        const struct nnd_attn *a = c->params;

        if (strcmp(c->op, "attn.fwd") || a->batch != 1)
            continue;
        for (uint32_t i = 0; i < p.table->nkernels; i++) {
            const struct nnd_kernel *k = p.table->kernels[i];

            if (strcmp(k->op, "attn.fwd") || call_run(c, k, &p, 2))
                continue;
            for (int32_t n = 1; n <= a->max_q; n = n * 3 + 1)
                last_queries(c, k, &p, n);
        }
    }
    plugin_close(&p);
    calls_destroy(calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_attention),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
