/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_attn.c - "attn.fwd", "attn.bwd".  A window cuts sequences.
 */
#include <math.h>
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

enum { SEQS = 4, ROW_STEP = 4096, ROWS = 2048, NOBODYS = 3 };
/* cases[].bias; BIAS_FIXED: its gradient is not asked for. */
enum { BIAS_ALL = 1, BIAS_HEADS = 2, BIAS_ONE = 4, BIAS_HIDES = 8, BIAS_FIXED = 16 };

/* Lengths of queries, of keys, and how many of the keys count (-1: all; NAN_QUERY: all,
 * and query 1 is no number: whoever makes zeros of it hides a fault). */
enum { NAN_QUERY = -2 };
struct seq {
    int q, k, len;
};

static const struct {
    int h, hk, d;
    /* All sequences as long as the first, no cu_q, cu_k, or by these; with rows of
     * nobody behind the last, or before the first. */
    enum { PACKED, DENSE, DENSE_BEHIND, PACKED_BEFORE } rows;
    struct seq seq[SEQS];
    bool causal;
    int window;
    float softcap, drop, scale;
    int bias; /* axes of sequences and of heads that are whole, or none; hides keys */
} cases[] = {
    {1, 1, 1, DENSE, {{1, 1, -1}}, false, 0, 0, 0, 1, 0},
    {2,
     2,
     5,
     PACKED,
     {{3, 3, -1}, {0, 4, -1}, {7, 7, -1}, {1, 1, -1}},
     true,
     0,
     0,
     0,
     0.4f,
     0},
    {6,
     2,
     16,
     PACKED,
     {{17, 17, -1}, {5, 5, -1}, {2, 0, -1}, {31, 31, -1}},
     true,
     0,
     0,
     0,
     0.25f,
     0},
    {4,
     1,
     8,
     PACKED,
     {{4, 9, -1}, {9, 4, -1}, {0, 0, -1}, {5, 2, -1}},
     true,
     0,
     0,
     0,
     0.3f,
     0},
    {2,
     1,
     32,
     PACKED,
     {{33, 65, -1}, {1, 64, -1}, {3, 3, -1}, {2, 2, -1}},
     false,
     0,
     0,
     0,
     0.2f,
     0},
    {3, 3, 8, DENSE, {{16, 16, -1}}, true, 5, 0, 0, 0.5f, 0},
    {2,
     2,
     8,
     DENSE,
     {{1, 40, 33}, {1, 40, 1}, {1, 40, 0}, {1, 40, 40}},
     true,
     0,
     0,
     0,
     0.3f,
     0},
    {2,
     1,
     16,
     PACKED,
     {{9, 20, 12}, {4, 6, 6}, {5, 8, 0}, {1, 2, 1}},
     false,
     7,
     0,
     0,
     0.3f,
     0},
    {2,
     2,
     4,
     PACKED,
     {{8, 8, -1}, {13, 13, -1}, {1, 1, -1}, {3, 3, -1}},
     true,
     0,
     2,
     0,
     1,
     0},
    {4,
     2,
     12,
     PACKED,
     {{10, 10, -1}, {23, 23, -1}, {3, 3, -1}, {6, 6, -1}},
     true,
     0,
     0,
     0.25f,
     0.3f,
     0},
    {1,
     1,
     64,
     PACKED,
     {{70, 70, -1}, {2, 2, -1}, {1, 1, -1}, {0, 0, -1}},
     true,
     0,
     0,
     0,
     0.125f,
     0},
    {2,
     2,
     16,
     PACKED,
     {{6, 6, -1}, {40, 40, -1}, {0, 0, -1}, {0, 0, -1}},
     true,
     0,
     0,
     0,
     8,
     0},
    {2, 1, 8, DENSE, {{19, 70, -1}}, true, 0, 0, 0, 0.3f, BIAS_ALL},
    {3, 3, 8, DENSE, {{9, 9, -1}}, true, 4, 0, 0.2f, 0.3f, BIAS_HEADS},
    {2, 2, 4, DENSE, {{66, 30, -1}}, false, 0, 2, 0, 0.5f, BIAS_ONE},
    /* A bias of sequences that end earlier than others. */
    {2,
     2,
     8,
     PACKED,
     {{5, 9, -1}, {12, 3, -1}, {0, 4, -1}, {7, 20, -1}},
     false,
     0,
     0,
     0,
     0.3f,
     BIAS_ALL},
    {4,
     2,
     8,
     PACKED,
     {{5, 9, 8}, {12, 13, 13}, {1, 4, 0}, {7, 20, 9}},
     true,
     0,
     0,
     0,
     0.3f,
     BIAS_ONE},
    {2, 1, 8, DENSE, {{19, 70, -1}}, true, 0, 0, 0, 0.3f, BIAS_ALL | BIAS_HIDES},
    {2,
     2,
     8,
     PACKED,
     {{5, 150, -1}, {66, 30, -1}, {0, 4, -1}, {7, 20, -1}},
     false,
     0,
     0,
     0,
     0.3f,
     BIAS_ONE | BIAS_HIDES},
    {4,
     2,
     24,
     PACKED,
     {{5, 9, NAN_QUERY}, {70, 140, NAN_QUERY}, {2, 1, NAN_QUERY}, {1, 3, -1}},
     false,
     0,
     0,
     0,
     0.3f,
     0},
    {3, 3, 8, DENSE, {{9, 9, -1}}, true, 0, 0, 0, 0.3f, BIAS_HEADS | BIAS_FIXED},
    {2, 1, 8, DENSE_BEHIND, {{5, 9, -1}}, true, 0, 0, 0.2f, 0.3f, 0},
    {2,
     2,
     8,
     PACKED_BEFORE,
     {{5, 9, -1}, {3, 3, -1}, {0, 2, -1}, {14, 14, -1}},
     true,
     0,
     0,
     0.2f,
     0.3f,
     0},
    /* More keys, and more queries, than a tile has. */
    {1,
     1,
     8,
     PACKED,
     {{3, 700, -1}, {300, 5, -1}, {1, 1, -1}, {0, 0, -1}},
     false,
     0,
     0,
     0,
     0.3f,
     0},
    /* Several tiles of 128: in bf16 alone, and not for all, see build. */
    {2,
     1,
     128,
     PACKED,
     {{70, 135, -1}, {0, 3, -1}, {140, 140, -1}, {1, 1, -1}},
     true,
     0,
     0,
     0,
     0.1f,
     0},
    {1,
     1,
     64,
     PACKED,
     {{200, 230, 210}, {2, 100, 0}, {1, 1, 1}, {0, 0, 0}},
     true,
     150,
     0,
     0,
     0.2f,
     0},
};
enum { TILES = 2 }; /* at the end */

static bool is_dense(int i)
{
    return cases[i].rows == DENSE || cases[i].rows == DENSE_BEHIND;
}

/* A case's rows within a window. */
struct rows {
    int64_t n;    /* sequences */
    int64_t q, k; /* rows of all, nobody's among them */
    int64_t *q_id, *k_id;
    int32_t cu_q[SEQS + 1], cu_k[SEQS + 1], len[SEQS], max_q, max_k;
    int32_t *sample, *pos;
};

static void add_seq(struct rows *r, int64_t which, const struct seq *s)
{
    int64_t len = s->len < 0 ? s->k : s->len;
    for (int i = 0; i < s->q; i++) {
        r->sample[r->q] = (int32_t)which * 3 + 2;
        r->pos[r->q] = i + 1;
        r->q_id[r->q++] =
            s->len == NAN_QUERY && i == 1 ? ROW_NAN : which * ROW_STEP + i;
    }
    for (int j = 0; j < s->k; j++)
        r->k_id[r->k++] = j < len ? which * ROW_STEP + j : ROW_NAN;
    r->len[r->n++] = (int32_t)len;
    r->cu_q[r->n] = (int32_t)r->q;
    r->cu_k[r->n] = (int32_t)r->k;
    r->max_q = s->q > r->max_q ? s->q : r->max_q;
    r->max_k = s->k > r->max_k ? s->k : r->max_k;
}

/* Rows outside every sequence. */
static void add_nobodys(struct rows *r, int n)
{
    for (int i = 0; i < n; i++) {
        r->q_id[r->q++] = ROW_NAN;
        r->k_id[r->k++] = ROW_NAN;
    }
}

static void get_rows(struct call *c, int i, const struct window *w, struct rows *r)
{
    *r = (struct rows){.q_id = call_row_ids(c, ROWS, 0),
                       .k_id = call_row_ids(c, ROWS, 0),
                       .sample = call_ints(c, ROWS),
                       .pos = call_ints(c, ROWS)};
    if (cases[i].rows == PACKED_BEFORE)
        add_nobodys(r, NOBODYS);
    r->cu_q[0] = (int32_t)r->q;
    r->cu_k[0] = (int32_t)r->k;
    for (int64_t s = w->first; s < w->first + window_rows(w, SEQS); s++)
        add_seq(r, s, &cases[i].seq[cases[i].seq[s].k == 0 && is_dense(i) ? 0 : s]);
    if (cases[i].rows != DENSE)
        add_nobodys(r, is_dense(i) ? NOBODYS : 1);
}

static void set_params(struct call *c, int i, const struct rows *r)
{
    static const uint64_t state[] = {1234, 5};
    struct nnd_attn *p = &c->params.attn;
    *p = (struct nnd_attn){.struct_size = sizeof *p,
                           .batch = (int32_t)r->n,
                           .max_q = r->max_q,
                           .max_k = r->max_k,
                           .causal = cases[i].causal,
                           .window = cases[i].window,
                           .scale = cases[i].scale,
                           .softcap = cases[i].softcap,
                           .dropout = {.p = cases[i].drop, .op = 3}};
    if (!is_dense(i)) {
        call_array(c, &p->cu_q, r->cu_q, (size_t)(r->n + 1) * sizeof r->cu_q[0]);
        call_array(c, &p->cu_k, r->cu_k, (size_t)(r->n + 1) * sizeof r->cu_k[0]);
    }
    if (cases[i].seq[0].len >= 0)
        call_array(c, &p->len_k, r->len, (size_t)r->n * sizeof r->len[0]);
    if (cases[i].drop > 0) {
        call_array(c, &p->dropout.state, state, sizeof state);
        call_array(c, &p->dropout.sample, r->sample, (size_t)r->q * sizeof *r->sample);
        call_array(c, &p->dropout.pos, r->pos, (size_t)r->q * sizeof *r->pos);
    }
    snprintf(
        c->text, sizeof c->text,
        "h=%d hk=%d d=%d seqs=%d/%d,%d/%d,%d/%d,%d/%d%s%s window=%d cap=%g drop=%g "
        "bias=%d%s%s%s",
        cases[i].h, cases[i].hk, cases[i].d, cases[i].seq[0].q, cases[i].seq[0].k,
        cases[i].seq[1].q, cases[i].seq[1].k, cases[i].seq[2].q, cases[i].seq[2].k,
        cases[i].seq[3].q, cases[i].seq[3].k, cases[i].causal ? " causal" : "",
        cases[i].seq[0].len >= 0 ? " len_k" : "", cases[i].window,
        (double)cases[i].softcap, (double)cases[i].drop,
        cases[i].bias & ~(BIAS_HIDES | BIAS_FIXED),
        cases[i].bias & BIAS_HIDES   ? " hides"
        : cases[i].bias & BIAS_FIXED ? " no dbias"
                                     : "",
        cases[i].rows == DENSE_BEHIND    ? " nobody's behind"
        : cases[i].rows == PACKED_BEFORE ? " nobody's before"
                                         : "",
        cases[i].seq[0].len == NAN_QUERY ? " nan" : "");
}

static struct slot *add(struct call *c, const char *name, struct nnd_tensor *t,
                        enum role role, int64_t rows, int64_t heads, int64_t d,
                        const int64_t *row)
{
    struct slot *s = call_tensor(c, name, t, role, KIND_ACT, rows, heads, d);
    s->row = row;
    return s;
}

static void add_lse(struct call *c, enum role role, const struct rows *r, int i)
{
    struct slot *s = call_tensor(c, "lse", &c->params.attn.lse, role, KIND_F32,
                                 cases[i].h, r->q, -1);
    s->row = r->q_id;
    s->row_axis = 1;
    s->slack = SLACK_FORWARD;
    s->terms = r->max_k * cases[i].d;
}

/* -inf for some keys: of every fifth query all are hidden, of the next the first half,
 * then every other one. */
static void hide_keys(struct call *c, struct slot *s, int64_t queries, int64_t keys)
{
    double *value = arena_calloc(c->arena, (size_t)s->count + 1, sizeof *value);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t j = i % keys, kind = i / keys % queries % 5;
        bool hidden = kind == 0 || (kind == 1 && j < keys / 2) || (kind == 2 && j % 2);
        value[i] = hidden ? -INFINITY : call_value(s, 90, i);
    }
    s->value = value;
}

/* A bias or its gradient, [sequences or 1, heads or 1, queries, keys]. */
static struct slot *add_bias(struct call *c, const char *name, struct nnd_tensor *t,
                             enum role role, const struct window *w,
                             const struct rows *r, int i)
{
    bool all = cases[i].bias & BIAS_ALL;
    int64_t *id = call_row_ids(c, SEQS, 0);
    struct slot *s = call_tensor(c, name, t, role,
                                 role == ROLE_OUT ? KIND_F32 : KIND_ACT, all ? r->n : 1,
                                 cases[i].bias & BIAS_ONE ? 1 : cases[i].h, r->max_q);
    s->dim[s->ndim++] = r->max_k;
    s->count *= r->max_k;
    for (int64_t b = 0; b < r->n; b++)
        id[b] = w->first + b;
    if (all && is_dense(i)) /* else a window changes the longest sequence */
        s->row = id;
    else
        c->rows = 0;
    if (role == ROLE_IN && cases[i].bias & BIAS_HIDES)
        hide_keys(c, s, r->max_q, r->max_k);
    return s;
}

/* Rounding of a large score shows in its exponential: as many more terms. */
static int64_t terms(int i, const struct rows *r)
{
    double s = fmax(1, (double)cases[i].scale);
    return (int64_t)((double)((int64_t)r->max_k * cases[i].d) * s * s);
}

static bool build(struct call *c, int i, const struct window *w, bool bwd)
{
    if (i >= COUNT(cases) - (c->large && c->act == NND_BF16 ? 0 : TILES))
        return false;
    struct nnd_attn *p = &c->params.attn;
    struct rows r;
    get_rows(c, i, w, &r);
    set_params(c, i, &r);
    c->rows = SEQS;
    c->big = r.max_k > 500;
    c->derive = bwd ? "attn.fwd" : NULL;
    int64_t h = cases[i].h, hk = cases[i].hk, d = cases[i].d;
    add(c, "q", &p->q, ROLE_IN, r.q, h, d, r.q_id);
    add(c, "k", &p->k, ROLE_IN, r.k, hk, d, r.k_id);
    add(c, "v", &p->v, ROLE_IN, r.k, hk, d, r.k_id);
    if (cases[i].bias)
        add_bias(c, "bias", &p->bias, ROLE_IN, w, &r, i);
    struct slot *o =
        add(c, "o", &p->o, bwd ? ROLE_DERIVED : ROLE_OUT, r.q, h, d, r.q_id);
    o->slack = SLACK_FORWARD;
    o->terms = terms(i, &r);
    add_lse(c, bwd ? ROLE_DERIVED : ROLE_OUT, &r, i);
    if (!bwd)
        return true;
    add(c, "dout", &p->dout, ROLE_IN, r.q, h, d, r.q_id);
    struct slot *out[] = {add(c, "dq", &p->dq, ROLE_OUT, r.q, h, d, r.q_id),
                          add(c, "dk", &p->dk, ROLE_OUT, r.k, hk, d, r.k_id),
                          add(c, "dv", &p->dv, ROLE_OUT, r.k, hk, d, r.k_id),
                          cases[i].bias && !(cases[i].bias & BIAS_FIXED)
                              ? add_bias(c, "dbias", &p->dbias, ROLE_OUT, w, &r, i)
                              : NULL};
    for (int n = 0; n < COUNT(out) && out[n]; n++) {
        out[n]->slack = SLACK_BACKWARD;
        out[n]->terms = terms(i, &r) * 4;
        out[n]->like = 1 + (int)(o - c->slot); /* delta is made of o */
        /* One key takes all: its score has no gradient but rounding. */
        out[n]->floor = r.max_k == 1 ? (double)cases[i].scale : 0;
    }
    return true;
}

bool family_attn_fwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, false);
}

bool family_attn_bwd(struct call *c, int i, const struct window *w)
{
    return build(c, i, w, true);
}
