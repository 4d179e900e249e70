/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu_cases.c - see cpu_cases.h.
 */
#include "unit.h"

#include <dlfcn.h>
#include <unistd.h>

#include "cpu_cases.h"

#define ROOM (96u << 20)

struct calls {
    char *room;
    size_t used;
    struct call *first, **tail;
    uint32_t random;
};

void *calls_room(struct calls *c, size_t size)
{
    void *p = c->room + c->used;

    c->used += (size + 127) & ~(size_t)63; /* a gap behind every object */
    assert_true(c->used <= ROOM);
    return p;
}

static uint32_t random_bits(struct calls *c)
{
    c->random = c->random * 1664525u + 1013904223u;
    return c->random >> 8;
}

/* In [-2, 2), seldom with more than 20 bits. */
static float random_float(struct calls *c)
{
    return (float)random_bits(c) / (float)(1 << 22) - 2.0f;
}

size_t dtype_bytes(int dtype)
{
    return dtype == NND_F64 ? 8 : dtype == NND_BF16 || dtype == NND_F16 ? 2 : 4;
}

static void put_random(struct calls *c, void *p, int64_t i, int dtype)
{
    float x = random_float(c);
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    if (dtype == NND_F32)
        ((float *)p)[i] = x;
    else if (dtype == NND_F64)
        ((double *)p)[i] = (double)x;
    else if (dtype == NND_BF16)
        ((uint16_t *)p)[i] = (uint16_t)(u >> 16);
    else if (dtype == NND_F16)
        ((uint16_t *)p)[i] = (uint16_t)(random_bits(c) & 0xbfff); /* |x| < 2 */
    else
        ((int32_t *)p)[i] = 0;
}

struct nnd_tensor calls_tensor(struct calls *c, int dtype, int ndim, const int64_t *dim,
                               int64_t gap)
{
    struct nnd_tensor t = {.ndim = ndim, .dtype = dtype};
    int64_t n = 1;

    for (int i = ndim - 1; i >= 0; i--) {
        t.dim[i] = dim[i];
        t.stride[i] = n;
        n = n * dim[i] + (i == ndim - 1 && ndim > 1 ? gap : 0);
    }
    t.data = calls_room(c, (size_t)n * dtype_bytes(dtype));
    for (int64_t i = 0; i < n; i++)
        put_random(c, t.data, i, dtype);
    return t;
}

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

static int32_t *integers(struct calls *c, int64_t n, int32_t lo, int32_t hi)
{
    int32_t *p = calls_room(c, (size_t)n * sizeof *p);

    for (int64_t i = 0; i < n; i++)
        p[i] = lo + (int32_t)(random_bits(c) % (uint32_t)(hi - lo));
    return p;
}

static struct call *add(struct calls *c, const char *op, void *params,
                        const char *label)
{
    struct call *k = calls_room(c, sizeof *k);

    *k = (struct call){.op = op, .params = params};
    snprintf(k->label, sizeof k->label, "%s %s", op, label);
    *c->tail = k;
    c->tail = &k->next;
    return k;
}

static int64_t extent(const struct nnd_tensor *t)
{
    int64_t last = 0;

    for (int i = 0; i < t->ndim; i++) {
        if (t->dim[i] == 0)
            return 0;
        last += (t->dim[i] - 1) * t->stride[i];
    }
    return last + 1;
}

static void output(struct calls *c, struct call *k, struct nnd_tensor *t)
{
    struct output *o = &k->out[k->nout++];

    assert_true(k->nout <= CASE_OUTPUTS);
    o->t = t;
    o->size = (size_t)extent(t) * dtype_bytes(t->dtype);
    o->image = calls_room(c, o->size);
    memcpy(o->image, t->data, o->size);
}

static void *params(struct calls *c, size_t size)
{
    size_t *p = calls_room(c, size);

    memset(p, 0, size);
    *p = size;
    return p;
}

static struct nnd_dropout dropout(struct calls *c, int64_t rows)
{
    struct nnd_dropout d = {.p = 0.25f, .op = 7};
    uint64_t *state = calls_room(c, 2 * sizeof *state);

    state[0] = 1234;
    state[1] = 56;
    d.state = state;
    d.sample = integers(c, rows, 0, 1000);
    d.pos = integers(c, rows, 0, 1000);
    return d;
}

/* ---- the operators ---- */

static void add_norms(struct calls *c, int64_t rows, int64_t n, int dtype)
{
    static const char *const ops[] = {"norm.rms.fwd", "norm.rms.bwd", "norm.layer.fwd",
                                      "norm.layer.bwd"};

    for (int i = 0; i < 4; i++) {
        struct nnd_norm *p = params(c, sizeof *p);
        char label[40];
        struct call *k;

        snprintf(label, sizeof label, "%dx%d dtype %d", (int)rows, (int)n, dtype);
        k = add(c, ops[i], p, label);
        p->eps = 1e-5f;
        p->x = matrix(c, dtype, rows, n, 3);
        p->w = vector(c, NND_F32, n);
        p->y = matrix(c, dtype, rows, n, 5);
        p->rstd = vector(c, NND_F32, rows);
        if (i >= 2) {
            p->b = vector(c, dtype, n);
            p->mean = vector(c, NND_F32, rows);
        }
        p->dy = matrix(c, dtype, rows, n, 0);
        p->dx = matrix(c, dtype, rows, n, 1);
        p->dw = vector(c, NND_F32, n);
        if (i >= 2)
            p->db = vector(c, NND_F32, n);
        if (rows < 100 && i % 2 == 0) {
            p->add = matrix(c, dtype, rows, n, 2);
            p->sum = matrix(c, dtype, rows, n, 4);
            output(c, k, &p->sum);
        } else if (rows < 100) {
            p->dsum = matrix(c, dtype, rows, n, 2);
        }
        if (i % 2 == 0) {
            output(c, k, &p->y);
            output(c, k, &p->rstd);
        } else {
            output(c, k, &p->dx);
            output(c, k, &p->dw);
        }
        if (i >= 2)
            output(c, k, i == 2 ? &p->mean : &p->db);
    }
}

static void add_acts(struct calls *c, int64_t rows, int64_t n, int dtype)
{
    static const char *const ops[] = {
        "act.swiglu.fwd", "act.swiglu.bwd", "act.gelu.fwd", "act.gelu.bwd",
        "act.gelu.fwd",   "act.gelu.bwd",   "act.relu.fwd", "act.relu.bwd"};

    for (int i = 0; i < 8; i++) {
        struct nnd_act *p = params(c, sizeof *p);
        char label[40];
        struct call *k;

        snprintf(label, sizeof label, "%dx%d dtype %d form %d", (int)rows, (int)n,
                 dtype, i / 4);
        k = add(c, ops[i], p, label);
        p->approx = i / 4;
        p->a = matrix(c, dtype, rows, n, 1);
        p->b = matrix(c, dtype, rows, n, 2);
        p->y = matrix(c, dtype, rows, n, 3);
        p->dy = matrix(c, dtype, rows, n, 0);
        p->da = matrix(c, dtype, rows, n, 0);
        p->db = matrix(c, dtype, rows, n, 0);
        if (i % 2 == 0) {
            output(c, k, &p->y);
            continue;
        }
        output(c, k, &p->da);
        if (i == 1)
            output(c, k, &p->db);
    }
}

static void add_rope(struct calls *c, int64_t rows, int64_t heads, int64_t d, int dtype)
{
    for (int i = 0; i < 4; i++) {
        struct nnd_rope *p = params(c, sizeof *p);
        struct call *k = add(c, "rope", p, i & 1 ? "interleaved" : "halves");

        p->x = cube(c, dtype, rows, heads, d, 4);
        p->y = i & 2 ? p->x : cube(c, dtype, rows, heads, d, 0);
        p->pos = integers(c, rows, 0, 5000);
        p->theta = 10000;
        p->interleaved = i & 1;
        p->inverse = i >> 1;
        output(c, k, &p->y);
    }
}

static void add_embed(struct calls *c, int64_t rows, int64_t v, int64_t n, int dtype)
{
    for (int i = 0; i < 3; i++) {
        struct nnd_embed *p = params(c, sizeof *p);
        struct call *k = add(c, i ? "embed.bwd" : "embed.fwd", p, "");

        p->table = matrix(c, dtype, v, n, 0);
        p->y = matrix(c, dtype, rows, n, 0);
        p->id = integers(c, rows, 0, (int32_t)v);
        p->dy = matrix(c, dtype, rows, n, 0);
        p->dtable = matrix(c, NND_F32, v, n, 0);
        p->accumulate = i == 2;
        output(c, k, i ? &p->dtable : &p->y);
    }
}

static void add_route(struct calls *c, int64_t rows, int64_t experts, int top_k,
                      int score, int renormalize)
{
    int group = (int)rows / 2 + 1;

    for (int i = 0; i < 2; i++) {
        struct nnd_route *p = params(c, sizeof *p);
        struct call *k = add(c, i ? "moe.route.bwd" : "moe.route.fwd", p,
                             score ? "sigmoid" : "softmax");
        int32_t *pos = integers(c, rows, 0, 9);
        float *z_weight = calls_room(c, sizeof *z_weight);

        *z_weight = 0.01f;
        pos[rows - 1] = -1;
        p->z = matrix(c, NND_F32, rows, experts, 0);
        if (score)
            p->bias = vector(c, NND_F32, experts);
        p->expert = matrix(c, NND_I32, rows, top_k, 0);
        for (int64_t t = 0; t < rows; t++)
            for (int j = 0; j < top_k; j++)
                ((int32_t *)p->expert.data)[t * top_k + j] =
                    (int32_t)((t * 5 + j) % experts);
        p->gate = matrix(c, NND_F32, rows, top_k, 0);
        p->count = matrix(c, NND_I32, 2, experts, 0);
        p->psum = matrix(c, NND_F64, 2, experts, 0);
        p->zsq = vector(c, NND_F64, 1);
        p->pos = pos;
        p->score = score;
        p->renormalize = renormalize;
        p->top_k = top_k;
        p->group_rows = group;
        p->scale = 1.5f;
        p->dgate = matrix(c, NND_F32, rows, top_k, 0);
        p->dz = matrix(c, NND_F32, rows, experts, 0);
        p->aux_weight = matrix(c, NND_F32, 2, experts, 0);
        p->z_weight = z_weight;
        if (i) {
            output(c, k, &p->dz);
            continue;
        }
        output(c, k, &p->expert);
        output(c, k, &p->gate);
        output(c, k, &p->count);
        output(c, k, &p->psum);
        output(c, k, &p->zsq);
    }
}

/* Places as moe.sort would give them: even rows to expert 0, odd rows to 1. */
static void set_places(struct nnd_permute *p, int64_t rows, int top_k)
{
    int32_t *place = p->place.data, *source = p->source.data;
    int64_t n = rows * top_k;

    for (int64_t i = 0; i < n; i++) {
        int64_t at = i * 7 % n; /* a permutation where 7 does not divide n */

        place[i] = i % 5 == 4 ? -1 : (int32_t)at;
        source[at] = i % 5 == 4 ? -1 : (int32_t)i;
    }
}

static void add_permutes(struct calls *c, int64_t rows, int64_t n, int top_k, int dtype)
{
    static const char *const ops[] = {"moe.permute", "moe.unpermute", "moe.dgate"};
    struct nnd_sort *s = params(c, sizeof *s);
    struct call *k = add(c, "moe.sort", s, "");

    s->expert = matrix(c, NND_I32, rows, top_k, 0);
    for (int64_t i = 0; i < rows * top_k; i++)
        ((int32_t *)s->expert.data)[i] = (int32_t)(i * i % 9) - 1;
    s->place = matrix(c, NND_I32, rows, top_k, 0);
    s->source = vector(c, NND_I32, rows * top_k);
    s->total = vector(c, NND_I32, 8);
    output(c, k, &s->place);
    output(c, k, &s->source);
    output(c, k, &s->total);
    for (int i = 0; i < 6; i++) {
        struct nnd_permute *p = params(c, sizeof *p);
        int64_t all = rows * top_k;

        k = add(c, ops[i / 2], p, i % 2 ? "gated" : "plain");
        p->x = matrix(c, dtype, i / 2 == 0 ? rows : all, n, 0);
        p->y = matrix(c, dtype, i / 2 == 0 ? all : rows, n, 2);
        p->place = matrix(c, NND_I32, rows, top_k, 0);
        p->source = vector(c, NND_I32, all);
        set_places(p, rows, top_k);
        if (i % 2)
            p->gate = matrix(c, NND_F32, rows, top_k, 0);
        p->dy = matrix(c, dtype, rows, n, 0);
        p->dgate = matrix(c, NND_F32, rows, top_k, 0);
        p->top_k = top_k;
        output(c, k, i / 2 == 2 ? &p->dgate : &p->y);
    }
}

static void add_sum(struct calls *c, int64_t m, int64_t n, int dtype, int out)
{
    struct nnd_sum *p = params(c, sizeof *p);
    struct call *k = add(c, "sum", p, "");

    p->n = 3;
    p->x[0] = matrix(c, dtype, m, n, 0);
    p->x[1] = matrix(c, NND_F32, m, n, 3);
    p->x[2] = matrix(c, dtype, m, n, 0);
    p->y = matrix(c, out, m, n, 0);
    output(c, k, &p->y);
}

static void add_rows(struct calls *c, int64_t rows, int64_t n, int dtype)
{
    static const char *const ops[] = {"rows.sum", "rows.gather", "rows.scatter"};
    struct nnd_drop *d = params(c, sizeof *d);
    struct call *k = add(c, "dropout", d, "");

    d->x = matrix(c, dtype, rows, n, 0);
    d->y = matrix(c, dtype, rows, n, 0);
    d->dropout = dropout(c, rows);
    output(c, k, &d->y);
    for (int i = 0; i < 3; i++) {
        struct nnd_rows *p = params(c, sizeof *p);
        int32_t *index = integers(c, rows, 0, (int32_t)rows);

        for (int64_t t = 0; t < rows; t++)
            index[t] = t % 4 == 3 ? -1 : (int32_t)(rows - 1 - t);
        k = add(c, ops[i], p, "");
        p->x = matrix(c, dtype, rows, n, 0);
        p->y = i ? matrix(c, NND_F32, rows, n, 1) : vector(c, NND_F32, n);
        p->index = i ? index : NULL;
        output(c, k, &p->y);
    }
}

static void add_optim(struct calls *c, int64_t n, int out)
{
    static const char *const ops[] = {"opt.adamw", "opt.adam", "opt.sgd"};
    struct nnd_sqnorm *s = params(c, sizeof *s);
    struct call *k = add(c, "sqnorm", s, "");
    static const float values[NND_HYPER_COUNT] = {1e-3f, 0.5f, 1.25f, 1.5f};

    s->x = vector(c, NND_F32, n);
    s->y = vector(c, NND_F64, (n + NND_BLOCK_ELEMS - 1) / NND_BLOCK_ELEMS);
    output(c, k, &s->y);
    for (int i = 0; i < 3; i++) {
        struct nnd_optim *p = params(c, sizeof *p);
        float *hyper = calls_room(c, sizeof values);

        k = add(c, ops[i], p, "");
        memcpy(hyper, values, sizeof values);
        p->grad = vector(c, NND_F32, n);
        p->w = vector(c, NND_F32, n);
        p->m = vector(c, NND_F32, n);
        p->v = vector(c, NND_F32, n);
        for (int64_t j = 0; j < n; j++)
            ((float *)p->v.data)[j] *= ((float *)p->v.data)[j];
        p->out = vector(c, out, n);
        p->hyper = hyper;
        p->beta1 = 0.9f;
        p->beta2 = 0.95f;
        p->eps = 1e-8f;
        p->decay = 0.1f;
        output(c, k, &p->w);
        output(c, k, &p->m);
        output(c, k, &p->out);
        if (i < 2)
            output(c, k, &p->v);
    }
}

static void add_gemm(struct calls *c, int64_t m, int64_t n, int64_t k, int dtype,
                     int out)
{
    for (int i = 0; i < 4; i++) {
        struct nnd_gemm *p = params(c, sizeof *p);
        struct call *call;
        char label[60];

        snprintf(label, sizeof label, "%dx%dx%d dtype %d to %d, %s%s", (int)m, (int)n,
                 (int)k, dtype, out, i & 1 ? "T" : "N", i & 2 ? "T" : "N");
        call = add(c, "gemm", p, label);
        p->trans_a = i & 1;
        p->trans_b = i >> 1;
        p->a = p->trans_a ? matrix(c, dtype, k, m, 1) : matrix(c, dtype, m, k, 2);
        p->b = p->trans_b ? matrix(c, dtype, n, k, 1) : matrix(c, dtype, k, n, 0);
        p->d = matrix(c, out, m, n, 4);
        if (i >= 2) {
            p->beta = i == 2 ? 1.0f : 0.5f;
            p->c = matrix(c, NND_F32, m, n, 0);
        }
        if (i % 2 == 0)
            p->bias = vector(c, dtype, n);
        output(c, call, &p->d);
    }
}

/* A layer's forward product: [m,k] times the transpose of [n,k], D its own. */
static void add_linear(struct calls *c, int64_t m, int64_t n, int64_t k)
{
    struct nnd_gemm *p = params(c, sizeof *p);
    struct call *call;
    char label[60];

    snprintf(label, sizeof label, "linear %dx%dx%d", (int)m, (int)n, (int)k);
    call = add(c, "gemm", p, label);
    p->trans_b = 1;
    p->a = matrix(c, NND_F32, m, k, 2);
    p->b = matrix(c, NND_F32, n, k, 1);
    p->d = matrix(c, NND_F32, m, n, 4);
    p->bias = vector(c, NND_F32, n);
    output(c, call, &p->d);
}

static void add_grouped(struct calls *c, int64_t m, int64_t n, int dtype)
{
    static const struct nnd_segment rows[] = {
        {0, 70, 2, 0}, {70, 0, 1, 0}, {70, 300, 0, 0}, {371, 1, 1, 0}};
    static const struct nnd_segment cuts[] = {
        {0, 70, 2, 0}, {70, 0, 1, 0}, {70, 256, 0, 0}, {326, 44, 0, 1}};

    for (int i = 0; i < 3; i++) {
        struct nnd_grouped_gemm *p = params(c, sizeof *p);
        struct call *k = add(c, "gemm.grouped", p, i == 2 ? "mode K" : "mode M");
        int64_t all = 380;

        p->nsegments = 4;
        p->segments = i == 2 ? cuts : rows;
        p->mode = i == 2 ? NND_GROUP_K : NND_GROUP_M;
        p->trans_b = i == 1;
        p->a = matrix(c, dtype, all, m, 1);
        if (i == 2) {
            p->b = matrix(c, dtype, all, n, 0);
            p->d = cube(c, NND_F32, 3, m, n, 2);
        } else {
            p->b = i ? cube(c, dtype, 3, n, m, 0) : cube(c, dtype, 3, m, n, 0);
            p->d = matrix(c, dtype, all, n, 2);
        }
        output(c, k, &p->d);
    }
}

struct attn_shape {
    const char *label;
    int heads, key_heads, d, batch, nq, nk, causal, window, drop, dtype, use_cu;
    float softcap;
    int bias; /* 1: one for all, 2: one for each sequence and head */
};

static struct nnd_tensor bias_of(struct calls *c, const struct attn_shape *s, int dtype)
{
    int64_t dim[] = {s->bias > 1 ? s->batch : 1, s->bias > 1 ? s->heads : 1, s->nq,
                     s->nk};

    return calls_tensor(c, dtype, 4, dim, 3);
}

static void add_attn(struct calls *c, const struct attn_shape *s)
{
    int64_t rows = s->batch * s->nq, keys = s->batch * s->nk;

    for (int i = 0; i < 2; i++) {
        struct nnd_attn *p = params(c, sizeof *p);
        struct call *k = add(c, i ? "attn.bwd" : "attn.fwd", p, s->label);
        int32_t *cu_q = integers(c, 3, 0, 1), *cu_k = integers(c, 3, 0, 1);
        int32_t *len_k = integers(c, 2, 0, 1);

        p->q = cube(c, s->dtype, rows, s->heads, s->d, 0);
        p->k = cube(c, s->dtype, keys, s->key_heads, s->d, 0);
        p->v = cube(c, s->dtype, keys, s->key_heads, s->d, 0);
        p->o = cube(c, s->dtype, rows, s->heads, s->d, 0);
        p->lse = matrix(c, NND_F32, s->heads, rows, 0);
        for (int64_t t = 0; t < s->heads * rows; t++)
            ((float *)p->lse.data)[t] += 5;
        p->batch = s->batch;
        p->max_q = s->nq;
        p->max_k = s->nk;
        if (s->use_cu) { /* rows before, between and behind; a cache not full */
            p->batch = 2;
            cu_q[0] = cu_k[0] = 1;
            cu_q[1] = s->nq / 2;
            cu_k[1] = s->nk / 2;
            cu_q[2] = s->nq - 2;
            cu_k[2] = s->nk - 3;
            len_k[0] = s->nk / 2 - 3;
            len_k[1] = s->nk / 2 - 9;
            p->cu_q = cu_q;
            p->cu_k = cu_k;
            p->len_k = len_k;
        }
        p->causal = s->causal;
        p->window = s->window;
        p->scale = 0.3f;
        p->softcap = s->softcap;
        if (s->bias)
            p->bias = bias_of(c, s, s->dtype);
        if (s->bias && i)
            p->dbias = bias_of(c, s, NND_F32);
        if (s->drop)
            p->dropout = dropout(c, rows);
        p->dout = cube(c, s->dtype, rows, s->heads, s->d, 0);
        p->dq = cube(c, s->dtype, rows, s->heads, s->d, 0);
        p->dk = cube(c, s->dtype, keys, s->key_heads, s->d, 0);
        p->dv = cube(c, s->dtype, keys, s->key_heads, s->d, 0);
        output(c, k, i ? &p->dq : &p->o);
        output(c, k, i ? &p->dk : &p->lse);
        if (i)
            output(c, k, &p->dv);
        if (s->bias && i)
            output(c, k, &p->dbias);
    }
}

/* For the files that have cases of their own. */

struct call *calls_add(struct calls *c, const char *op, void *p, const char *label)
{
    return add(c, op, p, label);
}

void *calls_params(struct calls *c, size_t size)
{
    return params(c, size);
}

void calls_output(struct calls *c, struct call *k, struct nnd_tensor *t)
{
    output(c, k, t);
}

int32_t *calls_integers(struct calls *c, int64_t n, int32_t lo, int32_t hi)
{
    return integers(c, n, lo, hi);
}

static void add_all_attn(struct calls *c)
{
    static const struct attn_shape shapes[] = {
        {"causal", 4, 2, 32, 2, 130, 130, 1, 0, 0, NND_F32, 0, 0, 0},
        {"full", 2, 2, 20, 1, 37, 90, 0, 0, 0, NND_F32, 0, 0, 0},
        {"one query", 2, 1, 16, 2, 1, 77, 1, 0, 0, NND_F32, 0, 0, 0},
        {"more queries than keys", 2, 1, 16, 1, 70, 9, 1, 0, 0, NND_F32, 0, 0, 0},
        {"window", 2, 1, 64, 1, 200, 200, 1, 33, 0, NND_BF16, 0, 0, 0},
        {"window, not causal", 2, 1, 24, 1, 80, 90, 0, 33, 0, NND_F32, 0, 0, 0},
        {"dropout, softcap", 2, 1, 48, 1, 100, 100, 1, 0, 1, NND_F32, 0, 3.0f, 0},
        {"packed", 2, 1, 40, 1, 150, 160, 1, 0, 1, NND_F16, 1, 0, 0},
        {"bias", 2, 1, 24, 1, 100, 70, 0, 0, 0, NND_F32, 0, 0, 2},
        {"bias, shared", 4, 2, 16, 2, 70, 70, 1, 0, 1, NND_BF16, 0, 2.0f, 1},
        {"bf16", 4, 2, 64, 2, 140, 140, 1, 0, 0, NND_BF16, 0, 0, 0},
        {"wide bf16", 2, 2, 128, 1, 65, 129, 1, 0, 0, NND_BF16, 0, 0, 0},
    };

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        add_attn(c, &shapes[i]);
}

static void add_all(struct calls *c)
{
    static const int dtypes[] = {NND_F32, NND_BF16, NND_F16};

    for (int i = 0; i < 3; i++) {
        int t = dtypes[i];

        add_norms(c, 700, 24 + 17 * i, t);
        add_norms(c, 3, 130, t);
        add_acts(c, 300, 77 + i, t);
        add_rope(c, 70, 3, 30 + 2 * i, t);
        calls_add_losses(c, i, t);
        add_embed(c, 500, 65, 70 + i, t);
        add_permutes(c, 200, 90 + i, 3, t);
        add_rows(c, 600, 50 + i, t);
        add_sum(c, 70, 300, t, NND_F32);
        add_sum(c, 70, 300, NND_F32, t);
        add_optim(c, 20000 + 7 * i, t);
        add_gemm(c, 100, 70, 300, t, t);
        add_gemm(c, 300, 600, 40, t, i ? NND_F32 : NND_BF16);
        add_grouped(c, 60, 90, t);
    }
    add_sum(c, 5, 90, NND_F64, NND_F64);
    add_linear(c, 140, 333, 300);
    add_linear(c, 37, 90, 270);
    add_gemm(c, 1, 70, 300, NND_F32, NND_F32);
    add_gemm(c, 9, 3, 1, NND_F32, NND_F32);
    add_gemm(c, 9, 30, 0, NND_F32, NND_F32);
    add_route(c, 300, 8, 2, NND_SCORE_SOFTMAX, 1);
    add_route(c, 77, 64, 5, NND_SCORE_SOFTMAX, 0);
    add_route(c, 300, 37, 4, NND_SCORE_SIGMOID, 1);
    add_all_attn(c);
    calls_add_recurrent(c);
}

struct calls *calls_create(void)
{
    struct calls *c = calloc(1, sizeof *c);

    assert_non_null(c);
    c->room = aligned_alloc(64, ROOM);
    assert_non_null(c->room);
    c->tail = &c->first;
    c->random = 42;
    add_all(c);
    return c;
}

void calls_destroy(struct calls *c)
{
    if (c)
        free(c->room);
    free(c);
}

const struct call *calls_first(const struct calls *c)
{
    return c->first;
}

/* ---- running ---- */

static int test_parallel(void *h, int n, void (*fn)(void *arg, int i), void *arg)
{
    pool_run(h, n, fn, arg);
    return NND_OK;
}

static const char *plugin_path(const char *name)
{
    static char path[512];
    const char *build = getenv("NND_BUILDDIR");

    snprintf(path, sizeof path, "%s/plugins/%s/.libs/%s.so", build ? build : ".", name,
             name);
    return path;
}

int plugin_built(const char *name)
{
    return access(plugin_path(name), R_OK) == 0;
}

void plugin_open(struct plugin_under_test *p, const char *name, int threads)
{
    const char *path = plugin_path(name);
    nnd_plugin_v1_f *entry;
    struct nnd_error why = {""};
    struct err e;

    assert_int_equal(pool_create(threads, NULL, NULL, &p->pool, &e), 0);
    p->host = (struct nnd_host){.struct_size = sizeof p->host,
                                .abi_major = NND_ABI_MAJOR,
                                .abi_minor = NND_ABI_MINOR,
                                .h = p->pool,
                                .parallel = test_parallel};
    p->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!p->handle)
        fail_msg("%s", dlerror());
    *(void **)&entry = dlsym(p->handle, NND_ENTRY);
    assert_non_null(entry);
    p->table = entry(&p->host, &why);
    if (!p->table)
        fail_msg("%s: %s", name, why.text);
}

void plugin_close(struct plugin_under_test *p)
{
    pool_destroy(p->pool);
}

const char *call_run(const struct call *c, const struct nnd_kernel *k,
                     const struct plugin_under_test *p, int threads)
{
    static struct nnd_error e;
    struct nnd_need need = {.struct_size = sizeof need};
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = threads};
    int r;

    (void)p;
    if (k->supports(k->self, c->params, &e))
        return e.text;
    for (int i = 0; i < c->nout; i++)
        memcpy(c->out[i].t->data, c->out[i].image, c->out[i].size);
    k->need(k->self, c->params, &need);
    l.workspace_size = need.workspace;
    l.workspace = aligned_alloc(256, need.workspace + 256);
    memset(l.workspace, 0xff, need.workspace); /* NaN */
    r = k->launch(k->self, NULL, c->params, &l, &e);
    free(l.workspace);
    return r ? e.text : NULL;
}
