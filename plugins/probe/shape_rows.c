/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape_rows.c - calls over rows: norms, activations, tables of tokens, losses, sums,
 * optimizers, casts.
 */
#include "shape_build.h"

/* 0, 1, 2, ..., beginning again at n. */
static int32_t *counted(struct call *c, int64_t count, int64_t n)
{
    int32_t *x = call_ints(c, count);
    for (int64_t i = 0; i < count; i++)
        x[i] = (int32_t)(i % n);
    return x;
}

static void add_counted(struct call *c, void *where, int64_t count, int64_t n)
{
    call_array(c, where, counted(c, count, n), (size_t)count * sizeof(int32_t));
}

enum { NORM_ADD = 1 };

/* n: T N; kind 1: layer */
void shape_norm(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_norm *p = &c->params.norm;
    const int64_t *n = z->n;
    enum role stat = z->bwd ? ROLE_DERIVED : ROLE_OUT;
    bool layer = z->kind == 1;
    (void)w;
    p->struct_size = sizeof *p;
    p->eps = 1e-5f;
    c->derive = !z->bwd ? NULL : layer ? "norm.layer.fwd" : "norm.rms.fwd";
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "w", &p->w, ROLE_IN, KIND_WEIGHT, n[1], -1, -1);
    if (layer)
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_WEIGHT, n[1], -1, -1);
    call_tensor(c, "y", &p->y, z->bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_ACT, n[0], n[1],
                -1);
    call_tensor(c, "rstd", &p->rstd, stat, KIND_F32, n[0], -1, -1);
    if (layer)
        call_tensor(c, "mean", &p->mean, stat, KIND_F32, n[0], -1, -1);
    if (!z->bwd && (z->words & NORM_ADD)) {
        call_tensor(c, "add", &p->add, ROLE_IN, KIND_ACT, n[0], n[1], -1);
        call_tensor(c, "sum", &p->sum, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    }
    if (!z->bwd)
        return;
    if (z->words & NORM_ADD)
        call_tensor(c, "dsum", &p->dsum, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, n[1], -1, -1);
    if (layer)
        call_tensor(c, "db", &p->db, ROLE_OUT, KIND_F32, n[1], -1, -1);
}

/* n: T H D */
void shape_rope(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_rope *p = &c->params.rope;
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    p->theta = 10000;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[1], n[2]);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[1], n[2]);
    add_counted(c, &p->pos, n[0], n[0]);
}

enum { ACT_APPROX = 1 };

/* n: T N; kind 1: of two, swiglu */
void shape_act(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_act *p = &c->params.act;
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    p->approx = !z->kind && (z->words & ACT_APPROX);
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    if (z->kind)
        call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    if (!z->bwd) {
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
        return;
    }
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "da", &p->da, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    if (z->kind)
        call_tensor(c, "db", &p->db, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

enum { SOFTMAX_LEN = 1 };

/* n: T N; with len rows have any number of columns. */
void shape_softmax(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_softmax *p = &c->params.softmax;
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    p->scale = 0.125f;
    c->derive = z->bwd ? "softmax.fwd" : NULL;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[1], -1)->spread = 16;
    call_tensor(c, "y", &p->y, z->bwd ? ROLE_DERIVED : ROLE_OUT, KIND_ACT, n[0], n[1],
                -1);
    if (z->words & SOFTMAX_LEN)
        add_counted(c, &p->len, n[0], n[1] + 1);
    if (!z->bwd)
        return;
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

static const float one = 1;

/* n: T V */
void shape_xent(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_xent *p = &c->params.xent;
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    c->derive = z->bwd ? "xent.fwd" : NULL;
    call_tensor(c, "logits", &p->logits, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "loss", &p->loss, z->bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_F32, n[0],
                -1, -1);
    call_tensor(c, "lse", &p->lse, z->bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32, n[0], -1,
                -1);
    add_counted(c, &p->target, n[0], n[1]);
    call_array(c, &p->seed, &one, sizeof one);
    if (z->bwd)
        call_tensor(c, "dlogits", &p->dlogits, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

/* n: T V */
void shape_distill(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_distill *p = &c->params.distill;
    const struct {
        const char *name;
        struct nnd_tensor *x;
    } kept[] = {
        {"lse", &p->lse}, {"lse_soft", &p->lse_soft}, {"lse_teacher", &p->lse_teacher}};
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    p->alpha = 0.5f;
    p->temperature = 2;
    c->derive = z->bwd ? "distill.fwd" : NULL;
    call_tensor(c, "logits", &p->logits, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "teacher", &p->teacher, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "loss", &p->loss, z->bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_F32, n[0],
                -1, -1);
    for (int i = 0; i < 3; i++)
        call_tensor(c, kept[i].name, kept[i].x, z->bwd ? ROLE_DERIVED : ROLE_OUT,
                    KIND_F32, n[0], -1, -1);
    add_counted(c, &p->target, n[0], n[1]);
    call_array(c, &p->seed, &one, sizeof one);
    if (z->bwd)
        call_tensor(c, "dlogits", &p->dlogits, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

/* n: T V N */
void shape_xent_linear(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_xent_linear *p = &c->params.xent_linear;
    const int64_t *n = z->n;
    p->struct_size = sizeof *p;
    c->derive = z->bwd ? "xent.linear.fwd" : NULL;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[2], -1);
    call_tensor(c, "w", &p->w, ROLE_IN, KIND_ACT, n[1], n[2], -1);
    call_tensor(c, "loss", &p->loss, z->bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_F32, n[0],
                -1, -1);
    call_tensor(c, "lse", &p->lse, z->bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32, n[0], -1,
                -1);
    add_counted(c, &p->target, n[0], n[1]);
    call_array(c, &p->seed, &one, sizeof one);
    w->flops = (z->bwd ? 6.0 : 2.0) * (double)n[0] * (double)n[1] * (double)n[2];
    if (!z->bwd)
        return;
    call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, n[0], n[2], -1);
    call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, n[1], n[2], -1);
}

/* n: T V N */
void shape_embed(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_embed *p = &c->params.embed;
    const int64_t *n = z->n;
    (void)w;
    p->struct_size = sizeof *p;
    add_counted(c, &p->id, n[0], n[1]);
    if (z->bwd) {
        call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[2], -1);
        call_tensor(c, "dtable", &p->dtable, ROLE_OUT, KIND_F32, n[1], n[2], -1);
        return;
    }
    call_tensor(c, "table", &p->table, ROLE_IN, KIND_ACT, n[1], n[2], -1);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[2], -1);
}

/* n: T N */
void shape_sum(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_sum *p = &c->params.sum;
    (void)w;
    p->struct_size = sizeof *p;
    p->n = 2;
    call_tensor(c, "x[0]", &p->x[0], ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    call_tensor(c, "x[1]", &p->x[1], ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, z->n[0], z->n[1], -1);
}

/* n: T N */
void shape_dropout(struct call *c, const struct sizes *z, struct shape_work *w)
{
    static const uint64_t state[2] = {1, 2};
    struct nnd_drop *p = &c->params.drop;
    (void)w;
    p->struct_size = sizeof *p;
    p->dropout.p = 0.1f;
    call_array(c, &p->dropout.state, state, sizeof state);
    add_counted(c, &p->dropout.sample, z->n[0], 1);
    add_counted(c, &p->dropout.pos, z->n[0], z->n[0]);
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, z->n[0], z->n[1], -1);
}

/* n: T N; kind 0: rows.sum, 1 and 2: gather, scatter */
void shape_rows(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_rows *p = &c->params.rows;
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    if (!z->kind) {
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F32, z->n[1], -1, -1);
        return;
    }
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, z->n[0], z->n[1], -1);
    add_counted(c, &p->index, z->n[0], z->n[0]);
}

/* n: X */
void shape_sqnorm(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_sqnorm *p = &c->params.sqnorm;
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_F32, z->n[0], -1, -1);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F64,
                (z->n[0] + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS, -1, -1);
}

enum { OPTIM_OUT = 1 };

/* n: X; kind 1: with second moments */
void shape_optim(struct call *c, const struct sizes *z, struct shape_work *w)
{
    static const float hyper[NND_HYPER_COUNT] = {1e-3f, 1, 1, 1};
    struct nnd_optim *p = &c->params.optim;
    (void)w;
    *p = (struct nnd_optim){.struct_size = sizeof *p,
                            .beta1 = 0.9f,
                            .beta2 = 0.95f,
                            .eps = 1e-8f,
                            .decay = 0.1f};
    call_tensor(c, "grad", &p->grad, ROLE_IN, KIND_F32, z->n[0], -1, -1);
    call_tensor(c, "w", &p->w, ROLE_INOUT, KIND_F32, z->n[0], -1, -1);
    call_tensor(c, "m", &p->m, ROLE_INOUT, KIND_F32, z->n[0], -1, -1);
    if (z->kind)
        call_tensor(c, "v", &p->v, ROLE_INOUT, KIND_F32, z->n[0], -1, -1)->center = 2;
    if (z->words & OPTIM_OUT)
        call_tensor(c, "out", &p->out, ROLE_OUT, KIND_ACT, z->n[0], -1, -1);
    call_array(c, &p->hyper, hyper, sizeof hyper);
}

enum { QUANT_E5M2 = 1, QUANT_MX = 2 };

/* n: T N; bwd: cast.dequant.  Blocks of 1 x 128 with f32, of MX 1 x 32 with e8m0. */
void shape_quant(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_cast *p = &c->params.cast;
    bool mx = z->words & QUANT_MX;
    (void)w;
    p->struct_size = sizeof *p;
    call_scaled(c, z->bwd ? "x" : "y", z->bwd ? &p->x : &p->y,
                z->bwd ? ROLE_IN : ROLE_OUT,
                z->words & QUANT_E5M2 ? NND_E5M2 : NND_E4M3, mx ? NND_E8M0 : NND_F32,
                z->n[0], z->n[1], mx ? 32 : 128, 1);
    call_tensor(c, z->bwd ? "y" : "x", z->bwd ? &p->y : &p->x,
                z->bwd ? ROLE_OUT : ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
}

/* n: T N; kind 0 fill, 1 scale, 2 amax */
void shape_cast(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_cast *p = &c->params.cast;
    (void)w;
    p->struct_size = sizeof *p;
    p->value = 0.5f;
    if (z->kind > 0)
        call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, z->n[0], z->n[1], -1);
    if (z->kind < 2)
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, z->n[0], z->n[1], -1);
    if (z->kind == 1)
        call_array(c, &p->factor, &one, sizeof one);
    if (z->kind == 2)
        call_tensor(c, "amax", &p->amax, ROLE_OUT, KIND_F32, 1, -1, -1);
}

/* n: G, E */
void shape_balance(struct call *c, const struct sizes *z, struct shape_work *w)
{
    static const float scale = 1;
    struct nnd_balance *p = &c->params.balance;
    int64_t g = z->n[0], n = z->n[1];
    (void)w;
    *p = (struct nnd_balance){.struct_size = sizeof *p,
                              .aux_coef = 0.01,
                              .z_coef = 0.001,
                              .top_k = 2,
                              .layers = 1};
    int32_t *count = call_ints(c, g * n);
    for (int64_t i = 0; i < g * n; i++)
        count[i] = (int32_t)(i % 7);
    call_tensor(c, "count", &p->count, ROLE_IN, KIND_I32, g, n, -1)->number = count;
    call_tensor(c, "psum", &p->psum, ROLE_IN, KIND_F64, g, n, -1);
    call_tensor(c, "zsq", &p->zsq, ROLE_IN, KIND_F64, 1, -1, -1);
    call_tensor(c, "aux_weight", &p->aux_weight, ROLE_OUT, KIND_F32, g, n, -1);
    call_tensor(c, "z_weight", &p->z_weight, ROLE_OUT, KIND_F32, 1, -1, -1);
    call_tensor(c, "stats", &p->stats, ROLE_INOUT, KIND_F64, 2, -1, -1);
    call_array(c, &p->scale, &scale, sizeof scale);
}

/* n: E */
void shape_window(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_balance *p = &c->params.balance;
    int64_t n = z->n[0];
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "count", &p->count, ROLE_IN, KIND_I32, n, -1, -1)->number =
        call_ints(c, n);
    call_tensor(c, "segments", &p->segments, ROLE_OUT, KIND_I32, n, 4, -1);
    call_tensor(c, "leaves", &p->leaves, ROLE_OUT, KIND_I32, n, 4, -1);
}

/* n: C */
void shape_hyper(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_hyper *p = &c->params.hyper;
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "given", &p->given, ROLE_IN, KIND_F64, NND_HYPER_COUNT, -1, -1)
        ->center = 2;
    call_tensor(c, "norm", &p->norm, ROLE_IN, KIND_F64, 1, -1, -1);
    call_tensor(c, "stats", &p->stats, ROLE_IN, KIND_F64, z->n[0], 4, -1);
    call_tensor(c, "hyper", &p->hyper, ROLE_OUT, KIND_F32, NND_HYPER_COUNT, -1, -1);
    call_tensor(c, "skip", &p->skip, ROLE_OUT, KIND_I32, 1, -1, -1);
}

/* n: X */
void shape_total(struct call *c, const struct sizes *z, struct shape_work *w)
{
    struct nnd_total *p = &c->params.total;
    (void)w;
    *p = (struct nnd_total){.struct_size = sizeof *p, .root = (int32_t)z->words};
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_F64, z->n[0], -1, -1)->center = 1;
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_F64, 1, -1, -1);
}
