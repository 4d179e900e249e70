/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shape.c - builders by operator, from sizes by letter.
 */
#include "shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/str.h"
#include "family.h"

enum { SIZES = 6 };

/* Sizes in the order of the operator's letters. */
typedef void shape_f(struct call *c, const int64_t *n, bool bwd, struct shape_work *w);

struct shape {
    const char *op, *letters;
    int64_t usual[SIZES];
    bool bwd;
    shape_f *build;
};

/* n: M N K */
static void build_gemm(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_gemm *p = &c->params.gemm;
    (void)bwd;
    p->struct_size = sizeof *p;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, n[0], n[2], -1);
    call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, n[2], n[1], -1);
    call_tensor(c, "d", &p->d, ROLE_OUT, KIND_RESULT, n[0], n[1], -1);
    w->flops = 2.0 * (double)n[0] * (double)n[1] * (double)n[2];
}

/* n: B T H G D; G key heads; causal. */
static void build_attn(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_attn *p = &c->params.attn;
    int64_t rows = n[0] * n[1];
    p->struct_size = sizeof *p;
    p->batch = (int32_t)n[0];
    p->max_q = p->max_k = (int32_t)n[1];
    p->causal = 1;
    p->scale = 1 / sqrtf((float)n[4]);
    c->derive = bwd ? "attn.fwd" : NULL;
    call_tensor(c, "q", &p->q, ROLE_IN, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "k", &p->k, ROLE_IN, KIND_ACT, rows, n[3], n[4]);
    call_tensor(c, "v", &p->v, ROLE_IN, KIND_ACT, rows, n[3], n[4]);
    enum role saved = bwd ? ROLE_DERIVED : ROLE_OUT;
    call_tensor(c, "o", &p->o, saved, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "lse", &p->lse, saved, KIND_F32, n[2], rows, -1);
    w->flops = (bwd ? 5.0 : 2.0) * (double)rows * (double)n[1] * (double)(n[2] * n[4]);
    if (!bwd)
        return;
    call_tensor(c, "dout", &p->dout, ROLE_IN, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "dq", &p->dq, ROLE_OUT, KIND_ACT, rows, n[2], n[4]);
    call_tensor(c, "dk", &p->dk, ROLE_OUT, KIND_ACT, rows, n[3], n[4]);
    call_tensor(c, "dv", &p->dv, ROLE_OUT, KIND_ACT, rows, n[3], n[4]);
}

/* n: T N */
static void build_act(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_act *p = &c->params.act;
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    if (!bwd) {
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
        return;
    }
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "da", &p->da, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "db", &p->db, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

static void build_gelu(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_act *p = &c->params.act;
    (void)w;
    p->struct_size = sizeof *p;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    if (!bwd) {
        call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
        return;
    }
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "da", &p->da, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

static void build_norm(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_norm *p = &c->params.norm;
    (void)w;
    p->struct_size = sizeof *p;
    p->eps = 1e-5f;
    c->derive = bwd ? "norm.rms.fwd" : NULL;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "w", &p->w, ROLE_IN, KIND_WEIGHT, n[1], -1, -1);
    call_tensor(c, "y", &p->y, bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "rstd", &p->rstd, bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32, n[0], -1,
                -1);
    if (!bwd)
        return;
    call_tensor(c, "dy", &p->dy, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dx", &p->dx, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "dw", &p->dw, ROLE_OUT, KIND_F32, n[1], -1, -1);
}

/* n: T V */
static void build_xent(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_xent *p = &c->params.xent;
    int32_t *target = call_ints(c, n[0]);
    float seed = 1;
    (void)w;
    for (int64_t i = 0; i < n[0]; i++)
        target[i] = (int32_t)(i % n[1]);
    p->struct_size = sizeof *p;
    c->derive = bwd ? "xent.fwd" : NULL;
    call_tensor(c, "logits", &p->logits, ROLE_IN, KIND_ACT, n[0], n[1], -1);
    call_tensor(c, "loss", &p->loss, bwd ? ROLE_SCRATCH : ROLE_OUT, KIND_F32, n[0], -1,
                -1);
    call_tensor(c, "lse", &p->lse, bwd ? ROLE_DERIVED : ROLE_OUT, KIND_F32, n[0], -1,
                -1);
    call_array(c, &p->target, target, (size_t)n[0] * sizeof *target);
    call_array(c, &p->seed, &seed, sizeof seed);
    if (bwd)
        call_tensor(c, "dlogits", &p->dlogits, ROLE_OUT, KIND_ACT, n[0], n[1], -1);
}

/* n: T H D */
static void build_rope(struct call *c, const int64_t *n, bool bwd, struct shape_work *w)
{
    struct nnd_rope *p = &c->params.rope;
    int32_t *pos = call_ints(c, n[0]);
    (void)bwd, (void)w;
    for (int64_t i = 0; i < n[0]; i++)
        pos[i] = (int32_t)i;
    p->struct_size = sizeof *p;
    p->theta = 10000;
    call_tensor(c, "x", &p->x, ROLE_IN, KIND_ACT, n[0], n[1], n[2]);
    call_tensor(c, "y", &p->y, ROLE_OUT, KIND_ACT, n[0], n[1], n[2]);
    call_array(c, &p->pos, pos, (size_t)n[0] * sizeof *pos);
}

static const struct shape shapes[] = {
    {"gemm", "MNK", {512, 1024, 512}, false, build_gemm},
    {"attn.fwd", "BTHGD", {4, 256, 8, 8, 64}, false, build_attn},
    {"attn.bwd", "BTHGD", {4, 256, 8, 8, 64}, true, build_attn},
    {"norm.rms.fwd", "TN", {1024, 768}, false, build_norm},
    {"norm.rms.bwd", "TN", {1024, 768}, true, build_norm},
    {"act.swiglu.fwd", "TN", {1024, 2048}, false, build_act},
    {"act.swiglu.bwd", "TN", {1024, 2048}, true, build_act},
    {"act.gelu.fwd", "TN", {1024, 2048}, false, build_gelu},
    {"act.gelu.bwd", "TN", {1024, 2048}, true, build_gelu},
    {"xent.fwd", "TV", {128, 16384}, false, build_xent},
    {"xent.bwd", "TV", {128, 16384}, true, build_xent},
    {"rope", "THD", {1024, 8, 64}, false, build_rope},
};

static int usage(const struct shape *s, const char *text, struct err *e)
{
    struct buf letters = {0};
    for (const char *l = s->letters; *l; l++)
        buf_printf(&letters, "%s%c=%lld", l > s->letters ? "," : "", *l,
                   (long long)s->usual[l - s->letters]);
    int rc = err_set(e, ERR_USAGE, "shape of %s: wanted some of %s, found \"%s\"",
                     s->op, letters.data, text);
    buf_free(&letters);
    return rc;
}

/* "T=1024,N=512" */
static int parse(const struct shape *s, const char *text, int64_t *n, struct err *e)
{
    char word[64];
    memcpy(n, s->usual, sizeof s->usual);
    for (const char *at = text ? text : ""; *at;) {
        size_t len = strcspn(at, ",");
        const char *letter = strchr(s->letters, *at);
        int64_t value;
        snprintf(word, sizeof word, "%.*s", (int)(len < 63 ? len : 63), at);
        if (!letter || !*letter || word[1] != '=' || !str_to_i64(word + 2, &value) ||
            value < 1 || value > 1 << 24)
            return usage(s, text, e);
        n[letter - s->letters] = value;
        at += len + (at[len] == ',');
    }
    return 0;
}

/* Bytes that are read and written once, as if all were of f32. */
static double bytes_of(const struct call *c)
{
    double n = 0;
    for (int i = 0; i < c->nslots; i++)
        n += 4 * (double)c->slot[i].count;
    return n;
}

int shape_call(const char *op, const char *text, struct call *c,
               struct shape_work *work, struct err *e)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const struct shape *s = &shapes[i];
        int64_t n[SIZES];
        if (strcmp(s->op, op) != 0)
            continue;
        if (parse(s, text, n, e) < 0)
            return ERR_USAGE;
        *work = (struct shape_work){0};
        s->build(c, n, s->bwd, work);
        work->bytes = bytes_of(c);
        size_t at = 0;
        for (const char *l = s->letters; *l && at < sizeof c->text; l++)
            at += (size_t)snprintf(c->text + at, sizeof c->text - at, "%s%c=%lld",
                                   l > s->letters ? "," : "", *l,
                                   (long long)n[l - s->letters]);
        return 0;
    }
    return err_set(e, ERR_USAGE, "operator %s has no shapes to name", op);
}
